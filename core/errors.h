// Makes every error that a request can cause: its reason, its code and its message. No other file makes errors.
//
//   return errors::OutOfRange("temperature", params.temperature, "0 or in [0.0001, 1e+06]");
//   return errors::AboveLimit("items", request.items_size(), kMaxItems, 1);
//   ASSIGN_OR_RETURN(params, In("sampling.", FromProto(request.sampling(), vocab_size)));  // "sampling.temperature"
//
// An error is an absl::Status that carries an ErrorDetail as a payload. It crosses core and server as a plain status
// and becomes logitd.v1.Error (in a reply: wire/error.h) or google.rpc details (of a call: server/status.h) in one
// place each.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CORE_ERRORS_H_
#define LOGITD_CORE_ERRORS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/error_reasons.h"  // IWYU pragma: export
#include "core/limits.h"
#include "core/types.h"

namespace logitd {

// One failure in full. See logitd.v1.Error for what each part means.
struct ErrorDetail {
  absl::StatusCode code = absl::StatusCode::kInternal;
  ErrorReason reason = ErrorReason::kInternal;
  std::string message;
  std::string field;
  std::string value;
  std::string bound;
  std::string limit;
  std::optional<TokenId> token_id;
  std::optional<int32_t> row;
  std::optional<int32_t> retry_after_ms;
};

// The status that carries `detail`. REQUIRES: detail.code is not kOk.
absl::Status ToStatus(const ErrorDetail& detail);
// The detail that a status carries. A status made elsewhere has code, message and the nearest reason. REQUIRES: !ok().
ErrorDetail DetailOf(const absl::Status& status);

// The path of an element of a list, or of a part of one: "items[3]", "items[3].id".
std::string Element(std::string_view list, int64_t index, std::string_view rest = "");

// Each gives the same error with one thing changed; OK stays OK.
// - In: `prefix` stands before its field ("batch.opens[3]."), in its message too; an error without a field stays.
// - WithField: `field` stands in the place of its field, in its message too.
// - WithRow: said of row `row`.
// - WithPosition: said of row `row`, which is position `position` of sequence `sequence_index`.
absl::Status In(std::string_view prefix, const absl::Status& status);
template <typename Value>
absl::StatusOr<Value> In(std::string_view prefix, absl::StatusOr<Value> result) {
  if (!result.ok()) return In(prefix, result.status());
  return result;
}
absl::Status WithField(const absl::Status& status, std::string_view field);
absl::Status WithRow(const absl::Status& status, int32_t row);
absl::Status WithPosition(const absl::Status& status, int32_t row, int32_t sequence_index, int32_t position);

namespace errors {

// A number as messages show it: in the shortest form that reads back ("0.8", "-inf", "nan").
std::string Show(double value);

// `field` must be `bound`, got `value`; e.g. bound "0 or in [0.0001, 1e+06]".
absl::Status OutOfRange(std::string_view field, double value, std::string_view bound);
absl::Status OutOfRange(std::string_view field, int64_t value, std::string_view bound);
absl::Status OutOfRange(std::string_view field, std::string_view value, std::string_view bound);
absl::Status Required(std::string_view field);
// One of `kinds` ("text or tokens") must be set in `field`.
absl::Status RequiredOneOf(std::string_view field, std::string_view kinds);
// `because`: a clause, as "REPETITION_PENALTY looks at them".
absl::Status Required(std::string_view field, std::string_view because);
// The list `field` must contain `element`, because it is in use.
absl::Status MissingFrom(std::string_view field, std::string_view element);
absl::Status Exclusive(std::string_view field, std::string_view other);
absl::Status UnknownField(std::string_view field, int number);
absl::Status UnknownEnumValue(std::string_view field, int value);
absl::Status MalformedMessage(std::string_view field, std::string_view what);
absl::Status UnexpectedMessage(std::string_view what);
// `value` is not in [least, limit.value] (`unit`: "bytes", "open sequences").
absl::Status AboveLimit(std::string_view field, int64_t value, const Limit& limit, int64_t least = 0,
                        std::string_view unit = "");
// The same where the bound is not an interval; `limit` is the limit's name.
absl::Status LimitExceeded(std::string_view field, int64_t value, std::string_view bound, std::string_view limit);

absl::Status NonFiniteLogit(TokenId token_id, float value);
absl::Status NoFiniteLogit();
absl::Status RowLengthMismatch(std::string_view field, int64_t value, int64_t expected, std::string_view unit);
absl::Status RowIndexOutOfRange(std::string_view field, int64_t value, int64_t row_count);
absl::Status TokenIdOutOfRange(std::string_view field, int64_t value, int32_t vocab_size);
absl::Status DuplicateTokenId(std::string_view field, TokenId token_id);
absl::Status EmptyTokenSet(std::string_view field);
absl::Status AllTokensExcluded();

absl::Status SequenceAlreadyOpen(int64_t sequence_id);
absl::Status SequenceNotOpen(std::string_view field, int64_t sequence_id);
// next: the position that would be taken; latest: the one that may be repeated, next - 1, or next if there is none.
absl::Status PositionGap(int64_t position, int64_t latest, int64_t next);
absl::Status PositionTooOld(int64_t position, int64_t latest, int64_t next);
absl::Status PositionConflict(int64_t position, TokenId before, TokenId now);
absl::Status NumericsVersionMismatch(int64_t asked);

absl::Status ModelNotFound(std::string_view model);
// `models`: their names, >= 2.
absl::Status ModelAmbiguous(std::span<const std::string> models);
absl::Status ModelUnavailable(std::string_view model);
absl::Status RunnerLost(std::string_view model);
absl::Status RunnerProtocol(std::string_view what);
absl::Status ModelOutputInvalid(std::string_view what);
absl::Status TokenizerUnavailable(std::string_view model);
absl::Status ChatTemplateUnavailable(std::string_view model);
// `why`: one line, for people; it may hold the template's own words.
absl::Status ChatTemplateFailed(std::string_view field, std::string_view why);
absl::Status VocabularyUnavailable(std::string_view model);
// `why`: the rest of a sentence, "no runner of it evaluates a sequence by itself".
absl::Status NotReproducible(std::string_view model, std::string_view why);
// `head`: the name that was asked for; "" asks for the only one. `known`: the names that there are, or "".
absl::Status HeadNotFound(std::string_view field, std::string_view head, std::string_view known);
// `axis`: "d" or "V". `shapes`: both shapes, as "rows [2, 64] and head "lm" (W [V = 49152, d = 576])".
absl::Status HeadShapeMismatch(std::string_view field, std::string_view value, std::string_view bound,
                               std::string_view axis, std::string_view shapes);
// `instead`: what else the caller may do, ", or ...".
absl::Status ContextLengthExceeded(std::string_view field, int64_t token_count, int64_t bound,
                                   std::string_view instead = "");
// Found without the tokenizer: a text of this many bytes has at least `least_tokens`.
absl::Status TextExceedsContext(std::string_view field, int64_t text_bytes, int64_t least_tokens, int64_t bound);
absl::Status KvCacheFull(int64_t used, int64_t capacity);
absl::Status ModelMismatch(std::string_view what);
// The text has ended the process that makes tokens of it, twice, or has cost it more time than a text may.
absl::Status TokenizerFailed(std::string_view field, int64_t text_bytes);
// Three runners have ended by a signal of their own (`signal`: "SIGSEGV") while they evaluated this request.
absl::Status RunnerKilled(std::string_view model, std::string_view signal);

absl::Status EmptyContinuation(std::string_view field);
absl::Status EmptyPrompt(std::string_view field);
absl::Status NoCandidates(std::string_view field);
absl::Status BoundaryToken(std::string_view field);
absl::Status TargetCountMismatch(std::string_view field, int64_t target_count, int64_t row_count);
absl::Status NormalizationUndefined(std::string_view normalization, std::string_view missing);
// An order that is not one of the items: `field` must be `bound`, got `value`.
absl::Status OrderInvalid(std::string_view field, std::string_view bound, std::string_view value);
// No strengths fit the rankings best: they must `bound`. `because`: a sentence; `value`: the items that it names.
absl::Status StrengthsUndefined(std::string_view bound, std::string_view because, std::string_view value);

absl::Status CalibrationNotFound(std::string_view name);
// `field` ("order_by", "items[3].candidates") must be `bound` for the calibration of this name, got `value`.
absl::Status CalibrationMismatch(std::string_view name, std::string_view field, std::string_view value,
                                 std::string_view bound);
absl::Status DataSeparable();
// Of the samples, `count` have this label, and at least `least` must.
absl::Status LabelMissing(std::string_view field, int32_t label, int64_t count, int64_t least);
absl::Status FitUndefined(std::string_view why);

// The server has as many of `what` ("calls are running") as `limit` allows.
absl::Status Overloaded(std::string_view what, int64_t count, const Limit& limit, int32_t retry_after_ms);
// The connection has as many calls as one may have.
absl::Status ConnectionFull(const Limit& limit);
// With this one, requests of `bytes` bytes would be worked on or kept.
absl::Status OverloadedBytes(int64_t bytes, const Limit& limit, int32_t retry_after_ms);
// The client has left its reply unread, or has been silent, for longer than the limit, milliseconds.
absl::Status Stalled(const Limit& limit);
absl::Status Idle(const Limit& limit);
absl::Status Draining();
absl::Status DeadlineExceeded();
absl::Status Cancelled();
absl::Status Internal(std::string_view what);

}  // namespace errors
}  // namespace logitd

#endif  // LOGITD_CORE_ERRORS_H_

#include "core/errors.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/shown_text.h"

namespace logitd {
namespace {

// The payload of a status: the parts of an ErrorDetail besides code and message, one on each line. No part holds a line
// end, because OnOneLine escapes it. An unset part is empty.
constexpr char kPayloadUrl[] = "logitd/ErrorDetail";
constexpr size_t kPayloadLines = 8;

// The most bytes of an error's texts. gRPC clients drop a call whose trailers exceed 8 KiB. The trailers repeat the
// message four times, once with three bytes for each byte that is not ASCII, and field, value and bound two or three
// times: at most 7 KiB with base64. Our own errors are far shorter; a runner's texts may not be.
constexpr size_t kMaxShownMessage = 640;
constexpr size_t kMaxShownField = 256;
constexpr size_t kMaxShownValue = 64;
constexpr size_t kMaxShownBound = 256;
constexpr size_t kMaxShownLimit = 64;

std::string TextOf(std::string_view part) { return std::string(part); }
std::string TextOf(int64_t part) { return std::to_string(part); }
template <typename... Parts>
std::string Cat(const Parts&... parts) {
  std::string text;
  (text.append(TextOf(parts)), ...);
  return text;
}

std::string NumberOf(std::optional<int32_t> number) { return number ? std::to_string(*number) : ""; }
std::optional<int32_t> ToNumber(const std::string& text) {
  int32_t number = 0;
  return absl::SimpleAtoi(text, &number) ? std::optional(number) : std::nullopt;
}

}  // namespace

// Texts may come from a runner or a library: each is put on one line and cut to the length that trailers can carry.
absl::Status ToStatus(const ErrorDetail& detail) {
  const std::string lines[kPayloadLines] = {std::to_string(static_cast<int>(detail.reason)),
                                            NumberOf(detail.token_id),
                                            NumberOf(detail.row),
                                            NumberOf(detail.retry_after_ms),
                                            OnOneLine(detail.field, kMaxShownField),
                                            OnOneLine(detail.value, kMaxShownValue),
                                            OnOneLine(detail.bound, kMaxShownBound),
                                            OnOneLine(detail.limit, kMaxShownLimit)};
  absl::Status status(detail.code, OnOneLine(detail.message, kMaxShownMessage));
  status.SetPayload(kPayloadUrl, absl::Cord(absl::StrJoin(lines, "\n")));
  return status;
}

ErrorDetail DetailOf(const absl::Status& status) {
  ErrorDetail detail;
  detail.reason = NearestReason(status.code());
  if (const auto payload = status.GetPayload(kPayloadUrl)) {
    const std::string text(*payload);
    const std::vector<std::string> lines = absl::StrSplit(text, '\n');
    if (lines.size() == kPayloadLines) {
      detail.reason = static_cast<ErrorReason>(ToNumber(lines[0]).value_or(0));
      detail.token_id = ToNumber(lines[1]);
      detail.row = ToNumber(lines[2]);
      detail.retry_after_ms = ToNumber(lines[3]);
      detail.field = lines[4];
      detail.value = lines[5];
      detail.bound = lines[6];
      detail.limit = lines[7];
    }
  }
  detail.code = status.code();
  detail.message = OnOneLine({status.message().data(), status.message().size()}, kMaxShownMessage);
  return detail;
}

std::string Element(std::string_view list, int64_t index, std::string_view rest) {
  return Cat(list, "[", index, "]", rest);
}

absl::Status In(std::string_view prefix, const absl::Status& status) {
  if (status.ok()) return status;
  ErrorDetail detail = DetailOf(status);
  if (detail.field.empty()) return status;
  // The message begins with the field: keep both the same.
  if (detail.message.starts_with(detail.field)) detail.message.insert(0, prefix);
  detail.field.insert(0, prefix);
  return ToStatus(detail);
}

absl::Status WithField(const absl::Status& status, std::string_view field) {
  if (status.ok()) return status;
  ErrorDetail detail = DetailOf(status);
  if (!detail.field.empty() && detail.message.starts_with(detail.field)) {
    detail.message.replace(0, detail.field.size(), field);
  } else {
    detail.message.insert(0, Cat(field, ": "));
  }
  detail.field = field;
  return ToStatus(detail);
}

absl::Status WithRow(const absl::Status& status, int32_t row) {
  if (status.ok()) return status;
  ErrorDetail detail = DetailOf(status);
  detail.message += Cat(" (row ", row, ")");
  detail.row = row;
  return ToStatus(detail);
}

absl::Status WithPosition(const absl::Status& status, int32_t row, int32_t sequence_index, int32_t position) {
  if (status.ok()) return status;
  ErrorDetail detail = DetailOf(status);
  detail.message += Cat(" (row ", row, ": position ", position, " of sequence ", sequence_index, ")");
  detail.row = row;
  return ToStatus(detail);
}

namespace errors {
namespace {

using enum ErrorReason;

// Within about this time a runner attaches, frees cache or is replaced.
constexpr int32_t kModelRetryMs = 1000;

ErrorDetail Detail(ErrorReason reason, std::string message) {
  ErrorDetail detail;
  detail.code = CodeOf(reason);
  detail.reason = reason;
  detail.message = std::move(message);
  return detail;
}

// "field must be bound, got value": every error about one value has this form.
ErrorDetail MustBe(ErrorReason reason, std::string_view field, std::string_view bound, std::string_view value) {
  const bool interval = bound.starts_with('[') || bound.starts_with('(');
  std::string message(field);
  message.append(interval ? " must be in " : " must be ").append(bound).append(", got ").append(value);
  ErrorDetail detail = Detail(reason, std::move(message));
  detail.field = field;
  detail.bound = bound;
  detail.value = value;
  return detail;
}

template <typename Value>
absl::Status Wrong(ErrorReason reason, std::string_view field, std::string_view bound, const Value& value) {
  return ToStatus(MustBe(reason, field, bound, Cat(value)));
}

// An error whose message begins with its field.
template <typename... Parts>
absl::Status OfField(ErrorReason reason, std::string_view field, const Parts&... rest) {
  ErrorDetail detail = Detail(reason, Cat(field, rest...));
  detail.field = field;
  return ToStatus(detail);
}

template <typename... Parts>
absl::Status Plain(ErrorReason reason, const Parts&... message) {
  return ToStatus(Detail(reason, Cat(message...)));
}

// An error that passes when a runner attaches or has room.
template <typename... Parts>
absl::Status Passing(ErrorReason reason, const Parts&... message) {
  ErrorDetail detail = Detail(reason, Cat(message...));
  detail.retry_after_ms = kModelRetryMs;
  return ToStatus(detail);
}

// A limit of the process that is reached.
absl::Status Limited(ErrorReason reason, std::string message, int64_t value, const Limit& limit,
                     std::optional<int32_t> retry_after_ms = std::nullopt) {
  ErrorDetail detail = Detail(reason, std::move(message));
  detail.value = std::to_string(value);
  detail.bound = Cat("at most ", limit.value);
  detail.limit = limit.name;
  detail.retry_after_ms = retry_after_ms;
  return ToStatus(detail);
}

// A client that lets the server wait for longer than `limit`, milliseconds.
absl::Status Overdue(std::string_view what, const Limit& limit) {
  ErrorDetail detail = Detail(kLimitExceeded, Cat(what, " for ", limit.value, " ms (", limit.name, ")"));
  detail.bound = Cat("at most ", limit.value, " ms");
  detail.limit = limit.name;
  return ToStatus(detail);
}

std::string HalfOpen(int64_t end) { return Cat("[0, ", end, ")"); }

// A position that is neither the next nor the latest.
absl::Status WrongPosition(ErrorReason reason, int64_t position, int64_t latest, int64_t next) {
  const std::string bound = latest == next ? Cat(next) : Cat(next, " (or ", latest, " again)");
  return Wrong(reason, "position", bound, position);
}

}  // namespace

std::string Show(double value) {
  // A NaN's sign is noise.
  if (std::isnan(value)) return "nan";
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::general);
  return std::string(buffer, result.ptr);
}

absl::Status OutOfRange(std::string_view field, double value, std::string_view bound) {
  return Wrong(kFieldOutOfRange, field, bound, Show(value));
}

absl::Status OutOfRange(std::string_view field, int64_t value, std::string_view bound) {
  return Wrong(kFieldOutOfRange, field, bound, value);
}

absl::Status OutOfRange(std::string_view field, std::string_view value, std::string_view bound) {
  return Wrong(kFieldOutOfRange, field, bound, Quoted(value));
}

absl::Status Required(std::string_view field) { return OfField(kFieldRequired, field, " is required"); }

absl::Status RequiredOneOf(std::string_view field, std::string_view kinds) {
  return OfField(kFieldRequired, field, " must have ", kinds);
}

absl::Status Required(std::string_view field, std::string_view because) {
  return OfField(kFieldRequired, field, " is required: ", because);
}

absl::Status MissingFrom(std::string_view field, std::string_view element) {
  return OfField(kFieldRequired, field, " must contain ", element, ", which is on");
}

absl::Status Exclusive(std::string_view field, std::string_view other) {
  return OfField(kFieldsExclusive, field, " and ", other, " exclude each other: set one of them");
}

absl::Status UnknownField(std::string_view field, int number) {
  ErrorDetail detail = Detail(kUnknownField, Cat(field.empty() ? "the request" : field, " has field number ", number,
                                                 ", which this server does not know"));
  detail.field = field;
  detail.value = std::to_string(number);
  return ToStatus(detail);
}

absl::Status UnknownEnumValue(std::string_view field, int value) {
  return Wrong(kUnknownEnumValue, field, "a value that this server knows", value);
}

absl::Status MalformedMessage(std::string_view field, std::string_view what) {
  if (field.empty()) return Plain(kMalformedMessage, what);
  return OfField(kMalformedMessage, field, ": ", what);
}

absl::Status UnexpectedMessage(std::string_view what) { return Plain(kUnexpectedMessage, what); }

absl::Status AboveLimit(std::string_view field, int64_t value, const Limit& limit, int64_t least,
                        std::string_view unit) {
  const std::string bound = Cat("[", least, ", ", limit.value, unit.empty() ? "]" : "] ", unit);
  return LimitExceeded(field, value, bound, limit.name);
}

absl::Status LimitExceeded(std::string_view field, int64_t value, std::string_view bound, std::string_view limit) {
  ErrorDetail detail = MustBe(kLimitExceeded, field, bound, std::to_string(value));
  detail.limit = limit;
  return ToStatus(detail);
}

absl::Status NonFiniteLogit(TokenId token_id, float value) {
  ErrorDetail detail = MustBe(kNonFiniteLogit, Element("logits", token_id), "finite or -inf", Show(value));
  detail.field = "logits";
  detail.token_id = token_id;
  return ToStatus(detail);
}

absl::Status NoFiniteLogit() {
  return Wrong(kNoFiniteLogit, "logits", "finite for at least one token", "-inf for all");
}

absl::Status RowLengthMismatch(std::string_view field, int64_t value, int64_t expected, std::string_view unit) {
  return Wrong(kRowLengthMismatch, field, Cat(expected, " ", unit), value);
}

absl::Status RowIndexOutOfRange(std::string_view field, int64_t value, int64_t row_count) {
  return Wrong(kRowIndexOutOfRange, field, HalfOpen(row_count), value);
}

absl::Status TokenIdOutOfRange(std::string_view field, int64_t value, int32_t vocab_size) {
  return Wrong(kTokenIdOutOfRange, field, HalfOpen(vocab_size), value);
}

absl::Status DuplicateTokenId(std::string_view field, TokenId token_id) {
  return Wrong(kDuplicateTokenId, field, "an id that the set does not have already", token_id);
}

absl::Status EmptyTokenSet(std::string_view field) {
  return Wrong(kEmptyTokenSet, field, "at least one token (unset: all are allowed)", "none");
}

absl::Status AllTokensExcluded() {
  return Plain(kAllTokensExcluded,
               "no token can be chosen: the allowed and banned tokens leave none that has a finite logit");
}

absl::Status SequenceAlreadyOpen(int64_t sequence_id) {
  return Wrong(kSequenceAlreadyOpen, "sequence_id", "an id that is not open", sequence_id);
}

absl::Status SequenceNotOpen(std::string_view field, int64_t sequence_id) {
  return Wrong(kSequenceNotOpen, field, "an id that is open", sequence_id);
}

absl::Status PositionGap(int64_t position, int64_t latest, int64_t next) {
  return WrongPosition(kPositionGap, position, latest, next);
}

absl::Status PositionTooOld(int64_t position, int64_t latest, int64_t next) {
  return WrongPosition(kPositionTooOld, position, latest, next);
}

absl::Status PositionConflict(int64_t position, TokenId before, TokenId now) {
  const auto name = [](TokenId token) { return token < 0 ? "no token" : "token " + std::to_string(token); };
  ErrorDetail detail = Detail(kPositionConflict, Cat("position ", position, " was repeated with another row: it gave ",
                                                     name(before), " and would now give ", name(now)));
  detail.field = "position";
  detail.value = std::to_string(position);
  return ToStatus(detail);
}

absl::Status NumericsVersionMismatch(int64_t asked) {
  return Wrong(kNumericsVersionMismatch, "numerics_version", Cat(kNumericsVersion), asked);
}

absl::Status ModelNotFound(std::string_view model) {
  return OfField(kModelNotFound, "model", ": no model ", Quoted(model), " is known to this server");
}

absl::Status ModelAmbiguous(std::span<const std::string> models) {
  constexpr size_t kShown = 8;
  std::string names;
  for (const std::string& model : models.first(std::min(models.size(), kShown))) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", Quoted(model));
  }
  return OfField(kModelAmbiguous, "model", " is required: this server knows ", models.size(), " models, ", names,
                 models.size() > kShown ? ", ..." : "");
}

absl::Status ModelUnavailable(std::string_view model) {
  if (!model.empty()) return Passing(kModelUnavailable, "no runner is attached for model ", Quoted(model), " now");
  return Passing(kModelUnavailable, "no model is attached to this server; start it with --model FILE, or a runner");
}

absl::Status RunnerLost(std::string_view model) {
  return Passing(kRunnerLost, "the runner of model ", Quoted(model), " was lost while it worked");
}

absl::Status RunnerProtocol(std::string_view what) { return Plain(kRunnerProtocol, what); }

absl::Status ModelOutputInvalid(std::string_view what) {
  return Plain(kModelOutputInvalid, "the model's output is not valid: ", what);
}

absl::Status TokenizerUnavailable(std::string_view model) {
  return Plain(kTokenizerUnavailable, "model ", Quoted(model),
               " has no tokenizer here: give token ids instead of text");
}

absl::Status ChatTemplateUnavailable(std::string_view model) {
  return Plain(kChatTemplateUnavailable, "model ", Quoted(model),
               " has no chat template here: render the conversation yourself and give the text or its tokens");
}

absl::Status ChatTemplateFailed(std::string_view field, std::string_view why) {
  return OfField(kChatTemplateFailed, field, ": the model's chat template cannot render it: ", why);
}

absl::Status VocabularyUnavailable(std::string_view model) {
  return Plain(kVocabularyUnavailable, "the runner of model ", Quoted(model),
               " does not tell its vocabulary: take it from where the model is from");
}

absl::Status NotReproducible(std::string_view model, std::string_view why) {
  return Plain(kNotReproducible, "model ", Quoted(model), " cannot give reproducible numbers: ", why);
}

absl::Status HeadNotFound(std::string_view field, std::string_view head, std::string_view known) {
  const std::string heads = known.empty() ? "no head; start it with --head NAME=FILE" : Cat("the heads ", known);
  if (head.empty()) return OfField(kHeadNotFound, field, " must name a head: this server has ", heads);
  return OfField(kHeadNotFound, field, ": there is no head ", Quoted(head), ": this server has ", heads);
}

absl::Status HeadShapeMismatch(std::string_view field, std::string_view value, std::string_view bound,
                               std::string_view axis, std::string_view shapes) {
  ErrorDetail detail = MustBe(kHeadShapeMismatch, field, bound, value);
  detail.message += Cat(": axis ", axis, " of ", shapes);
  return ToStatus(detail);
}

absl::Status ContextLengthExceeded(std::string_view field, int64_t token_count, int64_t bound,
                                   std::string_view instead) {
  return Wrong(kContextLengthExceeded, field, Cat("at most ", bound, " tokens", instead), token_count);
}

absl::Status TextExceedsContext(std::string_view field, int64_t text_bytes, int64_t least_tokens, int64_t bound) {
  return Wrong(kContextLengthExceeded, field, Cat("at most ", bound, " tokens"),
               Cat(text_bytes, " bytes, at least ", least_tokens, " tokens"));
}

absl::Status KvCacheFull(int64_t used, int64_t capacity) {
  return Passing(kKvCacheFull, "the runner's cache is full: ", used, " of ", capacity, " tokens are in use");
}

absl::Status ModelMismatch(std::string_view what) { return Plain(kModelMismatch, what); }

absl::Status TokenizerFailed(std::string_view field, int64_t text_bytes) {
  ErrorDetail detail =
      Detail(kTokenizerFailed, Cat(field, ": this text of ", text_bytes,
                                   " bytes ended the model's tokenizer twice, or takes it too long, and is not tried "
                                   "again; change the text, or send token ids"));
  detail.field = field;
  detail.value = Cat(text_bytes, " bytes");
  return ToStatus(detail);
}

absl::Status RunnerKilled(std::string_view model, std::string_view signal) {
  return Plain(kRunnerKilled, "three runners of model ", Quoted(model), " ended by a signal of their own (", signal,
               ") while they evaluated this request, the last one alone; it is not tried again");
}

absl::Status EmptyContinuation(std::string_view field) {
  return OfField(kEmptyContinuation, field, " must have at least one token, got 0");
}

absl::Status EmptyPrompt(std::string_view field) {
  return OfField(kEmptyPrompt, field, " must have at least one token, got 0");
}

absl::Status NoCandidates(std::string_view field) {
  return OfField(kNoCandidates, field, " must have at least one element, got 0");
}

absl::Status BoundaryToken(std::string_view field) {
  return OfField(kBoundaryToken, field,
                 ": tokenised together with the context, nothing of the continuation is left after the context's "
                 "tokens");
}

absl::Status TargetCountMismatch(std::string_view field, int64_t target_count, int64_t row_count) {
  return Wrong(kTargetCountMismatch, field, Cat("as many as there are rows (", row_count, ")"), target_count);
}

absl::Status NormalizationUndefined(std::string_view normalization, std::string_view missing) {
  ErrorDetail detail =
      Detail(kNormalizationUndefined, Cat(normalization, " needs ", missing, ", which a candidate does not have"));
  detail.value = normalization;
  return ToStatus(detail);
}

absl::Status OrderInvalid(std::string_view field, std::string_view bound, std::string_view value) {
  return Wrong(kOrderInvalid, field, bound, value);
}

absl::Status StrengthsUndefined(std::string_view bound, std::string_view because, std::string_view value) {
  ErrorDetail detail = Detail(kStrengthsUndefined, Cat("rankings must ", bound, ": ", because));
  detail.field = "rankings";
  detail.bound = bound;
  detail.value = value;
  return ToStatus(detail);
}

absl::Status CalibrationNotFound(std::string_view name) {
  return OfField(kCalibrationNotFound, "calibration", ": no calibration ", Quoted(name), " is known to this server");
}

absl::Status CalibrationMismatch(std::string_view name, std::string_view field, std::string_view value,
                                 std::string_view bound) {
  ErrorDetail detail = MustBe(kCalibrationMismatch, field, bound, value);
  detail.message += Cat(", for the calibration ", Quoted(name));
  return ToStatus(detail);
}

absl::Status DataSeparable() {
  return OfField(kDataSeparable, "labels",
                 ": a plane separates some labels without an error, so that the weights would grow without bound: set "
                 "l2 above 0, or give samples that overlap");
}

absl::Status LabelMissing(std::string_view field, int32_t label, int64_t count, int64_t least) {
  return Wrong(kLabelMissing, field, Cat("such that label ", int64_t{label}, " has at least ", least, " samples"),
               count);
}

absl::Status FitUndefined(std::string_view why) { return Plain(kFitUndefined, "there is no fit: ", why); }

absl::Status Overloaded(std::string_view what, int64_t count, const Limit& limit, int32_t retry_after_ms) {
  return Limited(kOverloaded, Cat("the server is full: ", count, " of ", limit.value, " ", what, " (", limit.name, ")"),
                 count, limit, retry_after_ms);
}

absl::Status ConnectionFull(const Limit& limit) {
  return Limited(kLimitExceeded,
                 Cat("this connection has ", limit.value, " calls open, the most that one may have (", limit.name,
                     "): open another connection, or wait until one of them has ended"),
                 limit.value + 1, limit);
}

absl::Status OverloadedBytes(int64_t bytes, const Limit& limit, int32_t retry_after_ms) {
  return Limited(kOverloaded,
                 Cat("the server is full: with this one, requests of ", bytes, " bytes would be worked on or kept, of ",
                     limit.value, " allowed"),
                 bytes, limit, retry_after_ms);
}

absl::Status Stalled(const Limit& limit) { return Overdue("the client has left its reply unread", limit); }
absl::Status Idle(const Limit& limit) { return Overdue("nothing was sent on the stream", limit); }

absl::Status Draining() {
  return Plain(kDraining, "the server is shutting down: connect to another one and resume there");
}

absl::Status DeadlineExceeded() { return Plain(kDeadlineExceeded, "the call's deadline passed"); }
absl::Status Cancelled() { return Plain(kCancelled, "the caller cancelled"); }
absl::Status Internal(std::string_view what) { return Plain(kInternal, what); }

}  // namespace errors
}  // namespace logitd

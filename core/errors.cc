#include "core/errors.h"

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

// Where a status carries what code and message do not say: the parts of an ErrorDetail, one a line. No part has a line
// end (OnOneLine has escaped it), and one that is unset is empty.
constexpr char kPayloadUrl[] = "logitd/ErrorDetail";
constexpr size_t kPayloadLines = 8;

// What an error's texts may have at most, bytes. gRPC clients drop a call whose trailers have more than 8 KiB. There
// the message is written four times, in one of them with three bytes for each that is not ASCII; field, value and bound
// two or three times: together at most 7 KiB, base64 included. No error of ours comes near it; what a runner says
// can.
constexpr size_t kMaxShownMessage = 640;
constexpr size_t kMaxShownField = 256;
constexpr size_t kMaxShownValue = 64;
constexpr size_t kMaxShownBound = 256;
constexpr size_t kMaxShownLimit = 64;

// Each reason with its name and its code. A status made elsewhere has the reason of the first row with its code.
struct Reason {
  ErrorReason reason;
  std::string_view name;
  absl::StatusCode code;
};
constexpr Reason kReasons[] = {
    {ErrorReason::kMalformedMessage, "MALFORMED_MESSAGE", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kUnexpectedMessage, "UNEXPECTED_MESSAGE", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kPositionConflict, "POSITION_CONFLICT", absl::StatusCode::kAborted},
    {ErrorReason::kModelNotFound, "MODEL_NOT_FOUND", absl::StatusCode::kNotFound},
    {ErrorReason::kModelUnavailable, "MODEL_UNAVAILABLE", absl::StatusCode::kUnavailable},
    {ErrorReason::kLimitExceeded, "LIMIT_EXCEEDED", absl::StatusCode::kResourceExhausted},
    {ErrorReason::kInternal, "INTERNAL", absl::StatusCode::kInternal},
    {ErrorReason::kUnspecified, "UNSPECIFIED", absl::StatusCode::kInternal},
    {ErrorReason::kFieldRequired, "FIELD_REQUIRED", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kFieldOutOfRange, "FIELD_OUT_OF_RANGE", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kFieldsExclusive, "FIELDS_EXCLUSIVE", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kUnknownField, "UNKNOWN_FIELD", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kUnknownEnumValue, "UNKNOWN_ENUM_VALUE", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kNonFiniteLogit, "NON_FINITE_LOGIT", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kNoFiniteLogit, "NO_FINITE_LOGIT", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kRowLengthMismatch, "ROW_LENGTH_MISMATCH", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kRowIndexOutOfRange, "ROW_INDEX_OUT_OF_RANGE", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kTokenIdOutOfRange, "TOKEN_ID_OUT_OF_RANGE", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kDuplicateTokenId, "DUPLICATE_TOKEN_ID", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kEmptyTokenSet, "EMPTY_TOKEN_SET", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kAllTokensExcluded, "ALL_TOKENS_EXCLUDED", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kSequenceAlreadyOpen, "SEQUENCE_ALREADY_OPEN", absl::StatusCode::kAlreadyExists},
    {ErrorReason::kSequenceNotOpen, "SEQUENCE_NOT_OPEN", absl::StatusCode::kNotFound},
    {ErrorReason::kPositionGap, "POSITION_GAP", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kPositionTooOld, "POSITION_TOO_OLD", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kNumericsVersionMismatch, "NUMERICS_VERSION_MISMATCH", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kModelAmbiguous, "MODEL_AMBIGUOUS", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kRunnerLost, "RUNNER_LOST", absl::StatusCode::kUnavailable},
    {ErrorReason::kRunnerProtocol, "RUNNER_PROTOCOL", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kModelOutputInvalid, "MODEL_OUTPUT_INVALID", absl::StatusCode::kInternal},
    {ErrorReason::kTokenizerUnavailable, "TOKENIZER_UNAVAILABLE", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kContextLengthExceeded, "CONTEXT_LENGTH_EXCEEDED", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kKvCacheFull, "KV_CACHE_FULL", absl::StatusCode::kResourceExhausted},
    {ErrorReason::kModelMismatch, "MODEL_MISMATCH", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kTokenizerFailed, "TOKENIZER_FAILED", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kRunnerKilled, "RUNNER_KILLED", absl::StatusCode::kInternal},
    {ErrorReason::kVocabularyUnavailable, "VOCABULARY_UNAVAILABLE", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kEmptyContinuation, "EMPTY_CONTINUATION", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kEmptyPrompt, "EMPTY_PROMPT", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kNoCandidates, "NO_CANDIDATES", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kBoundaryToken, "BOUNDARY_TOKEN", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kTargetCountMismatch, "TARGET_COUNT_MISMATCH", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kNormalizationUndefined, "NORMALIZATION_UNDEFINED", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kOverloaded, "OVERLOADED", absl::StatusCode::kResourceExhausted},
    {ErrorReason::kDraining, "DRAINING", absl::StatusCode::kUnavailable},
    {ErrorReason::kDeadlineExceeded, "DEADLINE_EXCEEDED", absl::StatusCode::kDeadlineExceeded},
    {ErrorReason::kCancelled, "CANCELLED", absl::StatusCode::kCancelled},
};

const Reason& Find(ErrorReason reason) {
  for (const Reason& row : kReasons) {
    if (row.reason == reason) return row;
  }
  return Find(ErrorReason::kUnspecified);
}

// For statuses of gRPC and of the system.
ErrorReason NearestReason(absl::StatusCode code) {
  if (code == absl::StatusCode::kOutOfRange) return ErrorReason::kFieldOutOfRange;
  for (const Reason& row : kReasons) {
    if (row.code == code) return row.reason;
  }
  return ErrorReason::kInternal;
}

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

std::string_view ReasonName(ErrorReason reason) { return Find(reason).name; }

absl::StatusCode CodeOf(ErrorReason reason) { return Find(reason).code; }

// Whoever it came from, a runner or a library: on one line each, and no longer than trailers can carry.
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
  // The message begins with the field, so that it names the same path.
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
  detail.message += " (row " + std::to_string(row) + ")";
  detail.row = row;
  return ToStatus(detail);
}

absl::Status WithPosition(const absl::Status& status, int32_t row, int32_t sequence_index, int32_t position) {
  if (status.ok()) return status;
  ErrorDetail detail = DetailOf(status);
  detail.message += " (row " + std::to_string(row) + ": position " + std::to_string(position) + " of sequence " +
                    std::to_string(sequence_index) + ")";
  detail.row = row;
  return ToStatus(detail);
}

namespace errors {
namespace {

// A runner attaches, frees cache or is replaced within about this time.
constexpr int32_t kModelRetryMs = 1000;

ErrorDetail Detail(ErrorReason reason, std::string message) {
  ErrorDetail detail;
  detail.code = CodeOf(reason);
  detail.reason = reason;
  detail.message = std::move(message);
  return detail;
}

// "field must be bound, got value": the form of every error about one value.
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

absl::Status OfField(ErrorReason reason, std::string_view field, std::string_view rest) {
  ErrorDetail detail = Detail(reason, std::string(field).append(rest));
  detail.field = field;
  return ToStatus(detail);
}

absl::Status Plain(ErrorReason reason, std::string message) { return ToStatus(Detail(reason, std::move(message))); }

absl::Status Retry(ErrorReason reason, std::string message, int32_t retry_after_ms) {
  ErrorDetail detail = Detail(reason, std::move(message));
  detail.retry_after_ms = retry_after_ms;
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
  ErrorDetail detail = Detail(ErrorReason::kLimitExceeded, Cat(what, " for ", limit.value, " ms (", limit.name, ")"));
  detail.bound = Cat("at most ", limit.value, " ms");
  detail.limit = limit.name;
  return ToStatus(detail);
}

std::string HalfOpen(int64_t end) { return Cat("[0, ", end, ")"); }

// A position that is neither the next nor the latest.
absl::Status WrongPosition(ErrorReason reason, int64_t position, int64_t latest, int64_t next) {
  std::string bound = std::to_string(next);
  if (latest != next) bound += " (or " + std::to_string(latest) + " again)";
  return ToStatus(MustBe(reason, "position", bound, std::to_string(position)));
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
  return ToStatus(MustBe(ErrorReason::kFieldOutOfRange, field, bound, Show(value)));
}

absl::Status OutOfRange(std::string_view field, int64_t value, std::string_view bound) {
  return ToStatus(MustBe(ErrorReason::kFieldOutOfRange, field, bound, std::to_string(value)));
}

absl::Status OutOfRange(std::string_view field, std::string_view value, std::string_view bound) {
  return ToStatus(MustBe(ErrorReason::kFieldOutOfRange, field, bound, Quoted(value)));
}

absl::Status Required(std::string_view field) { return OfField(ErrorReason::kFieldRequired, field, " is required"); }

absl::Status RequiredOneOf(std::string_view field, std::string_view kinds) {
  return OfField(ErrorReason::kFieldRequired, field, std::string(" must have ").append(kinds));
}

absl::Status Required(std::string_view field, std::string_view because) {
  return OfField(ErrorReason::kFieldRequired, field, std::string(" is required: ").append(because));
}

absl::Status MissingFrom(std::string_view field, std::string_view element) {
  return OfField(ErrorReason::kFieldRequired, field,
                 std::string(" must contain ").append(element).append(", which is on"));
}

absl::Status Exclusive(std::string_view field, std::string_view other) {
  return OfField(ErrorReason::kFieldsExclusive, field,
                 std::string(" and ").append(other).append(" exclude each other: set one of them"));
}

absl::Status UnknownField(std::string_view field, int number) {
  std::string message = field.empty() ? "the request" : std::string(field);
  message += " has field number " + std::to_string(number) + ", which this server does not know";
  ErrorDetail detail = Detail(ErrorReason::kUnknownField, std::move(message));
  detail.field = field;
  detail.value = std::to_string(number);
  return ToStatus(detail);
}

absl::Status UnknownEnumValue(std::string_view field, int value) {
  return ToStatus(
      MustBe(ErrorReason::kUnknownEnumValue, field, "a value that this server knows", std::to_string(value)));
}

absl::Status MalformedMessage(std::string_view field, std::string_view what) {
  if (field.empty()) return Plain(ErrorReason::kMalformedMessage, std::string(what));
  return OfField(ErrorReason::kMalformedMessage, field, std::string(": ").append(what));
}

absl::Status UnexpectedMessage(std::string_view what) {
  return Plain(ErrorReason::kUnexpectedMessage, std::string(what));
}

absl::Status AboveLimit(std::string_view field, int64_t value, const Limit& limit, int64_t least,
                        std::string_view unit) {
  const std::string bound = Cat("[", least, ", ", limit.value, unit.empty() ? "]" : "] ", unit);
  return LimitExceeded(field, value, bound, limit.name);
}

absl::Status LimitExceeded(std::string_view field, int64_t value, std::string_view bound, std::string_view limit) {
  ErrorDetail detail = MustBe(ErrorReason::kLimitExceeded, field, bound, std::to_string(value));
  detail.limit = limit;
  return ToStatus(detail);
}

absl::Status NonFiniteLogit(TokenId token_id, float value) {
  const std::string element = "logits[" + std::to_string(token_id) + "]";
  ErrorDetail detail = MustBe(ErrorReason::kNonFiniteLogit, element, "finite or -inf", Show(value));
  detail.field = "logits";
  detail.token_id = token_id;
  return ToStatus(detail);
}

absl::Status NoFiniteLogit() {
  return ToStatus(MustBe(ErrorReason::kNoFiniteLogit, "logits", "finite for at least one token", "-inf for all"));
}

absl::Status RowLengthMismatch(std::string_view field, int64_t value, int64_t expected, std::string_view unit) {
  const std::string bound = std::to_string(expected).append(" ").append(unit);
  return ToStatus(MustBe(ErrorReason::kRowLengthMismatch, field, bound, std::to_string(value)));
}

absl::Status RowIndexOutOfRange(std::string_view field, int64_t value, int64_t row_count) {
  return ToStatus(MustBe(ErrorReason::kRowIndexOutOfRange, field, HalfOpen(row_count), std::to_string(value)));
}

absl::Status TokenIdOutOfRange(std::string_view field, int64_t value, int32_t vocab_size) {
  return ToStatus(MustBe(ErrorReason::kTokenIdOutOfRange, field, HalfOpen(vocab_size), std::to_string(value)));
}

absl::Status DuplicateTokenId(std::string_view field, TokenId token_id) {
  return ToStatus(MustBe(ErrorReason::kDuplicateTokenId, field, "an id that the set does not have already",
                         std::to_string(token_id)));
}

absl::Status EmptyTokenSet(std::string_view field) {
  return ToStatus(MustBe(ErrorReason::kEmptyTokenSet, field, "at least one token (unset: all are allowed)", "none"));
}

absl::Status AllTokensExcluded() {
  return Plain(ErrorReason::kAllTokensExcluded,
               "no token can be chosen: the allowed and banned tokens leave none that has a finite logit");
}

absl::Status SequenceAlreadyOpen(int64_t sequence_id) {
  return ToStatus(
      MustBe(ErrorReason::kSequenceAlreadyOpen, "sequence_id", "an id that is not open", std::to_string(sequence_id)));
}

absl::Status SequenceNotOpen(std::string_view field, int64_t sequence_id) {
  return ToStatus(MustBe(ErrorReason::kSequenceNotOpen, field, "an id that is open", std::to_string(sequence_id)));
}

absl::Status PositionGap(int64_t position, int64_t latest, int64_t next) {
  return WrongPosition(ErrorReason::kPositionGap, position, latest, next);
}

absl::Status PositionTooOld(int64_t position, int64_t latest, int64_t next) {
  return WrongPosition(ErrorReason::kPositionTooOld, position, latest, next);
}

absl::Status PositionConflict(int64_t position, TokenId before, TokenId now) {
  const auto name = [](TokenId token) { return token < 0 ? "no token" : "token " + std::to_string(token); };
  ErrorDetail detail = Detail(ErrorReason::kPositionConflict, "position " + std::to_string(position) +
                                                                  " was repeated with another row: it gave " +
                                                                  name(before) + " and would now give " + name(now));
  detail.field = "position";
  detail.value = std::to_string(position);
  return ToStatus(detail);
}

absl::Status NumericsVersionMismatch(int64_t asked) {
  return ToStatus(MustBe(ErrorReason::kNumericsVersionMismatch, "numerics_version", std::to_string(kNumericsVersion),
                         std::to_string(asked)));
}

absl::Status ModelNotFound(std::string_view model) {
  return OfField(ErrorReason::kModelNotFound, "model", ": no model " + Quoted(model) + " is known to this server");
}

absl::Status ModelAmbiguous(int model_count) {
  ErrorDetail detail = Detail(ErrorReason::kModelAmbiguous,
                              "model is required: this server knows " + std::to_string(model_count) + " models");
  detail.field = "model";
  return ToStatus(detail);
}

absl::Status ModelUnavailable(std::string_view model) {
  std::string message = model.empty() ? "no model is attached to this server; start it with --model FILE, or a runner"
                                      : "no runner is attached for model " + Quoted(model) + " now";
  return Retry(ErrorReason::kModelUnavailable, std::move(message), kModelRetryMs);
}

absl::Status RunnerLost(std::string_view model) {
  return Retry(ErrorReason::kRunnerLost, "the runner of model " + Quoted(model) + " was lost while it worked",
               kModelRetryMs);
}

absl::Status RunnerProtocol(std::string_view what) { return Plain(ErrorReason::kRunnerProtocol, std::string(what)); }

absl::Status ModelOutputInvalid(std::string_view what) {
  return Plain(ErrorReason::kModelOutputInvalid, "the model's output is not valid: " + std::string(what));
}

absl::Status TokenizerUnavailable(std::string_view model) {
  return Plain(ErrorReason::kTokenizerUnavailable,
               "model " + Quoted(model) + " has no tokenizer here: give token ids instead of text");
}

absl::Status VocabularyUnavailable(std::string_view model) {
  return Plain(
      ErrorReason::kVocabularyUnavailable,
      "the runner of model " + Quoted(model) + " does not tell its vocabulary: take it from where the model is from");
}

absl::Status ContextLengthExceeded(std::string_view field, int64_t token_count, int64_t bound) {
  return ToStatus(MustBe(ErrorReason::kContextLengthExceeded, field, "at most " + std::to_string(bound) + " tokens",
                         std::to_string(token_count)));
}

absl::Status TextExceedsContext(std::string_view field, int64_t text_bytes, int64_t least_tokens, int64_t bound) {
  return ToStatus(MustBe(ErrorReason::kContextLengthExceeded, field, "at most " + std::to_string(bound) + " tokens",
                         std::to_string(text_bytes) + " bytes, at least " + std::to_string(least_tokens) + " tokens"));
}

absl::Status KvCacheFull(int64_t used, int64_t capacity) {
  return Retry(
      ErrorReason::kKvCacheFull,
      "the runner's cache is full: " + std::to_string(used) + " of " + std::to_string(capacity) + " tokens are in use",
      kModelRetryMs);
}

absl::Status ModelMismatch(std::string_view what) { return Plain(ErrorReason::kModelMismatch, std::string(what)); }

absl::Status TokenizerFailed(std::string_view field, int64_t text_bytes) {
  ErrorDetail detail = Detail(ErrorReason::kTokenizerFailed,
                              std::string(field) + ": this text of " + std::to_string(text_bytes) +
                                  " bytes ended the model's tokenizer twice, or takes it too long, and is not tried "
                                  "again; change the text, or send token ids");
  detail.field = field;
  detail.value = std::to_string(text_bytes) + " bytes";
  return ToStatus(detail);
}

absl::Status RunnerKilled(std::string_view model, std::string_view signal) {
  return Plain(ErrorReason::kRunnerKilled,
               "three runners of model " + Quoted(model) + " ended by a signal of their own (" + std::string(signal) +
                   ") while they evaluated this request, the last one alone; it is not tried again");
}

absl::Status EmptyContinuation(std::string_view field) {
  return OfField(ErrorReason::kEmptyContinuation, field, " must have at least one token, got 0");
}

absl::Status EmptyPrompt(std::string_view field) {
  return OfField(ErrorReason::kEmptyPrompt, field, " must have at least one token, got 0");
}

absl::Status NoCandidates(std::string_view field) {
  return OfField(ErrorReason::kNoCandidates, field, " must have at least one element, got 0");
}

absl::Status BoundaryToken(std::string_view field) {
  return OfField(ErrorReason::kBoundaryToken, field,
                 ": tokenised together with the context, nothing of the continuation is left after the context's "
                 "tokens");
}

absl::Status TargetCountMismatch(std::string_view field, int64_t target_count, int64_t row_count) {
  return ToStatus(MustBe(ErrorReason::kTargetCountMismatch, field,
                         "as many as there are rows (" + std::to_string(row_count) + ")",
                         std::to_string(target_count)));
}

absl::Status NormalizationUndefined(std::string_view normalization, std::string_view missing) {
  ErrorDetail detail =
      Detail(ErrorReason::kNormalizationUndefined,
             std::string(normalization).append(" needs ").append(missing).append(", which a candidate does not have"));
  detail.value = normalization;
  return ToStatus(detail);
}

absl::Status Overloaded(std::string_view what, int64_t count, const Limit& limit, int32_t retry_after_ms) {
  return Limited(ErrorReason::kOverloaded,
                 Cat("the server is full: ", count, " of ", limit.value, " ", what, " (", limit.name, ")"), count,
                 limit, retry_after_ms);
}

absl::Status ConnectionFull(const Limit& limit) {
  return Limited(ErrorReason::kLimitExceeded,
                 Cat("this connection has ", limit.value, " calls open, the most that one may have (", limit.name,
                     "): open another connection, or wait until one of them has ended"),
                 limit.value + 1, limit);
}

absl::Status OverloadedBytes(int64_t bytes, const Limit& limit, int32_t retry_after_ms) {
  return Limited(ErrorReason::kOverloaded,
                 Cat("the server is full: with this one, requests of ", bytes, " bytes would be worked on or kept, of ",
                     limit.value, " allowed"),
                 bytes, limit, retry_after_ms);
}

absl::Status Stalled(const Limit& limit) { return Overdue("the client has left its reply unread", limit); }

absl::Status Idle(const Limit& limit) { return Overdue("nothing was sent on the stream", limit); }

absl::Status Draining() {
  return Plain(ErrorReason::kDraining, "the server is shutting down: connect to another one and resume there");
}

absl::Status DeadlineExceeded() { return Plain(ErrorReason::kDeadlineExceeded, "the call's deadline passed"); }

absl::Status Cancelled() { return Plain(ErrorReason::kCancelled, "the caller cancelled"); }

absl::Status Internal(std::string_view what) { return Plain(ErrorReason::kInternal, std::string(what)); }

}  // namespace errors
}  // namespace logitd

#include "core/errors.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "core/limits.h"

namespace logitd {
namespace {

// Where a status carries what code and message do not say.
constexpr char kPayloadUrl[] = "logitd/ErrorDetail";

// A runner attaches, frees cache or is replaced within about this time.
constexpr int32_t kModelRetryMs = 1000;

// The payload: reason;token_id;row;retry_after_ms; then field, value, bound and limit, each as length:bytes. A number
// that is unset is empty. Read only by this process, so it has no version.
void WriteNumber(std::optional<int64_t> number, std::string& out) {
  if (number) out += std::to_string(*number);
  out += ';';
}

void WriteText(const std::string& text, std::string& out) { out += std::to_string(text.size()) + ':' + text; }

// False: malformed.
bool ReadNumber(std::string_view& in, std::optional<int64_t>& number) {
  const size_t end = in.find(';');
  if (end == std::string_view::npos) return false;
  number.reset();
  if (end > 0) {
    int64_t parsed = 0;
    if (std::from_chars(in.data(), in.data() + end, parsed).ptr != in.data() + end) return false;
    number = parsed;
  }
  in.remove_prefix(end + 1);
  return true;
}

bool ReadText(std::string_view& in, std::string& text) {
  const size_t colon = in.find(':');
  size_t size = 0;
  if (colon == std::string_view::npos || std::from_chars(in.data(), in.data() + colon, size).ec != std::errc()) {
    return false;
  }
  in.remove_prefix(colon + 1);
  if (in.size() < size) return false;
  text = std::string(in.substr(0, size));
  in.remove_prefix(size);
  return true;
}

std::string WritePayload(const ErrorDetail& detail) {
  std::string out;
  WriteNumber(static_cast<int64_t>(detail.reason), out);
  WriteNumber(detail.token_id, out);
  WriteNumber(detail.row, out);
  WriteNumber(detail.retry_after_ms, out);
  WriteText(detail.field, out);
  WriteText(detail.value, out);
  WriteText(detail.bound, out);
  WriteText(detail.limit, out);
  return out;
}

bool ReadPayload(std::string_view in, ErrorDetail& detail) {
  std::optional<int64_t> reason, token_id, row, retry_after_ms;
  if (!ReadNumber(in, reason) || !ReadNumber(in, token_id) || !ReadNumber(in, row) || !ReadNumber(in, retry_after_ms) ||
      !ReadText(in, detail.field) || !ReadText(in, detail.value) || !ReadText(in, detail.bound) ||
      !ReadText(in, detail.limit) || !reason) {
    return false;
  }
  detail.reason = static_cast<ErrorReason>(*reason);
  if (token_id) detail.token_id = static_cast<TokenId>(*token_id);
  if (row) detail.row = static_cast<int32_t>(*row);
  if (retry_after_ms) detail.retry_after_ms = static_cast<int32_t>(*retry_after_ms);
  return true;
}

// For statuses of gRPC and of the system, which have no reason of ours.
ErrorReason NearestReason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return ErrorReason::kMalformedMessage;
    case absl::StatusCode::kOutOfRange:
      return ErrorReason::kFieldOutOfRange;
    case absl::StatusCode::kNotFound:
      return ErrorReason::kModelNotFound;
    case absl::StatusCode::kAlreadyExists:
      return ErrorReason::kSequenceAlreadyOpen;
    case absl::StatusCode::kFailedPrecondition:
      return ErrorReason::kUnexpectedMessage;
    case absl::StatusCode::kAborted:
      return ErrorReason::kPositionConflict;
    case absl::StatusCode::kResourceExhausted:
      return ErrorReason::kLimitExceeded;
    case absl::StatusCode::kUnavailable:
      return ErrorReason::kModelUnavailable;
    case absl::StatusCode::kDeadlineExceeded:
      return ErrorReason::kDeadlineExceeded;
    case absl::StatusCode::kCancelled:
      return ErrorReason::kCancelled;
    default:
      return ErrorReason::kInternal;
  }
}

}  // namespace

std::string_view ReasonName(ErrorReason reason) {
  switch (reason) {
    case ErrorReason::kUnspecified:
      return "UNSPECIFIED";
    case ErrorReason::kFieldRequired:
      return "FIELD_REQUIRED";
    case ErrorReason::kFieldOutOfRange:
      return "FIELD_OUT_OF_RANGE";
    case ErrorReason::kFieldsExclusive:
      return "FIELDS_EXCLUSIVE";
    case ErrorReason::kUnknownField:
      return "UNKNOWN_FIELD";
    case ErrorReason::kUnknownEnumValue:
      return "UNKNOWN_ENUM_VALUE";
    case ErrorReason::kMalformedMessage:
      return "MALFORMED_MESSAGE";
    case ErrorReason::kUnexpectedMessage:
      return "UNEXPECTED_MESSAGE";
    case ErrorReason::kNonFiniteLogit:
      return "NON_FINITE_LOGIT";
    case ErrorReason::kNoFiniteLogit:
      return "NO_FINITE_LOGIT";
    case ErrorReason::kRowLengthMismatch:
      return "ROW_LENGTH_MISMATCH";
    case ErrorReason::kRowIndexOutOfRange:
      return "ROW_INDEX_OUT_OF_RANGE";
    case ErrorReason::kTokenIdOutOfRange:
      return "TOKEN_ID_OUT_OF_RANGE";
    case ErrorReason::kDuplicateTokenId:
      return "DUPLICATE_TOKEN_ID";
    case ErrorReason::kEmptyTokenSet:
      return "EMPTY_TOKEN_SET";
    case ErrorReason::kAllTokensExcluded:
      return "ALL_TOKENS_EXCLUDED";
    case ErrorReason::kSequenceAlreadyOpen:
      return "SEQUENCE_ALREADY_OPEN";
    case ErrorReason::kSequenceNotOpen:
      return "SEQUENCE_NOT_OPEN";
    case ErrorReason::kPositionGap:
      return "POSITION_GAP";
    case ErrorReason::kPositionTooOld:
      return "POSITION_TOO_OLD";
    case ErrorReason::kPositionConflict:
      return "POSITION_CONFLICT";
    case ErrorReason::kNumericsVersionMismatch:
      return "NUMERICS_VERSION_MISMATCH";
    case ErrorReason::kModelNotFound:
      return "MODEL_NOT_FOUND";
    case ErrorReason::kModelAmbiguous:
      return "MODEL_AMBIGUOUS";
    case ErrorReason::kModelUnavailable:
      return "MODEL_UNAVAILABLE";
    case ErrorReason::kRunnerLost:
      return "RUNNER_LOST";
    case ErrorReason::kRunnerProtocol:
      return "RUNNER_PROTOCOL";
    case ErrorReason::kModelOutputInvalid:
      return "MODEL_OUTPUT_INVALID";
    case ErrorReason::kTokenizerUnavailable:
      return "TOKENIZER_UNAVAILABLE";
    case ErrorReason::kContextLengthExceeded:
      return "CONTEXT_LENGTH_EXCEEDED";
    case ErrorReason::kKvCacheFull:
      return "KV_CACHE_FULL";
    case ErrorReason::kModelMismatch:
      return "MODEL_MISMATCH";
    case ErrorReason::kEmptyContinuation:
      return "EMPTY_CONTINUATION";
    case ErrorReason::kEmptyPrompt:
      return "EMPTY_PROMPT";
    case ErrorReason::kNoCandidates:
      return "NO_CANDIDATES";
    case ErrorReason::kBoundaryToken:
      return "BOUNDARY_TOKEN";
    case ErrorReason::kTargetCountMismatch:
      return "TARGET_COUNT_MISMATCH";
    case ErrorReason::kNormalizationUndefined:
      return "NORMALIZATION_UNDEFINED";
    case ErrorReason::kLimitExceeded:
      return "LIMIT_EXCEEDED";
    case ErrorReason::kOverloaded:
      return "OVERLOADED";
    case ErrorReason::kDraining:
      return "DRAINING";
    case ErrorReason::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case ErrorReason::kCancelled:
      return "CANCELLED";
    case ErrorReason::kInternal:
      return "INTERNAL";
  }
  return "UNSPECIFIED";
}

absl::StatusCode CodeOf(ErrorReason reason) {
  switch (reason) {
    case ErrorReason::kFieldRequired:
    case ErrorReason::kFieldOutOfRange:
    case ErrorReason::kFieldsExclusive:
    case ErrorReason::kUnknownField:
    case ErrorReason::kUnknownEnumValue:
    case ErrorReason::kMalformedMessage:
    case ErrorReason::kNonFiniteLogit:
    case ErrorReason::kNoFiniteLogit:
    case ErrorReason::kRowLengthMismatch:
    case ErrorReason::kRowIndexOutOfRange:
    case ErrorReason::kTokenIdOutOfRange:
    case ErrorReason::kDuplicateTokenId:
    case ErrorReason::kEmptyTokenSet:
    case ErrorReason::kModelAmbiguous:
    case ErrorReason::kContextLengthExceeded:
    case ErrorReason::kEmptyContinuation:
    case ErrorReason::kEmptyPrompt:
    case ErrorReason::kNoCandidates:
    case ErrorReason::kBoundaryToken:
    case ErrorReason::kTargetCountMismatch:
    case ErrorReason::kNormalizationUndefined:
      return absl::StatusCode::kInvalidArgument;
    case ErrorReason::kUnexpectedMessage:
    case ErrorReason::kAllTokensExcluded:
    case ErrorReason::kPositionGap:
    case ErrorReason::kPositionTooOld:
    case ErrorReason::kNumericsVersionMismatch:
    case ErrorReason::kRunnerProtocol:
    case ErrorReason::kTokenizerUnavailable:
    case ErrorReason::kModelMismatch:
      return absl::StatusCode::kFailedPrecondition;
    case ErrorReason::kSequenceAlreadyOpen:
      return absl::StatusCode::kAlreadyExists;
    case ErrorReason::kSequenceNotOpen:
    case ErrorReason::kModelNotFound:
      return absl::StatusCode::kNotFound;
    case ErrorReason::kPositionConflict:
      return absl::StatusCode::kAborted;
    case ErrorReason::kModelUnavailable:
    case ErrorReason::kRunnerLost:
    case ErrorReason::kDraining:
      return absl::StatusCode::kUnavailable;
    case ErrorReason::kKvCacheFull:
    case ErrorReason::kLimitExceeded:
    case ErrorReason::kOverloaded:
      return absl::StatusCode::kResourceExhausted;
    case ErrorReason::kDeadlineExceeded:
      return absl::StatusCode::kDeadlineExceeded;
    case ErrorReason::kCancelled:
      return absl::StatusCode::kCancelled;
    case ErrorReason::kModelOutputInvalid:
    case ErrorReason::kInternal:
    case ErrorReason::kUnspecified:
      return absl::StatusCode::kInternal;
  }
  return absl::StatusCode::kInternal;
}

absl::Status ToStatus(const ErrorDetail& detail) {
  absl::Status status(detail.code, detail.message);
  status.SetPayload(kPayloadUrl, absl::Cord(WritePayload(detail)));
  return status;
}

ErrorDetail DetailOf(const absl::Status& status) {
  ErrorDetail detail;
  const auto payload = status.GetPayload(kPayloadUrl);
  if (!payload || !ReadPayload(std::string(*payload), detail)) {
    detail = {};
    detail.reason = NearestReason(status.code());
  }
  detail.code = status.code();
  detail.message = std::string(status.message());
  return detail;
}

absl::Status WithFieldPrefix(const absl::Status& status, std::string_view prefix) {
  if (status.ok()) return status;
  ErrorDetail detail = DetailOf(status);
  if (detail.field.empty()) return status;
  // The message begins with the field, so that it names the same path.
  if (detail.message.starts_with(detail.field)) detail.message.insert(0, prefix);
  detail.field.insert(0, prefix);
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

std::string HalfOpen(int64_t end) { return "[0, " + std::to_string(end) + ")"; }

// A position that is neither the next nor the latest.
absl::Status WrongPosition(ErrorReason reason, int64_t position, int64_t latest, int64_t next) {
  std::string bound = std::to_string(next);
  if (latest != next) bound += " (or " + std::to_string(latest) + " again)";
  return ToStatus(MustBe(reason, "position", bound, std::to_string(position)));
}

std::string Quoted(std::string_view name) { return std::string("\"").append(name).append("\""); }

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

absl::Status ContextLengthExceeded(std::string_view field, int64_t token_count, int64_t bound) {
  return ToStatus(MustBe(ErrorReason::kContextLengthExceeded, field, "at most " + std::to_string(bound) + " tokens",
                         std::to_string(token_count)));
}

absl::Status KvCacheFull(int64_t used, int64_t capacity) {
  return Retry(
      ErrorReason::kKvCacheFull,
      "the runner's cache is full: " + std::to_string(used) + " of " + std::to_string(capacity) + " tokens are in use",
      kModelRetryMs);
}

absl::Status ModelMismatch(std::string_view what) { return Plain(ErrorReason::kModelMismatch, std::string(what)); }

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

absl::Status Overloaded(int64_t running, int64_t limit, int32_t retry_after_ms) {
  ErrorDetail detail = Detail(ErrorReason::kOverloaded, "the server is full: " + std::to_string(running) + " of " +
                                                            std::to_string(limit) + " calls are running");
  detail.value = std::to_string(running);
  detail.bound = "at most " + std::to_string(limit);
  detail.retry_after_ms = retry_after_ms;
  return ToStatus(detail);
}

absl::Status OverloadedBytes(int64_t bytes, int64_t limit, int32_t retry_after_ms) {
  ErrorDetail detail = Detail(ErrorReason::kOverloaded,
                              "the server is full: with this one, requests of " + std::to_string(bytes) +
                                  " bytes would be worked on or kept, of " + std::to_string(limit) + " allowed");
  detail.value = std::to_string(bytes);
  detail.bound = "at most " + std::to_string(limit);
  detail.limit = "max_bytes_in_work";
  detail.retry_after_ms = retry_after_ms;
  return ToStatus(detail);
}

absl::Status Stalled(int64_t limit_ms) {
  ErrorDetail detail = Detail(ErrorReason::kLimitExceeded, "the client has left its reply unread for " +
                                                               std::to_string(limit_ms) + " ms (max_stall_ms)");
  detail.bound = "at most " + std::to_string(limit_ms) + " ms";
  detail.limit = "max_stall_ms";
  return ToStatus(detail);
}

absl::Status Idle(int64_t limit_ms) {
  ErrorDetail detail = Detail(ErrorReason::kLimitExceeded,
                              "nothing was sent on the stream for " + std::to_string(limit_ms) + " ms (max_idle_ms)");
  detail.bound = "at most " + std::to_string(limit_ms) + " ms";
  detail.limit = "max_idle_ms";
  return ToStatus(detail);
}

absl::Status Draining() {
  return Plain(ErrorReason::kDraining, "the server is shutting down: connect to another one and resume there");
}

absl::Status DeadlineExceeded() { return Plain(ErrorReason::kDeadlineExceeded, "the call's deadline passed"); }

absl::Status Cancelled() { return Plain(ErrorReason::kCancelled, "the caller cancelled"); }

absl::Status Internal(std::string_view what) { return Plain(ErrorReason::kInternal, std::string(what)); }

}  // namespace errors
}  // namespace logitd

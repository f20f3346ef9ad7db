#include "core/errors.h"

#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "core/limits.h"
#include "core/shown_text.h"

namespace logitd {
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

std::string HalfOpen(int64_t end) { return "[0, " + std::to_string(end) + ")"; }

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

absl::Status Overloaded(std::string_view what, int64_t count, int64_t limit, std::string_view limit_name,
                        int32_t retry_after_ms) {
  ErrorDetail detail = Detail(ErrorReason::kOverloaded,
                              ("the server is full: " + std::to_string(count) + " of " + std::to_string(limit) + " ")
                                  .append(what)
                                  .append(" (")
                                  .append(limit_name)
                                  .append(")"));
  detail.value = std::to_string(count);
  detail.bound = "at most " + std::to_string(limit);
  detail.limit = limit_name;
  detail.retry_after_ms = retry_after_ms;
  return ToStatus(detail);
}

absl::Status ConnectionFull(int64_t limit) {
  const std::string most = std::to_string(limit);
  ErrorDetail detail = Detail(ErrorReason::kLimitExceeded,
                              "this connection has " + most +
                                  " calls open, the most that one may have (max_streams_per_connection): open another "
                                  "connection, or wait until one of them has ended");
  detail.value = std::to_string(limit + 1);
  detail.bound = "at most " + most;
  detail.limit = "max_streams_per_connection";
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

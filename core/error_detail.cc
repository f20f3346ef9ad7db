#include "core/error_detail.h"

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "core/shown_text.h"

namespace logitd {
namespace {

// Where a status carries what code and message do not say.
constexpr char kPayloadUrl[] = "logitd/ErrorDetail";

// What an error's texts may have at most, bytes. gRPC clients drop a call whose trailers have more than 8 KiB. There
// the message is written four times, in one of them with three bytes for each that is not ASCII; field, value and bound
// two or three times: together at most 7 KiB, base64 included. No error of ours comes near it; what a runner says
// can.
constexpr size_t kMaxShownMessage = 640;
constexpr size_t kMaxShownField = 256;
constexpr size_t kMaxShownValue = 64;
constexpr size_t kMaxShownBound = 256;
constexpr size_t kMaxShownLimit = 64;

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
    case ErrorReason::kTokenizerFailed:
      return "TOKENIZER_FAILED";
    case ErrorReason::kRunnerKilled:
      return "RUNNER_KILLED";
    case ErrorReason::kVocabularyUnavailable:
      return "VOCABULARY_UNAVAILABLE";
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
    case ErrorReason::kTokenizerFailed:
      return absl::StatusCode::kInvalidArgument;
    case ErrorReason::kUnexpectedMessage:
    case ErrorReason::kAllTokensExcluded:
    case ErrorReason::kPositionGap:
    case ErrorReason::kPositionTooOld:
    case ErrorReason::kNumericsVersionMismatch:
    case ErrorReason::kRunnerProtocol:
    case ErrorReason::kTokenizerUnavailable:
    case ErrorReason::kModelMismatch:
    case ErrorReason::kVocabularyUnavailable:
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
    case ErrorReason::kRunnerKilled:
    case ErrorReason::kInternal:
    case ErrorReason::kUnspecified:
      return absl::StatusCode::kInternal;
  }
  return absl::StatusCode::kInternal;
}

// Whoever it came from, a runner or a library: on one line each, and no longer than trailers can carry.
absl::Status ToStatus(const ErrorDetail& detail) {
  ErrorDetail shown = detail;
  shown.field = OnOneLine(detail.field, kMaxShownField);
  shown.value = OnOneLine(detail.value, kMaxShownValue);
  shown.bound = OnOneLine(detail.bound, kMaxShownBound);
  shown.limit = OnOneLine(detail.limit, kMaxShownLimit);
  absl::Status status(detail.code, OnOneLine(detail.message, kMaxShownMessage));
  status.SetPayload(kPayloadUrl, absl::Cord(WritePayload(shown)));
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
  const std::string_view message(status.message().data(), status.message().size());
  detail.message = OnOneLine(message, kMaxShownMessage);
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

}  // namespace logitd

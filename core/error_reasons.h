// The reasons of errors: numbers and names are those of logitd.v1.ErrorReason (a test compares them).
//
// A new reason is a number here, a row of kErrorReasons, and a function of core/errors.h that makes its error.
#ifndef LOGITD_CORE_ERROR_REASONS_H_
#define LOGITD_CORE_ERROR_REASONS_H_

#include <string_view>

#include "absl/status/status.h"

namespace logitd {

enum class ErrorReason {
  kUnspecified = 0,
  kFieldRequired = 1,
  kFieldOutOfRange = 2,
  kFieldsExclusive = 3,
  kUnknownField = 4,
  kUnknownEnumValue = 5,
  kMalformedMessage = 6,
  kUnexpectedMessage = 7,
  kNonFiniteLogit = 20,
  kNoFiniteLogit = 21,
  kRowLengthMismatch = 22,
  kRowIndexOutOfRange = 23,
  kTokenIdOutOfRange = 24,
  kDuplicateTokenId = 25,
  kEmptyTokenSet = 27,
  kAllTokensExcluded = 28,
  kSequenceAlreadyOpen = 40,
  kSequenceNotOpen = 41,
  kPositionGap = 43,
  kPositionTooOld = 44,
  kPositionConflict = 45,
  kNumericsVersionMismatch = 47,
  kModelNotFound = 60,
  kModelAmbiguous = 61,
  kModelUnavailable = 62,
  kRunnerLost = 63,
  kRunnerProtocol = 64,
  kModelOutputInvalid = 65,
  kTokenizerUnavailable = 66,
  kContextLengthExceeded = 67,
  kKvCacheFull = 68,
  kModelMismatch = 69,
  kTokenizerFailed = 70,
  kRunnerKilled = 71,
  kVocabularyUnavailable = 72,
  kNotReproducible = 73,
  kHeadNotFound = 74,
  kHeadShapeMismatch = 75,
  kCalibrationNotFound = 76,
  kCalibrationMismatch = 77,
  kChatTemplateUnavailable = 78,
  kChatTemplateFailed = 79,
  kEmptyContinuation = 80,
  kEmptyPrompt = 81,
  kNoCandidates = 82,
  kBoundaryToken = 83,
  kTargetCountMismatch = 84,
  kNormalizationUndefined = 86,
  kDataSeparable = 87,
  kLabelMissing = 88,
  kFitUndefined = 89,
  kOrderInvalid = 94,
  kStrengthsUndefined = 95,
  kLimitExceeded = 100,
  kOverloaded = 101,
  kDraining = 103,
  kDeadlineExceeded = 106,
  kCancelled = 107,
  kInternal = 108,
};

// A reason with its name and the status code that goes with it.
struct ErrorReasonRow {
  ErrorReason reason;
  std::string_view name;
  absl::StatusCode code;
};

// The first row with a code is the reason of statuses that were made elsewhere, by gRPC or by the system.
inline constexpr ErrorReasonRow kErrorReasons[] = {
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
    {ErrorReason::kNotReproducible, "NOT_REPRODUCIBLE", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kHeadNotFound, "HEAD_NOT_FOUND", absl::StatusCode::kNotFound},
    {ErrorReason::kHeadShapeMismatch, "HEAD_SHAPE_MISMATCH", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kCalibrationNotFound, "CALIBRATION_NOT_FOUND", absl::StatusCode::kNotFound},
    {ErrorReason::kCalibrationMismatch, "CALIBRATION_MISMATCH", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kChatTemplateUnavailable, "CHAT_TEMPLATE_UNAVAILABLE", absl::StatusCode::kFailedPrecondition},
    {ErrorReason::kChatTemplateFailed, "CHAT_TEMPLATE_FAILED", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kEmptyContinuation, "EMPTY_CONTINUATION", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kEmptyPrompt, "EMPTY_PROMPT", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kNoCandidates, "NO_CANDIDATES", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kBoundaryToken, "BOUNDARY_TOKEN", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kTargetCountMismatch, "TARGET_COUNT_MISMATCH", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kNormalizationUndefined, "NORMALIZATION_UNDEFINED", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kDataSeparable, "DATA_SEPARABLE", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kLabelMissing, "LABEL_MISSING", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kFitUndefined, "FIT_UNDEFINED", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kOrderInvalid, "ORDER_INVALID", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kStrengthsUndefined, "STRENGTHS_UNDEFINED", absl::StatusCode::kInvalidArgument},
    {ErrorReason::kOverloaded, "OVERLOADED", absl::StatusCode::kResourceExhausted},
    {ErrorReason::kDraining, "DRAINING", absl::StatusCode::kUnavailable},
    {ErrorReason::kDeadlineExceeded, "DEADLINE_EXCEEDED", absl::StatusCode::kDeadlineExceeded},
    {ErrorReason::kCancelled, "CANCELLED", absl::StatusCode::kCancelled},
};

constexpr const ErrorReasonRow& RowOf(ErrorReason reason) {
  for (const ErrorReasonRow& row : kErrorReasons) {
    if (row.reason == reason) return row;
  }
  return RowOf(ErrorReason::kUnspecified);
}

// "FIELD_OUT_OF_RANGE" and so on: google.rpc.ErrorInfo.reason.
constexpr std::string_view ReasonName(ErrorReason reason) { return RowOf(reason).name; }
constexpr absl::StatusCode CodeOf(ErrorReason reason) { return RowOf(reason).code; }

// The reason of a status that has none of ours.
constexpr ErrorReason NearestReason(absl::StatusCode code) {
  if (code == absl::StatusCode::kOutOfRange) return ErrorReason::kFieldOutOfRange;
  for (const ErrorReasonRow& row : kErrorReasons) {
    if (row.code == code) return row.reason;
  }
  return ErrorReason::kInternal;
}

}  // namespace logitd

#endif  // LOGITD_CORE_ERROR_REASONS_H_

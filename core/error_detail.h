// Why something failed, as a status carries it through core and server.
//
// An error is an absl::Status with an ErrorDetail as a payload: it crosses as a plain status and becomes
// logitd.v1.Error (in a reply) or google.rpc details (of a call) in one place each. core/errors.h makes them.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CORE_ERROR_DETAIL_H_
#define LOGITD_CORE_ERROR_DETAIL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "core/types.h"

namespace logitd {

// Why something failed. Numbers and names are those of logitd.v1.ErrorReason (checked in wire/error.cc).
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
  kEmptyContinuation = 80,
  kEmptyPrompt = 81,
  kNoCandidates = 82,
  kBoundaryToken = 83,
  kTargetCountMismatch = 84,
  kNormalizationUndefined = 86,
  kLimitExceeded = 100,
  kOverloaded = 101,
  kDraining = 103,
  kDeadlineExceeded = 106,
  kCancelled = 107,
  kInternal = 108,
};

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

// "FIELD_OUT_OF_RANGE" and so on: google.rpc.ErrorInfo.reason.
std::string_view ReasonName(ErrorReason reason);
// The status code that goes with a reason.
absl::StatusCode CodeOf(ErrorReason reason);

// The status that carries `detail`. REQUIRES: detail.code is not kOk.
absl::Status ToStatus(const ErrorDetail& detail);
// The detail that a status carries; for one made elsewhere, code, message and the nearest reason. REQUIRES: !ok().
ErrorDetail DetailOf(const absl::Status& status);
// The same error with `prefix` put before its field ("" stays ""), e.g. "batch.opens[3].". OK stays OK.
absl::Status WithFieldPrefix(const absl::Status& status, std::string_view prefix);
// The same error, said of row `row`. OK stays OK.
absl::Status WithRow(const absl::Status& status, int32_t row);
// The same error, said of row `row`, which is position `position` of sequence `sequence_index`. OK stays OK.
absl::Status WithPosition(const absl::Status& status, int32_t row, int32_t sequence_index, int32_t position);

}  // namespace logitd

#endif  // LOGITD_CORE_ERROR_DETAIL_H_

// RETURN_IF_ERROR and ASSIGN_OR_RETURN for absl::Status and absl::StatusOr.
#ifndef LOGITD_BASE_STATUS_MACROS_H_
#define LOGITD_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define LOGITD_CONCAT_INNER(a, b) a##b
#define LOGITD_CONCAT(a, b) LOGITD_CONCAT_INNER(a, b)

// Returns from the function if `expr`, an absl::Status, is an error.
#define RETURN_IF_ERROR(expr)                      \
  do {                                             \
    absl::Status logitd_status = (expr);           \
    if (!logitd_status.ok()) return logitd_status; \
  } while (false)

// Declares or assigns `lhs` from `rexpr`, an absl::StatusOr, or returns its error.
#define ASSIGN_OR_RETURN(lhs, rexpr) LOGITD_ASSIGN_OR_RETURN(LOGITD_CONCAT(logitd_result_, __LINE__), lhs, rexpr)
#define LOGITD_ASSIGN_OR_RETURN(result, lhs, rexpr) \
  auto result = (rexpr);                            \
  if (!result.ok()) return result.status();         \
  lhs = *std::move(result)

#endif  // LOGITD_BASE_STATUS_MACROS_H_

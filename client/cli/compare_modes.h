// The three comparisons of `logit compare`, each from its flags to its report.
#ifndef LOGITD_CLIENT_CLI_COMPARE_MODES_H_
#define LOGITD_CLIENT_CLI_COMPARE_MODES_H_

#include <optional>

#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "client/cli/compare_report.h"
#include "client/cli/session.h"
#include "client/comparison/confident_token.h"

namespace logitd::cli {

// The flags that all comparisons of rows share, read and checked.
struct CompareOptions {
  comparison::ConfidenceRule rule;
  // The positions that tables list.
  int32_t listed_count = 64;
  // Temperature of both distributions.
  double temperature = 1;
  // Number of alternatives. Unset: whole rows, of two models; of two continuations a few.
  std::optional<int32_t> top_n;
};

// Two continuations of one context, under one model.
absl::StatusOr<CompareReport> CompareTexts(const Arguments& arguments, const CompareOptions& options, Session& session);
// One continuation under two models.
absl::StatusOr<CompareReport> CompareModels(const Arguments& arguments, const CompareOptions& options,
                                            Session& session);
// Two files of rows, without a server.
absl::StatusOr<CompareReport> CompareFiles(const Arguments& arguments, const CompareOptions& options, Session& session);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMPARE_MODES_H_

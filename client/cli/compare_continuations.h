// `logit compare` of two continuations of one context, under one model.
#ifndef LOGITD_CLIENT_CLI_COMPARE_CONTINUATIONS_H_
#define LOGITD_CLIENT_CLI_COMPARE_CONTINUATIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/compare_report.h"
#include "client/cli/compare_words.h"
#include "client/comparison/confident_token.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// `response`: its item has two continuations, whose tokens have model_log_prob, rank, model_entropy and at least one
// top alternative. `labels`: how the two are shown.
CompareReport CompareContinuations(const v1::ScoreResponse& response, const std::vector<std::string>& labels,
                                   const comparison::ConfidenceRule& rule);

// ln p of a token; -inf: it is excluded.
double LogProbOf(const v1::TokenRecord& token);

// The tokens of a scored sequence at which the model was confident of another one.
std::vector<ConfidentToken> ConfidentTokensOf(const v1::ScoredSequence& score, const comparison::ConfidenceRule& rule);

// A heading and a row for each of the tokens. `owners`: for each of them, whose token it is; `owner_heading` stands
// above.
ReportTable ConfidentTable(const std::vector<ConfidentToken>& tokens, const std::vector<std::string>& owners,
                           const std::string& owner_heading);
std::string ConfidentJson(const ConfidentToken& token);

// "-" where there is no difference, else ShowNumber with a sign.
std::string ShowDifference(std::optional<double> value);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMPARE_CONTINUATIONS_H_

// Scored continuations as text.
#ifndef LOGITD_CLIENT_CLI_SCORE_VIEW_H_
#define LOGITD_CLIENT_CLI_SCORE_VIEW_H_

#include <string>
#include <vector>

#include "client/cli/terminal.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// One row per continuation: its label, number of tokens, sum, sum per token, perplexity, and whether it is greedy; or
// its error. `heading` stands above the labels. `noun` names a continuation that failed. `has_sampling`: the request
// asked for a processed distribution; its column is shown even if no continuation has a number for it.
std::string ScoreSummary(const v1::ScoredItem& item, const std::vector<std::string>& labels, const Style& style,
                         const char* heading = "continuation", bool has_sampling = false,
                         const char* noun = "continuation");

// A table per continuation (position, id, text, log-prob, rank, entropy, running sum), then the totals. With several
// continuations and `compare`, also the winner of each position and the winner in total, which can differ.
std::string ScoreExplanation(const v1::ScoredItem& item, const std::vector<std::string>& labels, const Style& style,
                             bool compare = true);

// One line for a script, separated by tabs: the item's index, then for each continuation its sum, or "excluded" if a
// token's probability is zero, or "error:REASON".
std::string ScoreLine(const v1::ScoreResponse& response);

// The errors of an item and its continuations, and notes on tokens that do not spell the text, one line each: "item 3:
// ...", "item 3, continuation 1: ...". Empty if there are none.
std::string ScoreLineErrors(const v1::ScoreResponse& response);

// Whether the item or one of its continuations failed.
bool HasFailed(const v1::ScoredItem& item);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_SCORE_VIEW_H_

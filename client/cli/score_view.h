// How scored continuations are shown as text.
#ifndef LOGITD_CLIENT_CLI_SCORE_VIEW_H_
#define LOGITD_CLIENT_CLI_SCORE_VIEW_H_

#include <string>
#include <vector>

#include "client/cli/terminal.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// One row per continuation: its label, tokens, sum, sum per token, perplexity, whether it is greedy; or its error.
// `heading`: of the labels. `noun`: what one of them is called where it failed. `has_sampling`: a processed
// distribution was asked for, also if no number shows it.
std::string ScoreSummary(const v1::ScoredItem& item, const std::vector<std::string>& labels, const Style& style,
                         const char* heading = "continuation", bool has_sampling = false,
                         const char* noun = "continuation");

// A table per continuation (position, id, text, log-prob, rank, entropy, running sum), then, for several, who wins
// token by token at each position, and the totals with who wins in total: not always the same one. Without `compare`
// no winner is named.
std::string ScoreExplanation(const v1::ScoredItem& item, const std::vector<std::string>& labels, const Style& style,
                             bool compare = true);

// One line for a script: item index, then for each continuation its sum, "excluded" where a token's probability is
// zero, or "error:REASON"; separated by tabs.
std::string ScoreLine(const v1::ScoreResponse& response);

// What failed in it, with the message, and where its tokens do not spell the text, one line each: "item 3: ...",
// "item 3, continuation 1: ...". Empty: nothing.
std::string ScoreLineErrors(const v1::ScoreResponse& response);

// Whether the item or one of its continuations failed.
bool HasFailed(const v1::ScoredItem& item);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_SCORE_VIEW_H_

// The items of `logit eval`, one a line of JSON:
//
//   {"id": "q1", "context": "1 + 1 =", "choices": ["2", "3"], "answer": 0}     a multiple-choice item
//   {"context": "The sky is", "continuation": "blue"}                          a continuation, for its perplexity
//   {"text": "The whole text."}                                                a text, for its perplexity
//
// "answer" is an index from 0, or the choice itself; "gold" is another name for it. Other keys are refused.
#ifndef LOGITD_CLIENT_CLI_EVAL_ITEM_H_
#define LOGITD_CLIENT_CLI_EVAL_ITEM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/file_run.h"
#include "client/cli/json_lines.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// Whatever a score does not say about its item.
struct EvalItem {
  // Of a multiple-choice item, >= 0. Unset: the item is for perplexity.
  std::optional<int> answer = std::nullopt;
  // Of each choice, without the delimiter: characters and bytes.
  std::vector<int64_t> character_counts = {};
  std::vector<int64_t> byte_counts = {};
};

// Reads an item; `score` gets what is to be scored. `delimiter` stands between a context that is not empty and each
// choice or continuation; it counts in no length. Unset: the line holds an item.
std::optional<LineError> ReadEvalItem(const InputLine& line, const std::string& file, const std::string& delimiter,
                                      v1::ScoreItem* score, EvalItem* item);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_EVAL_ITEM_H_

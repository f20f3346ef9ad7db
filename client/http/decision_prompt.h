// How a question about an input becomes a context whose next words are one of several options.
//
//   INPUT
//
//   Question: INSTRUCTIONS
//   Options:
//   - billing: charges and refunds
//   - technical
//   Answer:
//
// and the options are " billing" and " technical". Nothing in it is parsed as a control token. The server's Decide
// computes the probabilities of the options as whole texts, of any number of tokens.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_HTTP_DECISION_PROMPT_H_
#define LOGITD_CLIENT_HTTP_DECISION_PROMPT_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/http/services.h"
#include "client/http/strict_json.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::http {

// An option and what it means.
struct LabelledOption {
  std::string label;
  // Empty: none.
  std::string description;
};

enum class QuestionKind { kPredicate, kChoice, kScore };

struct DecisionQuestion {
  QuestionKind kind = QuestionKind::kPredicate;
  // Empty: the options say all; the prompt has no line for them.
  std::string instructions;
  // Of a predicate: "yes" and "no".
  std::vector<LabelledOption> options;
};

// As many questions as one request may have.
inline constexpr size_t kMaxQuestions = 400;

// A text as it is; an object or a list as compact JSON. Errors: invalid_type, naming `path`.
absl::StatusOr<std::string> ContentText(const Json& value, const std::string& path);

// The item of Decide. Levels of a score have their index as their value.
v1::DecideItem DecideItemOf(const std::string& input, const DecisionQuestion& question);

// Errors: an option without text, or two with the same one.
absl::Status CheckOptions(const std::vector<LabelledOption>& options, size_t least, size_t most,
                          const std::string& path);

// Whether `count` prompts, each of which repeats `shared_bytes`, fit into a request of the server. Errors:
// invalid_value, naming `path`.
absl::Status CheckPromptBytes(size_t shared_bytes, size_t count, const std::string& path);

// The decisions of all items. Errors: those of Decide, of an item or of an option, with the name of `param_of`.
absl::StatusOr<std::vector<v1::DecideResponse>> DecideAll(Services& services, const Caller& caller,
                                                          const v1::DecideRequest& request,
                                                          const std::function<std::string(size_t index)>& param_of);

// The error of an item or of one of its options.
absl::Status ItemError(const v1::DecidedItem& item);
// The same, and 500 if no option is possible.
absl::Status DecisionError(const v1::DecidedItem& item);

// The total probability of the options under the model. Unset: the server has none.
std::optional<double> LabelMass(const v1::DecidedItem& item);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_DECISION_PROMPT_H_

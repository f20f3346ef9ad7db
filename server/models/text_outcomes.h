// Tokenises many texts so that one that cannot be tokenised does not end the others.
//
//   TextOutcomes outcomes(model, context);                                  // of one request
//   ASSIGN_OR_RETURN(auto lists, outcomes.Tokenize(texts, options));        // one per text
//   if (!lists[3].ok()) return WithField(lists[3].status(), "items[3].context.text");
//
// A runner answers a call as a whole: with the first text's error, and no tokens. Those before it are tokenised again,
// those after it next, so that each text is tokenised at most twice, however many fail.
#ifndef LOGITD_SERVER_MODELS_TEXT_OUTCOMES_H_
#define LOGITD_SERVER_MODELS_TEXT_OUTCOMES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/types.h"
#include "server/models/served_model.h"
#include "server/models/tokenization.h"
#include "server/request_context.h"

namespace logitd::server {

// Texts of one request that may end the tokenizer: each costs two of its processes.
inline constexpr int kMaxFailedTexts = 4;

using TextOutcome = absl::StatusOr<std::vector<TokenId>>;

// One request's texts. One thread.
class TextOutcomes {
 public:
  // REQUIRES: both outlive it.
  TextOutcomes(ServedModel& model, const RequestContext& context) : model_(model), context_(context) {}

  // One per text: its tokens, or why it has none; that names a text of a call that the client has not made. Blocks.
  // Errors (of the whole): as ServedModel::Tokenize, what is no fault of a text; TOKENIZER_FAILED if more than
  // kMaxFailedTexts texts of all calls have ended the tokenizer.
  absl::StatusOr<std::vector<TextOutcome>> Tokenize(const std::vector<std::string>& texts,
                                                    const TokenizationOptions& options);

 private:
  ServedModel& model_;
  const RequestContext& context_;
  int failed_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_TEXT_OUTCOMES_H_

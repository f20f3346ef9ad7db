// Tokenises many texts, so that a text that cannot be tokenised does not fail the others.
//
//   TextOutcomes outcomes(model, context);                                  // of one request
//   ASSIGN_OR_RETURN(auto lists, outcomes.Tokenize(texts, options));        // one per text
//   if (!lists[3].ok()) return WithField(lists[3].status(), "items[3].context.text");
//
// A runner answers a call as a whole: with all tokens, or with the error of the first text that fails. On an error the
// texts before the failed one are tokenised again, and those after it next. Each text is therefore tokenised at most
// twice, however many fail.
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

// Texts of one request that may end the tokenizer. Each of them costs two tokenizer processes.
inline constexpr int kMaxFailedTexts = 4;

using TextOutcome = absl::StatusOr<std::vector<TokenId>>;

// The texts of one request. One thread.
class TextOutcomes {
 public:
  // REQUIRES: both outlive this object.
  TextOutcomes(ServedModel& model, const RequestContext& context) : model_(model), context_(context) {}

  // Returns one outcome per text: its tokens, or the reason why it has none. That reason names a field of the call to
  // the runner, which the client has not made: callers replace it. Blocks.
  // Errors of the whole call: those of ServedModel::Tokenize that are not a text's fault; TOKENIZER_FAILED if more than
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

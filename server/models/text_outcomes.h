// Tokenises many texts so that one that the tokenizer does not survive does not end the others.
#ifndef LOGITD_SERVER_MODELS_TEXT_OUTCOMES_H_
#define LOGITD_SERVER_MODELS_TEXT_OUTCOMES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/types.h"
#include "server/models/served_model.h"
#include "server/models/work.h"
#include "server/request_context.h"

namespace logitd::server {

// One per text: its tokens, or nothing where the caller should say errors::TokenizerFailed of the text's field. Blocks.
// A runner answers a call as a whole, so the others are tokenised again for each text that fails; after
// kMaxFailedTexts the call fails.
// Errors (of the whole): as ServedModel::Tokenize.
inline constexpr int kMaxFailedTexts = 4;
absl::StatusOr<std::vector<std::optional<std::vector<TokenId>>>> TokenizeEach(ServedModel& model,
                                                                              std::vector<std::string> texts,
                                                                              const TokenizationOptions& options,
                                                                              const RequestContext& context);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_TEXT_OUTCOMES_H_

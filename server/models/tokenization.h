// The options of tokenisation. Plain data.
#ifndef LOGITD_SERVER_MODELS_TOKENIZATION_H_
#define LOGITD_SERVER_MODELS_TOKENIZATION_H_

#include <optional>
#include <string>
#include <vector>

#include "core/types.h"

namespace logitd::server {

// How a context and its continuation become tokens. Same numbers as logitd.v1.Boundary.
enum class Boundary { kJoint = 1, kSeparate = 2, kLmEval = 3 };

// How text becomes tokens; as logitd.v1.TokenizationOptions.
struct TokenizationOptions {
  std::optional<bool> add_special_tokens;
  bool parse_special_tokens = false;
  Boundary boundary = Boundary::kJoint;
  // A context that is too long for its continuation loses tokens at its beginning; else it is refused.
  bool truncates_context = false;
  // The text continues other text: nothing is put before it.
  bool continues_text = false;
};

// A conversation: a serialized logitd.v1.Chat, which server/models only passes on.
using ChatBytes = std::string;

// What a model's chat template made of a conversation.
struct RenderedChat {
  std::string text;
  std::vector<TokenId> token_ids;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_TOKENIZATION_H_

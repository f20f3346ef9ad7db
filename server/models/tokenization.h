// How text becomes tokens. Plain data.
#ifndef LOGITD_SERVER_MODELS_TOKENIZATION_H_
#define LOGITD_SERVER_MODELS_TOKENIZATION_H_

#include <optional>

namespace logitd::server {

// How a context and its continuation become tokens. Numbers as logitd.v1.Boundary.
enum class Boundary { kJoint = 1, kSeparate = 2, kLmEval = 3 };

// How text becomes tokens. See logitd.v1.TokenizationOptions.
struct TokenizationOptions {
  std::optional<bool> add_special_tokens;
  bool parse_special_tokens = false;
  Boundary boundary = Boundary::kJoint;
  // The text goes on after other text: nothing is put before it.
  bool continues_text = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_TOKENIZATION_H_

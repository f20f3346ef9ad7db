#include "client/http/completion_fields.h"

#include <vector>

#include "client/http/generation_fields.h"

namespace logitd::http {
namespace {

constexpr Field kCompletionFields[] = {
    {"model", Use::kServed, "the model's name; may be left out if the server has one model"},
    {"prompt", Use::kServed, "a text, a list of token ids, or a list of either; 1 to 2048 prompts"},
    {"max_tokens", Use::kServed, "tokens to generate, 0 too, at most to the end of the model's context; default 16"},
    {"max_completion_tokens", Use::kServed, "another name of max_tokens"},
    {"echo", Use::kServed, "the prompt stands before the completion, with its log-probs if logprobs is set"},
    {"logprobs", Use::kServed, "number of alternatives for each token, from 0 to the server's max_top_n"},
    {"add_special_tokens", Use::kServed,
     "false: no BOS is put before a text; true, and default: as the model's tokenizer does"},
    {"parse_special_tokens", Use::kServed,
     "false: names of control tokens in a text are plain text; default true, as in /tokenize"},

    {"suffix", Use::kRefused, "text after the completion cannot be given", R"([""])"},
    {"prompt_embeds", Use::kRefused, "a prompt is text or token ids", "[[]]"},
};

}  // namespace

FieldTable CompletionFields() {
  static const std::vector<Field> fields = WithGenerationFields(kCompletionFields);
  return fields;
}

}  // namespace logitd::http

#include "client/http/chat_fields.h"

#include <vector>

#include "client/http/generation_fields.h"

namespace logitd::http {
namespace {

constexpr char kNoTools[] = "tools are not offered";
constexpr char kNoTemplate[] = "a conversation is rendered with the model's own chat template";
constexpr char kTextOnly[] = "the model reads and writes text only";
constexpr char kByTemplate[] =
    "the model's chat template knows it, if at all, by a name of its own: chat_template_kwargs";

constexpr Field kChatFields[] = {
    {"model", Use::kServed, "the model's name; may be left out if the server has one model"},
    {"messages", Use::kServed, "the conversation: see below"},
    {"max_completion_tokens", Use::kServed,
     "tokens to generate; default: to the end of the model's context, or as many as the server's limits allow"},
    {"max_tokens", Use::kServed, "another name of max_completion_tokens"},
    {"logprobs", Use::kServed, "true: the log-prob of each token"},
    {"top_logprobs", Use::kServed,
     "number of most likely tokens for each token, from 0 to the server's max_top_n; needs logprobs; default 0"},
    {"add_generation_prompt", Use::kServed, "false: nothing that begins the assistant's answer is rendered"},
    {"chat_template_kwargs", Use::kServed,
     "an object of further variables of the chat template: texts, numbers, booleans and null"},

    {"tools", Use::kRefused, kNoTools, "[[]]"},
    {"tool_choice", Use::kRefused, kNoTools, R"(["none", "auto"])"},
    {"functions", Use::kRefused, kNoTools, "[[]]"},
    {"function_call", Use::kRefused, kNoTools, R"(["none", "auto"])"},
    {"modalities", Use::kRefused, kTextOnly, R"([["text"]])"},
    {"audio", Use::kRefused, kTextOnly},
    {"mm_processor_kwargs", Use::kRefused, kTextOnly, "[{}]"},
    {"prediction", Use::kRefused, "a text that is expected is not taken"},
    {"moderation", Use::kRefused, "nothing is moderated"},
    {"web_search_options", Use::kRefused, "nothing is searched for"},
    {"reasoning_effort", Use::kRefused, kByTemplate},
    {"include_reasoning", Use::kRefused, "reasoning is a part of the text", "[true]"},
    {"verbosity", Use::kRefused, kByTemplate, R"(["medium"])"},
    {"documents", Use::kRefused, "texts belong into messages", "[[]]"},
    {"chat_template", Use::kRefused, kNoTemplate},
    {"continue_final_message", Use::kRefused,
     "the last message is rendered as a whole; give its beginning to /v1/completions", "[false]"},
    {"echo", Use::kRefused, "the messages are not repeated", "[false]"},
    {"add_special_tokens", Use::kRefused, "the chat template says which tokens a conversation begins with", "[false]"},
    {"parse_special_tokens", Use::kRefused, "names of control tokens in messages are plain text", "[false]"},

    {"parallel_tool_calls", Use::kIgnored, "there are no tools"},
    {"prompt_cache_options", Use::kIgnored, "no effect on the result"},
    {"prompt_cache_retention", Use::kIgnored, "no effect on the result"},
};

constexpr Field kMessageFields[] = {
    {"role", Use::kServed, "system, developer, user, assistant, tool, or another word that the chat template knows"},
    {"content", Use::kServed, "a text, or a list of parts, which are joined by line feeds; null only of an assistant"},
    {"name", Use::kServed, "the speaker's name; few templates use it"},
    {"refusal", Use::kRefused, "the chat template has no place for it", R"([""])"},
    {"tool_calls", Use::kRefused, kNoTools, "[[]]"},
    {"tool_call_id", Use::kRefused, kNoTools, R"([""])"},
    {"function_call", Use::kRefused, kNoTools},
    {"audio", Use::kRefused, kTextOnly},
    {"reasoning_content", Use::kRefused, "the chat template has no place for it", R"([""])"},
    {"reasoning", Use::kRefused, "the chat template has no place for it", R"([""])"},
    {"prefix", Use::kRefused, "the last message is rendered as a whole", "[false]"},
    {"annotations", Use::kIgnored, "of a reply that is sent back"},
    {"cache_control", Use::kIgnored, "no effect on the result"},
};

constexpr Field kPartFields[] = {
    {"type", Use::kServed, "text; image_url, input_audio, file and any other are refused"},
    {"text", Use::kServed, "the text"},
    {"prompt_cache_breakpoint", Use::kIgnored, "no effect on the result"},
    {"cache_control", Use::kIgnored, "no effect on the result"},
};

}  // namespace

FieldTable ChatFields() {
  static const std::vector<Field> fields = WithGenerationFields(kChatFields);
  return fields;
}

FieldTable ChatMessageFields() { return kMessageFields; }
FieldTable ChatPartFields() { return kPartFields; }

}  // namespace logitd::http

#include "client/http/completion_fields.h"

namespace logitd::http {
namespace {

constexpr char kNotYet[] = "constraints on the text are not offered yet";

constexpr Field kCompletionFields[] = {
    {"model", Use::kServed, "the model's name; may be left out if the server has one model"},
    {"prompt", Use::kServed, "a text, a list of token ids, or a list of either; 1 to 2048 prompts"},
    {"max_tokens", Use::kServed, "tokens to generate, 0 too; default 16"},
    {"max_completion_tokens", Use::kServed, "another name of max_tokens"},
    {"min_tokens", Use::kServed, "end and stop tokens are excluded until this many tokens are chosen"},
    {"temperature", Use::kServed, "0, or in [0.0001, 1000000]; default 1"},
    {"top_p", Use::kServed, "[0, 1]"},
    {"top_k", Use::kServed, "0 or -1: off"},
    {"min_p", Use::kServed, "[0, 1]"},
    {"typical_p", Use::kServed, "(0, 1]"},
    {"repetition_penalty", Use::kServed, "(0, 100]; 1: off"},
    {"frequency_penalty", Use::kServed, "[-2, 2]"},
    {"presence_penalty", Use::kServed, "[-2, 2]"},
    {"logit_bias", Use::kServed, "an object of token ids and biases in [-100, 100]"},
    {"allowed_token_ids", Use::kServed, "only these tokens may be chosen"},
    {"seed", Use::kServed, "a whole number of 64 bits; equal requests with a seed give equal tokens"},
    {"n", Use::kServed, "completions of each prompt; default 1"},
    {"best_of", Use::kServed, "completions to choose the n best from, by log-prob per token; not with stream"},
    {"stop", Use::kServed, "a text or a list of texts"},
    {"stop_token_ids", Use::kServed, "tokens that end a completion"},
    {"ignore_eos", Use::kServed, "the model's end tokens do not end a completion"},
    {"echo", Use::kServed, "the prompt stands before the completion, with its log-probs if logprobs is set"},
    {"logprobs", Use::kServed, "number of alternatives for each token, from 0 to the server's max_top_n"},
    {"prompt_logprobs", Use::kServed, "the prompt's log-probs in vLLM's form; not with stream"},
    {"return_token_ids", Use::kServed, "prompt_token_ids and token_ids of each choice"},
    {"return_tokens_as_token_ids", Use::kServed, "tokens are written as token_id:17"},
    {"stream", Use::kServed, "server-sent events, the last one [DONE]"},
    {"stream_options", Use::kServed, "include_usage"},
    {"add_special_tokens", Use::kServed, "false: no BOS is put before a text; default: as the model's tokenizer does"},
    {"parse_special_tokens", Use::kServed,
     "false: names of control tokens in a text are plain text; default true, as in /tokenize"},
    {"cache_salt", Use::kServed, "what is evaluated is shared only with requests of the same salt"},
    {"logitd", Use::kServed, "extensions: see below"},

    {"suffix", Use::kRefused, "text after the completion cannot be given", R"([""])"},
    {"guided_json", Use::kRefused, kNotYet},
    {"guided_regex", Use::kRefused, kNotYet},
    {"guided_choice", Use::kRefused, kNotYet},
    {"guided_grammar", Use::kRefused, kNotYet},
    {"guided_decoding_backend", Use::kRefused, kNotYet},
    {"guided_whitespace_pattern", Use::kRefused, kNotYet},
    {"structured_outputs", Use::kRefused, kNotYet},
    {"response_format", Use::kRefused, kNotYet, R"([{"type":"text"}])"},
    {"grammar", Use::kRefused, kNotYet, R"([""])"},
    {"bad_words", Use::kRefused, "a word has several tokenisations; use logit_bias", "[[]]"},
    {"use_beam_search", Use::kRefused, "beam search is not offered", "[false]"},
    {"early_stopping", Use::kRefused, "beam search is not offered", "[false]"},
    {"length_penalty", Use::kRefused, "beam search is not offered", "[1]"},
    {"skip_special_tokens", Use::kRefused, "the text never has names of control tokens", "[true]"},
    {"include_stop_str_in_output", Use::kRefused, "the text ends before the stop text", "[false]"},
    {"truncate_prompt_tokens", Use::kRefused, "a prompt that is too long is an error"},
    {"prompt_embeds", Use::kRefused, "a prompt is text or token ids", "[[]]"},
    {"logits_processors", Use::kRefused, "no code of a client is run", "[[]]"},
    {"mirostat", Use::kRefused, "the stage is not offered", "[0]"},

    {"user", Use::kIgnored, "no effect on the result"},
    {"metadata", Use::kIgnored, "no effect on the result"},
    {"store", Use::kIgnored, "nothing is stored"},
    {"service_tier", Use::kIgnored, "no effect on the result"},
    {"safety_identifier", Use::kIgnored, "no effect on the result"},
    {"prompt_cache_key", Use::kIgnored, "no effect on the result"},
    {"priority", Use::kIgnored, "requests are served in their order"},
    {"request_id", Use::kIgnored, "no effect on the result"},
    {"spaces_between_special_tokens", Use::kIgnored, "the text has no control tokens"},
};

constexpr Field kStreamOptionFields[] = {
    {"include_usage", Use::kServed, "one more event, without choices, has the usage"},
    {"continuous_usage_stats", Use::kRefused, "the usage comes at the end", "[false]"},
    {"include_obfuscation", Use::kIgnored, "events are not padded"},
};

constexpr Field kExtensionFields[] = {
    {"rank", Use::kServed, "the rank of each token: 1 + the number of tokens with a larger logit"},
    {"entropy", Use::kServed, "the entropy of each token's distribution, nats"},
    {"sampling_log_prob", Use::kServed, "the log-prob with which each token was drawn, after every stage"},
};

}  // namespace

FieldTable CompletionFields() { return kCompletionFields; }
FieldTable StreamOptionFields() { return kStreamOptionFields; }
FieldTable ExtensionFields() { return kExtensionFields; }

}  // namespace logitd::http

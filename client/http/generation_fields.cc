#include "client/http/generation_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
constexpr char kNotYet[] = "constraints on the text are not offered yet";

// What the routes share.
constexpr Field kGenerationFields[] = {
    {"min_tokens", Use::kServed,
     "end and stop tokens are excluded, and stop texts end nothing, until this many tokens are chosen; at most "
     "max_tokens"},
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
    {"seed", Use::kServed, "a whole number of 64 bits; equal requests with a seed draw alike: see Numbers"},
    {"n", Use::kServed, "completions of each prompt; default 1"},
    {"best_of", Use::kServed,
     "completions to choose the n best from, by log-prob per token, best first; not with stream"},
    {"stop", Use::kServed, "a text or a list of texts; the name of a control token is that token"},
    {"stop_token_ids", Use::kServed, "tokens that end a completion and have no text in it"},
    {"ignore_eos", Use::kServed, "the model's end tokens do not end a completion"},
    {"prompt_logprobs", Use::kServed, "the prompt's log-probs in vLLM's form; not with stream"},
    {"return_token_ids", Use::kServed, "prompt_token_ids, and token_ids of each choice"},
    {"return_tokens_as_token_ids", Use::kServed, "tokens are written as token_id:17"},
    {"stream", Use::kServed, "server-sent events, the last one [DONE]"},
    {"stream_options", Use::kServed, "include_usage"},
    {"cache_salt", Use::kServed, "what is evaluated is shared only with requests of the same salt"},
    {"logitd", Use::kServed, "extensions, see below; not with stream"},

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

absl::Status SetLogitBias(const Json& value, v1::SamplingParams& sampling) {
  if (!value.is_object()) return InvalidType("logit_bias", "an object of token ids and biases", KindOf(value));
  for (const auto& [key, bias] : value.items()) {
    int32_t id = 0;
    const auto end = std::from_chars(key.data(), key.data() + key.size(), id);
    if (key.empty() || end.ec != std::errc() || end.ptr != key.data() + key.size() || id < 0) {
      return InvalidValue("logit_bias." + ShownName(key), "must have the id of a token as its name");
    }
    const std::string path = "logit_bias." + key;
    if (!bias.is_number()) return InvalidType(path, "a number", KindOf(bias));
    v1::LogitBias& out = *sampling.add_logit_biases();
    out.set_token_id(id);
    out.set_bias(bias.get<double>());
  }
  return absl::OkStatus();
}

// A seed of 64 bits: negative ones are taken by their bits.
std::optional<uint64_t> SeedOf(FieldReader& fields) {
  const Json* value = fields.Find("seed");
  if (value == nullptr) return std::nullopt;
  if (value->is_number_unsigned()) return value->get<uint64_t>();
  if (value->is_number()) {
    const std::optional<int64_t> seed =
        fields.Int("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
    return seed ? std::optional(static_cast<uint64_t>(*seed)) : std::nullopt;
  }
  fields.Fail(InvalidType("seed", "a whole number of 64 bits", KindOf(*value)));
  return std::nullopt;
}

void SetSampling(FieldReader& fields, v1::SamplingParams& sampling) {
  if (const auto value = fields.Number("temperature")) sampling.set_temperature(*value);
  if (const auto value = fields.Number("top_p")) sampling.set_top_p(*value);
  if (const auto value = fields.Number("min_p")) sampling.set_min_p(*value);
  if (const auto value = fields.Number("typical_p")) sampling.set_typical_p(*value);
  if (const auto value = fields.Number("repetition_penalty")) sampling.set_repetition_penalty(*value);
  if (const auto value = fields.Number("frequency_penalty")) sampling.set_frequency_penalty(*value);
  if (const auto value = fields.Number("presence_penalty")) sampling.set_presence_penalty(*value);
  // vLLM's -1 means off.
  if (const auto value = fields.Int("top_k", -1, kMaxInt)) sampling.set_top_k(std::max(0, static_cast<int>(*value)));
  if (const auto value = SeedOf(fields)) sampling.set_seed(*value);
  if (const auto value = fields.TokenIds("allowed_token_ids")) {
    sampling.mutable_allowed_tokens()->mutable_ids()->mutable_token_ids()->Add(value->begin(), value->end());
  }
  if (const Json* value = fields.Find("logit_bias")) {
    if (absl::Status status = SetLogitBias(*value, sampling); !status.ok()) fields.Fail(std::move(status));
  }
}

void SetStop(FieldReader& fields, v1::StopCriteria& stop) {
  const std::optional<int64_t> max_tokens = fields.Int("max_tokens", 0, kMaxInt);
  const std::optional<int64_t> other_name = fields.Int("max_completion_tokens", 0, kMaxInt);
  if (max_tokens && other_name && *max_tokens != *other_name) {
    fields.Fail(InvalidValue("max_completion_tokens", "must not differ from max_tokens"));
  }
  if (max_tokens || other_name) stop.set_max_tokens(static_cast<int>(max_tokens ? *max_tokens : *other_name));
  if (const auto value = fields.Int("min_tokens", 0, kMaxInt)) stop.set_min_tokens(static_cast<int>(*value));
  if (const auto value = fields.Strings("stop")) {
    for (const std::string& text : *value) stop.add_stop_strings(text);
  }
  if (const auto value = fields.TokenIds("stop_token_ids")) {
    stop.mutable_stop_token_ids()->Add(value->begin(), value->end());
  }
  stop.set_ignore_eos(fields.BoolOr("ignore_eos", false));
}

absl::Status SetExtensions(FieldReader& fields, CompletionRequest& out) {
  const Json* value = fields.Find("logitd");
  if (value == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(CheckFields(*value, ExtensionFields(), "logitd"));
  FieldReader extensions(*value, "logitd");
  out.has_extensions = true;
  out.wants_rank = extensions.BoolOr("rank", false);
  out.wants_entropy = extensions.BoolOr("entropy", false);
  out.wants_sampling_log_prob = extensions.BoolOr("sampling_log_prob", false);
  return extensions.status();
}

absl::Status SetStream(FieldReader& fields, CompletionRequest& out) {
  out.stream = fields.BoolOr("stream", false);
  const Json* value = fields.Find("stream_options");
  if (value == nullptr) return absl::OkStatus();
  if (!out.stream) return InvalidValue("stream_options", "needs stream");
  RETURN_IF_ERROR(CheckFields(*value, StreamOptionFields(), "stream_options"));
  FieldReader options(*value, "stream_options");
  out.include_usage = options.BoolOr("include_usage", false);
  return options.status();
}

absl::Status SetCounts(FieldReader& fields, CompletionRequest& out) {
  out.n = static_cast<int>(fields.Int("n", 1, kMaxInt).value_or(1));
  const std::optional<int64_t> best_of = fields.Int("best_of", 1, kMaxInt);
  out.generate.set_n(out.n);
  // One of one: some clients always say it.
  if (!best_of || (*best_of == 1 && out.n == 1)) return absl::OkStatus();
  if (*best_of < out.n) {
    return InvalidValue("best_of",
                        "must be at least n, " + std::to_string(out.n) + ", got " + std::to_string(*best_of));
  }
  if (out.stream)
    return InvalidValue("best_of", "cannot be streamed: only the end shows which completions are the best");
  out.generate.set_best_of(static_cast<int>(*best_of));
  return absl::OkStatus();
}

}  // namespace

std::vector<Field> WithGenerationFields(FieldTable own) {
  std::vector<Field> fields(own.begin(), own.end());
  fields.insert(fields.end(), std::begin(kGenerationFields), std::end(kGenerationFields));
  std::stable_sort(fields.begin(), fields.end(), [](const Field& a, const Field& b) { return a.use < b.use; });
  return fields;
}

FieldTable StreamOptionFields() { return kStreamOptionFields; }
FieldTable ExtensionFields() { return kExtensionFields; }

std::optional<int> CountOf(FieldReader& fields, std::string_view name) {
  const std::optional<int64_t> value = fields.Int(name, 0, kMaxInt);
  return value ? std::optional<int>(static_cast<int>(*value)) : std::nullopt;
}

absl::Status SetGenerationFields(FieldReader& fields, CompletionRequest& out) {
  out.model = fields.String("model").value_or("");
  out.generate.set_model(out.model);
  SetSampling(fields, *out.generate.mutable_sampling());
  SetStop(fields, *out.generate.mutable_stop());
  RETURN_IF_ERROR(SetStream(fields, out));
  RETURN_IF_ERROR(SetCounts(fields, out));
  RETURN_IF_ERROR(SetExtensions(fields, out));
  out.prompt_logprobs = CountOf(fields, "prompt_logprobs");
  if (out.prompt_logprobs && out.stream) fields.Fail(InvalidValue("prompt_logprobs", "cannot be streamed"));
  if (out.has_extensions && out.stream) fields.Fail(InvalidValue("logitd", "cannot be streamed"));
  out.return_token_ids = fields.BoolOr("return_token_ids", false);
  out.tokens_as_token_ids = fields.BoolOr("return_tokens_as_token_ids", false);
  if (const auto salt = fields.String("cache_salt")) out.generate.mutable_evaluation()->set_cache_salt(*salt);
  return fields.status();
}

absl::Status OfLogitBias(absl::Status status, const v1::GenerateRequest& request) {
  return OfEntries(std::move(status), "logit_bias", [&request](size_t index) {
    return std::to_string(request.sampling().logit_biases(static_cast<int>(index)).token_id());
  });
}

void SetRecords(CompletionRequest& out) {
  v1::RecordOptions& record = *out.generate.mutable_record();
  record.set_model_log_prob(true);
  record.set_sampling_log_prob(out.wants_sampling_log_prob || out.has_extensions);
  record.set_rank(out.wants_rank);
  record.set_entropy(out.wants_entropy);
  record.set_top_n(out.logprobs.value_or(0));
  if (!out.logprobs && !out.return_token_ids && !out.has_extensions) record.set_layout(v1::RECORD_LAYOUT_NONE);
  const bool scores_prompt = (out.echo && (out.logprobs || out.has_extensions)) || out.prompt_logprobs;
  if (!scores_prompt) return;
  v1::RecordOptions& prompt = *out.generate.mutable_prompt_record();
  prompt.set_model_log_prob(true);
  prompt.set_rank(out.wants_rank || out.prompt_logprobs.has_value());
  prompt.set_entropy(out.wants_entropy);
  prompt.set_top_n(std::max(out.echo ? out.logprobs.value_or(0) : 0, out.prompt_logprobs.value_or(0)));
}

}  // namespace logitd::http

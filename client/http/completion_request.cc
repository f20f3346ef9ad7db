#include "client/http/completion_request.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "client/http/completion_fields.h"
#include "client/http/fields.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

// OpenAI's default.
constexpr int kDefaultMaxTokens = 16;
constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();

absl::StatusOr<v1::Input> PromptOf(const Json& value, const std::string& path) {
  v1::Input prompt;
  if (value.is_string()) {
    prompt.set_text(value.get<std::string>());
    return prompt;
  }
  if (!value.is_array()) return InvalidType(path, "a text or a list of token ids", KindOf(value));
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids, TokenIdsOf(value, path));
  prompt.mutable_tokens()->mutable_token_ids()->Add(ids.begin(), ids.end());
  return prompt;
}

// "text", ["text", ...], [1, 2, ...], [[1, 2], ...], or a list of texts and lists.
absl::Status SetPrompts(const Json* value, CompletionRequest& out) {
  if (value == nullptr) return MissingField("prompt");
  out.has_prompt_list = value->is_array() && !value->empty() && !value->front().is_number();
  if (!out.has_prompt_list) {
    ASSIGN_OR_RETURN(v1::Input prompt, PromptOf(*value, "prompt"));
    if (value->is_array() && value->empty()) return InvalidValue("prompt", "must not be empty");
    out.prompts.push_back(std::move(prompt));
    return absl::OkStatus();
  }
  if (value->size() > kMaxPrompts) {
    return InvalidValue("prompt", "must have at most " + std::to_string(kMaxPrompts) + " prompts, got " +
                                      std::to_string(value->size()));
  }
  for (size_t i = 0; i < value->size(); ++i) {
    ASSIGN_OR_RETURN(v1::Input prompt, PromptOf((*value)[i], "prompt[" + std::to_string(i) + "]"));
    out.prompts.push_back(std::move(prompt));
  }
  return absl::OkStatus();
}

absl::Status SetLogitBias(const Json& value, v1::SamplingParams& sampling) {
  if (!value.is_object()) return InvalidType("logit_bias", "an object of token ids and biases", KindOf(value));
  for (const auto& [key, bias] : value.items()) {
    int32_t id = 0;
    const auto end = std::from_chars(key.data(), key.data() + key.size(), id);
    if (key.empty() || end.ec != std::errc() || end.ptr != key.data() + key.size() || id < 0) {
      return InvalidValue("logit_bias", "must have token ids as its keys");
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
  if (value->is_number_integer()) return static_cast<uint64_t>(value->get<int64_t>());
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
  stop.set_max_tokens(static_cast<int>(max_tokens   ? *max_tokens
                                       : other_name ? *other_name
                                                    : int64_t{kDefaultMaxTokens}));
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
  if (!best_of || *best_of == out.n) return absl::OkStatus();
  if (*best_of < out.n) return InvalidValue("best_of", "must be at least n");
  if (out.stream)
    return InvalidValue("best_of", "cannot be streamed: only the end shows which completions are the best");
  out.generate.set_best_of(static_cast<int>(*best_of));
  return absl::OkStatus();
}

// The records that the reply needs.
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

}  // namespace

v1::GenerateRequest CompletionRequest::RequestOf(size_t prompt) const {
  v1::GenerateRequest request = generate;
  *request.mutable_prompt() = prompts[prompt];
  return request;
}

absl::StatusOr<CompletionRequest> ParseCompletionRequest(const Json& body) {
  RETURN_IF_ERROR(CheckFields(body, CompletionFields()));
  FieldReader fields(body);
  CompletionRequest out;
  out.model = fields.String("model").value_or("");
  out.generate.set_model(out.model);
  RETURN_IF_ERROR(SetPrompts(fields.Find("prompt"), out));
  SetSampling(fields, *out.generate.mutable_sampling());
  SetStop(fields, *out.generate.mutable_stop());
  RETURN_IF_ERROR(SetStream(fields, out));
  RETURN_IF_ERROR(SetCounts(fields, out));
  RETURN_IF_ERROR(SetExtensions(fields, out));
  out.echo = fields.BoolOr("echo", false);
  const auto count = [&fields](const char* name) -> std::optional<int> {
    const std::optional<int64_t> value = fields.Int(name, 0, kMaxInt);
    return value ? std::optional<int>(static_cast<int>(*value)) : std::nullopt;
  };
  out.logprobs = count("logprobs");
  out.prompt_logprobs = count("prompt_logprobs");
  if (out.prompt_logprobs && out.stream) fields.Fail(InvalidValue("prompt_logprobs", "cannot be streamed"));
  if (out.has_extensions && out.stream) fields.Fail(InvalidValue("logitd", "cannot be streamed"));
  out.return_token_ids = fields.BoolOr("return_token_ids", false);
  out.tokens_as_token_ids = fields.BoolOr("return_tokens_as_token_ids", false);
  v1::TokenizationOptions& tokenization = *out.generate.mutable_tokenization();
  // true means: as the model's tokenizer is configured, which is the server's default.
  if (!fields.BoolOr("add_special_tokens", true)) tokenization.set_add_special_tokens(false);
  tokenization.set_parse_special_tokens(fields.BoolOr("parse_special_tokens", true));
  if (const auto salt = fields.String("cache_salt")) out.generate.mutable_evaluation()->set_cache_salt(*salt);
  RETURN_IF_ERROR(fields.status());
  SetRecords(out);
  return out;
}

}  // namespace logitd::http

#include "client/http/completion_reply.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "client/http/logprob_lists.h"
#include "client/http/request_error.h"
#include "google/protobuf/util/json_util.h"

namespace logitd::http {
namespace {

// Hexadecimal digits of a fingerprint that are shown.
constexpr size_t kFingerprintBytes = 6;

std::string Hex(std::string_view bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out += kHex[static_cast<unsigned char>(c) >> 4];
    out += kHex[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

// The lists over the prompt, if it is repeated, and the completion.
std::string ListsJson(const CompletionRequest& request, const PromptParts& prompt, const v1::Completion& completion,
                      const TokenTexts& texts) {
  LogprobLists lists(texts, *request.logprobs);
  TextOffsets offsets(prompt.echo ? prompt.echo->skipped_bytes : 0);
  if (prompt.echo) {
    for (int i = prompt.echo->added_count; i < prompt.tokens.tokens_size(); ++i) {
      const v1::TokenRecord& record = prompt.tokens.tokens(i);
      lists.Add(record, offsets.Next(texts.BytesInPrompt(record.token_id(), record.token_bytes())));
    }
    offsets.EndText();
  }
  for (const v1::TokenRecord& record : completion.tokens()) lists.Add(record, offsets.Next(record.token_bytes()));
  return lists.Take();
}

// The extensions' lists over the records of a prompt or a completion.
template <typename Records>
void RecordFields(const CompletionRequest& request, const Records& records, bool is_prompt, JsonWriter& out) {
  const auto list = [&](const char* name, const auto& add) {
    out.Key(name);
    out.BeginArray();
    for (const v1::TokenRecord& record : records) add(record);
    out.EndArray();
  };
  if (request.wants_rank) {
    list("ranks", [&out](const v1::TokenRecord& record) {
      if (record.has_rank()) return out.Int(record.rank());
      out.Null();
    });
  }
  if (request.wants_entropy) {
    list("entropies", [&out](const v1::TokenRecord& record) {
      if (record.has_model_entropy()) return out.Double(record.model_entropy());
      out.Null();
    });
  }
  if (request.wants_sampling_log_prob && !is_prompt) {
    list("sampling_log_probs", [&out](const v1::TokenRecord& record) {
      if (record.has_sampling_log_prob()) return out.Double(record.sampling_log_prob());
      out.Null();
    });
  }
}

void TotalFields(const v1::SequenceTotals& totals, bool is_prompt, JsonWriter& out) {
  const auto sum = [&out](const char* name, bool has_value, double value) {
    out.Field(name, has_value ? std::optional<double>(value) : std::nullopt);
  };
  out.Field("token_count", totals.token_count());
  sum("cumulative_log_prob", totals.has_cumulative_model_log_prob(), totals.cumulative_model_log_prob());
  if (is_prompt) return;
  sum("cumulative_sampling_log_prob", totals.has_cumulative_sampling_log_prob(), totals.cumulative_sampling_log_prob());
}

}  // namespace

absl::Status CheckFinish(const v1::Finish& finish) {
  if (finish.reason() == v1::FINISH_REASON_NO_ADMISSIBLE_TOKEN) {
    return HttpError(
        400, "all_tokens_excluded", "",
        "no token may be chosen: allowed_token_ids, logit_bias, min_tokens and ignore_eos exclude them all");
  }
  return finish.reason() == v1::FINISH_REASON_CANCELLED ? absl::CancelledError("the completion was cancelled")
                                                        : absl::OkStatus();
}

const char* FinishReasonOf(const v1::Finish& finish) {
  switch (finish.reason()) {
    case v1::FINISH_REASON_UNSPECIFIED:
      return "";
    case v1::FINISH_REASON_MAX_TOKENS:
    case v1::FINISH_REASON_CONTEXT_FULL:
    case v1::FINISH_REASON_TIME_LIMIT:
      return "length";
    default:
      return "stop";
  }
}

std::string StopReasonJson(const v1::Finish& finish, const v1::StopCriteria& stop) {
  JsonWriter out;
  const auto& ids = stop.stop_token_ids();
  if (finish.has_stop_string_index() && finish.stop_string_index() < stop.stop_strings_size()) {
    out.String(stop.stop_strings(finish.stop_string_index()));
  } else if (finish.has_stop_token_id() && std::find(ids.begin(), ids.end(), finish.stop_token_id()) != ids.end()) {
    out.Int(finish.stop_token_id());
  } else {
    out.Null();
  }
  return out.Take();
}

void WriteFinish(const v1::Finish& finish, const v1::StopCriteria& stop, JsonWriter& out) {
  out.Field("finish_reason", FinishReasonOf(finish));
  out.Key("stop_reason");
  out.Raw(StopReasonJson(finish, stop));
}

void WriteEventEnd(const CompletionRequest& request, const v1::CompletionDelta& delta, JsonWriter& out) {
  if (delta.has_finish()) {
    WriteFinish(delta.finish(), request.generate.stop(), out);
  } else {
    out.NullField("finish_reason");
  }
  if (!request.return_token_ids) return;
  out.Key("token_ids");
  out.Raw(IdsJson(IdsOf(delta.tokens())));
}

std::string IdsJson(const std::vector<int32_t>& ids) {
  JsonWriter out;
  out.BeginArray();
  for (const int32_t id : ids) out.Int(id);
  out.EndArray();
  return out.Take();
}

std::vector<int32_t> IdsOf(const google::protobuf::RepeatedPtrField<v1::TokenRecord>& records) {
  std::vector<int32_t> ids;
  for (const v1::TokenRecord& record : records) ids.push_back(record.token_id());
  return ids;
}

void WriteChoiceExtension(const CompletionRequest& request, const PromptParts& prompt, const v1::Completion& completion,
                          JsonWriter& out) {
  // 64 bits are more than a double of JavaScript holds.
  out.Field("seed", std::to_string(prompt.seed));
  TotalFields(completion.totals(), /*is_prompt=*/false, out);
  RecordFields(request, completion.tokens(), /*is_prompt=*/false, out);
  if (prompt.tokens.tokens_size() == 0) return;
  out.Key("prompt");
  out.BeginObject();
  TotalFields(prompt.tokens.totals(), /*is_prompt=*/true, out);
  RecordFields(request, prompt.tokens.tokens(), /*is_prompt=*/true, out);
  out.EndObject();
}

std::string ChoiceJson(int64_t index, const CompletionRequest& request, const PromptParts& prompt,
                       const v1::Completion& completion, const TokenTexts& texts) {
  JsonWriter out;
  out.BeginObject();
  out.Field("index", index);
  out.Field("text", (prompt.echo ? prompt.echo->text : std::string()) + completion.text());
  out.Key("logprobs");
  if (request.logprobs) {
    out.Raw(ListsJson(request, prompt, completion, texts));
  } else {
    out.Null();
  }
  WriteFinish(completion.finish(), request.generate.stop(), out);
  if (request.prompt_logprobs) {
    out.Key("prompt_logprobs");
    out.Raw(PromptLogprobs(prompt.tokens, *request.prompt_logprobs, texts));
  }
  if (request.return_token_ids) {
    out.Key("prompt_token_ids");
    out.Raw(IdsJson(prompt.token_ids));
    out.Key("token_ids");
    out.Raw(IdsJson(IdsOf(completion.tokens())));
  }
  if (request.has_extensions) {
    out.Key("logitd");
    out.BeginObject();
    WriteChoiceExtension(request, prompt, completion, out);
    out.EndObject();
  }
  out.EndObject();
  return out.Take();
}

void UsageSum::Add(const v1::Usage& usage) {
  prompt_ += usage.prompt_token_count();
  generated_ += usage.generated_token_count();
  // The server counts what it did not evaluate over prompt and completions.
  cached_ += std::min(usage.cached_token_count(), usage.prompt_token_count());
}

std::string UsageSum::Json() const {
  JsonWriter out;
  out.BeginObject();
  out.Field("prompt_tokens", prompt_);
  out.Field("completion_tokens", generated_);
  out.Field("total_tokens", prompt_ + generated_);
  out.Key("prompt_tokens_details");
  out.BeginObject();
  out.Field("cached_tokens", cached_);
  out.EndObject();
  out.EndObject();
  return out.Take();
}

std::string SystemFingerprint(const v1::Provenance& provenance) {
  return "fp_" + Hex(provenance.model_fingerprint().substr(0, kFingerprintBytes)) + "_n" +
         std::to_string(provenance.numerics_version());
}

std::string ExtensionJson(const v1::Provenance& provenance, uint64_t seed) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  // A message of the server is always printable: its strings are UTF-8.
  (void)google::protobuf::util::MessageToJsonString(provenance, &text, options);
  JsonWriter out;
  out.BeginObject();
  out.Key("provenance");
  out.Raw(text);
  // 64 bits are more than a double of JavaScript holds.
  out.Field("seed", std::to_string(seed));
  out.EndObject();
  return out.Take();
}

ReplyHead NewHead(const char* prefix, const char* object) {
  std::random_device random;
  std::string bytes;
  for (int i = 0; i < 12; ++i) bytes += static_cast<char>(random());
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {prefix + Hex(bytes), object, std::chrono::duration_cast<std::chrono::seconds>(now).count(), ""};
}

void WriteHead(const ReplyHead& head, JsonWriter& out) {
  out.Field("id", head.id);
  out.Field("object", head.object);
  out.Field("created", head.created);
  out.Field("model", head.model);
  if (!head.system_fingerprint.empty()) out.Field("system_fingerprint", head.system_fingerprint);
}

}  // namespace logitd::http

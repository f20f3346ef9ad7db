#include "client/http/chat_logprobs.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>

#include "client/http/json_writer.h"
#include "client/http/logprob_lists.h"

namespace logitd::http {
namespace {

// token, logprob and bytes, in an object that is open.
void WriteToken(int32_t token_id, std::string_view bytes, const std::optional<double>& log_prob,
                const TokenTexts& texts, JsonWriter& out) {
  out.Field("token", texts.TextOf(token_id, bytes));
  out.Field("logprob", log_prob);
  out.Key("bytes");
  if (bytes.empty()) return out.Null();
  out.BeginArray();
  for (const char byte : bytes) out.Int(static_cast<unsigned char>(byte));
  out.EndArray();
}

}  // namespace

std::string ChatLogprob(const v1::TokenRecord& record, int top_n, const TokenTexts& texts) {
  const v1::TokenAlternatives& top = record.top();
  JsonWriter out;
  out.BeginObject();
  WriteToken(record.token_id(), record.token_bytes(), LogProbOf(record), texts, out);
  out.Key("top_logprobs");
  out.BeginArray();
  for (int i = 0; i < std::min(top.token_ids_size(), top_n); ++i) {
    if (!std::isfinite(top.model_log_probs(i))) continue;
    out.BeginObject();
    WriteToken(top.token_ids(i), i < top.token_bytes_size() ? top.token_bytes(i) : std::string_view(),
               top.model_log_probs(i), texts, out);
    out.EndObject();
  }
  out.EndArray();
  out.EndObject();
  return out.Take();
}

std::string ChatLogprobs(std::span<const v1::TokenRecord* const> records, int top_n, const TokenTexts& texts) {
  JsonWriter out;
  out.BeginObject();
  out.Key("content");
  out.BeginArray();
  for (const v1::TokenRecord* record : records) out.Raw(ChatLogprob(*record, top_n, texts));
  out.EndArray();
  out.NullField("refusal");
  out.EndObject();
  return out.Take();
}

}  // namespace logitd::http

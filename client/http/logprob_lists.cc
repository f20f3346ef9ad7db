#include "client/http/logprob_lists.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

namespace logitd::http {
namespace {

std::string_view BytesAt(const v1::TokenAlternatives& top, int i) {
  return i < top.token_bytes_size() ? std::string_view(top.token_bytes(i)) : std::string_view();
}

int TopCount(const v1::TokenRecord& record, int top_n) { return std::min(record.top().token_ids_size(), top_n); }

}  // namespace

std::optional<double> LogProbOf(const v1::TokenRecord& record) {
  if (!record.has_model_log_prob() || !std::isfinite(record.model_log_prob())) return std::nullopt;
  return record.model_log_prob();
}

LogprobLists::LogprobLists(const TokenTexts& texts, int top_n) : texts_(texts), top_n_(top_n) {
  for (JsonWriter* list : {&tokens_, &token_logprobs_, &top_logprobs_, &text_offset_}) list->BeginArray();
}

void LogprobLists::Add(const v1::TokenRecord& record, int64_t text_offset) {
  const std::string text = texts_.TextOf(record.token_id(), record.token_bytes());
  tokens_.String(text);
  token_logprobs_.Double(LogProbOf(record));
  text_offset_.Int(text_offset);
  AddTop(record, text);
}

void LogprobLists::AddTop(const v1::TokenRecord& record, const std::string& text) {
  if (record.log_prob_state() == v1::LOG_PROB_STATE_FIRST_TOKEN) return top_logprobs_.Null();
  const std::optional<double> own = LogProbOf(record);
  std::set<std::string, std::less<>> keys;
  top_logprobs_.BeginObject();
  for (int i = 0; i < TopCount(record, top_n_); ++i) {
    const double log_prob = record.top().model_log_probs(i);
    if (!std::isfinite(log_prob)) continue;
    const std::string key = texts_.TextOf(record.top().token_ids(i), BytesAt(record.top(), i));
    if (keys.insert(key).second) top_logprobs_.Field(key, log_prob);
  }
  if (own && !keys.contains(text)) top_logprobs_.Field(text, *own);
  top_logprobs_.EndObject();
}

std::string LogprobLists::Take() {
  for (JsonWriter* list : {&tokens_, &token_logprobs_, &top_logprobs_, &text_offset_}) list->EndArray();
  JsonWriter out;
  out.BeginObject();
  const auto add = [&out](const char* name, JsonWriter& list) {
    out.Key(name);
    out.Raw(list.text());
  };
  add("tokens", tokens_);
  add("token_logprobs", token_logprobs_);
  add("top_logprobs", top_logprobs_);
  add("text_offset", text_offset_);
  out.EndObject();
  return out.Take();
}

std::string PromptLogprobs(const v1::ScoredPrompt& prompt, int top_n, const TokenTexts& texts) {
  JsonWriter out;
  const auto entry = [&](int32_t token_id, std::string_view bytes, const std::optional<double>& log_prob,
                         std::optional<int32_t> rank) {
    out.Key(std::to_string(token_id));
    out.BeginObject();
    out.Field("logprob", log_prob);
    out.Key("rank");
    if (rank) {
      out.Int(*rank);
    } else {
      out.Null();
    }
    out.Field("decoded_token", texts.TextOf(token_id, bytes));
    out.EndObject();
  };
  out.BeginArray();
  for (const v1::TokenRecord& record : prompt.tokens()) {
    if (record.log_prob_state() == v1::LOG_PROB_STATE_FIRST_TOKEN) {
      out.Null();
      continue;
    }
    out.BeginObject();
    entry(record.token_id(), record.token_bytes(), LogProbOf(record),
          record.has_rank() ? std::optional<int32_t>(record.rank()) : std::nullopt);
    const v1::TokenAlternatives& top = record.top();
    for (int i = 0; i < TopCount(record, top_n); ++i) {
      if (top.token_ids(i) == record.token_id() || !std::isfinite(top.model_log_probs(i))) continue;
      entry(top.token_ids(i), BytesAt(top, i), top.model_log_probs(i),
            i < top.ranks_size() ? std::optional<int32_t>(top.ranks(i)) : std::nullopt);
    }
    out.EndObject();
  }
  out.EndArray();
  return out.Take();
}

}  // namespace logitd::http

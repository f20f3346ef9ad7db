#include "client/http/label_score_route.h"

#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "client/http/completion_reply.h"
#include "client/http/decision_prompt.h"
#include "client/http/json_writer.h"
#include "client/http/request_error.h"
#include "client/http/strict_json.h"

namespace logitd::http {
namespace {

constexpr size_t kMaxItems = 4096;
// Labels of all items together: as many options as one request of the server may have (Limits.max_message_elements).
constexpr size_t kMaxLabels = size_t{1} << 18;

constexpr Field kLabelScoreFields[] = {
    {"model", Use::kServed, "the model's name; may be left out if the server has one model"},
    {"query", Use::kServed, "a text or token ids"},
    {"items", Use::kServed, "a list of texts or of lists of token ids, as the query is; 1 to 4096"},
    {"label_token_ids", Use::kServed, "the labels of all items, or one list for each item"},
    {"apply_softmax", Use::kServed, "probabilities over the labels alone; default false"},
    {"item_first", Use::kServed, "the item stands before the query; default false"},
    {"temperature", Use::kServed, "of the softmax; only with apply_softmax; default 1"},
    {"return_token_logprobs", Use::kServed, "the labels' log-probs too, in token_logprobs"},
    {"add_special_tokens", Use::kServed,
     "false: no BOS is put before a text; true, and default: as the model's tokenizer does"},
    {"parse_special_tokens", Use::kServed, "false: names of control tokens in a text are plain text; default true"},
    {"score_extraction_token", Use::kRefused, "the score is that of the token after the text"},
    {"text_1", Use::kRefused, "reranking is not offered"},
    {"text_2", Use::kRefused, "reranking is not offered"},
    {"user", Use::kIgnored, "no effect on the result"},
};

// Query and item as one context.
absl::StatusOr<v1::Input> Joined(const Json& query, const Json& item, const std::string& path, bool item_first) {
  const Json& first = item_first ? item : query;
  const Json& second = item_first ? query : item;
  v1::Input input;
  if (query.is_string() && item.is_string()) {
    input.set_text(first.get<std::string>() + second.get<std::string>());
    return input;
  }
  if (query.is_string() != item.is_string())
    return InvalidType(path, "of the query's kind, text or token ids", KindOf(item));
  for (const Json* part : {&first, &second}) {
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids, TokenIdsOf(*part, part == &query ? "query" : path));
    input.mutable_tokens()->mutable_token_ids()->Add(ids.begin(), ids.end());
  }
  return input;
}

bool IsListOfLists(const Json* value) {
  return value != nullptr && value->is_array() && !value->empty() && value->front().is_array();
}

// The labels of each item.
absl::StatusOr<std::vector<std::vector<int32_t>>> LabelsOf(const Json* value, size_t item_count) {
  if (value == nullptr) return MissingField("label_token_ids");
  if (!IsListOfLists(value)) {
    ASSIGN_OR_RETURN(const std::vector<int32_t> labels, TokenIdsOf(*value, "label_token_ids"));
    if (labels.empty()) return InvalidValue("label_token_ids", "must not be empty");
    return std::vector<std::vector<int32_t>>(item_count, labels);
  }
  if (value->size() != item_count) {
    return InvalidValue("label_token_ids", "must have one list for each item, " + std::to_string(item_count) +
                                               ", got " + std::to_string(value->size()));
  }
  std::vector<std::vector<int32_t>> labels;
  for (size_t i = 0; i < item_count; ++i) {
    const std::string path = "label_token_ids[" + std::to_string(i) + "]";
    ASSIGN_OR_RETURN(std::vector<int32_t> ids, TokenIdsOf((*value)[i], path));
    if (ids.empty()) return InvalidValue(path, "must not be empty");
    labels.push_back(std::move(ids));
  }
  return labels;
}

struct LabelScoreRequest {
  v1::DecideRequest decide;
  bool apply_softmax = false;
  bool wants_log_probs = false;
};

absl::StatusOr<LabelScoreRequest> ParseLabelScore(const Json& body) {
  RETURN_IF_ERROR(CheckFields(body, kLabelScoreFields));
  FieldReader fields(body);
  LabelScoreRequest out;
  out.decide.set_model(fields.String("model").value_or(""));
  out.apply_softmax = fields.BoolOr("apply_softmax", false);
  out.wants_log_probs = fields.BoolOr("return_token_logprobs", false);
  const bool item_first = fields.BoolOr("item_first", false);
  if (const auto temperature = fields.Number("temperature")) {
    if (!out.apply_softmax && *temperature != 1) fields.Fail(InvalidValue("temperature", "needs apply_softmax"));
    out.decide.set_temperature(*temperature);
  }
  v1::TokenizationOptions& tokenization = *out.decide.mutable_tokenization();
  if (!fields.BoolOr("add_special_tokens", true)) tokenization.set_add_special_tokens(false);
  tokenization.set_parse_special_tokens(fields.BoolOr("parse_special_tokens", true));
  RETURN_IF_ERROR(fields.status());
  const Json* label_ids = fields.Find("label_token_ids");
  const bool is_per_item = IsListOfLists(label_ids);
  ASSIGN_OR_RETURN(const QueryAndItems parts,
                   QueryAndItemsOf(fields, is_per_item || label_ids == nullptr ? 0 : label_ids->size()));
  const auto& [query, items] = parts;
  ASSIGN_OR_RETURN(const auto labels, LabelsOf(label_ids, items.size()));
  for (size_t i = 0; i < items.size(); ++i) {
    v1::DecideItem& item = *out.decide.add_items();
    ASSIGN_OR_RETURN(*item.mutable_context(), Joined(query, items[i], "items[" + std::to_string(i) + "]", item_first));
    for (const int32_t label : labels[i]) item.mutable_choice()->add_options()->mutable_tokens()->add_token_ids(label);
  }
  return out;
}

}  // namespace

FieldTable LabelScoreFields() { return kLabelScoreFields; }

absl::StatusOr<QueryAndItems> QueryAndItemsOf(FieldReader& fields, size_t label_count) {
  const Json* query = fields.Find("query");
  const Json* items = fields.Find("items");
  if (query == nullptr) return MissingField("query");
  if (items == nullptr) return MissingField("items");
  if (!items->is_array() || items->empty()) return InvalidType("items", "a list that is not empty", KindOf(*items));
  if (items->size() > kMaxItems) {
    return InvalidValue(
        "items", "must have at most " + std::to_string(kMaxItems) + " items, got " + std::to_string(items->size()));
  }
  // An id takes a byte at least.
  RETURN_IF_ERROR(CheckPromptBytes(query->is_string() ? query->get_ref<const std::string&>().size() : query->size(),
                                   items->size(), "items"));
  if (label_count > kMaxLabels / items->size()) {
    return InvalidValue("label_token_ids", "must be at most " + std::to_string(kMaxLabels) + " for all items together");
  }
  return QueryAndItems{*query, *items};
}

std::optional<double> LabelProbability(const v1::DecidedOption& option, bool apply_softmax) {
  if (!apply_softmax) return option.has_log_prob() ? std::exp(option.log_prob()) : 0.0;
  return option.has_probability() ? std::optional(option.probability()) : std::nullopt;
}

absl::Status HandleLabelScore(Exchange& exchange, Services& services) {
  ASSIGN_OR_RETURN(const Json body, ParseJson(exchange.request.body));
  ASSIGN_OR_RETURN(const LabelScoreRequest request, ParseLabelScore(body));
  ASSIGN_OR_RETURN(const std::vector<v1::DecideResponse> replies,
                   DecideAll(services, CallerOf(exchange), request.decide,
                             [](size_t i) { return "items[" + std::to_string(i) + "]"; }));
  UsageSum usage;
  JsonWriter out;
  out.BeginObject();
  out.Field("object", "scoring");
  out.Field("model", replies.front().provenance().model());
  const auto lists = [&](const char* name, const auto& value) {
    out.Key(name);
    out.BeginArray();
    for (const v1::DecideResponse& reply : replies) {
      out.BeginArray();
      for (const v1::DecidedOption& option : reply.item().options()) out.Double(value(option));
      out.EndArray();
    }
    out.EndArray();
  };
  lists("scores",
        [&request](const v1::DecidedOption& option) { return LabelProbability(option, request.apply_softmax); });
  if (request.wants_log_probs) {
    lists("token_logprobs", [](const v1::DecidedOption& option) {
      return option.has_log_prob() ? std::optional(option.log_prob()) : std::nullopt;
    });
  }
  out.Key("label_mass");
  out.BeginArray();
  for (const v1::DecideResponse& reply : replies) {
    out.Double(LabelMass(reply.item()));
    usage.Add(reply.usage());
  }
  out.EndArray();
  out.Key("usage");
  out.Raw(usage.Json());
  out.EndObject();
  exchange.ReplyJson(out.Take());
  return absl::OkStatus();
}

}  // namespace logitd::http

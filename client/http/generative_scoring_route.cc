#include "client/http/generative_scoring_route.h"

#include <set>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "client/http/completion_reply.h"
#include "client/http/decision_prompt.h"
#include "client/http/json_writer.h"
#include "client/http/label_score_route.h"
#include "client/http/request_error.h"
#include "client/http/strict_json.h"

namespace logitd::http {
namespace {

constexpr Field kGenerativeScoringFields[] = {
    {"model", Use::kServed, "the model's name; may be left out if the server has one model"},
    {"query", Use::kServed, "a text or token ids"},
    {"items", Use::kServed, "a list of texts and of lists of token ids; 1 to 4096"},
    {"label_token_ids", Use::kServed, "the labels; the score is the probability of the first one"},
    {"apply_softmax", Use::kServed, "probabilities over the labels alone; default true"},
    {"item_first", Use::kServed, "the item stands before the query; default false"},
    {"add_special_tokens", Use::kServed,
     "false: no BOS is put before a text at the beginning; default: as the model's tokenizer does"},
    {"request_id", Use::kServed, "the end of the reply's id"},
    {"priority", Use::kIgnored, "no effect on the result"},
    {"user", Use::kIgnored, "no effect on the result"},
};

struct GenerativeScoringRequest {
  v1::DecideRequest decide;
  bool apply_softmax = true;
  std::string request_id;
};

// A piece of the context, which becomes tokens by itself.
absl::Status AddSegment(const Json& part, const std::string& path, v1::Input& context) {
  v1::InputSegment& segment = *context.add_segments();
  if (part.is_string()) {
    segment.set_text(part.get<std::string>());
    segment.set_parse_special_tokens(true);
    return absl::OkStatus();
  }
  if (!part.is_array()) return InvalidType(path, "a text or a list of token ids", KindOf(part));
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids, TokenIdsOf(part, path));
  segment.mutable_tokens()->mutable_token_ids()->Add(ids.begin(), ids.end());
  return absl::OkStatus();
}

absl::StatusOr<GenerativeScoringRequest> ParseGenerativeScoring(const Json& body) {
  RETURN_IF_ERROR(CheckFields(body, kGenerativeScoringFields));
  FieldReader fields(body);
  GenerativeScoringRequest out;
  out.decide.set_model(fields.String("model").value_or(""));
  out.apply_softmax = fields.BoolOr("apply_softmax", true);
  out.request_id = fields.String("request_id").value_or("");
  const bool item_first = fields.BoolOr("item_first", false);
  if (!fields.BoolOr("add_special_tokens", true)) out.decide.mutable_tokenization()->set_add_special_tokens(false);
  const std::vector<int32_t> labels = fields.TokenIds("label_token_ids").value_or(std::vector<int32_t>());
  RETURN_IF_ERROR(fields.status());
  if (!fields.Has("label_token_ids")) return MissingField("label_token_ids");
  if (labels.empty()) return InvalidValue("label_token_ids", "must not be empty");
  ASSIGN_OR_RETURN(const QueryAndItems parts, QueryAndItemsOf(fields, labels.size()));
  for (size_t i = 0; i < parts.items.size(); ++i) {
    v1::DecideItem& item = *out.decide.add_items();
    const std::string path = "items[" + std::to_string(i) + "]";
    if (item_first) RETURN_IF_ERROR(AddSegment(parts.items[i], path, *item.mutable_context()));
    RETURN_IF_ERROR(AddSegment(parts.query, "query", *item.mutable_context()));
    if (!item_first) RETURN_IF_ERROR(AddSegment(parts.items[i], path, *item.mutable_context()));
    std::set<int32_t> known;
    for (const int32_t label : labels) {
      if (!known.insert(label).second) continue;
      item.mutable_choice()->add_options()->mutable_tokens()->add_token_ids(label);
    }
  }
  return out;
}

}  // namespace

FieldTable GenerativeScoringFields() { return kGenerativeScoringFields; }

absl::Status HandleGenerativeScoring(Exchange& exchange, Services& services) {
  ASSIGN_OR_RETURN(const Json body, ParseJson(exchange.request.body));
  ASSIGN_OR_RETURN(const GenerativeScoringRequest request, ParseGenerativeScoring(body));
  ASSIGN_OR_RETURN(const std::vector<v1::DecideResponse> replies,
                   DecideAll(services, CallerOf(exchange), request.decide,
                             [](size_t i) { return "items[" + std::to_string(i) + "]"; }));
  UsageSum usage;
  for (const v1::DecideResponse& reply : replies) usage.Add(reply.usage());
  ReplyHead head = NewHead("generative-scoring-", "list");
  if (!request.request_id.empty()) head.id = "generative-scoring-" + request.request_id;
  head.model = replies.front().provenance().model();
  JsonWriter out;
  out.BeginObject();
  WriteHead(head, out);
  out.Key("usage");
  out.Raw(usage.Json());
  out.Key("data");
  out.BeginArray();
  for (size_t i = 0; i < replies.size(); ++i) {
    const v1::DecidedItem& item = replies[i].item();
    out.BeginObject();
    out.Field("index", static_cast<int64_t>(i));
    out.Field("object", "score");
    out.Field("score", LabelProbability(item.options(0), request.apply_softmax));
    out.Field("label_mass", LabelMass(item));
    out.EndObject();
  }
  out.EndArray();
  out.EndObject();
  exchange.ReplyJson(out.Take());
  return absl::OkStatus();
}

}  // namespace logitd::http

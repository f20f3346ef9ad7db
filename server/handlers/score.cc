#include "server/handlers/score.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/model.h"
#include "server/converters/wire.h"
#include "server/handlers/cache_scope.h"
#include "server/handlers/continuation_scores.h"
#include "server/handlers/item_tokens.h"
#include "server/handlers/prompt_input.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

absl::StatusOr<std::vector<ItemRequest>> ItemsOf(const v1::ScoreRequest& request) {
  if (request.items().empty()) return errors::NoCandidates("items");
  if (request.items_size() > kMaxItems) {
    return errors::AboveLimit("items", request.items_size(), kMaxItems, 1);
  }
  std::vector<ItemRequest> items;
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::ScoreItem& message = request.items(i);
    ItemRequest& item = items.emplace_back();
    item.field = Element("items", i);
    item.id = message.id();
    if (message.has_context()) item.context = &message.context();
    const auto& continuations = message.continuations();
    if (continuations.size() > kMaxContinuations) {
      return errors::AboveLimit(item.field + ".continuations", continuations.size(), kMaxContinuations, 1);
    }
    for (int j = 0; j < continuations.size(); ++j) {
      item.continuations.push_back(ContinuationOf(Element("continuations", j), continuations[j]));
      item.continuations.back().named = &continuations[j].named_by_position();
    }
  }
  return items;
}

// Named tokens appear in records only.
absl::Status CheckNamedHaveRecords(const std::vector<ItemRequest>& items, const RecordOptions& record) {
  if (record.records) return absl::OkStatus();
  for (const ItemRequest& item : items) {
    for (const ContinuationRequest& continuation : item.continuations) {
      if (continuation.named->empty()) continue;
      return errors::Exclusive(item.field + "." + continuation.field + ".named_by_position",
                               "record.layout = RECORD_LAYOUT_NONE");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ScoreOptions> OptionsOf(const v1::ScoreRequest& request, int32_t vocab_size) {
  ScoreOptions options;
  if (request.has_sampling()) {
    ASSIGN_OR_RETURN(options.sampling, In("sampling.", ScoringParamsFromProto(request.sampling(), vocab_size)));
  }
  ASSIGN_OR_RETURN(options.record, In("record.", FromProto(request.record(), vocab_size,
                                                           /*default_sampling_log_prob=*/options.sampling.has_value(),
                                                           v1::RECORD_LAYOUT_RECORDS)));
  return options;
}

}  // namespace

absl::Status Score(const v1::ScoreRequest& request, const ServerEnv& env, const RequestContext& context,
                   ReplyWriter<v1::ScoreResponse>& writer) {
  ASSIGN_OR_RETURN(const std::vector<ItemRequest> items, ItemsOf(request));
  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  ASSIGN_OR_RETURN(ScoreOptions options, OptionsOf(request, model->description().vocab_size));
  ASSIGN_OR_RETURN(options.scope, ScopeOf(request.evaluation(), env));
  RETURN_IF_ERROR(CheckNamedHaveRecords(items, options.record));
  ASSIGN_OR_RETURN(std::vector<ItemInput> inputs,
                   ResolveItems(items, FromProto(request.tokenization()), *model, context));
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].status.ok() && items[i].continuations.empty()) {
      inputs[i].status = errors::NoCandidates(items[i].field + ".continuations");
    }
  }
  RETURN_IF_ERROR(CheckAlternatives(inputs, options.record));
  const auto done = [&](size_t i, const ItemScores& scores) {
    v1::ScoreResponse response;
    response.set_item_index(static_cast<int32_t>(i));
    if (CheckId(items[i].id).ok()) response.set_id(std::string(items[i].id));
    *response.mutable_provenance() = ProvenanceOf(*model);
    v1::ScoredItem& item = *response.mutable_item();
    if (!inputs[i].status.ok()) {
      *item.mutable_error() = ToProto(inputs[i].status);
      return writer.Write(response);
    }
    item.set_context_token_count(static_cast<int32_t>(inputs[i].context->size()));
    if (HasReport(inputs[i].report)) *item.mutable_tokenization() = inputs[i].report;
    if (inputs[i].implicit_context_token_id) item.set_implicit_context_token_id(*inputs[i].implicit_context_token_id);
    for (size_t j = 0; j < scores.continuations.size(); ++j) {
      ToProto(inputs[i].continuations[j], scores.continuations[j], options.record, model->vocabulary(),
              *item.add_continuations());
    }
    *response.mutable_usage() = UsageOf(inputs[i], scores);
    return writer.Write(response);
  };
  return ScoreContinuations(inputs, options, *model, env, context, done);
}

}  // namespace logitd::server

#include "server/handlers/score.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/ranker.h"
#include "server/converters/model.h"
#include "server/converters/wire.h"
#include "server/handlers/applied_calibration.h"
#include "server/handlers/cache_scope.h"
#include "server/handlers/continuation_scores.h"
#include "server/handlers/item_tokens.h"
#include "server/handlers/prompt_input.h"
#include "server/handlers/provenance.h"
#include "server/handlers/rolling_score.h"

namespace logitd::server {
namespace {

// The items of a request.
struct Items {
  // Those with continuations, and the index of each in the request.
  std::vector<ItemRequest> requests;
  std::vector<int> indices;
  // The indices of those with a text to score in windows.
  std::vector<int> rolling;
};

absl::StatusOr<Items> ItemsOf(const v1::ScoreRequest& request, const AppliedCalibration& calibration) {
  if (request.items().empty()) return errors::NoCandidates("items");
  if (request.items_size() > kMaxItems) {
    return errors::AboveLimit("items", request.items_size(), kMaxItems, 1);
  }
  Items items;
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::ScoreItem& message = request.items(i);
    if (message.has_rolling()) {
      items.rolling.push_back(i);
      continue;
    }
    items.indices.push_back(i);
    ItemRequest& item = items.requests.emplace_back();
    item.field = Element("items", i);
    item.id = message.id();
    const auto& continuations = message.continuations();
    if (continuations.size() > kMaxContinuations) {
      item.status = errors::AboveLimit("continuations", continuations.size(), kMaxContinuations, 1);
      continue;
    }
    item.status = calibration.CheckCount("continuations", continuations.size());
    if (!item.status.ok()) continue;
    if (message.has_context()) item.context = &message.context();
    for (int j = 0; j < continuations.size(); ++j) {
      item.continuations.push_back(ContinuationOf(Element("continuations", j), continuations[j]));
      item.continuations.back().named = &continuations[j].named_by_position();
    }
  }
  return items;
}

// The calibration that the request names. It needs the sums of the model's log-probs.
absl::StatusOr<AppliedCalibration> CalibrationOf(const v1::ScoreRequest& request, const ServerEnv& env) {
  ASSIGN_OR_RETURN(const AppliedCalibration calibration, AppliedCalibration::Of(request.calibration(), env));
  if (!calibration.is_set()) return calibration;
  if (calibration.score() > Normalization::kPerCharacter) {
    RETURN_IF_ERROR(calibration.CheckScore("calibration", Normalization::kSum, std::nullopt));
  }
  if (request.has_sampling()) return errors::Exclusive("calibration", "sampling");
  if (request.record().has_model_log_prob() && !request.record().model_log_prob()) {
    return errors::Required("record.model_log_prob", "the calibration takes its sums");
  }
  return calibration;
}

// The value of a continuation under the score of a calibration.
std::optional<double> ValueOf(const ContinuationInput& input, const ContinuationScore& score, Normalization by) {
  if (!score.status.ok() || !score.sums.model) return std::nullopt;
  return NormalizedLogProb({.log_prob = score.sums.model->value(),
                            .token_count = score.token_count,
                            .byte_count = input.byte_count,
                            .character_count = input.character_count},
                           by);
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
  ASSIGN_OR_RETURN(const AppliedCalibration calibration, CalibrationOf(request, env));
  ASSIGN_OR_RETURN(const Items items, ItemsOf(request, calibration));
  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  ASSIGN_OR_RETURN(ScoreOptions options, OptionsOf(request, model->description().vocab_size));
  ASSIGN_OR_RETURN(options.scope, ScopeOf(request.evaluation(), *model, env));
  RETURN_IF_ERROR(CheckNamedHaveRecords(items.requests, options.record));
  const TokenizationOptions tokenization = FromProto(request.tokenization());
  ASSIGN_OR_RETURN(std::vector<ItemInput> inputs, ResolveItems(items.requests, tokenization, *model, context));
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].status.ok() && items.requests[i].continuations.empty()) {
      inputs[i].status = errors::NoCandidates(items.requests[i].field + ".continuations");
    }
  }
  RETURN_IF_ERROR(CheckAlternatives(inputs, options.record));
  // The reply of an item, without its scores.
  const auto reply_of = [&](int index) {
    v1::ScoreResponse response;
    response.set_item_index(index);
    const std::string& id = request.items(index).id();
    if (CheckId(id).ok()) response.set_id(id);
    *response.mutable_provenance() = ProvenanceOf(*model, options.scope);
    calibration.Write(*response.mutable_provenance());
    return response;
  };
  const auto done = [&](size_t i, const ItemScores& scores) {
    v1::ScoreResponse response = reply_of(items.indices[i]);
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
    if (calibration.is_set()) {
      std::vector<std::optional<double>> values;
      for (size_t j = 0; j < scores.continuations.size(); ++j) {
        values.push_back(ValueOf(inputs[i].continuations[j], scores.continuations[j], calibration.score()));
      }
      calibration.Write(values, [&item](size_t j) -> v1::ScoredContinuation& {
        return *item.mutable_continuations(static_cast<int>(j));
      });
    }
    *response.mutable_usage() = UsageOf(inputs[i], scores);
    return writer.Write(response);
  };
  RETURN_IF_ERROR(ScoreContinuations(inputs, options, *model, env, context, done));
  for (const int i : items.rolling) {
    const v1::ScoreItem& message = request.items(i);
    v1::ScoreResponse response = reply_of(i);
    const std::string field = Element("items", i);
    absl::Status status = CheckId(message.id());
    if (status.ok() && message.has_context()) status = errors::Exclusive("rolling", "context");
    if (status.ok() && !message.continuations().empty()) status = errors::Exclusive("rolling", "continuations");
    // Its tokens have one distribution only.
    if (status.ok() && request.has_sampling()) status = errors::Exclusive("rolling", "sampling of the request");
    if (status.ok() && calibration.is_set()) status = errors::Exclusive("rolling", "calibration of the request");
    if (!status.ok()) {
      *response.mutable_item()->mutable_error() = ToProto(In(field + ".", status));
    } else {
      RETURN_IF_ERROR(
          ScoreRolling(message.rolling(), field + ".rolling", options, tokenization, *model, env, context, response));
    }
    if (!writer.Write(response)) return context.Check();
  }
  return absl::OkStatus();
}

}  // namespace logitd::server

#include "server/handlers/rank.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/ranker.h"
#include "core/winner_pruner.h"
#include "server/converters/model.h"
#include "server/converters/wire.h"
#include "server/handlers/continuation_scores.h"
#include "server/handlers/item_orders.h"
#include "server/handlers/item_ranking.h"
#include "server/handlers/item_tokens.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

absl::Status CheckWinnerOnly(const v1::RankRequest& request) {
  const auto exclusive = [](std::string field) { return errors::Exclusive("winner_only", field); };
  if (request.order_by() == v1::NORMALIZATION_PMI || request.order_by() == v1::NORMALIZATION_COMBINED) {
    return exclusive("order_by = " + v1::Normalization_Name(request.order_by()));
  }
  if (request.has_inverse_temperature()) return exclusive("inverse_temperature");
  if (request.has_unconditional_context()) return exclusive("unconditional_context");
  if (request.has_order()) return exclusive("order");
  if (!request.calibration().empty()) return exclusive("calibration");
  for (int i = 0; i < request.items_size(); ++i) {
    if (request.items(i).has_unconditional_context()) return exclusive(Element("items", i, ".unconditional_context"));
    if (!request.items(i).given_order().empty()) return exclusive(Element("items", i, ".given_order"));
  }
  return absl::OkStatus();
}

absl::StatusOr<RankOptions> OptionsOf(const v1::RankRequest& request, const ServerEnv& env) {
  RankOptions options;
  if (request.order_by() != v1::NORMALIZATION_UNSPECIFIED) {
    options.order_by = static_cast<Normalization>(request.order_by());
  }
  if (request.has_inverse_temperature()) options.inverse_temperature = request.inverse_temperature();
  if (!(options.inverse_temperature >= 0 && options.inverse_temperature <= kMaxInverseTemperature)) {
    return errors::OutOfRange("inverse_temperature", options.inverse_temperature, "in [0, 1000]");
  }
  if (request.has_gnmt_alpha()) {
    options.gnmt_alpha = request.gnmt_alpha();
    RETURN_IF_ERROR(CheckGnmtAlpha(*options.gnmt_alpha));
  } else if (options.order_by == Normalization::kGnmt) {
    return errors::Required("gnmt_alpha", "order_by is NORMALIZATION_GNMT");
  }
  options.wants_order = request.has_order();
  ASSIGN_OR_RETURN(options.order_top_count, TopCountOf(request));
  options.winner_only = request.winner_only();
  if (options.winner_only) RETURN_IF_ERROR(CheckWinnerOnly(request));
  ASSIGN_OR_RETURN(options.calibration, AppliedCalibration::Of(request.calibration(), env));
  RETURN_IF_ERROR(options.calibration.CheckScore("order_by", options.order_by, options.gnmt_alpha));
  return options;
}

absl::Status CheckItems(const v1::RankRequest& request) {
  if (request.items().empty()) return errors::NoCandidates("items");
  if (request.items_size() > kMaxItems) {
    return errors::AboveLimit("items", request.items_size(), kMaxItems, 1);
  }
  int64_t alternative_tokens = 0;
  for (int i = 0; i < request.items_size(); ++i) {
    for (const v1::Candidate& candidate : request.items(i).candidates()) {
      for (const v1::TokenIds& tokens : candidate.alternative_tokenizations()) {
        alternative_tokens += tokens.token_ids_size();
      }
    }
  }
  if (alternative_tokens <= kMaxScoreTokens) return absl::OkStatus();
  return errors::AboveLimit("items", alternative_tokens, kMaxScoreTokens, 0, "tokens of alternative tokenisations");
}

// Gives up the candidates that cannot win, of each item that the model scores.
class WinnerWatch : public ScoreWatch {
 public:
  // `given`: the scores of the item's other candidates.
  void AddItem(const ItemInput& input, const std::vector<CandidateScore>& given, const WinnerPruner::Options& options) {
    WinnerPruner& pruner = pruners_.emplace_back(options);
    for (const CandidateScore& score : given) pruner.AddComplete(score);
    for (const ContinuationInput& continuation : input.continuations) {
      pruner.Add({.token_count = static_cast<int32_t>(continuation.token_ids.size()),
                  .byte_count = continuation.byte_count,
                  .character_count = continuation.character_count});
    }
  }

  void OnToken(size_t item, size_t continuation, double log_prob) override {
    pruners_[item].AddToken(continuation, log_prob);
  }
  bool IsWanted(size_t item, size_t continuation) override { return pruners_[item].CanWin(continuation); }

 private:
  std::vector<WinnerPruner> pruners_;
};

// The items that the model scores: each, and after it the same candidates after its unconditional context.
struct ModelItems {
  struct Part {
    // Index of the item in the request.
    int index = 0;
    std::unique_ptr<ItemRanking> ranking;
    bool is_last = true;
  };

  void Add(const v1::RankItem& message, int index, std::unique_ptr<ItemRanking> ranking) {
    ItemRequest& item = requests.emplace_back();
    item.field = ranking->field();
    if (message.has_context()) item.context = &message.context();
    for (const int j : ranking->for_model()) {
      item.continuations.push_back(ContinuationOf(Element("candidates", j), message.candidates(j)));
    }
    const v1::Input* const unconditional = ranking->unconditional_context();
    parts.push_back({index, std::move(ranking), unconditional == nullptr});
    if (unconditional == nullptr) return;
    ItemRequest again = requests.back();
    again.context = unconditional;
    requests.push_back(std::move(again));
    parts.push_back({index, nullptr, true});
  }

  std::vector<ItemRequest> requests;
  // Parallel to `requests`. The unconditional part of an item has no ranking of its own.
  std::vector<Part> parts;
};

void AddUsage(const v1::Usage& more, v1::Usage& usage) {
  usage.set_evaluated_token_count(usage.evaluated_token_count() + more.evaluated_token_count());
  usage.set_cached_token_count(usage.cached_token_count() + more.cached_token_count());
  usage.set_scored_token_count(usage.scored_token_count() + more.scored_token_count());
}

// The item's reply, without provenance.
v1::RankResponse ReplyOf(const v1::RankRequest& request, int index, ItemRanking& ranking) {
  v1::RankResponse response;
  response.set_item_index(index);
  if (CheckId(request.items(index).id()).ok()) response.set_id(request.items(index).id());
  *response.mutable_item() = ranking.Finish();
  return response;
}

}  // namespace

absl::Status Rank(const v1::RankRequest& request, const ServerEnv& env, const RequestContext& context,
                  ReplyWriter<v1::RankResponse>& writer) {
  RETURN_IF_ERROR(CheckItems(request));
  ASSIGN_OR_RETURN(const RankOptions options, OptionsOf(request, env));

  ModelItems items;
  std::vector<v1::RankResponse> without_model;
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::RankItem& message = request.items(i);
    const v1::Input* unconditional = nullptr;
    if (request.has_unconditional_context()) unconditional = &request.unconditional_context();
    if (message.has_unconditional_context()) unconditional = &message.unconditional_context();
    auto ranking = std::make_unique<ItemRanking>(message, Element("items", i), unconditional, options);
    if (!ranking->for_model().empty()) {
      items.Add(message, i, std::move(ranking));
      continue;
    }
    without_model.push_back(ReplyOf(request, i, *ranking));
    *without_model.back().mutable_provenance() = ProvenanceWithoutModel();
    options.calibration.Write(*without_model.back().mutable_provenance());
  }
  const auto write_without_model = [&]() -> absl::Status {
    for (const v1::RankResponse& response : without_model) {
      if (!writer.Write(response)) {
        RETURN_IF_ERROR(context.Check());
        return errors::Cancelled();
      }
    }
    return absl::OkStatus();
  };
  if (items.requests.empty()) return write_without_model();

  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  ASSIGN_OR_RETURN(ScoreOptions score_options, OptionsForSums(request.evaluation(), request.record(), *model, env));
  ASSIGN_OR_RETURN(std::vector<ItemInput> inputs,
                   ResolveItems(items.requests, FromProto(request.tokenization()), *model, context));
  WinnerWatch watch;
  const double tolerance = score_options.scope.isolated_on ? 0 : model->batch_tolerance_nats().value_or(0);
  const WinnerPruner::Options pruning{options.order_by, options.gnmt_alpha, tolerance};
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto& ranking = items.parts[i].ranking;
    if (ranking != nullptr) ranking->AddAlternatives(*model, inputs[i]);
    if (options.winner_only) watch.AddItem(inputs[i], ranking->given_scores(), pruning);
  }
  if (options.winner_only) score_options.watch = &watch;
  RETURN_IF_ERROR(CheckAlternatives(inputs, score_options.record));
  RETURN_IF_ERROR(write_without_model());
  v1::Usage usage;
  const auto done = [&](size_t i, const ItemScores& scores) {
    const ModelItems::Part& part = items.parts[i];
    ItemRanking& ranking = part.ranking != nullptr ? *part.ranking : *items.parts[i - 1].ranking;
    if (part.ranking != nullptr) {
      ranking.TakeScores(inputs[i], scores.continuations, score_options.record, model->vocabulary());
      usage.Clear();
      if (inputs[i].status.ok()) usage = UsageOf(inputs[i], scores);
    } else {
      ranking.TakeUnconditional(inputs[i], inputs[i - 1], scores.continuations);
      if (inputs[i].status.ok()) AddUsage(UsageOf(inputs[i], scores), usage);
    }
    if (!part.is_last) return true;
    v1::RankResponse response = ReplyOf(request, part.index, ranking);
    *response.mutable_provenance() = ProvenanceOf(*model, score_options.scope);
    options.calibration.Write(*response.mutable_provenance());
    if (usage.prompt_token_count() > 0) *response.mutable_usage() = usage;
    return writer.Write(response);
  };
  return ScoreContinuations(inputs, score_options, *model, env, context, done);
}

}  // namespace logitd::server

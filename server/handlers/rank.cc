#include "server/handlers/rank.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "core/limits.h"
#include "core/log_prob_range.h"
#include "core/ranker.h"
#include "core/status_macros.h"
#include "server/converters/error.h"
#include "server/converters/model.h"
#include "server/converters/sampling.h"
#include "server/handlers/continuation_scores.h"
#include "server/handlers/inputs.h"
#include "server/handlers/numerics_version.h"
#include "server/handlers/prompt_input.h"
#include "server/handlers/provenance.h"
#include "server/handlers/scored_continuation.h"

namespace logitd::server {
namespace {

struct RankOptions {
  Normalization order_by = Normalization::kSum;
  double inverse_temperature = 1;
};

absl::StatusOr<RankOptions> OptionsOf(const v1::RankRequest& request) {
  RankOptions options;
  if (request.order_by() != v1::NORMALIZATION_UNSPECIFIED) {
    options.order_by = static_cast<Normalization>(request.order_by());
  }
  if (request.has_inverse_temperature()) options.inverse_temperature = request.inverse_temperature();
  if (!(options.inverse_temperature >= 0 && options.inverse_temperature <= kMaxInverseTemperature)) {
    return errors::OutOfRange("inverse_temperature", options.inverse_temperature, "in [0, 1000]");
  }
  return options;
}

absl::StatusOr<CandidateScore> ScoreOf(const v1::CandidateSums& sums, const std::string& field) {
  if (sums.token_count() < 1) {
    return errors::OutOfRange(field + ".token_count", int64_t{sums.token_count()}, ">= 1");
  }
  if (!sums.has_sum_model_log_prob()) return errors::Required(field + ".sum_model_log_prob");
  if (!IsSum(sums.sum_model_log_prob(), sums.token_count(), kLeastModelLogProb)) {
    return errors::OutOfRange(field + ".sum_model_log_prob", sums.sum_model_log_prob(),
                              SumRange(sums.token_count(), kLeastModelLogProb));
  }
  // -0 becomes 0.
  CandidateScore score{sums.sum_model_log_prob() + 0.0, sums.token_count(), std::nullopt, std::nullopt};
  if (sums.has_byte_count()) {
    if (sums.byte_count() < 1) return errors::OutOfRange(field + ".byte_count", int64_t{sums.byte_count()}, ">= 1");
    score.byte_count = sums.byte_count();
  }
  if (sums.has_character_count()) {
    if (sums.character_count() < 1) {
      return errors::OutOfRange(field + ".character_count", int64_t{sums.character_count()}, ">= 1");
    }
    score.character_count = sums.character_count();
  }
  return score;
}

// The candidates of all items, as they are scored.
struct RankedCandidates {
  std::vector<std::optional<CandidateScore>> scores;
};

absl::Status CheckItems(const v1::RankRequest& request) {
  if (request.items().empty()) return errors::NoCandidates("items");
  if (request.items_size() > kMaxItems) {
    return errors::LimitExceeded("items", request.items_size(), "[1, " + std::to_string(kMaxItems) + "]", "max_items");
  }
  for (int i = 0; i < request.items_size(); ++i) {
    if (request.items(i).candidates_size() <= kMaxCandidates) continue;
    return errors::LimitExceeded("items[" + std::to_string(i) + "].candidates", request.items(i).candidates_size(),
                                 "[1, " + std::to_string(kMaxCandidates) + "]", "max_candidates");
  }
  return absl::OkStatus();
}

// Scores what the model is to score, into `response` and `ranked`.
absl::Status ScoreWithModel(const v1::RankRequest& request, const ServerEnv& env, const RequestContext& context,
                            v1::RankResponse& response, std::vector<RankedCandidates>& ranked) {
  std::vector<ItemRequest> items;
  // Which candidate each part of an item is.
  std::vector<std::vector<int>> candidate_of;
  bool any = false;
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::RankItem& message = request.items(i);
    ItemRequest& item = items.emplace_back();
    item.field = "items[" + std::to_string(i) + "]";
    if (message.has_context()) item.context = &message.context();
    candidate_of.emplace_back();
    for (int j = 0; j < message.candidates_size(); ++j) {
      if (!message.candidates(j).has_continuation()) continue;
      any = true;
      candidate_of.back().push_back(j);
      item.continuations.push_back(
          {"candidates[" + std::to_string(j) + "].continuation", &message.candidates(j).continuation()});
    }
  }
  if (!any) return absl::OkStatus();

  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  ScoreOptions options;
  auto record = FromProto(request.record(), model->description().vocab_size, /*default_sampling_log_prob=*/false,
                          v1::RECORD_LAYOUT_NONE);
  if (!record.ok()) return WithFieldPrefix(record.status(), "record.");
  options.record = *std::move(record);
  // Without the model's log-probs there is nothing to rank by.
  options.record.model_log_prob = true;
  options.record.sampling_log_prob = false;
  *response.mutable_provenance() = ProvenanceOf(*model);
  ASSIGN_OR_RETURN(const std::vector<ItemInput> inputs,
                   ResolveItems(items, FromProto(request.tokenization()), *model, context));
  RETURN_IF_ERROR(CheckAlternatives(inputs, options.record));
  const auto done = [&](size_t i, std::vector<ContinuationScore> scores) {
    v1::RankedItem& item = *response.mutable_items(static_cast<int>(i));
    if (!inputs[i].status.ok() && !candidate_of[i].empty()) {
      item.Clear();
      *item.mutable_error() = ToProto(inputs[i].status);
      return true;
    }
    // The model has nothing to do with an item whose candidates bring their sums, whatever its context is.
    if (candidate_of[i].empty()) return true;
    v1::Usage& usage = *response.mutable_usage();
    usage.set_prompt_token_count(usage.prompt_token_count() + static_cast<int32_t>(inputs[i].context->size()));
    if (HasReport(inputs[i].report)) *item.mutable_tokenization() = inputs[i].report;
    for (size_t part = 0; part < scores.size(); ++part) {
      const int j = candidate_of[i][part];
      v1::ScoredContinuation scored;
      ToProto(inputs[i].continuations[part], scores[part], options.record, model->vocabulary(), scored);
      v1::RankedCandidate& candidate = *item.mutable_candidates(j);
      if (scored.has_error()) {
        *candidate.mutable_error() = scored.error();
        continue;
      }
      candidate.mutable_score()->Swap(scored.mutable_score());
      if (scored.has_boundary()) candidate.mutable_boundary()->Swap(scored.mutable_boundary());
      // A token of probability zero leaves no sum: such a candidate has no value, and no place.
      if (!scores[part].sums.model) continue;
      ranked[i].scores[j] =
          CandidateScore{scores[part].sums.model->value(), scores[part].token_count,
                         inputs[i].continuations[part].byte_count, inputs[i].continuations[part].character_count};
    }
    return true;
  };
  return ScoreContinuations(inputs, options, *model, context, env.workspaces, done);
}

std::vector<std::optional<double>> ValuesOf(const RankedCandidates& ranked, Normalization by) {
  std::vector<std::optional<double>> values;
  for (const auto& score : ranked.scores) values.push_back(score ? NormalizedLogProb(*score, by) : std::nullopt);
  return values;
}

// Whether every candidate that is scored has a value under `by`.
bool IsDefined(const RankedCandidates& ranked, Normalization by) {
  return std::all_of(ranked.scores.begin(), ranked.scores.end(),
                     [by](const auto& score) { return !score || NormalizedLogProb(*score, by); });
}

absl::Status RankItem(const RankedCandidates& ranked, const RankOptions& options, v1::RankedItem& item) {
  if (!IsDefined(ranked, options.order_by)) {
    const bool bytes = options.order_by == Normalization::kPerByte;
    return errors::NormalizationUndefined(v1::Normalization_Name(static_cast<v1::Normalization>(options.order_by)),
                                          bytes ? "byte_count" : "character_count");
  }
  std::vector<Normalization> all = {options.order_by};
  for (const Normalization by :
       {Normalization::kSum, Normalization::kPerToken, Normalization::kPerByte, Normalization::kPerCharacter}) {
    if (by != options.order_by && IsDefined(ranked, by)) all.push_back(by);
  }
  for (const Normalization by : all) {
    const Ordering ordering = OrderBy(ValuesOf(ranked, by));
    v1::RankOrdering& message = *item.add_orderings();
    message.set_by(static_cast<v1::Normalization>(by));
    message.mutable_candidate_indices()->Add(ordering.candidate_indices.begin(), ordering.candidate_indices.end());
    message.mutable_places()->Add(ordering.places.begin(), ordering.places.end());
    message.set_tied(ordering.tied);
    if (by != options.order_by) continue;
    for (size_t i = 0; i < ordering.candidate_indices.size(); ++i) {
      item.mutable_candidates(ordering.candidate_indices[i])->set_place(ordering.places[i]);
    }
  }
  const auto probabilities = CandidateProbabilities(ValuesOf(ranked, options.order_by), options.inverse_temperature);
  for (size_t j = 0; j < ranked.scores.size(); ++j) {
    if (!ranked.scores[j]) continue;
    v1::RankedCandidate& candidate = *item.mutable_candidates(static_cast<int>(j));
    const CandidateScore& score = *ranked.scores[j];
    candidate.set_sum(score.log_prob);
    candidate.set_per_token(*NormalizedLogProb(score, Normalization::kPerToken));
    if (const auto value = NormalizedLogProb(score, Normalization::kPerByte)) candidate.set_per_byte(*value);
    if (const auto value = NormalizedLogProb(score, Normalization::kPerCharacter)) candidate.set_per_character(*value);
    if (const auto value = BitsPerByte(score); value && std::isfinite(*value)) candidate.set_bits_per_byte(*value);
    // A mean log-prob below -709 nats has a perplexity that no double holds.
    if (const double perplexity = Perplexity(score); std::isfinite(perplexity)) candidate.set_perplexity(perplexity);
    if (probabilities[j]) candidate.set_candidate_probability(*probabilities[j]);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Rank(const v1::RankRequest& request, const ServerEnv& env, const RequestContext& context,
                  v1::RankResponse& response) {
  RETURN_IF_ERROR(CheckNumericsVersion(request));
  RETURN_IF_ERROR(CheckItems(request));
  ASSIGN_OR_RETURN(const RankOptions options, OptionsOf(request));

  *response.mutable_provenance() = ProvenanceWithoutModel();
  std::vector<RankedCandidates> ranked(static_cast<size_t>(request.items_size()));
  for (int i = 0; i < request.items_size(); ++i) {
    v1::RankedItem& item = *response.add_items();
    for (int j = 0; j < request.items(i).candidates_size(); ++j) {
      const v1::Candidate& message = request.items(i).candidates(j);
      const std::string field = "items[" + std::to_string(i) + "].candidates[" + std::to_string(j) + "]";
      v1::RankedCandidate& candidate = *item.add_candidates();
      ranked[i].scores.emplace_back();
      if (message.has_sums()) {
        auto score = ScoreOf(message.sums(), field + ".sums");
        if (score.ok()) {
          ranked[i].scores.back() = *score;
        } else {
          *candidate.mutable_error() = ToProto(score.status());
        }
      } else if (!message.has_continuation()) {
        *candidate.mutable_error() = ToProto(errors::Required(field + ".continuation"));
      }
    }
    if (item.candidates().empty()) {
      *item.mutable_error() = ToProto(errors::NoCandidates("items[" + std::to_string(i) + "].candidates"));
    }
  }
  RETURN_IF_ERROR(ScoreWithModel(request, env, context, response, ranked));
  for (int i = 0; i < response.items_size(); ++i) {
    v1::RankedItem& item = *response.mutable_items(i);
    if (item.has_error()) continue;
    const absl::Status status = RankItem(ranked[i], options, item);
    if (status.ok()) continue;
    item.Clear();
    *item.mutable_error() = ToProto(status);
  }
  return absl::OkStatus();
}

}  // namespace logitd::server

#include "server/handlers/rank.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/log_prob_range.h"
#include "core/ranker.h"
#include "server/converters/model.h"
#include "server/converters/wire.h"
#include "server/handlers/cache_scope.h"
#include "server/handlers/continuation_scores.h"
#include "server/handlers/item_tokens.h"
#include "server/handlers/prompt_input.h"
#include "server/handlers/provenance.h"

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

// The score of a candidate that brings its sums.
absl::StatusOr<CandidateScore> ScoreOf(const v1::Candidate& candidate, const std::string& candidate_field) {
  const v1::CandidateSums& sums = candidate.sums();
  const std::string field = candidate_field + ".sums";
  // The caller meant the sums' own counts, or forgot the text.
  if (candidate.uncounted_prefix_bytes() != 0) {
    return errors::Exclusive(candidate_field + ".uncounted_prefix_bytes", "sums");
  }
  if (candidate.has_byte_count()) return errors::Exclusive(candidate_field + ".byte_count", "sums");
  if (candidate.has_character_count()) return errors::Exclusive(candidate_field + ".character_count", "sums");
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

// An item before its ranking.
struct Ranking {
  // Its candidates, with their errors so far; or its own error.
  v1::RankedItem item;
  // Of each candidate, where it has one.
  std::vector<std::optional<CandidateScore>> scores;
  // The candidates that the model scores.
  std::vector<int> for_model;
};

absl::Status CheckItems(const v1::RankRequest& request) {
  if (request.items().empty()) return errors::NoCandidates("items");
  if (request.items_size() > kMaxItems) {
    return errors::AboveLimit("items", request.items_size(), kMaxItems, 1);
  }
  for (int i = 0; i < request.items_size(); ++i) {
    if (request.items(i).candidates_size() <= kMaxCandidates) continue;
    return errors::AboveLimit(Element("items", i, ".candidates"), request.items(i).candidates_size(), kMaxCandidates,
                              1);
  }
  return absl::OkStatus();
}

// Reads the parts of an item that need no model.
Ranking RankingOf(const v1::RankItem& message, const std::string& field) {
  Ranking ranking;
  absl::Status status = In(field + ".", CheckId(message.id()));
  if (status.ok() && message.candidates().empty()) status = errors::NoCandidates(field + ".candidates");
  if (!status.ok()) {
    *ranking.item.mutable_error() = ToProto(status);
    return ranking;
  }
  for (int j = 0; j < message.candidates_size(); ++j) {
    const v1::Candidate& candidate = message.candidates(j);
    const std::string candidate_field = field + Element(".candidates", j);
    v1::RankedCandidate& ranked = *ranking.item.add_candidates();
    ranking.scores.emplace_back();
    if (candidate.has_sums()) {
      auto score = ScoreOf(candidate, candidate_field);
      if (score.ok()) {
        ranking.scores.back() = *score;
      } else {
        *ranked.mutable_error() = ToProto(score.status());
      }
    } else if (candidate.has_text() || candidate.has_tokens()) {
      ranking.for_model.push_back(j);
    } else {
      *ranked.mutable_error() = ToProto(errors::RequiredOneOf(candidate_field, "text, tokens or sums"));
    }
  }
  return ranking;
}

// Adds the scores of the model to an item.
void TakeScores(const ItemInput& input, const std::vector<ContinuationScore>& scores, const RecordOptions& options,
                const Vocabulary& vocabulary, Ranking& ranking) {
  if (!input.status.ok()) {
    ranking.item.Clear();
    *ranking.item.mutable_error() = ToProto(input.status);
    return;
  }
  ranking.item.set_context_token_count(static_cast<int32_t>(input.context->size()));
  if (HasReport(input.report)) *ranking.item.mutable_tokenization() = input.report;
  if (input.implicit_context_token_id) ranking.item.set_implicit_context_token_id(*input.implicit_context_token_id);
  for (size_t part = 0; part < scores.size(); ++part) {
    const int j = ranking.for_model[part];
    v1::ScoredContinuation scored;
    ToProto(input.continuations[part], scores[part], options, vocabulary, scored);
    v1::RankedCandidate& candidate = *ranking.item.mutable_candidates(j);
    if (scored.has_error()) {
      *candidate.mutable_error() = scored.error();
      continue;
    }
    candidate.mutable_score()->Swap(scored.mutable_score());
    if (scored.has_boundary()) candidate.mutable_boundary()->Swap(scored.mutable_boundary());
    candidate.set_truncated_token_count(scored.truncated_token_count());
    // A token of probability 0 leaves no sum, so the candidate has neither value nor rank.
    if (!scores[part].sums.model) continue;
    ranking.scores[j] = CandidateScore{scores[part].sums.model->value(), scores[part].token_count,
                                       input.continuations[part].byte_count, input.continuations[part].character_count};
  }
}

std::vector<std::optional<double>> ValuesOf(const Ranking& ranked, Normalization by) {
  std::vector<std::optional<double>> values;
  for (const auto& score : ranked.scores) values.push_back(score ? NormalizedLogProb(*score, by) : std::nullopt);
  return values;
}

// Whether every candidate that is scored has a value under `by`.
bool IsDefined(const Ranking& ranked, Normalization by) {
  return std::all_of(ranked.scores.begin(), ranked.scores.end(),
                     [by](const auto& score) { return !score || NormalizedLogProb(*score, by); });
}

absl::Status OrderCandidates(const RankOptions& options, Ranking& ranked) {
  v1::RankedItem& item = ranked.item;
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
    // No double holds the perplexity of a mean log-prob below -709 nats.
    if (const double perplexity = Perplexity(score); std::isfinite(perplexity)) candidate.set_perplexity(perplexity);
    if (probabilities[j]) candidate.set_candidate_probability(*probabilities[j]);
  }
  return absl::OkStatus();
}

// The item's reply, without provenance.
v1::RankResponse ReplyOf(const v1::RankRequest& request, int index, const RankOptions& options, Ranking ranking) {
  v1::RankResponse response;
  response.set_item_index(index);
  if (CheckId(request.items(index).id()).ok()) response.set_id(request.items(index).id());
  if (!ranking.item.has_error()) {
    const absl::Status status = OrderCandidates(options, ranking);
    if (!status.ok()) {
      ranking.item.Clear();
      *ranking.item.mutable_error() = ToProto(status);
    }
  }
  *response.mutable_item() = std::move(ranking.item);
  return response;
}

}  // namespace

absl::Status Rank(const v1::RankRequest& request, const ServerEnv& env, const RequestContext& context,
                  ReplyWriter<v1::RankResponse>& writer) {
  RETURN_IF_ERROR(CheckItems(request));
  ASSIGN_OR_RETURN(const RankOptions options, OptionsOf(request));

  // The items that the model scores.
  std::vector<int> index_of;
  std::vector<Ranking> rankings;
  std::vector<ItemRequest> items;
  std::vector<v1::RankResponse> without_model;
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::RankItem& message = request.items(i);
    const std::string field = Element("items", i);
    Ranking ranking = RankingOf(message, field);
    if (ranking.for_model.empty()) {
      without_model.push_back(ReplyOf(request, i, options, std::move(ranking)));
      *without_model.back().mutable_provenance() = ProvenanceWithoutModel();
      continue;
    }
    ItemRequest& item = items.emplace_back();
    item.field = field;
    if (message.has_context()) item.context = &message.context();
    for (const int j : ranking.for_model) {
      item.continuations.push_back(ContinuationOf(Element("candidates", j), message.candidates(j)));
    }
    index_of.push_back(i);
    rankings.push_back(std::move(ranking));
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
  if (items.empty()) return write_without_model();

  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  ScoreOptions score_options;
  ASSIGN_OR_RETURN(score_options.scope, ScopeOf(request.evaluation(), env));
  ASSIGN_OR_RETURN(score_options.record,
                   In("record.", FromProto(request.record(), model->description().vocab_size,
                                           /*default_sampling_log_prob=*/false, v1::RECORD_LAYOUT_NONE)));
  // Ranking needs the model's log-probs.
  score_options.record.model_log_prob = true;
  score_options.record.sampling_log_prob = false;
  ASSIGN_OR_RETURN(const std::vector<ItemInput> inputs,
                   ResolveItems(items, FromProto(request.tokenization()), *model, context));
  RETURN_IF_ERROR(CheckAlternatives(inputs, score_options.record));
  RETURN_IF_ERROR(write_without_model());
  const auto done = [&](size_t i, const ItemScores& scores) {
    TakeScores(inputs[i], scores.continuations, score_options.record, model->vocabulary(), rankings[i]);
    v1::RankResponse response = ReplyOf(request, index_of[i], options, std::move(rankings[i]));
    *response.mutable_provenance() = ProvenanceOf(*model);
    if (inputs[i].status.ok()) *response.mutable_usage() = UsageOf(inputs[i], scores);
    return writer.Write(response);
  };
  return ScoreContinuations(inputs, score_options, *model, env, context, done);
}

}  // namespace logitd::server

#include "server/handlers/item_ranking.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <span>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/log_prob_range.h"
#include "server/converters/wire.h"
#include "server/handlers/alternative_tokenizations.h"
#include "server/handlers/closed_sets.h"
#include "server/handlers/item_orders.h"

namespace logitd::server {
namespace {

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
  if (!candidate.alternative_tokenizations().empty()) {
    return errors::Exclusive(candidate_field + ".alternative_tokenizations", "sums");
  }
  if (sums.token_count() < 1) {
    return errors::OutOfRange(field + ".token_count", int64_t{sums.token_count()}, ">= 1");
  }
  if (!sums.has_sum_model_log_prob()) return errors::Required(field + ".sum_model_log_prob");
  const auto check_sum = [&](const char* name, double sum) {
    if (IsSum(sum, sums.token_count(), kLeastModelLogProb)) return absl::OkStatus();
    return errors::OutOfRange(field + name, sum, SumRange(sums.token_count(), kLeastModelLogProb));
  };
  RETURN_IF_ERROR(check_sum(".sum_model_log_prob", sums.sum_model_log_prob()));
  // -0 becomes 0.
  CandidateScore score{.log_prob = sums.sum_model_log_prob() + 0.0, .token_count = sums.token_count()};
  score.combined_log_prob = score.log_prob;
  if (sums.has_sum_unconditional_log_prob()) {
    RETURN_IF_ERROR(check_sum(".sum_unconditional_log_prob", sums.sum_unconditional_log_prob()));
    score.unconditional_log_prob = sums.sum_unconditional_log_prob() + 0.0;
  }
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

// The field without which a candidate has no value under `by`.
const char* NeededBy(Normalization by) {
  switch (by) {
    case Normalization::kPerByte:
      return "byte_count";
    case Normalization::kPerCharacter:
      return "character_count";
    case Normalization::kPmi:
      return "unconditional_sum";
    case Normalization::kCombined:
      return "combined_log_prob";
    case Normalization::kSum:
    case Normalization::kPerToken:
    case Normalization::kGnmt:
      break;
  }
  return "sum";
}

}  // namespace

ItemRanking::ItemRanking(const v1::RankItem& item, std::string field, const v1::Input* unconditional_context,
                         const RankOptions& options)
    : message_(item), field_(std::move(field)), unconditional_context_(unconditional_context), options_(options) {
  if (const absl::Status status = Read(); !status.ok()) SetError(status);
}

void ItemRanking::SetError(const absl::Status& status) {
  item_.Clear();
  for_model_.clear();
  *item_.mutable_error() = ToProto(status);
}

absl::Status ItemRanking::Read() {
  RETURN_IF_ERROR(In(field_ + ".", CheckId(message_.id())));
  if (message_.candidates().empty()) return errors::NoCandidates(field_ + ".candidates");
  if (message_.candidates_size() > kMaxCandidates) {
    return errors::AboveLimit(field_ + ".candidates", message_.candidates_size(), kMaxCandidates, 1);
  }
  RETURN_IF_ERROR(CheckGivenOrder(message_, field_));
  RETURN_IF_ERROR(options_.calibration.CheckCount(field_ + ".candidates", message_.candidates_size()));
  for (int j = 0; j < message_.candidates_size(); ++j) {
    const v1::Candidate& candidate = message_.candidates(j);
    const std::string candidate_field = field_ + Element(".candidates", j);
    if (const int count = candidate.alternative_tokenizations_size(); count > kMaxTokenizations) {
      return errors::AboveLimit(candidate_field + ".alternative_tokenizations", count, kMaxTokenizations);
    }
    v1::RankedCandidate& ranked = *item_.add_candidates();
    scores_.emplace_back();
    if (candidate.has_sums()) {
      auto score = ScoreOf(candidate, candidate_field);
      if (score.ok()) {
        scores_.back() = *score;
      } else {
        *ranked.mutable_error() = ToProto(score.status());
      }
    } else if (candidate.has_text() || candidate.has_tokens()) {
      for_model_.push_back(j);
    } else {
      *ranked.mutable_error() = ToProto(errors::RequiredOneOf(candidate_field, "text, tokens or sums"));
    }
    if (options_.winner_only && !candidate.alternative_tokenizations().empty()) {
      return errors::Exclusive(candidate_field + ".alternative_tokenizations", "winner_only");
    }
  }
  if (options_.order_by == Normalization::kPmi && !for_model_.empty() && unconditional_context_ == nullptr) {
    return errors::Required(field_ + ".unconditional_context", "order_by is NORMALIZATION_PMI");
  }
  return absl::OkStatus();
}

std::vector<CandidateScore> ItemRanking::given_scores() const {
  std::vector<CandidateScore> given;
  for (const auto& score : scores_) {
    if (score) given.push_back(*score);
  }
  return given;
}

void ItemRanking::AddAlternatives(const ServedModel& model, ItemInput& input) {
  if (!input.status.ok()) return;
  std::vector<ContinuationInput> added;
  for (size_t part = 0; part < for_model_.size(); ++part) {
    ContinuationInput& own = input.continuations[part];
    const size_t first = added.size();
    if (own.status.ok()) {
      const v1::Candidate& candidate = message_.candidates(for_model_[part]);
      own.status = In(field_ + Element(".candidates", for_model_[part], "."),
                      server::AddAlternatives(candidate, own, model, added));
    }
    alternatives_.push_back({for_model_.size() + first, added.size() - first});
  }
  std::move(added.begin(), added.end(), std::back_inserter(input.continuations));
}

void ItemRanking::TakeScores(const ItemInput& input, const std::vector<ContinuationScore>& scores,
                             const RecordOptions& record, const Vocabulary& vocabulary) {
  if (!input.status.ok()) return SetError(input.status);
  const bool has_given = !given_scores().empty();
  ReportContext(input, item_);
  for (size_t part = 0; part < for_model_.size(); ++part) {
    const auto j = static_cast<size_t>(for_model_[part]);
    v1::RankedCandidate& candidate = *item_.mutable_candidates(for_model_[part]);
    const ContinuationInput& own = input.continuations[part];
    if (scores[part].status.ok() && scores[part].is_cut) {
      candidate.set_pruned(true);
      continue;
    }
    v1::ScoredContinuation scored;
    ToProto(own, scores[part], record, vocabulary, scored);
    if (!MoveTo(std::move(scored), candidate)) continue;
    std::optional<double> combined;
    const Alternatives others = alternatives_[part];
    if (others.count > 0) {
      combined = TakeAlternatives(input, scores, part, others.first, others.count, candidate);
    } else if (scores[part].sums.model) {
      combined = scores[part].sums.model->value();
    }
    // A token of probability 0 leaves no sum, so the candidate has neither value nor rank.
    if (!scores[part].sums.model) continue;
    scores_[j] = CandidateScore{.log_prob = scores[part].sums.model->value(),
                                .token_count = scores[part].token_count,
                                .byte_count = own.byte_count,
                                .character_count = own.character_count};
    scores_[j]->combined_log_prob = combined;
  }
  if (options_.winner_only) return;
  std::optional<v1::ClosedSet> set;
  if (has_given) {
    set.emplace().set_kind(v1::CLOSED_SET_KIND_TOKENS_UNKNOWN);
  } else {
    set = ClosedSetOf(input, scores);
  }
  if (set) *item_.mutable_closed_set() = *std::move(set);
}

void ItemRanking::TakeUnconditional(const ItemInput& input, const ItemInput& conditional,
                                    const std::vector<ContinuationScore>& scores) {
  if (item_.has_error()) return;
  if (!input.status.ok()) {
    // The path of the context in the request is another one than in an item.
    const std::string field = DetailOf(input.status).field;
    const std::string context = field_ + ".context";
    std::string own =
        message_.has_unconditional_context() ? field_ + ".unconditional_context" : "unconditional_context";
    if (field.starts_with(context)) own += field.substr(context.size());
    return SetError(WithField(input.status, own));
  }
  item_.set_unconditional_context_token_count(static_cast<int32_t>(input.context->size()));
  for (size_t part = 0; part < for_model_.size(); ++part) {
    v1::RankedCandidate& candidate = *item_.mutable_candidates(for_model_[part]);
    if (candidate.has_error()) continue;
    if (!scores[part].status.ok()) {
      *candidate.mutable_unconditional_error() = ToProto(scores[part].status);
      continue;
    }
    candidate.set_unconditional_tokens_differ(input.continuations[part].token_ids !=
                                              conditional.continuations[part].token_ids);
    const double log_prob = LogProbOf(scores[part]);
    if (!std::isfinite(log_prob)) continue;
    candidate.set_unconditional_sum(log_prob);
    auto& score = scores_[static_cast<size_t>(for_model_[part])];
    if (score) score->unconditional_log_prob = log_prob;
  }
}

std::vector<std::optional<double>> ItemRanking::ValuesOf(Normalization by) const {
  std::vector<std::optional<double>> values;
  for (const auto& score : scores_) {
    values.push_back(score ? NormalizedLogProb(*score, by, options_.gnmt_alpha) : std::nullopt);
  }
  return values;
}

bool ItemRanking::IsDefined(Normalization by) const {
  return std::all_of(scores_.begin(), scores_.end(),
                     [&](const auto& score) { return !score || NormalizedLogProb(*score, by, options_.gnmt_alpha); });
}

void ItemRanking::AddOrdering(Normalization by, const Ordering& ordering) {
  v1::RankOrdering& message = *item_.add_orderings();
  message.set_by(static_cast<v1::Normalization>(by));
  message.set_tied(ordering.tied);
  for (size_t i = 0; i < ordering.candidate_indices.size(); ++i) {
    // A pruned candidate may have any other place.
    if (options_.winner_only && ordering.places[i] > 1) break;
    message.add_candidate_indices(ordering.candidate_indices[i]);
    message.add_places(ordering.places[i]);
    if (by == options_.order_by) item_.mutable_candidates(ordering.candidate_indices[i])->set_place(ordering.places[i]);
  }
}

void ItemRanking::WriteNumbers() {
  for (size_t j = 0; j < scores_.size(); ++j) {
    if (!scores_[j]) continue;
    v1::RankedCandidate& candidate = *item_.mutable_candidates(static_cast<int>(j));
    const CandidateScore& score = *scores_[j];
    const auto value_by = [&](Normalization by) { return NormalizedLogProb(score, by, options_.gnmt_alpha); };
    candidate.set_sum(score.log_prob);
    candidate.set_per_token(*value_by(Normalization::kPerToken));
    if (const auto value = value_by(Normalization::kPerByte)) candidate.set_per_byte(*value);
    if (const auto value = value_by(Normalization::kPerCharacter)) candidate.set_per_character(*value);
    if (const auto value = value_by(Normalization::kGnmt)) candidate.set_gnmt(*value);
    if (const auto value = value_by(Normalization::kPmi)) {
      candidate.set_pmi(*value);
      candidate.set_unconditional_sum(*score.unconditional_log_prob);
    }
    if (const auto value = BitsPerByte(score); value && std::isfinite(*value)) candidate.set_bits_per_byte(*value);
    // No double holds the perplexity of a mean log-prob below -709 nats.
    if (const double perplexity = Perplexity(score); std::isfinite(perplexity)) candidate.set_perplexity(perplexity);
  }
}

absl::Status ItemRanking::Order() {
  if (!IsDefined(options_.order_by)) {
    return errors::NormalizationUndefined(v1::Normalization_Name(static_cast<v1::Normalization>(options_.order_by)),
                                          NeededBy(options_.order_by));
  }
  AddOrdering(options_.order_by, OrderBy(ValuesOf(options_.order_by)));
  WriteNumbers();
  if (options_.winner_only) return absl::OkStatus();
  const bool has_pmi = std::any_of(scores_.begin(), scores_.end(),
                                   [](const auto& score) { return score && score->unconditional_log_prob; });
  const bool has_alternatives =
      std::any_of(alternatives_.begin(), alternatives_.end(), [](const auto& others) { return others.count > 0; });
  const std::pair<Normalization, bool> all[] = {{Normalization::kSum, true},
                                                {Normalization::kPerToken, true},
                                                {Normalization::kPerByte, true},
                                                {Normalization::kPerCharacter, true},
                                                {Normalization::kGnmt, options_.gnmt_alpha.has_value()},
                                                {Normalization::kPmi, has_pmi},
                                                {Normalization::kCombined, has_alternatives}};
  for (const auto& [by, is_asked] : all) {
    if (is_asked && by != options_.order_by && IsDefined(by)) AddOrdering(by, OrderBy(ValuesOf(by)));
  }
  const auto probabilities = CandidateProbabilities(ValuesOf(options_.order_by), options_.inverse_temperature);
  for (size_t j = 0; j < probabilities.size(); ++j) {
    if (!probabilities[j]) continue;
    item_.mutable_candidates(static_cast<int>(j))->set_candidate_probability(*probabilities[j]);
  }
  WriteOrderProbabilities();
  options_.calibration.Write(ValuesOf(options_.order_by), [this](size_t j) -> v1::RankedCandidate& {
    return *item_.mutable_candidates(static_cast<int>(j));
  });
  return absl::OkStatus();
}

void ItemRanking::WriteOrderProbabilities() {
  const bool has_given = !message_.given_order().empty();
  if (!options_.wants_order && !has_given) return;
  std::vector<std::optional<double>> log_strengths = ValuesOf(options_.order_by);
  for (size_t j = 0; j < log_strengths.size(); ++j) {
    if (log_strengths[j]) {
      *log_strengths[j] *= options_.inverse_temperature;
    } else if (!item_.candidates(static_cast<int>(j)).has_error()) {
      // A token of it is not possible.
      log_strengths[j] = -std::numeric_limits<double>::infinity();
    }
  }
  const auto write = [&](std::span<const int32_t> order, auto set) {
    const auto probability = ProbabilityOf(order, log_strengths, options_.order_top_count);
    if (probability) *(item_.*set)() = *probability;
  };
  write(ViewOf(item_.orderings(0).candidate_indices()), &v1::RankedItem::mutable_returned_order);
  if (has_given) write(ViewOf(message_.given_order()), &v1::RankedItem::mutable_given_order);
}

v1::RankedItem ItemRanking::Finish() {
  if (!item_.has_error()) {
    if (const absl::Status status = Order(); !status.ok()) SetError(status);
  }
  return std::move(item_);
}

}  // namespace logitd::server

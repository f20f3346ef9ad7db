#include "server/handlers/best_completions.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"

namespace logitd::server {
namespace {

std::optional<double> ValueOf(const v1::Completion& completion, const BestBy& best_by) {
  const v1::SequenceTotals& totals = completion.totals();
  if (completion.has_error() || totals.token_count() == 0 || !totals.has_cumulative_model_log_prob()) {
    return std::nullopt;
  }
  CandidateScore score{.log_prob = totals.cumulative_model_log_prob(), .token_count = totals.token_count()};
  if (completion.byte_count() > 0) score.byte_count = completion.byte_count();
  if (completion.character_count() > 0) score.character_count = completion.character_count();
  return NormalizedLogProb(score, best_by.by, best_by.gnmt_alpha);
}

}  // namespace

absl::StatusOr<std::optional<BestBy>> BestByOf(const v1::GenerateRequest& request, const std::string& model,
                                               const Vocabulary& vocabulary) {
  const v1::Normalization by = request.best_by();
  if (!request.has_best_of()) {
    if (by != v1::NORMALIZATION_UNSPECIFIED) return errors::Required("best_of", "best_by is set");
    if (request.has_gnmt_alpha()) return errors::Required("best_of", "gnmt_alpha is set");
    return std::nullopt;
  }
  if (request.record().has_model_log_prob() && !request.record().model_log_prob()) {
    return errors::OutOfRange("record.model_log_prob", "false", "true with best_of");
  }
  if (request.has_gnmt_alpha()) {
    if (by != v1::NORMALIZATION_GNMT) return errors::Required("best_by", "gnmt_alpha is set: NORMALIZATION_GNMT");
    RETURN_IF_ERROR(CheckGnmtAlpha(request.gnmt_alpha()));
    return BestBy{Normalization::kGnmt, request.gnmt_alpha()};
  }
  switch (by) {
    case v1::NORMALIZATION_UNSPECIFIED:
    case v1::NORMALIZATION_PER_TOKEN:
      return BestBy{Normalization::kPerToken};
    case v1::NORMALIZATION_SUM:
      return BestBy{Normalization::kSum};
    case v1::NORMALIZATION_PER_BYTE:
    case v1::NORMALIZATION_PER_CHARACTER:
      if (vocabulary.offsets.empty()) return WithField(errors::VocabularyUnavailable(model), "best_by");
      return BestBy{by == v1::NORMALIZATION_PER_BYTE ? Normalization::kPerByte : Normalization::kPerCharacter};
    case v1::NORMALIZATION_GNMT:
      return errors::Required("gnmt_alpha", "best_by is NORMALIZATION_GNMT");
    default:
      return errors::OutOfRange("best_by", v1::Normalization_Name(by),
                                "SUM, PER_TOKEN, PER_BYTE, PER_CHARACTER or GNMT");
  }
}

void KeepBest(const BestBy& by, int32_t count, google::protobuf::RepeatedPtrField<v1::Completion>& completions) {
  struct Place {
    int index;
    // 0: it has a value; 1: it has none; 2: it failed.
    int group;
    double value;
  };
  std::vector<Place> places;
  for (int i = 0; i < completions.size(); ++i) {
    const std::optional<double> value = ValueOf(completions[i], by);
    places.push_back({i, completions[i].has_error() ? 2 : value ? 0 : 1, value.value_or(0)});
  }
  std::stable_sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.group != b.group ? a.group < b.group : a.value > b.value;
  });
  google::protobuf::RepeatedPtrField<v1::Completion> best;
  for (const Place& place : places) {
    if (best.size() < count) *best.Add() = std::move(completions[place.index]);
  }
  completions = std::move(best);
}

}  // namespace logitd::server

#include "core/stage_report.h"

namespace logitd {

void StageReporter::Begin(KeptTokens& kept) {
  count_ = kept.count();
  total_weight_ = kept.total_weight();
  weights_.assign(kept.row().size(), 0);
  kept.ForEach([&](TokenId token_id) { weights_[static_cast<size_t>(token_id)] = kept.Weight(token_id); });
}

void StageReporter::After(Stage stage, KeptTokens& kept) {
  kept.ForEach([&](TokenId token_id) { weights_[static_cast<size_t>(token_id)] = 0; });
  uint64_t removed = 0;
  for (uint64_t weight : weights_) removed += weight;
  reports_.push_back({.stage = stage,
                      .kept_before = count_,
                      .kept_after = kept.count(),
                      .removed_mass = static_cast<double>(removed) / static_cast<double>(total_weight_)});
  Begin(kept);
}

void StageReporter::AfterAll(Stage stage) {
  reports_.push_back({.stage = stage, .kept_before = count_, .kept_after = 0, .removed_mass = 1});
}

}  // namespace logitd

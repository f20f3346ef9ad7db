#include "core/stage_report.h"

#include <algorithm>

#include "core/kernels/row_kernels.h"

namespace logitd {

void StageReporter::Begin(KeptTokens& kept) {
  count_ = kept.count();
  total_weight_ = kept.total_weight();
  const LogitsView row = kept.row();
  weights_.resize(row.size());
  kernels::ActiveKernels().weigh(row.data(), row.size(), kept.max(), kernels::ExpConstants(kept.temperature()),
                                 weights_.data());
  // What lies between the kept tokens has no weight.
  auto next = weights_.begin();
  kept.ForEach([&](TokenId token_id) {
    const auto place = weights_.begin() + token_id;
    std::fill(next, place, 0);
    next = place + 1;
  });
  std::fill(next, weights_.end(), 0);
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

#include "core/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/compensated_sum.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/stages.h"

namespace logitd {

absl::Status CrossEntropyGradient(const LogitsRow& row, absl::FunctionRef<bool(int32_t)> keeps, double temperature,
                                  TokenId target, std::span<float> gradient) {
  std::fill(gradient.begin(), gradient.end(), 0.0f);
  const LogitsView logits = row.slots();
  const auto slot_count = static_cast<int32_t>(logits.size());
  const auto is_kept = [&](int32_t slot) { return std::isfinite(logits[static_cast<size_t>(slot)]) && keeps(slot); };
  const int32_t target_slot = row.SlotOf(target);
  if (target_slot < 0 || !is_kept(target_slot)) {
    return errors::OutOfRange("token_ids", int64_t{target}, "a token of finite loss, to have a gradient");
  }
  double max = -std::numeric_limits<double>::infinity();
  for (int32_t slot = 0; slot < slot_count; ++slot) {
    if (is_kept(slot)) max = std::max(max, double{logits[static_cast<size_t>(slot)]});
  }
  // e of one token twice: a second pass costs less than a row of doubles.
  const auto exponential = [&](int32_t slot) {
    return Exp((double{logits[static_cast<size_t>(slot)]} - max) / temperature);
  };
  CompensatedSum total;
  for (int32_t slot = 0; slot < slot_count; ++slot) {
    if (is_kept(slot)) total.Add(exponential(slot));
  }
  const double divisor = total.value() * temperature;
  CompensatedSum others;
  for (int32_t slot = 0; slot < slot_count; ++slot) {
    if (slot == target_slot || !is_kept(slot)) continue;
    const auto entry = static_cast<float>(exponential(slot) / divisor);
    gradient[static_cast<size_t>(row.IdOf(slot))] = entry;
    others.Add(entry);
  }
  // Minus the sum of the others, which is p - 1 without its cancellation.
  gradient[static_cast<size_t>(target)] = static_cast<float>(-others.value());
  return absl::OkStatus();
}

absl::Status CheckGradientStages(const SamplingParams& params) {
  for (const Stage stage : StagesOf(StagePreset::kLogitd)) {
    if (stage == Stage::kTokenSets || stage == Stage::kTemperature || !IsOn(params, stage)) continue;
    return errors::Exclusive("gradient", "sampling." + std::string(SpecOf(stage).field));
  }
  return absl::OkStatus();
}

}  // namespace logitd

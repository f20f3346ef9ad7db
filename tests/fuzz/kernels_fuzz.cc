// Every kernel of every target of this processor against the scalar one, bit for bit; and the scalar one's weights
// against exp in double, within the bound of docs/numerics.md, section 8.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "core/kernels/row_kernels.h"
#include "tests/fuzz/fuzz_input.h"

namespace logitd::fuzz {
namespace {

using kernels::kScalarKernels;
using kernels::RowKernels;

struct Case {
  // Of exactly n floats at an odd place, so that a sanitizer sees what reads beyond it.
  std::unique_ptr<float[]> storage;
  const float* logits = nullptr;
  size_t n = 0;
  std::vector<uint64_t> mask_storage;
  const uint64_t* mask = nullptr;
  double temperature = 1;
};

Case MakeCase(FuzzInput& input) {
  Case c;
  c.n = input.RowSize();
  const size_t start = input.Below(16);
  const std::vector<float> row = input.Row(c.n, !input.OneIn(8));
  c.storage = std::make_unique<float[]>(start + c.n);
  std::copy(row.begin(), row.end(), c.storage.get() + start);
  c.logits = c.storage.get() + start;
  if (input.OneIn(2)) {
    c.mask_storage = input.Mask(c.n);
    c.mask = c.mask_storage.data();
  }
  c.temperature = input.Temperature();
  return c;
}

void CheckWeights(const Case& c, float max, const std::vector<uint64_t>& weights) {
  for (size_t i = 0; i < c.n; ++i) {
    if (c.mask != nullptr && !((c.mask[i / 64] >> (i % 64)) & 1)) {
      LOGITD_FUZZ_CHECK(weights[i] == 0, "a token out of the mask weighs " << weights[i]);
      continue;
    }
    const double distance = (static_cast<double>(c.logits[i]) - max) / c.temperature;
    const double exact = std::exp(distance);
    const double relative =
        1e-7 + 0x1p-24 * std::abs(static_cast<double>(c.logits[i]) - max) * std::max(1.0, 1 / c.temperature);
    const double bound = (exact == 0 ? 0 : relative * exact) + 0x1p-43;
    LOGITD_FUZZ_CHECK(
        std::abs(static_cast<double>(weights[i]) * 0x1p-42 - exact) <= bound,
        "weight " << weights[i] << " of logit " << c.logits[i] << " below " << max << " at T " << c.temperature);
  }
}

void CompareSelections(FuzzInput& input, const Case& c, const RowKernels& target, const std::vector<float>& block_max,
                       const std::vector<uint64_t>& weights) {
  float bounds[kernels::kBoundCount];
  for (float& bound : bounds) bound = std::max(c.logits[input.Below(c.n)], std::numeric_limits<float>::lowest());
  uint64_t expected[kernels::kBoundCount], found[kernels::kBoundCount];
  kScalarKernels.count_at_least(c.logits, c.n, c.mask, bounds, expected);
  target.count_at_least(c.logits, c.n, c.mask, bounds, found);
  LOGITD_FUZZ_CHECK(std::equal(found, std::end(found), expected), "count_at_least");
  kScalarKernels.sum_at_least(c.logits, c.n, weights.data(), bounds, expected);
  target.sum_at_least(c.logits, c.n, weights.data(), bounds, found);
  LOGITD_FUZZ_CHECK(std::equal(found, std::end(found), expected), "sum_at_least");
  LOGITD_FUZZ_CHECK(
      target.count_greater(c.logits, c.n, bounds[0]) == kScalarKernels.count_greater(c.logits, c.n, bounds[0]),
      "count_greater");

  const auto [low, high] = std::minmax(bounds[0], bounds[1]);
  const size_t begin = input.Below(c.n) / 64 * 64;
  const size_t end = begin + 1 + input.Below(c.n - begin);
  std::vector<int32_t> expected_ids(c.n + kernels::kCollectPadding), ids(c.n + kernels::kCollectPadding);
  expected_ids.resize(kScalarKernels.collect(c.logits, begin, end, c.mask, low, high, expected_ids.data()));
  ids.resize(target.collect(c.logits, begin, end, c.mask, low, high, ids.data()));
  LOGITD_FUZZ_CHECK(ids == expected_ids, "collect");

  std::vector<uint64_t> expected_mask((c.n + 63) / 64, ~uint64_t{0});
  if (c.mask != nullptr) expected_mask = c.mask_storage;
  std::vector<uint64_t> found_mask = expected_mask;
  std::vector<uint64_t> expected_weights = weights, found_weights = weights;
  const auto cut_id = static_cast<int32_t>(input.Below(c.n + 1));
  const kernels::Kept expected_kept = kScalarKernels.apply_cut(c.logits, c.n, block_max.data(), bounds[2], cut_id,
                                                               expected_mask.data(), expected_weights.data());
  const kernels::Kept kept =
      target.apply_cut(c.logits, c.n, block_max.data(), bounds[2], cut_id, found_mask.data(), found_weights.data());
  LOGITD_FUZZ_CHECK(kept.count == expected_kept.count && kept.total_weight == expected_kept.total_weight, "apply_cut");
  LOGITD_FUZZ_CHECK(found_mask == expected_mask && found_weights == expected_weights, "apply_cut's sets");
}

void Compare(FuzzInput& input, const Case& c, const RowKernels& target) {
  std::vector<float> expected_max(kernels::BlockCount(c.n)), found_max(kernels::BlockCount(c.n), 7);
  const kernels::RowScan expected = kScalarKernels.scan_row(c.logits, c.n, c.mask, expected_max.data());
  const kernels::RowScan found = target.scan_row(c.logits, c.n, c.mask, found_max.data());
  LOGITD_FUZZ_CHECK(found.first_non_finite == expected.first_non_finite, "first_non_finite");
  if (expected.first_non_finite >= 0) return;
  LOGITD_FUZZ_CHECK(std::bit_cast<uint32_t>(found.max) == std::bit_cast<uint32_t>(expected.max), "max");
  LOGITD_FUZZ_CHECK(found.argmax == expected.argmax && found.finite_count == expected.finite_count, "scan_row");
  LOGITD_FUZZ_CHECK(std::memcmp(found_max.data(), expected_max.data(), found_max.size() * sizeof(float)) == 0,
                    "block_max");
  if (expected.argmax < 0) return;

  const kernels::ExpConstants constants(c.temperature);
  std::vector<uint64_t> weights(c.n), found_weights(c.n, 99);
  const uint64_t total = kScalarKernels.sum_weights(c.logits, c.n, c.mask, expected.max, constants, weights.data());
  LOGITD_FUZZ_CHECK(target.sum_weights(c.logits, c.n, c.mask, expected.max, constants, found_weights.data()) == total,
                    "total");
  LOGITD_FUZZ_CHECK(found_weights == weights, "weights");
  LOGITD_FUZZ_CHECK(target.sum_weights(c.logits, c.n, c.mask, expected.max, constants, nullptr) == total,
                    "total alone");
  LOGITD_FUZZ_CHECK(target.sum_entropy_terms(c.logits, c.n, c.mask, expected.max, constants) ==
                        kScalarKernels.sum_entropy_terms(c.logits, c.n, c.mask, expected.max, constants),
                    "entropy");
  CheckWeights(c, expected.max, weights);
  CompareSelections(input, c, target, found_max, weights);
}

}  // namespace
}  // namespace logitd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  logitd::fuzz::FuzzInput input(data, size);
  const logitd::fuzz::Case c = logitd::fuzz::MakeCase(input);
  const logitd::kernels::RowKernels* targets[logitd::kernels::kMaxTargets];
  const size_t count = logitd::kernels::AvailableKernels(targets);
  // The scalar one with itself too: it is what the weights' bound is checked on where there is no other.
  for (const auto* target : std::span(targets, count)) logitd::fuzz::Compare(input, c, *target);
  return 0;
}

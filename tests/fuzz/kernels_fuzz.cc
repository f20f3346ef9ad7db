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

constexpr float kInfinity = std::numeric_limits<float>::infinity();

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

// The scalar weights of the whole row, by their definition.
void CheckWeights(const Case& c, float max, const std::vector<uint64_t>& weights) {
  for (size_t i = 0; i < c.n; ++i) {
    // A token that is not in the mask may be larger than `max`: nobody asks for its weight.
    if (c.logits[i] > max) continue;
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

// One of the row's logits, or next to one, so that bounds are hit and missed by a unit.
float BoundOf(FuzzInput& input, const Case& c) {
  const float logit = c.logits[input.Below(c.n)];
  const float bound = input.OneIn(4) ? std::nextafter(logit, input.OneIn(2) ? 1e38f : -1e38f) : logit;
  return std::max(bound, std::numeric_limits<float>::lowest());
}

void CompareCounts(FuzzInput& input, const Case& c, const RowKernels& target, const std::vector<uint64_t>& weights) {
  float bounds[kernels::kBoundCount];
  for (float& bound : bounds) bound = BoundOf(input, c);
  uint64_t expected[kernels::kBoundCount], found[kernels::kBoundCount];
  kScalarKernels.sum_at_least(c.logits, c.n, weights.data(), bounds, expected);
  target.sum_at_least(c.logits, c.n, weights.data(), bounds, found);
  LOGITD_FUZZ_CHECK(std::equal(found, std::end(found), expected), "sum_at_least");
  for (const uint64_t* mask : {c.mask, static_cast<const uint64_t*>(nullptr)}) {
    LOGITD_FUZZ_CHECK(target.count_greater(c.logits, c.n, mask, bounds[0]) ==
                          kScalarKernels.count_greater(c.logits, c.n, mask, bounds[0]),
                      "count_greater");
  }
}

void CompareSelections(FuzzInput& input, const Case& c, const RowKernels& target, const std::vector<float>& block_max) {
  const auto [low, high] = std::minmax({BoundOf(input, c), BoundOf(input, c)});
  const size_t begin = input.Below(c.n) / 64 * 64;
  const size_t end = begin + 1 + input.Below(c.n - begin);
  std::vector<int32_t> expected_ids(c.n + kernels::kCollectPadding);
  expected_ids.resize(kScalarKernels.collect(c.logits, begin, end, c.mask, low, high, expected_ids.data()));
  // Exactly the room that is asked for, so that a sanitizer sees more.
  std::vector<int32_t> ids(end - begin + kernels::kCollectPadding);
  ids.resize(target.collect(c.logits, begin, end, c.mask, low, high, ids.data()));
  LOGITD_FUZZ_CHECK(ids == expected_ids, "collect");
  std::vector<float> expected_logits(ids.size()), logits(ids.size(), 7);
  kScalarKernels.gather(c.logits, ids.data(), ids.size(), expected_logits.data());
  target.gather(c.logits, ids.data(), ids.size(), logits.data());
  LOGITD_FUZZ_CHECK(
      logits.empty() || std::memcmp(logits.data(), expected_logits.data(), logits.size() * sizeof(float)) == 0,
      "gather");

  std::vector<uint64_t> expected_mask((c.n + 63) / 64, ~uint64_t{0});
  if (c.mask != nullptr) expected_mask = c.mask_storage;
  std::vector<uint64_t> found_mask = expected_mask;
  const float upper = input.OneIn(2) ? high : kInfinity;
  const int32_t expected =
      kScalarKernels.keep_between(c.logits, c.n, block_max.data(), low, upper, expected_mask.data());
  const int32_t found = target.keep_between(c.logits, c.n, block_max.data(), low, upper, found_mask.data());
  LOGITD_FUZZ_CHECK(found == expected && found_mask == expected_mask, "keep_between");
}

// What is summed over the masked tokens, whose largest logit is `max`.
void CompareSums(FuzzInput& input, const Case& c, const RowKernels& target, float max,
                 const std::vector<float>& block_max) {
  const kernels::ExpConstants constants(c.temperature);
  std::vector<uint64_t> expected_blocks(kernels::SumBlockCount(c.n), 98), blocks(expected_blocks.size(), 99);
  const uint64_t total = kScalarKernels.sum_weights(c.logits, c.n, c.mask, max, constants, expected_blocks.data());
  LOGITD_FUZZ_CHECK(target.sum_weights(c.logits, c.n, c.mask, max, constants, blocks.data()) == total, "total");
  LOGITD_FUZZ_CHECK(blocks == expected_blocks, "sum_weights' blocks");
  LOGITD_FUZZ_CHECK(target.sum_weights(c.logits, c.n, c.mask, max, constants, nullptr) == total, "total alone");

  const kernels::EntropySums expected_entropy = kScalarKernels.sum_entropy(c.logits, c.n, c.mask, max, constants);
  const kernels::EntropySums entropy = target.sum_entropy(c.logits, c.n, c.mask, max, constants);
  LOGITD_FUZZ_CHECK(entropy.weights == total && expected_entropy.weights == total, "sum_entropy's weights");
  LOGITD_FUZZ_CHECK(entropy.terms == expected_entropy.terms, "sum_entropy's terms");

  const auto [first, second] = std::minmax({BoundOf(input, c), BoundOf(input, c)});
  const float low = input.OneIn(4) ? -kInfinity : first;
  const float high = input.OneIn(4) ? kInfinity : second;
  const kernels::Mass expected_mass = kScalarKernels.sum_between(c.logits, c.n, c.mask, block_max.data(), low, high,
                                                                 max, constants, expected_blocks.data());
  const kernels::Mass mass =
      target.sum_between(c.logits, c.n, c.mask, block_max.data(), low, high, max, constants, blocks.data());
  LOGITD_FUZZ_CHECK(mass.count == expected_mass.count && mass.weight == expected_mass.weight, "sum_between");
  LOGITD_FUZZ_CHECK(blocks == expected_blocks, "sum_between's blocks");
  LOGITD_FUZZ_CHECK(
      target.sum_between(c.logits, c.n, c.mask, block_max.data(), low, high, max, constants, nullptr).weight ==
          mass.weight,
      "sum_between without blocks");

  const uint64_t sum =
      target.sum_between(c.logits, c.n, c.mask, block_max.data(), -kInfinity, high, max, constants, nullptr).weight;
  const kernels::WeightBounds bounds = target.bound_below(c.logits, c.n, c.mask, high, max, constants);
  LOGITD_FUZZ_CHECK(bounds.at_least <= sum && sum <= bounds.at_most,
                    "bound_below: " << bounds.at_least << " to " << bounds.at_most << ", the sum is " << sum);
  LOGITD_FUZZ_CHECK(bounds.at_most - bounds.at_least <= sum / 1000 * 64 + 2 * c.n + 1001, "bound_below's width");

  const float lowest = kScalarKernels.min_finite(c.logits, c.n, c.mask);
  LOGITD_FUZZ_CHECK(target.min_finite(c.logits, c.n, c.mask) == lowest, "min_finite");
  // The smallest power of two that is not below the range, as top-n-sigma takes it.
  const float range = std::min(max - lowest, std::numeric_limits<float>::max());
  int exponent = 0;
  if (std::frexp(range, &exponent) == 0.5f) --exponent;
  exponent = range == 0 ? -100 : std::max(exponent, -100);
  const float scale = std::ldexp(1.0f, kernels::kSpreadBits - exponent);
  const kernels::SpreadSums expected_spread = kScalarKernels.sum_spread(c.logits, c.n, c.mask, max, scale);
  const kernels::SpreadSums spread = target.sum_spread(c.logits, c.n, c.mask, max, scale);
  LOGITD_FUZZ_CHECK(spread.values == expected_spread.values && spread.squares == expected_spread.squares, "sum_spread");
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

  // weigh has no mask: its row is one without, or a list whose largest logit is the maximum.
  const kernels::ExpConstants constants(c.temperature);
  const float row_max = *std::max_element(c.logits, c.logits + c.n);
  std::vector<uint64_t> weights(c.n, 98), found_weights(c.n, 99);
  const uint64_t total = kScalarKernels.weigh(c.logits, c.n, row_max, constants, weights.data());
  LOGITD_FUZZ_CHECK(target.weigh(c.logits, c.n, row_max, constants, found_weights.data()) == total, "weigh's sum");
  LOGITD_FUZZ_CHECK(found_weights == weights, "weigh");
  CheckWeights(c, row_max, weights);
  CompareCounts(input, c, target, weights);
  CompareSums(input, c, target, expected.max, expected_max);
  CompareSelections(input, c, target, expected_max);
}

// 16-bit values at any address: every pattern is legal, and what is not finite is found by the scan.
void CompareWidening(FuzzInput& input, const RowKernels& target) {
  const size_t n = input.RowSize();
  const size_t start = input.Below(8);
  const auto bytes = std::make_unique<char[]>(start + 2 * n);
  const bool has_excluded = input.OneIn(2);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t bits = input.Bits();
    const uint16_t value = has_excluded && bits >> 61 == 0 ? 65535 : static_cast<uint16_t>(bits);
    std::memcpy(bytes.get() + start + 2 * i, &value, sizeof(value));
  }
  const void* values = bytes.get() + start;
  std::vector<float> expected(n), found(n, 7);
  const auto equal = [&] {
    return std::equal(expected.begin(), expected.end(), found.begin(), [](float a, float b) {
      return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
    });
  };
  kScalarKernels.widen_f16(values, n, expected.data());
  target.widen_f16(values, n, found.data());
  LOGITD_FUZZ_CHECK(equal(), "widen_f16");
  kScalarKernels.widen_bf16(values, n, expected.data());
  target.widen_bf16(values, n, found.data());
  LOGITD_FUZZ_CHECK(equal(), "widen_bf16");
  const float max = static_cast<float>((input.Uniform() - 0.5) * std::exp2(20 * input.Uniform()));
  const float step = static_cast<float>(std::exp2(40 * input.Uniform() - 36));
  kScalarKernels.widen_lin16(values, n, max, step, expected.data());
  target.widen_lin16(values, n, max, step, found.data());
  LOGITD_FUZZ_CHECK(equal(), "widen_lin16 of " << max << " and " << step);
}

}  // namespace
}  // namespace logitd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  logitd::fuzz::FuzzInput input(data, size);
  const logitd::fuzz::Case c = logitd::fuzz::MakeCase(input);
  const logitd::kernels::RowKernels* targets[logitd::kernels::kMaxTargets];
  const size_t count = logitd::kernels::AvailableKernels(targets);
  // The scalar one with itself too: it is what the weights' bound is checked on where there is no other.
  for (const auto* target : std::span(targets, count)) {
    logitd::fuzz::Compare(input, c, *target);
    logitd::fuzz::CompareWidening(input, *target);
  }
  return 0;
}

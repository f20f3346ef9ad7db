// Every kernel of every target against the scalar one, bit for bit, on rows that are hard for it.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/kernels/row_kernels.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"

namespace logitd::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kTemperatures[] = {1e-4, 0.3, 1, 1.7, 50, 1e6};

enum class RowKind { kPeaked, kWide, kFlat, kEqual, kZeros, kDenormal, kHoles, kHuge, kTies };
constexpr RowKind kRowKinds[] = {RowKind::kPeaked,   RowKind::kWide,  RowKind::kFlat, RowKind::kEqual, RowKind::kZeros,
                                 RowKind::kDenormal, RowKind::kHoles, RowKind::kHuge, RowKind::kTies};

std::vector<float> RowOf(RowKind kind, size_t n, std::mt19937& random) {
  std::vector<float> row(n);
  std::normal_distribution<float> normal(0, kind == RowKind::kFlat ? 1 : 3);
  for (float& x : row) {
    x = normal(random);
    switch (kind) {
      case RowKind::kEqual:
        x = -2.5f;
        break;
      case RowKind::kZeros:
        x = random() % 3 == 0 ? -0.0f : random() % 2 == 0 ? 0.0f : -1.0f;
        break;
      case RowKind::kDenormal:
        x = std::bit_cast<float>(static_cast<uint32_t>(random() % 0x1000000)) * (random() % 2 == 0 ? 1 : -1);
        break;
      case RowKind::kHoles:
        if (random() % 3 == 0) x = -kInf;
        break;
      case RowKind::kHuge:
        x = (random() % 2 == 0 ? 1e30f : -1e30f) * (random() % 4 == 0 ? 3e8f : 1);
        break;
      case RowKind::kTies:
        x = std::round(x);
        break;
      default:
        break;
    }
  }
  if (kind == RowKind::kPeaked) row[random() % n] = 25;
  return row;
}

// None but what the name says; spare bits are set, for nothing may depend on them.
std::vector<std::vector<uint64_t>> MasksOf(size_t n, std::mt19937& random) {
  const size_t words = (n + 63) / 64;
  std::vector<std::vector<uint64_t>> masks = {
      std::vector<uint64_t>(words, ~uint64_t{0}),       std::vector<uint64_t>(words, 0),
      std::vector<uint64_t>(words, 0x5555555555555555), std::vector<uint64_t>(words, 0),
      std::vector<uint64_t>(words, ~uint64_t{0}),
  };
  const size_t only = random() % n;
  masks[1][only / 64] = uint64_t{1} << (only % 64);
  for (size_t i = 0; i < words; ++i) {
    masks[3][i] = random() % 4 == 0 ? 0 : (uint64_t{random()} << 32) | random();
    if (random() % 2 == 0) masks[4][i] = 0;  // whole words
  }
  return masks;
}

class TargetEqualityTest : public testing::EveryTarget {
 protected:
  // Everything that a step does with a row, by this target and by the scalar one. `logits` may lie at any float.
  void Compare(const float* logits, size_t n, const uint64_t* mask, double temperature, std::mt19937& random) const {
    std::vector<float> expected_max(BlockCount(n)), found_max(BlockCount(n), 7);
    const RowScan expected = kScalarKernels.scan_row(logits, n, mask, expected_max.data());
    const RowScan found = target().scan_row(logits, n, mask, found_max.data());
    ASSERT_EQ(found.first_non_finite, expected.first_non_finite);
    ASSERT_EQ(found.first_non_finite, -1);
    ASSERT_EQ(std::bit_cast<uint32_t>(found.max), std::bit_cast<uint32_t>(expected.max));
    ASSERT_EQ(found.argmax, expected.argmax);
    ASSERT_EQ(found.finite_count, expected.finite_count);
    ASSERT_EQ(std::memcmp(found_max.data(), expected_max.data(), found_max.size() * sizeof(float)), 0);
    if (found.argmax < 0) return;

    const ExpConstants constants(temperature);
    std::vector<uint64_t> expected_sums(SumBlockCount(n)), sums(SumBlockCount(n), 99);
    const uint64_t total = kScalarKernels.sum_weights(logits, n, mask, expected.max, constants, expected_sums.data());
    ASSERT_EQ(target().sum_weights(logits, n, mask, found.max, constants, sums.data()), total);
    ASSERT_EQ(sums, expected_sums);
    if (mask == nullptr) {
      ASSERT_EQ(target().sum_weights_ahead(logits, n, found.max, constants, expected_max.data()), total);
    }
    const EntropySums expected_entropy = kScalarKernels.sum_entropy(logits, n, mask, expected.max, constants);
    const EntropySums entropy = target().sum_entropy(logits, n, mask, found.max, constants);
    ASSERT_EQ(entropy.weights, total);
    ASSERT_EQ(entropy.terms, expected_entropy.terms);
    std::vector<uint64_t> expected_weights(n), weights(n, 99);
    kScalarKernels.weigh(logits, n, expected.max, constants, expected_weights.data());
    target().weigh(logits, n, found.max, constants, weights.data());
    ASSERT_EQ(weights, expected_weights);

    const float lowest = kScalarKernels.min_finite(logits, n, mask);
    ASSERT_EQ(target().min_finite(logits, n, mask), lowest);
    const float range = std::min(expected.max - lowest, std::numeric_limits<float>::max());
    const float scale = std::ldexp(1.0f, kSpreadBits - std::max(std::ilogb(std::max(range, 1e-20f)) + 1, -100));
    const SpreadSums expected_spread = kScalarKernels.sum_spread(logits, n, mask, expected.max, scale);
    const SpreadSums spread = target().sum_spread(logits, n, mask, found.max, scale);
    ASSERT_EQ(spread.values, expected_spread.values);
    ASSERT_EQ(spread.squares, expected_spread.squares);
    CompareSelections(logits, n, mask, found.max, constants, found_max.data(), weights, random);
  }

  void CompareSelections(const float* logits, size_t n, const uint64_t* mask, float max, const ExpConstants& constants,
                         const float* block_max, const std::vector<uint64_t>& weights, std::mt19937& random) const {
    float bounds[kBoundCount];
    for (float& bound : bounds) {
      bound = logits[random() % n];
      if (bound == -kInf) bound = std::numeric_limits<float>::lowest();
    }
    uint64_t expected[kBoundCount], found[kBoundCount];
    kScalarKernels.sum_at_least(logits, n, weights.data(), bounds, expected);
    target().sum_at_least(logits, n, weights.data(), bounds, found);
    ASSERT_THAT(found, ::testing::ElementsAreArray(expected));
    ASSERT_EQ(target().count_greater(logits, n, mask, bounds[0]),
              kScalarKernels.count_greater(logits, n, mask, bounds[0]));

    const float low = std::min(bounds[0], bounds[1]);
    const float high = std::max(bounds[0], bounds[1]);
    const size_t begin = random() % n / 64 * 64;
    const size_t end = begin + 1 + random() % (n - begin);
    std::vector<int32_t> expected_ids(n + kCollectPadding), ids(n + kCollectPadding);
    expected_ids.resize(kScalarKernels.collect(logits, begin, end, mask, low, high, expected_ids.data()));
    ids.resize(target().collect(logits, begin, end, mask, low, high, ids.data()));
    ASSERT_EQ(ids, expected_ids);
    std::vector<float> expected_logits(ids.size()), gathered(ids.size());
    kScalarKernels.gather(logits, ids.data(), ids.size(), expected_logits.data());
    target().gather(logits, ids.data(), ids.size(), gathered.data());
    // To the bit; memcmp may not be asked about nothing.
    ASSERT_TRUE(ids.empty() || std::memcmp(gathered.data(), expected_logits.data(), ids.size() * sizeof(float)) == 0);

    for (const auto& [above, below] : {std::pair{low, high}, std::pair{low, kInf}, std::pair{-kInf, high}}) {
      std::vector<uint64_t> expected_sums(SumBlockCount(n)), sums(SumBlockCount(n), 99);
      const Mass expected_mass =
          kScalarKernels.sum_between(logits, n, mask, block_max, above, below, max, constants, expected_sums.data());
      const Mass mass = target().sum_between(logits, n, mask, block_max, above, below, max, constants, sums.data());
      ASSERT_EQ(mass.count, expected_mass.count);
      ASSERT_EQ(mass.weight, expected_mass.weight);
      ASSERT_EQ(sums, expected_sums);
    }
    std::vector<uint64_t> expected_mask((n + 63) / 64, ~uint64_t{0});
    if (mask != nullptr) std::copy_n(mask, expected_mask.size(), expected_mask.begin());
    std::vector<uint64_t> found_mask = expected_mask;
    ASSERT_EQ(target().keep_between(logits, n, block_max, low, high, found_mask.data()),
              kScalarKernels.keep_between(logits, n, block_max, low, high, expected_mask.data()));
    ASSERT_EQ(found_mask, expected_mask);
  }
};
LOGITD_ON_EVERY_TARGET(TargetEqualityTest);

TEST_P(TargetEqualityTest, OfEverySizeUpTo300) {
  std::mt19937 random(20);
  for (size_t n = 1; n <= 300; ++n) {
    for (RowKind kind : kRowKinds) {
      SCOPED_TRACE("n " + std::to_string(n) + " kind " + std::to_string(static_cast<int>(kind)));
      const std::vector<float> row = RowOf(kind, n, random);
      const double temperature = kTemperatures[(n + static_cast<size_t>(kind)) % std::size(kTemperatures)];
      ASSERT_NO_FATAL_FAILURE(Compare(row.data(), n, nullptr, temperature, random));
      const auto masks = MasksOf(n, random);
      ASSERT_NO_FATAL_FAILURE(Compare(row.data(), n, masks[n % masks.size()].data(), temperature, random));
    }
  }
}

TEST_P(TargetEqualityTest, OfEveryMaskTemperatureAndStart) {
  std::mt19937 random(21);
  for (RowKind kind : kRowKinds) {
    for (size_t n : {777, 2049}) {
      const std::vector<float> row = RowOf(kind, n + 20, random);
      const auto masks = MasksOf(n, random);
      for (double temperature : kTemperatures) {
        for (size_t m = 0; m <= masks.size(); ++m) {
          // Pointers that are a multiple of 4 and of nothing else.
          const size_t start = random() % 20;
          SCOPED_TRACE("kind " + std::to_string(static_cast<int>(kind)) + " mask " + std::to_string(m) + " at " +
                       std::to_string(temperature) + " from " + std::to_string(start));
          const uint64_t* mask = m == masks.size() ? nullptr : masks[m].data();
          ASSERT_NO_FATAL_FAILURE(Compare(row.data() + start, n, mask, temperature, random));
        }
      }
    }
  }
}

TEST_P(TargetEqualityTest, OfLargeRows) {
  std::mt19937 random(22);
  for (size_t n : {4095, 50257, 131101}) {
    for (RowKind kind : {RowKind::kPeaked, RowKind::kWide, RowKind::kFlat, RowKind::kHoles, RowKind::kTies}) {
      SCOPED_TRACE("n " + std::to_string(n) + " kind " + std::to_string(static_cast<int>(kind)));
      const std::vector<float> row = RowOf(kind, n, random);
      ASSERT_NO_FATAL_FAILURE(Compare(row.data(), n, nullptr, 1.7, random));
      ASSERT_NO_FATAL_FAILURE(Compare(row.data(), n, MasksOf(n, random)[3].data(), 0.3, random));
    }
  }
}

TEST_P(TargetEqualityTest, OfWhatIsNotFiniteAtEveryPlaceOfABlock) {
  std::mt19937 random(23);
  for (size_t n : {1, 5, 16, 64, 255, 256, 300, 513}) {
    std::vector<float> row = RowOf(RowKind::kHoles, n, random);
    const auto masks = MasksOf(n, random);
    for (float bad : {kNan, -kNan, std::bit_cast<float>(0x7F800001u), std::bit_cast<float>(0xFFFFFFFFu), kInf}) {
      for (size_t i = 0; i < n; ++i) {
        const float before = row[i];
        row[i] = bad;
        ASSERT_EQ(target().scan_row(row.data(), n, nullptr, nullptr).first_non_finite, i);
        ASSERT_EQ(target().scan_row(row.data(), n, masks[1].data(), nullptr).first_non_finite, i);
        // Two of them: the first counts, and the vectors between hide neither.
        const size_t other = random() % n;
        const float other_before = row[other];
        row[other] = kNan;
        ASSERT_EQ(target().scan_row(row.data(), n, nullptr, nullptr).first_non_finite, std::min(i, other));
        row[other] = other_before;
        row[i] = before;
      }
    }
    ASSERT_EQ(target().scan_row(row.data(), n, nullptr, nullptr).first_non_finite, -1);
  }
}

// The kernels read the row and nothing beyond it: sanitizers see a heap block of exactly this size.
TEST_P(TargetEqualityTest, StaysInsideTheRow) {
  std::mt19937 random(24);
  for (size_t n : {1, 3, 63, 65, 255, 257, 1000}) {
    const std::vector<float> row = RowOf(RowKind::kWide, n, random);
    const auto copy = std::make_unique<float[]>(n);
    std::copy(row.begin(), row.end(), copy.get());
    ASSERT_NO_FATAL_FAILURE(Compare(copy.get(), n, nullptr, 0.7, random));
  }
}

}  // namespace
}  // namespace logitd::kernels

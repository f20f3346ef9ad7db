#include "core/prefix_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "core/distribution.h"
#include "core/truncation.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::SortedTokens;

constexpr float kInf = std::numeric_limits<float>::infinity();

class PrefixSearchTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(PrefixSearchTest);

struct NamedRow {
  std::string name;
  std::vector<float> logits;
};

std::vector<float> Normal(size_t n, double sigma, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, static_cast<float>(sigma));
  std::vector<float> row(n);
  for (float& x : row) x = normal(random);
  return row;
}

// Rows that lead a search astray: no order, one order, few values, one value, extremes, and ones that a sample at
// regular distances does not see.
std::vector<NamedRow> HardRows(size_t n) {
  std::vector<NamedRow> rows = {{"flat", Normal(n, 1, 1)},
                                {"wide", Normal(n, 3, 2)},
                                {"narrow", Normal(n, 1e-4, 3)},
                                {"equal", std::vector<float>(n, 1.5f)}};
  std::vector<float> row = Normal(n, 3, 4);
  for (size_t i = 0; i < n; i += n / 20 + 1) row[i] += 12;
  rows.push_back({"peaked", row});
  for (float& x : row) x = std::round(x);
  rows.push_back({"rounded", row});
  for (size_t i = 0; i < n; ++i) row[i] = i % 2 == 0 ? 0.0f : -0.0f;
  rows.push_back({"zeros", row});
  for (size_t i = 0; i < n; ++i) row[i] = static_cast<float>(i) * 1e-3f;
  rows.push_back({"rising", row});
  for (size_t i = 0; i < n; ++i) row[i] = static_cast<float>(n - i) * 1e-3f;
  rows.push_back({"falling", row});
  row = Normal(n, 2, 5);
  for (size_t i = 0; i < n; i += 2) row[i] = -kInf;
  rows.push_back({"holes", row});
  row.assign(n, -kInf);
  row[n / 2] = 3;
  row[n - 1] = 3;
  rows.push_back({"two", row});
  row = Normal(n, 1, 6);
  row[n / 3] = std::numeric_limits<float>::max();
  row[n / 2] = std::numeric_limits<float>::lowest();
  rows.push_back({"extremes", row});
  // Two plateaus: the sample meets them, or only the lower one.
  for (size_t i = 0; i < n; ++i) row[i] = i % 3 == 0 ? 2.0f : 1.0f;
  rows.push_back({"plateaus", row});
  const size_t stride = std::max<size_t>(2, n / 512);
  for (size_t i = 0; i < n; ++i) row[i] = i % stride == stride / 2 ? 0.0f : 2 + static_cast<float>(i % 1000) * 1e-3f;
  rows.push_back({"unsampled", row});
  return rows;
}

// What must be kept, from a sort: the shortest prefix with at least `target` of mass(token).
template <typename Mass>
std::vector<TokenId> Prefix(const std::vector<TokenId>& sorted, uint64_t target, Mass mass) {
  uint64_t sum = 0;
  size_t count = 0;
  while (sum < target) sum += mass(sorted[count++]);
  std::vector<TokenId> kept(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(count));
  std::sort(kept.begin(), kept.end());
  return kept;
}

std::vector<TokenId> KeptBy(LogitsView row, const SamplingParams& params) {
  static Distribution distribution;  // its buffers are reused, as they are in use
  EXPECT_THAT(distribution.Assign(row, params, {}), IsOk());
  std::vector<TokenId> kept;
  for (TokenId t = 0; t < static_cast<TokenId>(row.size()); ++t) {
    if (distribution.Keeps(t)) kept.push_back(t);
  }
  return kept;
}

std::vector<TokenId> Allowed(const std::vector<float>& row, const VocabSubset* subset) {
  std::vector<TokenId> sorted = SortedTokens(row);
  std::erase_if(sorted, [&](TokenId t) { return row[t] == -kInf || (subset != nullptr && !subset->Contains(t)); });
  return sorted;
}

TEST_P(PrefixSearchTest, TopKIsASortForEveryK) {
  for (size_t n : {2, 65, 300, 600}) {
    for (const NamedRow& row : HardRows(n)) {
      const std::vector<TokenId> sorted = Allowed(row.logits, nullptr);
      for (size_t k = 1; k < sorted.size(); ++k) {
        SCOPED_TRACE(row.name + " n " + std::to_string(n) + " k " + std::to_string(k));
        ASSERT_EQ(KeptBy(row.logits, {.temperature = 0.7, .top_k = static_cast<int32_t>(k)}),
                  Prefix(sorted, k, [](TokenId) { return 1; }));
      }
    }
  }
}

TEST_P(PrefixSearchTest, TopKIsASortInLargeRows) {
  for (size_t n : {5000, 40001}) {
    for (const NamedRow& row : HardRows(n)) {
      const std::vector<TokenId> sorted = Allowed(row.logits, nullptr);
      for (size_t k : {1, 2, 19, 20, 21, 150, 1000, 4000, 39999}) {
        if (k >= sorted.size()) continue;
        SCOPED_TRACE(row.name + " n " + std::to_string(n) + " k " + std::to_string(k));
        ASSERT_EQ(KeptBy(row.logits, {.temperature = 1.7, .top_k = static_cast<int32_t>(k)}),
                  Prefix(sorted, k, [](TokenId) { return 1; }));
      }
    }
  }
}

TEST_P(PrefixSearchTest, TopPIsASort) {
  for (size_t n : {2, 65, 600, 5000, 40001}) {
    for (const NamedRow& row : HardRows(n)) {
      const std::vector<TokenId> sorted = Allowed(row.logits, nullptr);
      for (double temperature : {0.3, 1.7, 50.0}) {
        Distribution whole;
        ASSERT_THAT(whole.Assign(row.logits, {.temperature = temperature}, {}), IsOk());
        for (double p : {1e-6, 0.01, 0.3, 0.5, 0.9, 0.95, 0.999, 0.9999999}) {
          SCOPED_TRACE(row.name + " n " + std::to_string(n) + " p " + std::to_string(p) + " at " +
                       std::to_string(temperature));
          const uint64_t target = TopPMass(whole.TotalWeight(), p, TopPBoundary::kReached);
          ASSERT_EQ(KeptBy(row.logits, {.temperature = temperature, .top_p = p}),
                    Prefix(sorted, target, [&](TokenId t) { return whole.Weight(t); }));
        }
      }
    }
  }
}

TEST_P(PrefixSearchTest, BoundsTellWhereTheyCan) {
  constexpr size_t kSize = 20'000;
  const NamedRow row = {"", Normal(kSize, 3, 7)};
  PrefixSearch search;
  const kernels::ExpConstants constants(1);
  std::vector<float> block_max(kernels::BlockCount(kSize));
  // The bounds are about 1 % of the rest apart, which is a fifth of the whole.
  std::vector<float> peaked = row.logits;
  for (TokenId t : {17, 18, 5000, 19'999}) peaked[t] = 18;
  const kernels::RowScan scan = target().scan_row(peaked.data(), kSize, nullptr, block_max.data());
  std::vector<uint64_t> weights(kSize);
  const uint64_t total = target().weigh(peaked.data(), kSize, scan.max, constants, weights.data());
  const TokenMask every;
  const PrefixTokens tokens = {.row = peaked,
                               .mask = &every,
                               .block_max = block_max,
                               .count = scan.finite_count,
                               .max = scan.max,
                               .constants = &constants};
  const auto share = [](double p) {
    return [p](uint64_t mass) { return static_cast<uint64_t>(static_cast<double>(mass) * p); };
  };
  const uint64_t unit = weights[17];
  ASSERT_GT(static_cast<double>(4 * unit), 0.9 * static_cast<double>(total));
  // Their ends are the ends of the shares of one, two, three and four of them.
  const double each = static_cast<double>(unit) / static_cast<double>(total);
  const TokenId last[] = {17, 18, 5000, 19'999};
  for (int i = 0; i < 4; ++i) {
    for (double p : {(i + 0.1) * each, (i + 0.5) * each, (i + 0.9) * each}) {
      SCOPED_TRACE(p);
      const auto found = search.FindByBounds(tokens, share(p));
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(found->cut.token_id, last[i]);
      EXPECT_EQ(found->mass, static_cast<uint64_t>(i + 1) * unit);
      EXPECT_TRUE(found->is_in_list);
    }
    // Targets on both sides of an end are possible.
    EXPECT_FALSE(search.FindByBounds(tokens, share((i + 1) * each)).has_value()) << i;
  }
  // Most of the rest, of which the largest blocks do not have enough; and a row without a peak.
  EXPECT_FALSE(search.FindByBounds(tokens, share(0.999)).has_value());
  PrefixTokens flat = tokens;
  flat.row = row.logits;
  flat.max = target().scan_row(row.logits.data(), kSize, nullptr, block_max.data()).max;
  EXPECT_FALSE(search.FindByBounds(flat, share(0.5)).has_value());
}

// The cut is in a run of equal logits below a few others, and leaves too many tokens for a list: the draw's sums of
// blocks must have both.
TEST_P(PrefixSearchTest, ACutInARunOfTiesLeavesTheSumsOfWhatIsAboveToo) {
  std::vector<float> row(12'000, 1.0f);
  for (TokenId t : {5, 5000, 9000}) row[t] = 6;
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 1, .top_p = 0.7}, {}), IsOk());
  ASSERT_GT(distribution.CountKept(), 4096);
  ASSERT_LT(distribution.CountKept(), 12'000);
  for (uint64_t i = 0; i <= 64; ++i) {
    const uint64_t u = i == 64 ? ~uint64_t{0} : i << 58;
    const Draw draw = distribution.DrawToken(u);
    uint64_t before = 0;
    for (TokenId t = 0; t < draw.token_id; ++t) before += distribution.Weight(t);
    const auto r = static_cast<uint64_t>((static_cast<unsigned __int128>(u) * distribution.TotalWeight()) >> 64);
    ASSERT_EQ(draw.interval_start, before) << i;
    ASSERT_EQ(draw.weight, distribution.Weight(draw.token_id)) << i;
    ASSERT_LE(before, r) << i;
    ASSERT_LT(r - before, draw.weight) << i;
  }
}

// p = 0 is a target of no mass, and so is, ascending, a p that 1 - p does not feel.
TEST_P(PrefixSearchTest, TopPOfNothingIsTheFirstToken) {
  constexpr size_t kSize = 10'000;
  std::vector<NamedRow> rows = HardRows(kSize);
  // The maximum in each of the largest blocks.
  std::vector<float> row = Normal(kSize, 3, 9);
  for (size_t i = 100; i < kSize; i += kernels::kBlockSize) row[i] = 30;
  rows.push_back({"one in each block", row});
  Distribution distribution;
  for (const NamedRow& named : rows) {
    const std::vector<TokenId> sorted = Allowed(named.logits, nullptr);
    const auto equal = static_cast<size_t>(std::ranges::count(named.logits, named.logits[sorted[0]]));
    for (TopPBoundary boundary :
         {TopPBoundary::kReached, TopPBoundary::kExceeded, TopPBoundary::kAscending, TopPBoundary::kMassAbove}) {
      for (double p : {0.0, 1e-17, 1e-300}) {
        SCOPED_TRACE(named.name + " p " + std::to_string(p) + " rule " + std::to_string(static_cast<int>(boundary)));
        SamplingParams params{.temperature = 0.7, .top_p = p};
        params.order.top_p_boundary = boundary;
        // Used before, and not.
        Distribution fresh;
        for (Distribution* each : {&distribution, &fresh}) {
          ASSERT_THAT(each->Assign(named.logits, params, {}), IsOk());
          ASSERT_EQ(each->argmax(), sorted[0]);
          ASSERT_TRUE(each->Keeps(sorted[0]));
          ASSERT_EQ(each->CountKept(), boundary == TopPBoundary::kMassAbove ? equal : 1);
        }
      }
    }
  }
}

TEST_P(PrefixSearchTest, OfASubset) {
  for (size_t n : {65, 5000, 40001}) {
    for (const NamedRow& row : HardRows(n)) {
      std::mt19937 random(8);
      for (uint32_t one_in : {2, 40}) {
        std::vector<TokenId> ids = {static_cast<TokenId>(n / 2)};  // finite in every row
        for (size_t i = 0; i < n; ++i) {
          if (random() % one_in == 0 && i != n / 2) ids.push_back(static_cast<TokenId>(i));
        }
        const auto subset = std::make_shared<VocabSubset>(*VocabSubset::Of(static_cast<int32_t>(n), ids));
        const std::vector<TokenId> sorted = Allowed(row.logits, subset.get());
        Distribution whole;
        ASSERT_THAT(whole.Assign(row.logits, {.temperature = 1.7, .subset = subset}, {}), IsOk());
        SCOPED_TRACE(row.name + " n " + std::to_string(n) + " one in " + std::to_string(one_in));
        for (size_t k : {1, 3, 100, 1500}) {
          if (k >= sorted.size()) continue;
          ASSERT_EQ(KeptBy(row.logits, {.temperature = 1.7, .top_k = static_cast<int32_t>(k), .subset = subset}),
                    Prefix(sorted, k, [](TokenId) { return 1; }));
        }
        for (double p : {0.1, 0.9, 0.999}) {
          ASSERT_EQ(KeptBy(row.logits, {.temperature = 1.7, .top_p = p, .subset = subset}),
                    Prefix(sorted, TopPMass(whole.TotalWeight(), p, TopPBoundary::kReached),
                           [&](TokenId t) { return whole.Weight(t); }))
              << p;
        }
      }
    }
  }
}

TEST_P(PrefixSearchTest, TopPAfterTopKTakesItsShareOfWhatIsLeft) {
  for (const NamedRow& row : HardRows(20000)) {
    const std::vector<TokenId> sorted = Allowed(row.logits, nullptr);
    for (int32_t k : {10, 700, 9000}) {
      for (double p : {0.2, 0.9, 0.999}) {
        SCOPED_TRACE(row.name + " k " + std::to_string(k) + " p " + std::to_string(p));
        Distribution left;
        ASSERT_THAT(left.Assign(row.logits, {.temperature = 0.7, .top_k = k}, {}), IsOk());
        ASSERT_EQ(KeptBy(row.logits, {.temperature = 0.7, .top_k = k, .top_p = p}),
                  Prefix(sorted, TopPMass(left.TotalWeight(), p, TopPBoundary::kReached),
                         [&](TokenId t) { return left.Weight(t); }));
      }
    }
  }
}

// The order of the vocabulary decides ties and nothing else.
TEST_P(PrefixSearchTest, APermutedRowKeepsTheSameLogits) {
  std::mt19937 random(9);
  for (const NamedRow& row : HardRows(5000)) {
    std::vector<float> permuted = row.logits;
    std::shuffle(permuted.begin(), permuted.end(), random);
    for (const SamplingParams& params :
         {SamplingParams{.temperature = 0.7}, SamplingParams{.temperature = 1.7, .top_k = 77},
          SamplingParams{.temperature = 0.7, .top_p = 0.9},
          SamplingParams{.temperature = 50, .top_k = 4000, .top_p = .8}}) {
      SCOPED_TRACE(row.name);
      Distribution here, there;
      ASSERT_THAT(here.Assign(row.logits, params, {}), IsOk());
      ASSERT_THAT(there.Assign(permuted, params, {}), IsOk());
      EXPECT_EQ(here.TotalWeight(), there.TotalWeight());
      EXPECT_EQ(here.CountKept(), there.CountKept());
      EXPECT_EQ(here.Entropy(), there.Entropy());
      std::vector<float> kept_here, kept_there;
      for (TokenId t = 0; t < 5000; ++t) {
        if (here.Keeps(t)) kept_here.push_back(row.logits[t] + 0.0f);
        if (there.Keeps(t)) kept_there.push_back(permuted[t] + 0.0f);
      }
      std::sort(kept_here.begin(), kept_here.end());
      std::sort(kept_there.begin(), kept_there.end());
      EXPECT_EQ(kept_here, kept_there);
    }
  }
}

TEST(DescendingKeyTest, OrdersAsLogitsDoAndComesBack) {
  const float ascending[] = {-kInf, -3e38f, -1.5f, -1e-45f, 0.0f, 1e-45f, 2.0f, 3e38f, kInf};
  for (size_t i = 0; i < std::size(ascending); ++i) {
    EXPECT_EQ(LogitOfKey(DescendingKey(ascending[i])), ascending[i]);
    if (i > 0) {
      EXPECT_LT(DescendingKey(ascending[i]), DescendingKey(ascending[i - 1]));
    }
  }
  EXPECT_EQ(DescendingKey(-0.0f), DescendingKey(0.0f));
  EXPECT_EQ(LogitOfKey(DescendingKey(1.0f) - 1), std::nextafter(1.0f, 2.0f));
  EXPECT_EQ(LogitOfKey(DescendingKey(0.0f) + 1), -1e-45f);
}

}  // namespace
}  // namespace logitd

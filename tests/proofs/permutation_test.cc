// A permuted vocabulary is the same distribution, to the bit: sums over a row do not depend on its order, and on rows
// without ties neither do sets. Every sampler, every kernel target.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "core/distribution.h"
#include "core/vocab_subset.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/proofs/length.h"
#include "tests/proofs/rows.h"
#include "tests/testing/matchers.h"
#include "tests/testing/samplers.h"

namespace logitd::proofs {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::Sampler;
using ::logitd::testing::Samplers;

class PermutationProof : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(PermutationProof);

// place[t]: where token t of the row went.
std::vector<TokenId> MakePermutation(int32_t vocab_size, uint64_t seed) {
  std::vector<TokenId> place(static_cast<size_t>(vocab_size));
  std::iota(place.begin(), place.end(), 0);
  RowRandom random(seed);
  for (size_t i = place.size(); i > 1; --i) std::swap(place[i - 1], place[random.Bits() % i]);
  return place;
}

// The same parameters for the permuted vocabulary.
SamplingParams Permuted(const SamplingParams& params, const std::vector<TokenId>& place) {
  SamplingParams permuted = params;
  if (params.lists != nullptr) {
    SamplingLists lists = *params.lists;
    for (LogitBias& bias : lists.logit_biases) bias.token_id = place[bias.token_id];
    for (SequenceBias& bias : lists.sequence_biases) {
      for (TokenId& token_id : bias.token_ids) token_id = place[token_id];
    }
    permuted.lists = std::make_shared<const SamplingLists>(lists);
  }
  if (params.subset == nullptr) return permuted;
  std::vector<TokenId> allowed;
  for (TokenId t = 0; t < params.subset->vocab_size(); ++t) {
    if (params.subset->Contains(t)) allowed.push_back(place[t]);
  }
  permuted.subset = std::make_shared<const VocabSubset>(*VocabSubset::Of(params.subset->vocab_size(), allowed));
  return permuted;
}

void ExpectTheSame(Distribution& before, Distribution& after, const std::vector<TokenId>& place) {
  ASSERT_EQ(after.TotalWeight(), before.TotalWeight());
  ASSERT_EQ(after.CountKept(), before.CountKept());
  ASSERT_EQ(after.max(), before.max());
  ASSERT_EQ(after.argmax(), place[before.argmax()]);
  ASSERT_EQ(after.Entropy(), before.Entropy());
  for (TokenId t = 0; t < static_cast<TokenId>(place.size()); ++t) {
    ASSERT_EQ(after.Keeps(place[t]), before.Keeps(t)) << t;
    ASSERT_EQ(after.Weight(place[t]), before.Weight(t)) << t;
    ASSERT_EQ(after.LogProb(place[t]), before.LogProb(t)) << t;
  }
}

TEST_P(PermutationProof, KeepsEveryNumberOfADistinctRow) {
  const auto rounds = static_cast<uint64_t>(Count(1, 20));
  Distribution before, after;
  for (int32_t n : {4, 65, 1000, 20011}) {
    for (double scale : {0.5, 3.0}) {
      for (uint64_t round = 0; round < rounds; ++round) {
        const std::vector<float> row = MakeDistinctRow(n, scale, round * 31 + static_cast<uint64_t>(n));
        const std::vector<TokenId> place = MakePermutation(n, round + 5);
        std::vector<float> permuted(row.size());
        for (size_t t = 0; t < row.size(); ++t) permuted[place[t]] = row[t];
        for (const Sampler& sampler : Samplers(n)) {
          SCOPED_TRACE(sampler.name + ", " + std::to_string(n) + " tokens, scale " + std::to_string(scale) +
                       ", round " + std::to_string(round));
          ASSERT_THAT(before.Assign(row, sampler.params, {}), IsOk());
          ASSERT_THAT(after.Assign(permuted, Permuted(sampler.params, place), {}), IsOk());
          ASSERT_NO_FATAL_FAILURE(ExpectTheSame(before, after, place));
        }
        ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row));
        ASSERT_OK_AND_ASSIGN(const RowStatistics permuted_statistics, ReadRow(permuted));
        ASSERT_EQ(permuted_statistics.total_weight, statistics.total_weight);
        ASSERT_EQ(permuted_statistics.log_sum_exp, statistics.log_sum_exp);
        ASSERT_EQ(*StatisticsOf(permuted, {permuted_statistics.max, permuted_statistics.argmax}, /*with_entropy=*/true)
                       .entropy,
                  *StatisticsOf(row, {statistics.max, statistics.argmax}, /*with_entropy=*/true).entropy);
        for (int i = 0; i < 20; ++i) {
          const auto t = static_cast<TokenId>(RowRandom(round * 100 + static_cast<uint64_t>(i)).Bits() % row.size());
          ASSERT_EQ(RankOf(permuted, place[t]), RankOf(row, t));
          ASSERT_EQ(permuted_statistics.LogProb(permuted[place[t]]), statistics.LogProb(row[t]));
        }
      }
    }
  }
}

}  // namespace
}  // namespace logitd::proofs

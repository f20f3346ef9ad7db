#include "client/runner/llama/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/testing/matchers.h"

namespace logitd::runner {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = int64_t{1} << 30;

// 8 KiB a token, and 16 MiB to compute with; nothing besides.
MemoryNeeds Needs(int64_t mapped_weights = 0, int64_t bytes_a_sequence = 0) {
  MemoryNeeds needs;
  needs.mapped_weights = mapped_weights;
  needs.context = [bytes_a_sequence](int64_t cells, int sequences) {
    return 16 * kMiB + cells * 8192 + sequences * bytes_a_sequence;
  };
  return needs;
}

MemoryBudget Budget(int64_t bytes, int sharers = 1) { return {bytes, bytes, "this machine", sharers}; }

TEST(MemoryBudgetTest, WhereThereIsPlentyItIsTwiceTheContextLength) {
  ASSERT_OK_AND_ASSIGN(const CacheChoice choice, ChooseCache({.context_length = 131072}, Budget(16 * kGiB), Needs()));
  EXPECT_EQ(choice.cells, 262144);
  EXPECT_EQ(choice.sequences, 64);
  EXPECT_TRUE(choice.isolates);
  EXPECT_FALSE(choice.is_short);
  EXPECT_THAT(choice.why, HasSubstr("262144 tokens, twice the context length: 2.0 GiB of the 15.0 GiB"));
}

// 2 GiB less an eighth less 16 MiB are 1776 MiB: 128 tokens each. A fifth would be too little for isolated sequences.
TEST(MemoryBudgetTest, ElseAsManyAsFit) {
  ASSERT_OK_AND_ASSIGN(const CacheChoice choice, ChooseCache({.context_length = 131072}, Budget(2 * kGiB), Needs()));
  EXPECT_EQ(choice.cells, 1776 * 128);
  EXPECT_FALSE(choice.isolates);
  EXPECT_FALSE(choice.is_short);
  EXPECT_THAT(choice.why, HasSubstr("as many as fit"));
}

TEST(MemoryBudgetTest, LessThanAContextIsServedAndSaidSo) {
  ASSERT_OK_AND_ASSIGN(const CacheChoice choice, ChooseCache({.context_length = 131072}, Budget(512 * kMiB), Needs()));
  EXPECT_EQ(choice.cells, (512 - 64 - 16) * 128);
  EXPECT_TRUE(choice.is_short);
  EXPECT_THAT(choice.why, HasSubstr("less than the context length of 131072"));
}

TEST(MemoryBudgetTest, RunnersShareAndMappedWeightsCountOnce) {
  // 4096 - 512 for the server - 1024 of weights: 2560 for both.
  MemoryBudget budget = Budget(4 * kGiB, /*sharers=*/2);
  ASSERT_OK_AND_ASSIGN(const CacheChoice choice, ChooseCache({.context_length = 131072}, budget, Needs(kGiB)));
  EXPECT_EQ(choice.cells, (1280 - 16) * 128);
  // The second one starts when the first has its share: it chooses the same.
  budget.now -= 1280 * kMiB;
  ASSERT_OK_AND_ASSIGN(const CacheChoice second, ChooseCache({.context_length = 131072}, budget, Needs(kGiB)));
  EXPECT_EQ(second.cells, choice.cells);
  // Somebody else has taken memory since.
  budget.now = 1500 * kMiB;
  ASSERT_OK_AND_ASSIGN(const CacheChoice third, ChooseCache({.context_length = 131072}, budget, Needs(kGiB)));
  EXPECT_EQ(third.cells, (1500 - 1024 - 16) / 2 * 2 * 128);
}

TEST(MemoryBudgetTest, WhatWasAskedForIsTakenOrRefused) {
  ASSERT_OK_AND_ASSIGN(
      const CacheChoice choice,
      ChooseCache({.cache_tokens = 1000, .max_sequences = 3, .context_length = 131072}, Budget(kGiB), Needs()));
  EXPECT_EQ(choice.cells, 1000);
  EXPECT_EQ(choice.sequences, 3);
  EXPECT_TRUE(choice.is_short);
  EXPECT_THAT(choice.why, HasSubstr("as --cache-tokens says"));
  EXPECT_THAT(ChooseCache({.cache_tokens = 200000, .context_length = 131072}, Budget(kGiB), Needs()),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("--cache-tokens 200000 would make it take 1.5 GiB"),
                             HasSubstr("1.0 GiB of memory are there (this machine)"),
                             HasSubstr("lower --cache-tokens to " + std::to_string((1024 - 128 - 16) * 128)))));
}

TEST(MemoryBudgetTest, AFifthIsLeftForIsolatedSequencesIfItIsEnough) {
  // 1792 MiB: four fifths less 16 MiB are 1417.6 MiB, in steps of 256 tokens; the rest less 16 MiB holds 44,032 tokens.
  CacheRequest request = {.context_length = 44'032};
  ASSERT_OK_AND_ASSIGN(CacheChoice choice, ChooseCache(request, Budget(2 * kGiB), Needs()));
  EXPECT_TRUE(choice.isolates) << "twice the context length fits, too";
  request.context_length = 100'000;
  ASSERT_OK_AND_ASSIGN(choice, ChooseCache(request, Budget(2 * kGiB), Needs()));
  EXPECT_FALSE(choice.isolates);
  EXPECT_EQ(choice.cells, 200'000);
}

TEST(MemoryBudgetTest, IsolatedSequencesHaveTheWholeContextOrNone) {
  // 1024 - 128 = 896 MiB. 100,000 tokens take 797.25 MiB, and 98.75 less 16 are left: 10,592 tokens.
  CacheRequest request = {.cache_tokens = 100'000, .context_length = 10'592};
  ASSERT_OK_AND_ASSIGN(const CacheChoice enough, ChooseCache(request, Budget(kGiB), Needs()));
  EXPECT_TRUE(enough.isolates);
  request.context_length = 10'593;
  ASSERT_OK_AND_ASSIGN(const CacheChoice too_few, ChooseCache(request, Budget(kGiB), Needs()));
  EXPECT_FALSE(too_few.isolates);
  // Whatever the size of the cache that others use.
  request = {.cache_tokens = 1000, .context_length = 65'536};
  ASSERT_OK_AND_ASSIGN(const CacheChoice small, ChooseCache(request, Budget(kGiB), Needs()));
  EXPECT_TRUE(small.isolates);
}

TEST(MemoryBudgetTest, WeightsThatCannotFitAreRefusedInOneSentence) {
  const absl::Status status = CheckWeightsFit(8 * kGiB, Budget(4 * kGiB));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                               AllOf(HasSubstr("its weights take 8.0 GiB"), HasSubstr("4.0 GiB of memory are there"),
                                     HasSubstr("give more memory"))));
  EXPECT_EQ(std::string(status.message()).find(". "), std::string::npos);
  EXPECT_THAT(CheckWeightsFit(3 * kGiB, Budget(4 * kGiB)), IsOk());
  EXPECT_THAT(ChooseCache({.context_length = 2048}, Budget(4 * kGiB), Needs(8 * kGiB)),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("its weights take 8.0 GiB")));
}

TEST(MemoryBudgetTest, ACacheOfNoUseIsRefused) {
  EXPECT_THAT(ChooseCache({.context_length = 2048}, Budget(128 * kMiB, /*sharers=*/4), Needs()),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("the smallest cache, of 512 tokens"), HasSubstr("fewer --runners"))));
}

TEST(MemoryBudgetTest, StatesOfSequencesTakeAtMostHalf) {
  CacheRequest request = {.context_length = 2048, .sequences_cost = true};
  // 1 GiB less an eighth: 896 MiB. 16 states of 25 MiB are 400.
  ASSERT_OK_AND_ASSIGN(const CacheChoice choice, ChooseCache(request, Budget(kGiB), Needs(0, 25 * kMiB)));
  EXPECT_EQ(choice.sequences, 16);
  EXPECT_EQ(choice.cells, 4096);
  request.max_sequences = 32;
  ASSERT_OK_AND_ASSIGN(const CacheChoice asked, ChooseCache(request, Budget(kGiB), Needs(0, 25 * kMiB)));
  EXPECT_EQ(asked.sequences, 32);
}

TEST(MemoryBudgetTest, TheSentenceFitsItsField) {
  const MemoryBudget budget = {900 * kMiB, 900 * kMiB, "the control group's limit of 1023.9 GiB", 64};
  const CacheRequest request = {.context_length = 1 << 30};
  MemoryNeeds needs = Needs();
  needs.context = [](int64_t cells, int) { return cells; };
  ASSERT_OK_AND_ASSIGN(const CacheChoice choice, ChooseCache(request, budget, needs));
  EXPECT_LE(choice.why.size(), 256u);
}

}  // namespace
}  // namespace logitd::runner

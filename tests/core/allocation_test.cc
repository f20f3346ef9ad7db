// A step allocates nothing once its buffers have grown, and those are not too large: operator new of this program
// counts, thread by thread.
#include <malloc.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "core/decoder.h"
#include "core/distribution.h"
#include "core/row_statistics.h"
#include "core/sampling_params.h"
#include "core/token_record.h"
#include "core/truncation.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"
#include "tests/testing/samplers.h"

namespace {

thread_local int64_t allocation_count = 0;
// What this thread has and has not given back.
thread_local int64_t live_bytes = 0;

// Null: the system does not give that much.
void* Allocate(size_t size, size_t alignment) {
  ++allocation_count;
  // aligned_alloc wants a multiple of the alignment.
  void* const memory = alignment <= alignof(std::max_align_t)
                           ? std::malloc(size == 0 ? 1 : size)
                           : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) return nullptr;
  live_bytes += static_cast<int64_t>(malloc_usable_size(memory));
  return memory;
}

void* AllocateOrAbort(size_t size, size_t alignment) {
  void* const memory = Allocate(size, alignment);
  if (memory == nullptr) std::abort();
  return memory;
}

void Free(void* memory) {
  if (memory != nullptr) live_bytes -= static_cast<int64_t>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

// The forms for arrays come here by way of the library's. So would those without exceptions, but AddressSanitizer's do
// not, and what they allocate is freed here.
void* operator new(size_t size) { return AllocateOrAbort(size, 1); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return Allocate(size, 1); }
void* operator new(size_t size, std::align_val_t alignment) {
  return AllocateOrAbort(size, static_cast<size_t>(alignment));
}
void* operator new(size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return Allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete(void* memory, size_t) noexcept { Free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { Free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { Free(memory); }

namespace logitd {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;
using ::logitd::testing::Sampler;
using ::logitd::testing::Samplers;

constexpr int32_t kVocabSize = 30011;

class AllocationTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(AllocationTest);

TEST(AllocationCountTest, CountsWhatAVectorAllocates) {
  const int64_t before = allocation_count;
  const auto numbers = std::make_unique<std::vector<int>>(1000);
  EXPECT_EQ(numbers->size(), 1000);
  EXPECT_EQ(allocation_count - before, 2);
}

// Rows of every kind: what a search does depends on the row.
std::vector<std::vector<float>> Rows() {
  std::vector<std::vector<float>> rows = {MakeRow(kVocabSize, 0.5, 1), MakeRow(kVocabSize, 3, 2),
                                          std::vector<float>(kVocabSize, 1.0f), MakeRow(kVocabSize, 1, 3)};
  rows[2][77] = 2;
  for (int32_t i = 0; i < kVocabSize; i += 5) rows[3][i] = -std::numeric_limits<float>::infinity();
  return rows;
}

// The samplers without history, and all that looks at the tokens so far.
std::vector<Sampler> AllSamplers() {
  std::vector<Sampler> samplers = Samplers(kVocabSize);
  SamplingLists lists;
  lists.logit_biases = {{5, 1.0}, {900, -2.0}};
  lists.sequence_biases = {{.token_ids = {1, 2, 7}, .bias = 0.5}, {.token_ids = {2, 9}}};
  lists.dry = {.multiplier = 0.8, .base = 1.75, .allowed_length = 1, .breakers = {{4}, {2, 3}}};
  SamplingParams params{.temperature = 0.8,
                        .top_p = 0.95,
                        .repetition_penalty = 1.2,
                        .frequency_penalty = 0.3,
                        .presence_penalty = -0.2,
                        .penalty_window = 50,
                        .no_repeat_ngram_size = 3,
                        .lists = std::make_shared<const SamplingLists>(lists)};
  samplers.push_back({"penalties, DRY, n-grams", params});
  params.typical_p = 0.9;
  params.xtc = {.probability = 1, .threshold = 1e-4};
  samplers.push_back({"the same, typical, xtc", params});
  params.order.stages = {Stage::kTopP,        Stage::kLogitBiases,       Stage::kSequenceBiases,
                         Stage::kTypicalP,    Stage::kRepetitionPenalty, Stage::kFrequencyPenalty,
                         Stage::kTemperature, Stage::kPresencePenalty,   Stage::kDry,
                         Stage::kXtc,         Stage::kNoRepeatNgram};
  samplers.push_back({"the same, cuts between", params});
  // One token in a hundred: a list from the start.
  std::vector<TokenId> few;
  for (TokenId t = 1; t < kVocabSize; t += 100) few.push_back(t);
  const auto subset = std::make_shared<const VocabSubset>(*VocabSubset::Of(kVocabSize, few));
  samplers.push_back({"few allowed", {.temperature = 1.4, .subset = subset}});
  samplers.push_back({"few allowed, top-p, typical, xtc",
                      {.temperature = 1.4,
                       .top_p = 0.95,
                       .subset = subset,
                       .typical_p = 0.9,
                       .xtc = {.probability = 1, .threshold = 1e-3}}});
  return samplers;
}

TEST_P(AllocationTest, AStepAllocatesNothingOnceWarm) {
  const std::vector<std::vector<float>> rows = Rows();
  const std::vector<TokenId> prompt = {1, 2, 3, 1, 2, 4, 1, 2}, output = {7, 1, 2, 3, 1, 2};
  const std::vector<TokenId> excluded = {11, 12};
  for (const Sampler& sampler : AllSamplers()) {
    SCOPED_TRACE(sampler.name);
    Distribution distribution;
    double sum = 0;
    const auto step = [&](LogitsView row, int32_t position) {
      const StepContext context{
          .prompt = prompt,
          .output = output,
          .excluded = position % 2 == 0 ? std::span<const TokenId>(excluded) : std::span<const TokenId>(),
          .seed = 3,
          .position = position};
      if (!distribution.Assign(row, sampler.params, context, {.kept_mass = true}).ok()) return false;
      for (uint64_t u : {uint64_t{0}, uint64_t{1} << 63, ~uint64_t{0}}) {
        sum += distribution.LogProb(distribution.DrawToken(u).token_id);
      }
      sum += distribution.CountKept() + distribution.KeptMass() + distribution.Entropy();
      sum += distribution.ModelStatistics(/*with_entropy=*/true).log_sum_exp;
      return true;
    };
    // The first round grows the buffers.
    for (int round = 0; round < 2; ++round) {
      const int64_t before = allocation_count;
      for (int32_t position = 0; position < 8; ++position) ASSERT_TRUE(step(rows[position % 4], position));
      if (round == 1) {
        EXPECT_EQ(allocation_count - before, 0);
      }
    }
    EXPECT_GT(sum, 0);
  }
}

TEST_P(AllocationTest, ADecodersStepAllocatesNothingOnceWarm) {
  const std::vector<float> row = MakeRow(kVocabSize, 2, 5);
  for (const Sampler& sampler : AllSamplers()) {
    SCOPED_TRACE(sampler.name);
    DecoderConfig config{.sampling = sampler.params, .seed = 9};
    config.record.rank = config.record.entropy = config.record.kept_set = config.record.draw = true;
    Decoder decoder(config, std::make_shared<const std::vector<TokenId>>(std::vector<TokenId>{1, 2, 3, 1, 2}), {},
                    SequenceSums{});
    Distribution distribution;
    ASSERT_THAT(decoder.Advance(0, row, distribution), IsOk());
    ASSERT_THAT(decoder.Advance(0, row, distribution), IsOk());
    const int64_t before = allocation_count;
    // The latest step again: a sequence's own list of tokens, which grows, is not part of a step.
    const bool ok = decoder.Advance(0, row, distribution).ok();
    EXPECT_EQ(allocation_count - before, 0);
    EXPECT_TRUE(ok);
  }
}

TEST_P(AllocationTest, TopTokensCostARecordItsOwnListAlone) {
  const std::vector<float> row = MakeRow(kVocabSize, 2, 5);
  ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row, /*with_entropy=*/true));
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.7, .top_p = 0.9}, {}), IsOk());
  for (int32_t top_n : {1, 20, 1800, 5000, kVocabSize}) {
    const RecordOptions options{.rank = true, .top_n = top_n};
    for (Distribution* sampling : {&distribution, static_cast<Distribution*>(nullptr)}) {
      TopTokens* const space = sampling == nullptr ? &distribution.top_tokens() : nullptr;
      // The first records grow the buffers, two of which take turns.
      for (int i = 0; i < 3; ++i) ASSERT_EQ(MakeRecord(row, statistics, sampling, 7, options, space).top.size(), top_n);
      const int64_t before = allocation_count;
      const TokenRecord record = MakeRecord(row, statistics, sampling, 7, options, space);
      EXPECT_EQ(allocation_count - before, 1) << top_n;
      EXPECT_EQ(record.top.size(), top_n);
    }
  }
}

// See distribution.h: 110 bytes a token, 90 more for top_n, and vectors may take twice their part.
TEST_P(AllocationTest, BuffersAreNotLargerThanTheHeaderSays) {
  const std::vector<TokenId> prompt = {1, 2, 3, 1, 2, 4, 1, 2}, output = {7, 1, 2, 3, 1, 2};
  const std::vector<std::vector<float>> rows = Rows();
  const int64_t before = live_bytes;
  Distribution distribution;
  for (const Sampler& sampler : AllSamplers()) {
    for (const std::vector<float>& row : rows) {
      ASSERT_THAT(distribution.Assign(row, sampler.params, {.prompt = prompt, .output = output}, {.kept_mass = true}),
                  IsOk());
      distribution.DrawToken(1);
    }
  }
  const int64_t with_stages = live_bytes - before;
  EXPECT_LT(with_stages, 2 * 110 * kVocabSize);
  // Typical's candidates alone.
  EXPECT_GT(with_stages, 24 * kVocabSize);
  for (const std::vector<float>& row : rows) {
    for (int32_t n : {1, 1800, kVocabSize}) distribution.top_tokens().Find(row, n);
  }
  EXPECT_LT(live_bytes - before, 2 * (110 + 90) * kVocabSize);
}

TEST(TypicalMemoryTest, CandidatesHaveTheRoomThatTheyNeed) {
  const std::vector<float> row = MakeRow(kVocabSize, 0.5, 1);
  KeptTokens kept;
  kept.Reset(row, {}, {});
  TruncationSpace space;
  KeepTypical(0.9, TopPBoundary::kReached, TieRule::kLowestId, space, kept);
  EXPECT_EQ(space.candidates.capacity(), kVocabSize);
}

TEST_P(AllocationTest, WhatALargeRowNeededIsGivenBackAfterManySmallOnes) {
  const std::vector<float> large = MakeRow(kVocabSize, 2, 7), small = MakeRow(kVocabSize / 8, 2, 8);
  const SamplingParams params{.temperature = 0.7, .top_p = 0.95, .typical_p = 0.9};
  const int64_t before = live_bytes;
  Distribution distribution;
  const auto bytes_after = [&](const std::vector<float>& row, int32_t count) {
    for (int32_t i = 0; i < count; ++i) EXPECT_THAT(distribution.Assign(row, params, {}), IsOk());
    return live_bytes - before;
  };
  const int64_t most = bytes_after(large, 1);
  EXPECT_GE(bytes_after(small, kRowsUntilTrim - 1), most);
  // A large one: it counts from the start again.
  EXPECT_GE(bytes_after(large, 1), most);
  EXPECT_GE(bytes_after(small, kRowsUntilTrim - 1), most);
  EXPECT_LT(bytes_after(small, 1), most / 2);
  EXPECT_GT(bytes_after(large, 1), most / 2);
}

TEST_P(AllocationTest, AScoredRowAllocatesNothing) {
  const std::vector<float> row = MakeRow(kVocabSize, 2, 6);
  const int64_t before = allocation_count;
  const absl::StatusOr<RowStatistics> statistics = ReadRow(row, /*with_entropy=*/true);
  const int32_t rank = RankOf(row, 5);
  EXPECT_EQ(allocation_count - before, 0);
  ASSERT_THAT(statistics, IsOk());
  EXPECT_GE(rank, 1);
}

}  // namespace
}  // namespace logitd

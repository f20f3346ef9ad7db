// Rows with a tail: the intervals of both draws, and a decoder's step on them.
#include "core/row_tail.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/decoder.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using uint128 = unsigned __int128;

constexpr double kInf = std::numeric_limits<double>::infinity();
// The row of docs/numerics.md: its integers at temperature 1 stand there.
const std::vector<float> kDense = {6, 3, 0.5, 0.5};
const std::vector<float> kListed = {6, 3};
const std::vector<TokenId> kIds = {0, 1};
constexpr uint64_t kWeights[] = {4398046511104, 218965852160};
// ln(2 exp(0.5)), and rne(2^42 exp(that - 6)), by 50-digit arithmetic.
constexpr double kTail = 1.1931471805599454;
constexpr uint64_t kRest = 35947621733;
constexpr uint64_t kTotal = 4652959984997;
// ln(2 exp(0.25)): the tail at temperature 2.
constexpr double kTailAtTwo = 0.9431471805599453;

LogitsRow Listed() { return LogitsRow::Sparse(kListed, kIds, 4); }

// The least and the greatest 64 bits whose place in `total` is in [begin, end).
std::pair<uint64_t, uint64_t> Ends(uint64_t begin, uint64_t end, uint64_t total) {
  const auto least = [total](uint64_t r) { return ((uint128{r} << 64) + total - 1) / total; };
  return {static_cast<uint64_t>(least(begin)), static_cast<uint64_t>(least(end) - 1)};
}

TEST(RowTailTest, TheRestsWeightIsTheDocumentsInteger) {
  EXPECT_THAT(WeightOfRest(kTail, 6, 2, "f"), ::logitd::testing::IsOkAndHolds(kRest));
  EXPECT_THAT(WeightOfRest(kTailAtTwo, 3, 2, "f"), ::logitd::testing::IsOkAndHolds(562315413885u));
  EXPECT_THAT(WeightOfRest(-kInf, 6, 2, "f"), ::logitd::testing::IsOkAndHolds(0u));
  EXPECT_THAT(WeightOfRest(-kInf, 6, 0, "f"), ::logitd::testing::IsOkAndHolds(0u));
  EXPECT_THAT(WeightOfRest(6, 6, 1, "f"), ::logitd::testing::IsOkAndHolds(uint64_t{1} << 42));
  EXPECT_THAT(WeightOfRest(-800, 6, 2, "f"), ::logitd::testing::IsOkAndHolds(0u));
  EXPECT_THAT(WeightOfRest(std::log(1048575.0) + 6.0009, 6, 1048575, "f"), IsOk());
  EXPECT_THAT(WeightOfRest(std::log(2.0) + 6.002, 6, 2, "f"), HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(WeightOfRest(0, 6, 0, "f"), HasReason(ErrorReason::kFieldOutOfRange));
}

TEST(RowTailTest, BothEndsOfEveryIntervalOfBothDraws) {
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(Listed(), SamplingParams(), {}), IsOk());
  // The first draw: three intervals that follow each other from 0 to Z, so nothing else has any probability.
  uint64_t begin = 0;
  const std::pair<TokenId, uint64_t> first[] = {{0, kWeights[0]}, {1, kWeights[1]}, {kRestToken, kRest}};
  for (const auto& [token_id, weight] : first) {
    const auto [low, high] = Ends(begin, begin + weight, kTotal);
    for (uint64_t uniform : {low, low + 1, high - 1, high}) {
      const Draw draw = DrawListedOrRest(distribution, kRest, uniform);
      EXPECT_EQ(draw.token_id, token_id) << uniform;
      EXPECT_EQ(draw.uniform, uniform);
      EXPECT_EQ(draw.weight, weight);
      EXPECT_EQ(draw.interval_start, begin);
      EXPECT_EQ(draw.total_weight, kTotal);
    }
    if (token_id == 0) {
      EXPECT_EQ(low, 0u);
    }
    begin += weight;
    if (token_id == kRestToken) {
      EXPECT_EQ(high, std::numeric_limits<uint64_t>::max());
      EXPECT_EQ(begin, kTotal);
    }
  }
  // The second: tokens 2 and 3 weigh as much as each other, the larger of them 2^42.
  const std::vector<TokenId> listed = kIds;
  ASSERT_THAT(distribution.Assign(kDense, SamplingParams(), {.excluded = listed}), IsOk());
  EXPECT_EQ(distribution.TotalWeight(), uint64_t{2} << 42);
  const auto half = uint64_t{1} << 63;
  for (uint64_t uniform : {uint64_t{0}, half - 1}) EXPECT_EQ(distribution.DrawToken(uniform).token_id, 2);
  for (uint64_t uniform : {half, ~uint64_t{0}}) EXPECT_EQ(distribution.DrawToken(uniform).token_id, 3);
}

TEST(RowTailTest, LargeRowsHaveTheirIntervalsToo) {
  // 3,000 listed tokens of 6,001, every other one: each end of each interval, and the rest's.
  std::vector<float> values;
  std::vector<TokenId> ids;
  for (int i = 0; i < 3000; ++i) {
    ids.push_back(2 * i + 1);
    values.push_back(static_cast<float>((i * 37) % 100) / 16);
  }
  const LogitsRow row = LogitsRow::Sparse(values, ids, 6001);
  for (double temperature : {0.5, 1.0, 3.0}) {
    SamplingParams params;
    params.temperature = temperature;
    Distribution distribution;
    ASSERT_THAT(distribution.Assign(row, params, {}), IsOk());
    const uint64_t rest = 123456789012345;
    const uint64_t total = distribution.TotalWeight() + rest;
    uint64_t begin = 0;
    for (TokenId id : ids) {
      const uint64_t weight = distribution.Weight(id);
      if (weight == 0) continue;
      const auto [low, high] = Ends(begin, begin + weight, total);
      EXPECT_EQ(DrawListedOrRest(distribution, rest, low).token_id, id);
      EXPECT_EQ(DrawListedOrRest(distribution, rest, high).token_id, id);
      EXPECT_EQ(DrawListedOrRest(distribution, rest, high).interval_start, begin);
      begin += weight;
    }
    const auto [low, high] = Ends(begin, total, total);
    EXPECT_EQ(DrawListedOrRest(distribution, rest, low).token_id, kRestToken);
    EXPECT_EQ(high, ~uint64_t{0});
    EXPECT_EQ(DrawListedOrRest(distribution, rest, high).token_id, kRestToken);
  }
}

// What the integers of the document say of a position's random bits, without the code under test.
TokenId Expected(uint64_t seed, uint64_t key) {
  const uint64_t u = RandomStream(seed, key, 0, RandomPurpose::kTokenDraw).Uniform64(0);
  const auto r = static_cast<uint64_t>((uint128{u} * kTotal) >> 64);
  if (r < kWeights[0]) return 0;
  if (r < kWeights[0] + kWeights[1]) return 1;
  return RandomStream(seed, key, 0, static_cast<RandomPurpose>(3)).Uniform64(0) >> 63 == 0 ? 2 : 3;
}

TEST(TailDecoderTest, EveryTokenIsTheOneOfTheDocumentsIntegers) {
  const RowTail tail{.log_sum_exp = kTail};
  const LogitsRow dense = kDense;
  Distribution distribution;
  std::map<TokenId, int> seen;
  for (uint64_t key = 0; key < 3000; ++key) {
    DecoderConfig config;
    config.seed = 5;
    config.sequence_key = key;
    config.record.draw = true;
    Decoder alone(config), at_once(config);
    ASSERT_OK_AND_ASSIGN(Step step, alone.Advance(0, Listed(), distribution, {.tail = &tail}));
    ASSERT_OK_AND_ASSIGN(const Step both,
                         at_once.Advance(0, Listed(), distribution, {.tail = &tail, .dense_row = &dense}));
    const TokenId expected = Expected(5, key);
    ASSERT_EQ(step.is_rest, expected >= 2) << key;
    if (step.is_rest) {
      EXPECT_FALSE(step.token || step.finish);
      EXPECT_EQ(alone.position(), 0) << "the sequence is as before";
      ASSERT_OK_AND_ASSIGN(step, alone.Advance(0, Listed(), distribution, {.tail = &tail, .dense_row = &dense}));
    }
    ASSERT_FALSE(step.is_rest || both.is_rest);
    for (const Step* one : {static_cast<const Step*>(&step), &both}) {
      ASSERT_TRUE(one->token);
      const TokenRecord& record = *one->token;
      EXPECT_EQ(record.token_id, expected) << key;
      EXPECT_EQ(record.draw->total_weight, kTotal);
      EXPECT_EQ(record.rest_draw.has_value(), expected >= 2);
      const double p = expected < 2 ? static_cast<double>(kWeights[expected]) / kTotal : kRest / 2.0 / kTotal;
      EXPECT_NEAR(*record.sampling_log_prob, std::log(p), 1e-6);
      // The sum is the whole row's: -0.056343, -3.056343, -5.556343, -5.556343.
      EXPECT_NEAR(*record.model_log_prob, (expected == 0 ? 0 : expected == 1 ? -3 : -5.5) - 0.056343103, 1e-6);
    }
    ++seen[expected];
  }
  EXPECT_GE(seen[2], 3);
  EXPECT_GE(seen[3], 3);
  EXPECT_GE(seen[1], 50);
}

TEST(TailDecoderTest, AnotherTemperatureNeedsItsOwnSum) {
  DecoderConfig config;
  config.sampling.temperature = 2;
  RowTail tail{.log_sum_exp = kTail};
  Distribution distribution;
  const auto refused = Decoder(config).Advance(0, Listed(), distribution, {.tail = &tail});
  EXPECT_THAT(refused, HasReason(ErrorReason::kFieldRequired));
  EXPECT_EQ(DetailOf(refused.status()).field, "logits.rest_log_sum_exps_at_temperature");
  tail.scaled_log_sum_exp = kTailAtTwo;
  const LogitsRow dense = kDense;
  // At T = 2 the probabilities are 0.740200, 0.165161, 0.047319, 0.047319 (docs/numerics.md, section 2).
  const double expected[] = {0.740200185, 0.165160986, 0.047319415, 0.047319415};
  for (TokenId given = 0; given < 4; ++given) {
    ASSERT_OK_AND_ASSIGN(const Step step,
                         Decoder(config).Advance(0, Listed(), distribution,
                                                 {.given_token_id = given, .tail = &tail, .dense_row = &dense}));
    EXPECT_EQ(step.token->token_id, given);
    EXPECT_EQ(step.token->origin, TokenOrigin::kGiven);
    EXPECT_NEAR(std::exp(*step.token->sampling_log_prob), expected[given], 1e-7);
    EXPECT_FALSE(step.token->draw || step.token->rest_draw);
  }
  ASSERT_OK_AND_ASSIGN(const Step rest,
                       Decoder(config).Advance(0, Listed(), distribution, {.given_token_id = 3, .tail = &tail}));
  EXPECT_TRUE(rest.is_rest) << "an unlisted token's numbers are the dense row's to say";
}

TEST(TailDecoderTest, TheLatestStepIsRepeatedWithAndWithoutTheDenseRow) {
  const RowTail tail{.log_sum_exp = kTail};
  const LogitsRow dense = kDense;
  Distribution distribution;
  int rests = 0;
  for (uint64_t key = 0; key < 500; ++key) {
    DecoderConfig config;
    config.seed = 5;
    config.sequence_key = key;
    Decoder decoder(config);
    const StepInputs inputs{.tail = &tail, .dense_row = &dense};
    ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(0, Listed(), distribution, inputs));
    ASSERT_OK_AND_ASSIGN(const Step again, decoder.Advance(0, Listed(), distribution, inputs));
    EXPECT_EQ(again.token->token_id, step.token->token_id);
    EXPECT_EQ(again.token->sampling_log_prob, step.token->sampling_log_prob);
    ASSERT_OK_AND_ASSIGN(const Step without, decoder.Advance(0, Listed(), distribution, {.tail = &tail}));
    EXPECT_EQ(without.is_rest, step.token->token_id >= 2);
    rests += without.is_rest;
    EXPECT_EQ(decoder.position(), 1);
  }
  EXPECT_GT(rests, 0);
}

TEST(TailDecoderTest, GreedyIsTheListedArgmax) {
  DecoderConfig config;
  config.sampling.temperature = 0;
  const RowTail tail{.log_sum_exp = kTail};
  Distribution distribution;
  ASSERT_OK_AND_ASSIGN(const Step step, Decoder(config).Advance(0, Listed(), distribution, {.tail = &tail}));
  EXPECT_EQ(step.token->token_id, 0);
  EXPECT_EQ(step.token->sampling_log_prob, 0);
  EXPECT_NEAR(*step.token->model_log_prob, -0.056343103, 1e-6);
}

TEST(TailDecoderTest, ARestOfNothingIsARowWithoutOne) {
  const RowTail tail{.log_sum_exp = -kInf, .scaled_log_sum_exp = -kInf};
  Distribution distribution;
  for (double temperature : {0.0, 0.7, 1.0}) {
    for (uint64_t key = 0; key < 50; ++key) {
      DecoderConfig config;
      config.sampling.temperature = temperature;
      config.sequence_key = key;
      config.record.draw = true;
      ASSERT_OK_AND_ASSIGN(const Step with, Decoder(config).Advance(0, Listed(), distribution, {.tail = &tail}));
      ASSERT_OK_AND_ASSIGN(const Step without, Decoder(config).Advance(0, Listed(), distribution));
      EXPECT_EQ(with.token->token_id, without.token->token_id);
      EXPECT_EQ(with.token->sampling_log_prob, without.token->sampling_log_prob);
      EXPECT_EQ(with.token->model_log_prob, without.token->model_log_prob);
      ASSERT_EQ(with.token->draw.has_value(), without.token->draw.has_value());
      if (with.token->draw) {
        EXPECT_EQ(with.token->draw->interval_start, without.token->draw->interval_start);
      }
    }
  }
}

TEST(TailDecoderTest, WhatCannotBeExactIsRefusedByName) {
  const RowTail tail{.log_sum_exp = kTail, .scaled_log_sum_exp = kTail};
  const struct {
    const char* name;
    void (*change)(DecoderConfig&);
  } cases[] = {
      {"stage TOP_K", [](DecoderConfig& c) { c.sampling.top_k = 1; }},
      {"stage TOP_P", [](DecoderConfig& c) { c.sampling.top_p = 0.5; }},
      {"stage MIN_P", [](DecoderConfig& c) { c.sampling.min_p = 0.5; }},
      {"stage TYPICAL_P", [](DecoderConfig& c) { c.sampling.typical_p = 0.5; }},
      {"stage EPSILON", [](DecoderConfig& c) { c.sampling.epsilon_cutoff = 0.5; }},
      {"stage ETA", [](DecoderConfig& c) { c.sampling.eta_cutoff = 0.5; }},
      {"stage TOP_N_SIGMA", [](DecoderConfig& c) { c.sampling.top_n_sigma = 1; }},
      {"stage XTC", [](DecoderConfig& c) { c.sampling.xtc.probability = 1; }},
      {"stage REPETITION_PENALTY", [](DecoderConfig& c) { c.sampling.repetition_penalty = 2; }},
      {"stage FREQUENCY_PENALTY", [](DecoderConfig& c) { c.sampling.frequency_penalty = 1; }},
      {"stage PRESENCE_PENALTY", [](DecoderConfig& c) { c.sampling.presence_penalty = 1; }},
      {"stage NO_REPEAT_NGRAM", [](DecoderConfig& c) { c.sampling.no_repeat_ngram_size = 2; }},
      {"stage TOKEN_SETS",
       [](DecoderConfig& c) { c.sampling.subset = std::make_shared<const VocabSubset>(VocabSubset::All(4)); }},
      {"stage LOGIT_BIASES",
       [](DecoderConfig& c) {
         c.sampling.lists = std::make_shared<const SamplingLists>(SamplingLists{.logit_biases = {{1, 1}}});
       }},
      {"stage MIN_TOKENS",
       [](DecoderConfig& c) {
         c.stop.min_tokens = 1;
         c.stop.stop_token_ids = {3};
       }},
      {"rank", [](DecoderConfig& c) { c.record.rank = true; }},
      {"entropy", [](DecoderConfig& c) { c.record.entropy = true; }},
      {"kept_set", [](DecoderConfig& c) { c.record.kept_set = true; }},
      {"top_n", [](DecoderConfig& c) { c.record.top_n = 1; }},
      {"named_token_ids", [](DecoderConfig& c) { c.record.named_token_ids = {0}; }},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    DecoderConfig config;
    test.change(config);
    Distribution distribution;
    const auto step = Decoder(config).Advance(0, Listed(), distribution, {.tail = &tail});
    ASSERT_THAT(step, HasReason(ErrorReason::kFieldOutOfRange));
    EXPECT_EQ(DetailOf(step.status()).field, "row");
    EXPECT_THAT(std::string(step.status().message()), ::testing::HasSubstr(test.name));
  }
  Distribution distribution;
  const VocabSubset set = VocabSubset::All(4);
  EXPECT_THAT(Decoder(DecoderConfig()).Advance(0, Listed(), distribution, {.allowed = &set, .tail = &tail}),
              HasReason(ErrorReason::kFieldOutOfRange));
  // A dense row that has nothing where the tail has.
  const std::vector<float> nothing = {6, 3, -INFINITY, -INFINITY};
  const LogitsRow dense = nothing;
  const RowTail all{.log_sum_exp = 6 + std::log(2.0)};
  int refused = 0;
  for (uint64_t key = 0; key < 20; ++key) {
    DecoderConfig config;
    config.sequence_key = key;
    const auto step = Decoder(config).Advance(0, Listed(), distribution, {.tail = &all, .dense_row = &dense});
    if (step.ok()) continue;
    EXPECT_EQ(DetailOf(step.status()).field, "dense_row");
    ++refused;
  }
  EXPECT_GT(refused, 5);
}

}  // namespace
}  // namespace logitd

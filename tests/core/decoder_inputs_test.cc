// What a step may bring besides its row: a token set, a given token, named tokens; and sequences that keep no tokens.
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "core/decoder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Optional;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int32_t kVocab = 300;
// exp(-3) + 2 exp(-5.5) = 0.0579606: log-probs -0.056343, -3.056343, -5.556343, -5.556343.
const std::vector<float> kRow = {6, 3, 0.5, 0.5};

VocabSubset Set(int32_t vocab_size, const std::vector<TokenId>& ids) { return *VocabSubset::Of(vocab_size, ids); }

void ExpectSameChoice(const Step& a, const Step& b) {
  ASSERT_EQ(a.token.has_value(), b.token.has_value());
  EXPECT_EQ(a.finish.has_value(), b.finish.has_value());
  if (!a.token) return;
  EXPECT_EQ(a.token->token_id, b.token->token_id);
  EXPECT_EQ(a.token->sampling_log_prob, b.token->sampling_log_prob);
  EXPECT_EQ(a.token->kept_count, b.token->kept_count);
  EXPECT_EQ(a.token->kept_mass, b.token->kept_mass);
  ASSERT_EQ(a.token->draw.has_value(), b.token->draw.has_value());
  if (!a.token->draw) return;
  EXPECT_EQ(a.token->draw->interval_start, b.token->draw->interval_start);
  EXPECT_EQ(a.token->draw->total_weight, b.token->draw->total_weight);
}

// Every preset, an explicit order without TOKEN_SETS, and temperature 0.
std::vector<SamplingParams> Orders() {
  std::vector<SamplingParams> orders;
  for (StagePreset preset :
       {StagePreset::kLogitd, StagePreset::kHf, StagePreset::kVllm, StagePreset::kLlamaCpp, StagePreset::kTrtLlm}) {
    for (double temperature : {0.0, 0.8, 1.0}) {
      SamplingParams params;
      params.order.preset = preset;
      params.temperature = temperature;
      params.top_k = 40;
      params.top_p = 0.9;
      params.repetition_penalty = 1.3;
      orders.push_back(params);
    }
  }
  SamplingParams params;
  params.temperature = 1.7;
  params.min_p = 0.01;
  params.order.stages = {Stage::kMinP, Stage::kTemperature};
  orders.push_back(params);
  return orders;
}

TEST(StepSetTest, IsTheSequencesOwnSetForOneStep) {
  const VocabSubset set = Set(kVocab, {1, 5, 8, 77, 100, 101, 102, 250, 299});
  for (const SamplingParams& params : Orders()) {
    SCOPED_TRACE(static_cast<int>(params.order.preset));
    DecoderConfig config;
    config.sampling = params;
    config.seed = 3;
    config.record.kept_set = config.record.draw = config.record.rank = config.record.entropy = true;
    Decoder with_step_set(config);
    config.sampling.subset = std::make_shared<const VocabSubset>(set);
    if (!config.sampling.order.stages.empty()) {
      config.sampling.order.stages.insert(config.sampling.order.stages.begin(), Stage::kTokenSets);
    }
    Decoder with_own_set(config);
    Distribution distribution;
    for (int32_t position = 0; position < 8; ++position) {
      const std::vector<float> row = MakeRow(kVocab, 2, 70 + position);
      ASSERT_OK_AND_ASSIGN(const Step own, with_own_set.Advance(position, row, distribution));
      ASSERT_OK_AND_ASSIGN(const Step step, with_step_set.Advance(position, row, distribution, {.allowed = &set}));
      ExpectSameChoice(step, own);
      ASSERT_TRUE(step.token);
      EXPECT_TRUE(set.Contains(step.token->token_id));
      EXPECT_EQ(step.token->model_log_prob, own.token->model_log_prob);
      EXPECT_EQ(step.token->rank, own.token->rank);
      EXPECT_EQ(step.token->model_entropy, own.token->model_entropy);
    }
  }
}

TEST(StepSetTest, ChoosesAsARowOfMinusInfinitiesButLeavesTheRowsOwnNumbers) {
  const VocabSubset set = Set(kVocab, {1, 5, 8, 77, 100, 101, 102, 250, 299});
  for (const SamplingParams& params : Orders()) {
    SCOPED_TRACE(static_cast<int>(params.order.preset));
    DecoderConfig config;
    config.sampling = params;
    config.seed = 4;
    config.record.kept_set = config.record.draw = true;
    Decoder masked(config), with_set(config);
    Distribution distribution;
    for (int32_t position = 0; position < 8; ++position) {
      const std::vector<float> row = MakeRow(kVocab, 2, 170 + position);
      std::vector<float> masked_row(kVocab, -kInf);
      for (TokenId id = 0; id < kVocab; ++id) {
        if (set.Contains(id)) masked_row[id] = row[id];
      }
      ASSERT_OK_AND_ASSIGN(const Step expected, masked.Advance(position, masked_row, distribution));
      ASSERT_OK_AND_ASSIGN(const Step step, with_set.Advance(position, row, distribution, {.allowed = &set}));
      ExpectSameChoice(step, expected);
      ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row));
      EXPECT_EQ(step.token->model_log_prob, statistics.LogProb(row[step.token->token_id]));
      EXPECT_LT(*step.token->model_log_prob, *expected.token->model_log_prob);
    }
  }
}

TEST(StepSetTest, MeetsTheSequencesOwnSetAndMayLeaveNothing) {
  DecoderConfig config;
  config.sampling.temperature = 0;
  config.sampling.subset = std::make_shared<const VocabSubset>(Set(4, {1, 2, 3}));
  Decoder decoder(config);
  Distribution distribution;
  const VocabSubset low = Set(4, {0, 2});
  ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(0, kRow, distribution, {.allowed = &low}));
  EXPECT_EQ(step.token->token_id, 2) << "0 is in the step's set alone, 1 in the sequence's alone";
  ASSERT_OK_AND_ASSIGN(const Step next, decoder.Advance(1, kRow, distribution));
  EXPECT_EQ(next.token->token_id, 1) << "the next step has no set of its own";
  const VocabSubset none = Set(4, {0});
  ASSERT_OK_AND_ASSIGN(const Step last, decoder.Advance(2, kRow, distribution, {.allowed = &none}));
  ASSERT_TRUE(last.finish);
  EXPECT_EQ(last.finish->reason, FinishReason::kNoAdmissibleToken);
  EXPECT_FALSE(last.token);
}

TEST(GivenTokenTest, HasItsOwnNumbersAndNoDraw) {
  DecoderConfig config;
  config.record.draw = config.record.kept_set = config.record.rank = true;
  config.sampling.top_k = 2;
  Decoder decoder(config);
  Distribution distribution;
  ASSERT_OK_AND_ASSIGN(const Step kept, decoder.Advance(0, kRow, distribution, {.given_token_id = 1}));
  EXPECT_EQ(kept.token->token_id, 1);
  EXPECT_EQ(kept.token->origin, TokenOrigin::kGiven);
  EXPECT_EQ(kept.token->state, LogProbState::kPresent);
  EXPECT_THAT(kept.token->model_log_prob, Optional(DoubleNear(-3.056343, 1e-6)));
  // -ln(1 + e^3) of the two that top-k keeps.
  EXPECT_THAT(kept.token->sampling_log_prob, Optional(DoubleNear(-3.048587, 1e-6)));
  EXPECT_EQ(kept.token->rank, 2);
  EXPECT_EQ(kept.token->kept_count, 2);
  EXPECT_FALSE(kept.token->draw);
  EXPECT_TRUE(kept.sums.sampling);
  ASSERT_OK_AND_ASSIGN(const Step again, decoder.Advance(0, kRow, distribution, {.given_token_id = 1}));
  EXPECT_EQ(again.token->sampling_log_prob, kept.token->sampling_log_prob);
  EXPECT_EQ(again.token_count, 1) << "a repeat has no effect";
  EXPECT_THAT(decoder.Advance(0, kRow, distribution, {.given_token_id = 2}), HasReason(ErrorReason::kPositionConflict));
  // Cut by top-k: its model log-prob is there, and the sum of sampling log-probs is not any more.
  ASSERT_OK_AND_ASSIGN(const Step cut, decoder.Advance(1, kRow, distribution, {.given_token_id = 3}));
  EXPECT_EQ(cut.token->state, LogProbState::kExcluded);
  EXPECT_THAT(cut.token->model_log_prob, Optional(DoubleNear(-5.556343, 1e-6)));
  EXPECT_FALSE(cut.token->sampling_log_prob);
  EXPECT_FALSE(cut.sums.sampling);
  EXPECT_THAT(cut.sums.model->value(), DoubleNear(-3.056343 - 5.556343, 2e-6));
  ASSERT_OK_AND_ASSIGN(const Step drawn, decoder.Advance(2, kRow, distribution));
  EXPECT_EQ(drawn.token->origin, TokenOrigin::kChosen);
  EXPECT_FALSE(drawn.sums.sampling) << "a sum that is unset stays so";
}

TEST(GivenTokenTest, ChangesNoDrawAfterIt) {
  DecoderConfig config;
  config.seed = 9;
  Decoder free(config), forced(config);
  Distribution distribution;
  ASSERT_THAT(free.Advance(0, MakeRow(kVocab, 2, 1), distribution), IsOk());
  ASSERT_THAT(forced.Advance(0, MakeRow(kVocab, 2, 1), distribution, {.given_token_id = 299}), IsOk());
  for (int32_t position = 1; position < 6; ++position) {
    const std::vector<float> row = MakeRow(kVocab, 2, position);
    ASSERT_OK_AND_ASSIGN(const Step a, free.Advance(position, row, distribution));
    ASSERT_OK_AND_ASSIGN(const Step b, forced.Advance(position, row, distribution));
    EXPECT_EQ(a.token->token_id, b.token->token_id);
  }
}

TEST(GivenTokenTest, IsTakenThoughNothingIsLeftAndEndsItsSequence) {
  DecoderConfig config;
  config.sampling.temperature = 0.5;
  config.sampling.subset = std::make_shared<const VocabSubset>(Set(4, {0}));
  config.stop.stop_token_ids = {3};
  config.stop.min_tokens = 4;
  config.record.kept_set = config.record.entropy = true;
  config.record.top_n = 1;
  config.record.named_token_ids = {2};
  Decoder decoder(config);
  Distribution distribution;
  const VocabSubset other = Set(4, {1});
  // The sets have no token in common.
  ASSERT_OK_AND_ASSIGN(const Step step,
                       decoder.Advance(0, kRow, distribution, {.allowed = &other, .given_token_id = 2}));
  ASSERT_TRUE(step.token);
  EXPECT_EQ(step.token->state, LogProbState::kExcluded);
  EXPECT_THAT(step.token->model_log_prob, Optional(DoubleNear(-5.556343, 1e-6)));
  EXPECT_THAT(step.token->model_entropy, Optional(DoubleNear(0.240013, 1e-6)));
  EXPECT_EQ(step.token->kept_count, 0);
  EXPECT_EQ(step.token->kept_mass, 0);
  EXPECT_EQ(step.token->top[0].token_id, 0);
  EXPECT_EQ(step.token->top[0].sampling_log_prob, -double{kInf});
  EXPECT_THAT(step.token->named[0].model_log_prob, Optional(DoubleNear(-5.556343, 1e-6)));
  EXPECT_FALSE(step.finish);
  // A token that the row itself excludes has no log-prob at all.
  const std::vector<float> row = {6, -kInf, 0.5, 0.5};
  ASSERT_OK_AND_ASSIGN(const Step impossible, decoder.Advance(1, row, distribution, {.given_token_id = 1}));
  EXPECT_EQ(impossible.token->state, LogProbState::kExcluded);
  EXPECT_FALSE(impossible.token->model_log_prob);
  EXPECT_FALSE(impossible.sums.model);
  // min_tokens keeps a stop token from being chosen, not from being given.
  ASSERT_OK_AND_ASSIGN(const Step last, decoder.Advance(2, kRow, distribution, {.given_token_id = 3}));
  ASSERT_TRUE(last.finish);
  EXPECT_EQ(last.finish->reason, FinishReason::kStopToken);
  const std::vector<float> nan = {6, 1, 0.5, std::nanf("")};
  EXPECT_THAT(Decoder(config).Advance(0, nan, distribution, {.given_token_id = 1}),
              HasReason(ErrorReason::kNonFiniteLogit));
}

TEST(GivenTokenTest, AtTemperatureZeroOnlyTheArgmaxHasASamplingLogProb) {
  DecoderConfig config;
  config.sampling.temperature = 0;
  Decoder decoder(config);
  Distribution distribution;
  ASSERT_OK_AND_ASSIGN(const Step first, decoder.Advance(0, kRow, distribution, {.given_token_id = 0}));
  EXPECT_EQ(first.token->sampling_log_prob, 0);
  ASSERT_OK_AND_ASSIGN(const Step second, decoder.Advance(1, kRow, distribution, {.given_token_id = 1}));
  EXPECT_EQ(second.token->state, LogProbState::kExcluded);
  EXPECT_FALSE(second.token->sampling_log_prob);
}

TEST(NamedTokensTest, AreTheStepsOwnWhereItHasSome) {
  DecoderConfig config;
  config.record.named_token_ids = {3};
  Decoder decoder(config);
  Distribution distribution;
  const std::vector<TokenId> named = {1, 0};
  ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(0, kRow, distribution, {.named_token_ids = named}));
  ASSERT_EQ(step.token->named.size(), 2u);
  EXPECT_EQ(step.token->named[0].token_id, 1);
  EXPECT_THAT(step.token->named[0].model_log_prob, Optional(DoubleNear(-3.056343, 1e-6)));
  EXPECT_EQ(step.token->named[1].token_id, 0);
  ASSERT_OK_AND_ASSIGN(const Step next, decoder.Advance(1, kRow, distribution));
  ASSERT_EQ(next.token->named.size(), 1u);
  EXPECT_EQ(next.token->named[0].token_id, 3);
}

TEST(CountedSequenceTest, GoesOnWithTheSameBitsAsOneThatHasItsTokens) {
  DecoderConfig config;
  config.sampling.temperature = 0.9;
  config.sampling.top_p = 0.95;
  config.seed = 21;
  Decoder whole(config);
  EXPECT_TRUE(whole.sequence().keeps_tokens());
  config.keeps_all_tokens = false;
  Distribution distribution;
  std::vector<Step> steps;
  for (int32_t position = 0; position < 10; ++position) {
    ASSERT_OK_AND_ASSIGN(Step step, whole.Advance(position, MakeRow(kVocab, 2, position), distribution));
    steps.push_back(step);
  }
  for (int32_t cut = 1; cut < 10; ++cut) {
    Decoder resumed(config, cut, steps[cut - 1].sums);
    EXPECT_THAT(resumed.Advance(cut - 1, MakeRow(kVocab, 2, cut - 1), distribution),
                HasReason(ErrorReason::kPositionTooOld));
    for (int32_t position = cut; position < 10; ++position) {
      ASSERT_OK_AND_ASSIGN(const Step step, resumed.Advance(position, MakeRow(kVocab, 2, position), distribution));
      ExpectSameChoice(step, steps[position]);
      EXPECT_EQ(step.sums.model->sum, steps[position].sums.model->sum);
      EXPECT_EQ(step.sums.model->compensation, steps[position].sums.model->compensation);
      ASSERT_OK_AND_ASSIGN(const Step again, resumed.Advance(position, MakeRow(kVocab, 2, position), distribution));
      ExpectSameChoice(again, steps[position]);
    }
    EXPECT_THAT(resumed.sequence().token_ids(), ElementsAre());
    EXPECT_EQ(resumed.position(), 10);
  }
}

TEST(CountedSequenceTest, KeepsItsTokensWhereAStageLooksAtThem) {
  DecoderConfig config;
  config.keeps_all_tokens = false;
  config.sampling.temperature = 0;
  config.sampling.frequency_penalty = 2;
  Decoder decoder(config);
  Distribution distribution;
  for (int32_t position = 0; position < 4; ++position) {
    ASSERT_THAT(decoder.Advance(position, kRow, distribution), IsOk());
  }
  // Token 0 has 6, then 4, then 2 against the 3 of token 1, then 2 against 1.
  EXPECT_THAT(decoder.sequence().token_ids(), ElementsAre(0, 0, 1, 0));
}

}  // namespace
}  // namespace logitd

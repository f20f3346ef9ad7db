#include "core/decoder.h"

#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <vector>

#include "core/distribution.h"
#include "core/random_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int32_t kVocab = 300;

std::vector<float> RowAt(int32_t position) { return MakeRow(kVocab, 2, 1000 + position); }

DecoderConfig Config(double temperature) {
  DecoderConfig config;
  config.sampling.temperature = temperature;
  config.sampling.top_p = 0.95;
  config.seed = 7;
  config.sequence_key = 12;
  return config;
}

void ExpectSame(const Step& a, const Step& b) {
  ASSERT_EQ(a.token.has_value(), b.token.has_value());
  if (a.token) {
    EXPECT_EQ(a.token->token_id, b.token->token_id);
    EXPECT_EQ(a.token->position, b.token->position);
    EXPECT_EQ(a.token->model_log_prob, b.token->model_log_prob);
    EXPECT_EQ(a.token->sampling_log_prob, b.token->sampling_log_prob);
  }
  EXPECT_EQ(a.token_count, b.token_count);
  EXPECT_EQ(a.finish.has_value(), b.finish.has_value());
  ASSERT_EQ(a.sums.model.has_value(), b.sums.model.has_value());
  EXPECT_EQ(a.sums.model->sum, b.sums.model->sum);
  EXPECT_EQ(a.sums.model->compensation, b.sums.model->compensation);
  EXPECT_EQ(a.sums.sampling->sum, b.sums.sampling->sum);
  EXPECT_EQ(a.sums.sampling->compensation, b.sums.sampling->compensation);
}

TEST(DecoderTest, TokenIsTheDrawFromThePositionsDistribution) {
  Distribution distribution;
  for (double temperature : {0.3, 1.0, 2.5}) {
    Decoder decoder(Config(temperature));
    CompensatedSum model, sampling;
    for (int32_t position = 0; position < 20; ++position) {
      const std::vector<float> row = RowAt(position);
      ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(position, row, distribution));
      ASSERT_TRUE(step.token);
      Distribution expected;
      ASSERT_THAT(expected.Assign(row, Config(temperature).sampling, {}), IsOk());
      const RandomStream random(7, 12, position, RandomPurpose::kTokenDraw);
      EXPECT_EQ(step.token->token_id, expected.DrawToken(random.Uniform64(0)).token_id);
      EXPECT_EQ(step.token->position, position);
      EXPECT_EQ(step.token->origin, TokenOrigin::kChosen);
      EXPECT_EQ(step.token->sampling_log_prob, expected.LogProb(step.token->token_id));
      ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row));
      EXPECT_EQ(step.token->model_log_prob, statistics.LogProb(row[step.token->token_id]));
      model.Add(*step.token->model_log_prob);
      sampling.Add(*step.token->sampling_log_prob);
      EXPECT_EQ(step.sums.model->value(), model.value());
      EXPECT_EQ(step.sums.sampling->value(), sampling.value());
      EXPECT_EQ(step.token_count, position + 1);
      EXPECT_FALSE(step.finish);
    }
  }
}

TEST(DecoderTest, NeutralParametersGiveEqualLogProbs) {
  Distribution distribution;
  DecoderConfig config;
  Decoder decoder(config);
  for (int32_t position = 0; position < 5; ++position) {
    ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(position, RowAt(position), distribution));
    EXPECT_EQ(step.token->model_log_prob, step.token->sampling_log_prob);
    ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(RowAt(position)));
    EXPECT_EQ(step.token->model_log_prob, statistics.LogProb(RowAt(position)[step.token->token_id]));
  }
}

TEST(DecoderTest, ResumesWithTheSameBitsAtEveryPosition) {
  Distribution distribution;
  Decoder whole(Config(0.7));
  std::vector<Step> steps;
  for (int32_t position = 0; position < 12; ++position) {
    ASSERT_OK_AND_ASSIGN(Step step, whole.Advance(position, RowAt(position), distribution));
    steps.push_back(step);
  }
  for (int32_t cut = 0; cut < 12; ++cut) {
    const std::vector<TokenId> tokens(whole.sequence().token_ids().begin(), whole.sequence().token_ids().begin() + cut);
    Decoder resumed(Config(0.7), {}, tokens, cut == 0 ? SequenceSums{} : steps[cut - 1].sums);
    Distribution other;
    for (int32_t position = cut; position < 12; ++position) {
      ASSERT_OK_AND_ASSIGN(const Step step, resumed.Advance(position, RowAt(position), other));
      ExpectSame(step, steps[position]);
    }
    EXPECT_EQ(resumed.sequence().token_ids(), whole.sequence().token_ids());
  }
}

TEST(DecoderTest, WithoutItsSumsAResumedSequenceHasNone) {
  Distribution distribution;
  Decoder decoder(Config(0.7), {}, {1, 2}, SequenceSums{std::nullopt, std::nullopt});
  ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(2, RowAt(2), distribution));
  EXPECT_FALSE(step.sums.model);
  EXPECT_FALSE(step.sums.sampling);
  EXPECT_TRUE(step.token->model_log_prob);
}

TEST(DecoderTest, TheLatestPositionCanBeRepeated) {
  Distribution distribution;
  Decoder decoder(Config(0.7));
  ASSERT_OK_AND_ASSIGN(const Step first, decoder.Advance(0, RowAt(0), distribution));
  ASSERT_OK_AND_ASSIGN(const Step second, decoder.Advance(1, RowAt(1), distribution));
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK_AND_ASSIGN(const Step again, decoder.Advance(1, RowAt(1), distribution));
    ExpectSame(again, second);
    EXPECT_EQ(decoder.position(), 2);
    EXPECT_EQ(decoder.sequence().sums().model->value(), second.sums.model->value());
  }
  EXPECT_THAT(decoder.Advance(0, RowAt(0), distribution), HasReason(ErrorReason::kPositionTooOld));
  EXPECT_THAT(decoder.Advance(3, RowAt(3), distribution), HasReason(ErrorReason::kPositionGap));
  ASSERT_OK_AND_ASSIGN(const Step third, decoder.Advance(2, RowAt(2), distribution));
  EXPECT_EQ(third.token_count, 3);
}

TEST(DecoderTest, AResumedSequenceHasNothingToRepeat) {
  Distribution distribution;
  Decoder decoder(Config(0.7), {}, {4, 5}, SequenceSums{});
  const auto result = decoder.Advance(1, RowAt(1), distribution);
  EXPECT_THAT(result, HasReason(ErrorReason::kPositionTooOld));
  EXPECT_EQ(DetailOf(result.status()).field, "position");
  EXPECT_EQ(DetailOf(result.status()).bound, "2");
  EXPECT_THAT(decoder.Advance(-1, RowAt(1), distribution), HasReason(ErrorReason::kPositionTooOld));
}

TEST(DecoderTest, AnotherRowForTheLatestPositionIsAConflict) {
  Distribution distribution;
  DecoderConfig config;
  config.sampling.temperature = 0;
  Decoder decoder(config);
  ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(0, std::vector<float>{1, 2, 3}, distribution));
  EXPECT_EQ(step.token->token_id, 2);
  EXPECT_THAT(decoder.Advance(0, std::vector<float>{9, 2, 3}, distribution), HasReason(ErrorReason::kPositionConflict));
  EXPECT_EQ(decoder.position(), 1);
  // The sequence is as before.
  EXPECT_THAT(decoder.Advance(0, std::vector<float>{1, 2, 3}, distribution), IsOk());
}

TEST(DecoderTest, AnErrorChangesNothing) {
  Distribution distribution;
  Decoder decoder(Config(0.7));
  ASSERT_OK_AND_ASSIGN(const Step first, decoder.Advance(0, RowAt(0), distribution));
  std::vector<float> bad = RowAt(1);
  bad[17] = std::nanf("");
  const auto result = decoder.Advance(1, bad, distribution);
  EXPECT_THAT(result, HasReason(ErrorReason::kNonFiniteLogit));
  EXPECT_EQ(DetailOf(result.status()).token_id, 17);
  EXPECT_THAT(decoder.Advance(1, std::vector<float>(kVocab, -kInf), distribution),
              HasReason(ErrorReason::kNoFiniteLogit));
  EXPECT_EQ(decoder.position(), 1);
  ASSERT_OK_AND_ASSIGN(const Step again, decoder.Advance(0, RowAt(0), distribution));
  ExpectSame(again, first);
}

TEST(DecoderTest, StopTokensAreExcludedBeforeMinTokens) {
  Distribution distribution;
  for (double temperature : {0.0, 0.7}) {
    DecoderConfig config = Config(temperature);
    config.stop.stop_token_ids = {1};
    config.stop.min_tokens = 2;
    Decoder decoder(config);
    const std::vector<float> row = {0, 50, 0};
    for (int32_t position = 0; position < 2; ++position) {
      ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(position, row, distribution));
      EXPECT_NE(step.token->token_id, 1);
      EXPECT_FALSE(step.finish);
      // The model's own log-prob knows nothing of it.
      EXPECT_NEAR(*step.token->model_log_prob, -50, 1e-6);
    }
    ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(2, row, distribution));
    EXPECT_EQ(step.token->token_id, 1);
    ASSERT_TRUE(step.finish);
    EXPECT_EQ(step.finish->reason, FinishReason::kStopToken);
    EXPECT_EQ(step.finish->stop_token_id, 1);
    EXPECT_EQ(step.token_count, 3);
    EXPECT_TRUE(step.sums.model);
  }
}

TEST(DecoderTest, APromptIsSharedAndKeptOnlyIfAStageLooksAtIt) {
  const auto prompt = std::make_shared<const std::vector<TokenId>>(std::vector<TokenId>{1, 2, 1});
  DecoderConfig config = Config(0.7);
  const Decoder without(config, prompt, {}, SequenceSums{});
  EXPECT_TRUE(without.prompt().empty());
  EXPECT_EQ(prompt.use_count(), 1);
  config.sampling.repetition_penalty = 1.5;
  const Decoder first(config, prompt, {}, SequenceSums{}), second(config, prompt, {}, SequenceSums{});
  for (const Decoder* decoder : {&first, &second}) {
    EXPECT_EQ(decoder->prompt().data(), prompt->data());
    EXPECT_EQ(decoder->prompt().size(), 3u);
  }
  EXPECT_EQ(prompt.use_count(), 3);
}

TEST(DecoderTest, MinTokensWithNeutralParametersKeepsTheModelsStatistics) {
  Distribution distribution;
  DecoderConfig config;
  config.stop.stop_token_ids = {1};
  config.stop.min_tokens = 1;
  Decoder decoder(config);
  ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(0, std::vector<float>{0, 5, 0}, distribution));
  EXPECT_NEAR(*step.token->sampling_log_prob, std::log(0.5), 1e-7);
  EXPECT_NEAR(*step.token->model_log_prob, -std::log(2 + std::exp(5)), 1e-6);
}

TEST(DecoderTest, NoAdmissibleTokenIsAFinish) {
  Distribution distribution;
  DecoderConfig config = Config(0.7);
  config.stop.stop_token_ids = {0, 1};
  config.stop.min_tokens = 1;
  Decoder decoder(config, {}, {}, SequenceSums{});
  ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(0, std::vector<float>{1, 2, -kInf}, distribution));
  EXPECT_FALSE(step.token);
  ASSERT_TRUE(step.finish);
  EXPECT_EQ(step.finish->reason, FinishReason::kNoAdmissibleToken);
  EXPECT_EQ(step.token_count, 0);
  EXPECT_EQ(step.sums.model->value(), 0);
  EXPECT_EQ(decoder.position(), 0);
}

TEST(DecoderTest, EndsAtMaxTokensCountingThoseResumedFrom) {
  Distribution distribution;
  DecoderConfig config = Config(0.7);
  config.stop.max_tokens = 3;
  Decoder decoder(config, {}, {1, 2}, SequenceSums{});
  ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(2, RowAt(2), distribution));
  ASSERT_TRUE(step.finish);
  EXPECT_EQ(step.finish->reason, FinishReason::kMaxTokens);
}

TEST(DecoderTest, SumsThatWereNotAskedForAreUnset) {
  Distribution distribution;
  DecoderConfig config = Config(0.7);
  config.record.sampling_log_prob = false;
  Decoder decoder(config);
  ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(0, RowAt(0), distribution));
  EXPECT_FALSE(step.sums.sampling);
  EXPECT_TRUE(step.sums.model);
  EXPECT_FALSE(step.token->sampling_log_prob);
  config.record.model_log_prob = false;
  Decoder bare(config);
  ASSERT_OK_AND_ASSIGN(const Step bare_step, bare.Advance(0, RowAt(0), distribution));
  EXPECT_EQ(bare_step.token->token_id, step.token->token_id);
  EXPECT_FALSE(bare_step.sums.model);
}

TEST(DecoderTest, SeedsAndKeysGiveDifferentSequences) {
  std::set<std::vector<TokenId>> seen;
  Distribution distribution;
  for (uint64_t seed : {1, 2}) {
    for (uint64_t key : {0, 1, 2}) {
      DecoderConfig config = Config(1);
      config.seed = seed;
      config.sequence_key = key;
      Decoder decoder(config);
      for (int32_t position = 0; position < 10; ++position) {
        ASSERT_THAT(decoder.Advance(position, RowAt(position), distribution), IsOk());
      }
      seen.insert(decoder.sequence().token_ids());
    }
  }
  EXPECT_EQ(seen.size(), 6);
}

TEST(DecoderTest, DrawsOnlyFromTheSubset) {
  Distribution distribution;
  DecoderConfig config = Config(2.5);
  const std::vector<TokenId> ids = {3, 77, 299};
  config.sampling.subset = std::make_shared<VocabSubset>(*VocabSubset::Of(kVocab, ids));
  Decoder decoder(config);
  for (int32_t position = 0; position < 50; ++position) {
    ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(position, RowAt(position), distribution));
    ASSERT_TRUE(step.token);
    EXPECT_THAT(ids, ::testing::Contains(step.token->token_id));
  }
}

}  // namespace
}  // namespace logitd

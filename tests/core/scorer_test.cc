#include "core/scorer.h"

#include <cmath>
#include <limits>
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

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(ScorerTest, ScoresADecodedSequenceWithTheSameBits) {
  for (double temperature : {0.3, 1.0, 2.5}) {
    Distribution distribution;
    DecoderConfig config;
    config.sampling.temperature = temperature;
    config.sampling.top_k = 40;
    config.record.rank = true;
    Decoder decoder(config);
    Scorer scorer(config.record, config.sampling);
    for (int32_t position = 0; position < 15; ++position) {
      const std::vector<float> row = MakeRow(500, 2, position);
      ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(position, row, distribution));
      ASSERT_TRUE(step.token);
      ASSERT_OK_AND_ASSIGN(const TokenRecord record, scorer.Score(row, step.token->token_id, distribution));
      EXPECT_EQ(record.model_log_prob, step.token->model_log_prob);
      EXPECT_EQ(record.sampling_log_prob, step.token->sampling_log_prob);
      EXPECT_EQ(record.rank, step.token->rank);
      EXPECT_EQ(record.position, position);
      EXPECT_EQ(record.origin, TokenOrigin::kGiven);
      EXPECT_EQ(scorer.sums().model->value(), step.sums.model->value());
      EXPECT_EQ(scorer.sums().sampling->value(), step.sums.sampling->value());
    }
    EXPECT_EQ(scorer.token_count(), 15);
  }
}

TEST(ScorerTest, GreedyMeansTheLowestIdOfTheMaximumEverywhere) {
  Distribution distribution;
  Scorer scorer({}, std::nullopt);
  ASSERT_THAT(scorer.Score(std::vector<float>{1, 3, 3}, 1, distribution), IsOk());
  EXPECT_TRUE(scorer.is_greedy());
  ASSERT_THAT(scorer.Score(std::vector<float>{1, 3, 3}, 2, distribution), IsOk());
  EXPECT_FALSE(scorer.is_greedy());
  ASSERT_THAT(scorer.Score(std::vector<float>{1, 3, 3}, 1, distribution), IsOk());
  EXPECT_FALSE(scorer.is_greedy());
}

TEST(ScorerTest, SkippedPositionsCountAsPositionsAlone) {
  Distribution distribution;
  Scorer scorer({}, std::nullopt);
  ASSERT_THAT(scorer.Skip(std::vector<float>{1, 2}), IsOk());
  ASSERT_OK_AND_ASSIGN(const TokenRecord record, scorer.Score(std::vector<float>{0, 0}, 0, distribution));
  ASSERT_THAT(scorer.Skip(std::vector<float>{1, -kInf}), IsOk());
  EXPECT_EQ(record.position, 1);
  EXPECT_EQ(scorer.position(), 3);
  EXPECT_EQ(scorer.token_count(), 1);
  EXPECT_NEAR(scorer.sums().model->value(), -std::log(2.0), 1e-12);
  EXPECT_THAT(scorer.Skip(std::vector<float>{1, kInf}), HasReason(ErrorReason::kNonFiniteLogit));
  EXPECT_THAT(scorer.Skip(std::vector<float>{-kInf, -kInf}), HasReason(ErrorReason::kNoFiniteLogit));
  EXPECT_EQ(scorer.position(), 3);
}

TEST(ScorerTest, WithoutSamplingThereIsNoSamplingSum) {
  Distribution distribution;
  Scorer scorer({}, std::nullopt);
  EXPECT_FALSE(scorer.sums().sampling);
  EXPECT_TRUE(scorer.sums().model);
  ASSERT_OK_AND_ASSIGN(const TokenRecord record, scorer.Score(std::vector<float>{1, 3}, 0, distribution));
  EXPECT_FALSE(record.sampling_log_prob);
  EXPECT_EQ(scorer.sums().model->value(), *record.model_log_prob);
}

TEST(ScorerTest, ExcludedTargetsHaveAStateAndNoSum) {
  Distribution distribution;
  Scorer scorer({}, SamplingParams{.temperature = 0.7, .top_k = 1});
  ASSERT_OK_AND_ASSIGN(TokenRecord record, scorer.Score(std::vector<float>{1, 3}, 0, distribution));
  EXPECT_EQ(record.state, LogProbState::kExcluded);
  EXPECT_FALSE(record.sampling_log_prob);
  EXPECT_TRUE(record.model_log_prob);
  EXPECT_FALSE(scorer.sums().sampling);
  EXPECT_TRUE(scorer.sums().model);
  ASSERT_OK_AND_ASSIGN(record, scorer.Score(std::vector<float>{1, -kInf}, 1, distribution));
  EXPECT_EQ(record.state, LogProbState::kExcluded);
  EXPECT_FALSE(scorer.sums().model);
  EXPECT_EQ(scorer.token_count(), 2);
}

TEST(ScorerTest, ErrorsChangeNothing) {
  Distribution distribution;
  Scorer scorer({}, SamplingParams{.temperature = 2.5});
  const std::vector<float> row = {1, 3};
  EXPECT_THAT(scorer.Score(row, 2, distribution), HasReason(ErrorReason::kTokenIdOutOfRange));
  EXPECT_THAT(scorer.Score(row, -1, distribution), HasReason(ErrorReason::kTokenIdOutOfRange));
  EXPECT_THAT(scorer.Score(std::vector<float>{1, kInf}, 0, distribution), HasReason(ErrorReason::kNonFiniteLogit));
  EXPECT_THAT(scorer.Score(std::vector<float>{-kInf, -kInf}, 0, distribution), HasReason(ErrorReason::kNoFiniteLogit));
  EXPECT_EQ(scorer.token_count(), 0);
  EXPECT_EQ(scorer.sums().model->value(), 0);
}

TEST(ScorerTest, TakesRecordsMadeElsewhere) {
  Distribution distribution;
  Scorer here({}, std::nullopt), there({}, std::nullopt);
  for (int32_t t = 0; t < 5; ++t) {
    const std::vector<float> row = MakeRow(50, 2, t);
    ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row));
    TokenRecord record = MakeRecord(row, statistics, nullptr, t, {});
    there.Add(record, statistics.argmax);
    EXPECT_EQ(record.position, t);
    ASSERT_THAT(here.Score(row, t, distribution), IsOk());
  }
  EXPECT_EQ(here.sums().model->value(), there.sums().model->value());
  EXPECT_EQ(here.is_greedy(), there.is_greedy());
}

// The candidate that wins token by token loses in total.
TEST(ScorerTest, TheSequenceDecidesNotTheFirstToken) {
  Distribution distribution;
  // After the context: "nice" .5, "dog" .4; after "nice": .4 at best; after "dog": .9.
  const std::vector<float> start = {std::log(0.5f), std::log(0.4f), std::log(0.1f)};
  const std::vector<float> nice = {std::log(0.4f), std::log(0.3f), std::log(0.3f)};
  const std::vector<float> dog = {std::log(0.05f), std::log(0.9f), std::log(0.05f)};
  Scorer greedy({}, std::nullopt), other({}, std::nullopt);
  ASSERT_THAT(greedy.Score(start, 0, distribution), IsOk());
  ASSERT_THAT(greedy.Score(nice, 0, distribution), IsOk());
  ASSERT_THAT(other.Score(start, 1, distribution), IsOk());
  ASSERT_THAT(other.Score(dog, 1, distribution), IsOk());
  EXPECT_TRUE(greedy.is_greedy());
  EXPECT_FALSE(other.is_greedy());
  EXPECT_NEAR(greedy.sums().model->value(), std::log(0.20), 1e-6);
  EXPECT_NEAR(other.sums().model->value(), std::log(0.36), 1e-6);
}

}  // namespace
}  // namespace logitd

#include "core/ranker.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Optional;

using Values = std::vector<std::optional<double>>;

TEST(RankerTest, NormalisesByWhatIsKnown) {
  const CandidateScore candidate{.log_prob = -12, .token_count = 4, .byte_count = 24, .character_count = 16};
  EXPECT_EQ(NormalizedLogProb(candidate, Normalization::kSum), -12);
  EXPECT_EQ(NormalizedLogProb(candidate, Normalization::kPerToken), -3);
  EXPECT_EQ(NormalizedLogProb(candidate, Normalization::kPerByte), -0.5);
  EXPECT_EQ(NormalizedLogProb(candidate, Normalization::kPerCharacter), -0.75);
  EXPECT_THAT(BitsPerByte(candidate), Optional(DoubleNear(0.5 / std::log(2), 1e-15)));
  EXPECT_NEAR(Perplexity(candidate), std::exp(3), 1e-14);
  const CandidateScore bare{.log_prob = -12, .token_count = 4, .byte_count = {}, .character_count = {}};
  EXPECT_EQ(NormalizedLogProb(bare, Normalization::kPerByte), std::nullopt);
  EXPECT_EQ(NormalizedLogProb(bare, Normalization::kPerCharacter), std::nullopt);
  EXPECT_EQ(BitsPerByte(bare), std::nullopt);
}

TEST(RankerTest, GnmtDividesByItsPenalty) {
  const CandidateScore candidate{.log_prob = -12, .token_count = 7, .byte_count = {}, .character_count = {}};
  EXPECT_EQ(NormalizedLogProb(candidate, Normalization::kGnmt), std::nullopt);
  EXPECT_EQ(NormalizedLogProb(candidate, Normalization::kGnmt, 0), -12);
  EXPECT_THAT(NormalizedLogProb(candidate, Normalization::kGnmt, 1), Optional(DoubleNear(-6, 1e-14)));
  EXPECT_THAT(NormalizedLogProb(candidate, Normalization::kGnmt, 0.6),
              Optional(DoubleNear(-12 / std::pow(2, 0.6), 1e-14)));
  EXPECT_EQ(GnmtPenalty(1, 0.6), 1);
  EXPECT_TRUE(std::isfinite(GnmtPenalty(131072, 10)));
}

TEST(RankerTest, PmiAndCombinedUseTheOtherSums) {
  CandidateScore candidate{.log_prob = -12, .token_count = 7, .byte_count = {}, .character_count = {}};
  EXPECT_EQ(NormalizedLogProb(candidate, Normalization::kPmi), std::nullopt);
  EXPECT_EQ(NormalizedLogProb(candidate, Normalization::kCombined), std::nullopt);
  candidate.unconditional_log_prob = -20;
  candidate.combined_log_prob = -11;
  EXPECT_EQ(NormalizedLogProb(candidate, Normalization::kPmi), 8);
  EXPECT_EQ(NormalizedLogProb(candidate, Normalization::kCombined), -11);
}

TEST(RankerTest, LogSumExpNeitherOverflowsNorUnderflows) {
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  EXPECT_NEAR(LogSumExp(std::vector<double>{-1e5, -1e5}), -1e5 + std::log(2), 1e-10);
  EXPECT_EQ(LogSumExp(std::vector<double>{-3, kNever}), -3);
  EXPECT_EQ(LogSumExp(std::vector<double>{kNever, kNever}), kNever);
  EXPECT_EQ(LogSumExp({}), kNever);
}

TEST(RankerTest, PerplexityOfCertaintyIsOneAndOfTheImpossibleInfinite) {
  EXPECT_EQ(Perplexity({.log_prob = 0, .token_count = 3, .byte_count = {}, .character_count = {}}), 1);
  EXPECT_EQ(Perplexity({.log_prob = -1e6, .token_count = 3, .byte_count = {}, .character_count = {}}),
            std::numeric_limits<double>::infinity());
}

TEST(RankerTest, EqualValuesShareTheBestPlace) {
  const Ordering ordering = OrderBy(Values{-3, -1, -2, -2, -9});
  EXPECT_THAT(ordering.candidate_indices, ElementsAre(1, 2, 3, 0, 4));
  EXPECT_THAT(ordering.places, ElementsAre(1, 2, 2, 4, 5));
  EXPECT_FALSE(ordering.tied);
  const Ordering tied = OrderBy(Values{-1, -2, -1});
  EXPECT_THAT(tied.candidate_indices, ElementsAre(0, 2, 1));
  EXPECT_THAT(tied.places, ElementsAre(1, 1, 3));
  EXPECT_TRUE(tied.tied);
}

TEST(RankerTest, CandidatesWithoutAValueAreLeftOut) {
  const Ordering ordering = OrderBy(Values{std::nullopt, -5, std::nullopt, -4});
  EXPECT_THAT(ordering.candidate_indices, ElementsAre(3, 1));
  EXPECT_THAT(ordering.places, ElementsAre(1, 2));
  EXPECT_TRUE(OrderBy(Values{}).candidate_indices.empty());
  EXPECT_FALSE(OrderBy(Values{std::nullopt}).tied);
  EXPECT_FALSE(OrderBy(Values{-1}).tied);
}

TEST(RankerTest, CandidateProbabilitiesAreTheSoftmaxOverThoseThatHaveAValue) {
  const auto p = CandidateProbabilities(Values{6, std::nullopt, 3, .5, .5}, 1);
  EXPECT_THAT(p[0], Optional(DoubleNear(.945214774, 1e-9)));
  EXPECT_EQ(p[1], std::nullopt);
  EXPECT_THAT(p[2], Optional(DoubleNear(.047059473, 1e-9)));
  EXPECT_THAT(p[4], Optional(DoubleNear(.003862877, 1e-9)));
  const auto sharper = CandidateProbabilities(Values{6, 3, .5, .5}, 2);
  EXPECT_THAT(sharper[1], Optional(DoubleNear(.002472541, 1e-9)));
  const auto flat = CandidateProbabilities(Values{-5000, -1}, 0);
  EXPECT_EQ(flat[0], 0.5);
  const auto far = CandidateProbabilities(Values{-5000, -1}, 1000);
  EXPECT_EQ(far[0], 0);
  EXPECT_EQ(far[1], 1);
  EXPECT_EQ(CandidateProbabilities(Values{std::nullopt}, 1)[0], std::nullopt);
}

}  // namespace
}  // namespace logitd

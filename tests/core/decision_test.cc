#include "core/decision.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

using LogProbs = std::vector<std::optional<double>>;

TEST(DecisionTest, OffsetsAndTemperatureMakeTheProbabilities) {
  const auto decision = Decide(LogProbs{-1, -2, -4}, std::vector<double>{0, 0.5, 0}, 0.5);
  ASSERT_TRUE(decision);
  const double total = 1 + std::exp(-1) + std::exp(-6);
  EXPECT_THAT(decision->probabilities,
              ElementsAre(DoubleNear(1 / total, 1e-15), DoubleNear(std::exp(-1) / total, 1e-15),
                          DoubleNear(std::exp(-6) / total, 1e-15)));
  EXPECT_EQ(decision->chosen, 0);
  EXPECT_FALSE(decision->tied);
}

TEST(DecisionTest, AnOffsetCanTurnADecision) {
  EXPECT_EQ(Decide(LogProbs{-1, -2}, std::vector<double>{0, 1.5}, 1)->chosen, 1);
}

TEST(DecisionTest, TiesGoToTheFirst) {
  const auto decision = Decide(LogProbs{-3, -2, -2}, std::vector<double>{0, 0, 0}, 2);
  EXPECT_EQ(decision->chosen, 1);
  EXPECT_TRUE(decision->tied);
  EXPECT_EQ(decision->probabilities[1], decision->probabilities[2]);
}

TEST(DecisionTest, TemperatureZeroIsCertain) {
  EXPECT_THAT(Decide(LogProbs{-3, -2, -2}, std::vector<double>{0, 0, 0}, 0)->probabilities, ElementsAre(0, 1, 0));
}

TEST(DecisionTest, TheImpossibleHasProbabilityZero) {
  EXPECT_THAT(Decide(LogProbs{std::nullopt, -700}, std::vector<double>{1000, 0}, 1)->probabilities, ElementsAre(0, 1));
  EXPECT_FALSE(Decide(LogProbs{std::nullopt}, std::vector<double>{0}, 1));
  EXPECT_FALSE(Decide(LogProbs{}, std::vector<double>{}, 1));
}

TEST(DecisionTest, FarApartIsNeitherNanNorAnError) {
  EXPECT_THAT(Decide(LogProbs{-1e38, 0}, std::vector<double>{0, 0}, 1e-4)->probabilities, ElementsAre(0, 1));
  const auto flat = Decide(LogProbs{-1000, 0}, std::vector<double>{0, 0}, 1e6)->probabilities;
  EXPECT_NEAR(flat[0], 0.49975, 1e-6);
}

}  // namespace
}  // namespace logitd

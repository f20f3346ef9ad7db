#include "client/http/systemone_route.h"

#include <vector>

#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using ::testing::DoubleNear;

TEST(SystemoneRouteTest, AChoicesConfidenceIsItsLeadOverAGuess) {
  EXPECT_EQ(ChoiceConfidence(std::vector<double>{1.0}), 1);
  EXPECT_EQ(ChoiceConfidence(std::vector<double>{0.5, 0.5}), 0);
  EXPECT_EQ(ChoiceConfidence(std::vector<double>{0, 0, 1}), 1);
  EXPECT_THAT(ChoiceConfidence(std::vector<double>{0.7, 0.2, 0.1}), DoubleNear(0.55, 1e-15));
  // Probabilities that add up to a little less than 1.
  EXPECT_EQ(ChoiceConfidence(std::vector<double>(3, 0.3333333333333333)), 0);
}

TEST(SystemoneRouteTest, AScoresConfidenceIsItsSpreadAroundTheMostLikelyLevel) {
  EXPECT_EQ(ScoreConfidence(std::vector<double>{1.0}), 1);
  EXPECT_EQ(ScoreConfidence(std::vector<double>{0, 1, 0}), 1);
  // 0.6 * 0 + 0.3 * 1 + 0.1 * 2 = 0.5 against a mean distance of 2/3 from the middle.
  EXPECT_THAT(ScoreConfidence(std::vector<double>{0.6, 0.3, 0.1}), DoubleNear(0.25, 1e-15));
  // The two ends alone: further apart than a guess.
  EXPECT_EQ(ScoreConfidence(std::vector<double>{0.5, 0, 0, 0.5}), 0);
}

}  // namespace
}  // namespace logitd::http

#include "client/comparison/token_duel.h"

#include <cmath>
#include <random>

#include "gmock/gmock.h"

namespace logitd::comparison {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr double kInf = HUGE_VAL;

TEST(TokenDuelTest, TheTokenByTokenWinnerLosesByOnePosition) {
  const Duel duel = DuelOf({-0.9, -1.0, -9.7}, {-1.2, -2.6, -4.8}, 0);
  EXPECT_EQ(duel.first_wins, 2);
  EXPECT_EQ(duel.second_wins, 1);
  EXPECT_EQ(duel.token_winner, Side::kFirst);
  EXPECT_EQ(duel.total_winner, Side::kSecond);
  EXPECT_NEAR(*duel.total_margin, 3, 1e-12);
  EXPECT_EQ(duel.lead_lost_at, 2);
  EXPECT_NEAR(duel.lead_before_loss, 1.9, 1e-12);
  EXPECT_THAT(duel.deciding_positions, ElementsAre(2));
  EXPECT_NEAR(*duel.positions[1].sum_difference, 1.9, 1e-12);
}

TEST(TokenDuelTest, SeveralPositionsDecideTogether) {
  // The second one gains 2, 1.5 and 1 and loses 3: the margin is 1.5.
  const Duel duel = DuelOf({-3, -2.5, -1, -2}, {-1, -1, -4, -1}, 0);
  EXPECT_EQ(duel.total_winner, Side::kSecond);
  EXPECT_THAT(duel.deciding_positions, ElementsAre(0));
  const Duel closer = DuelOf({-3, -2.5, -1, -2}, {-1, -1, -2, -1}, 0);
  EXPECT_NEAR(*closer.total_margin, 3.5, 1e-12);
  EXPECT_THAT(closer.deciding_positions, ElementsAre(0, 1));
}

// Removing the deciding positions takes the win away, and no smaller set of positions does.
TEST(TokenDuelTest, DecidingPositionsAreTheFewestOnes) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> uniform(-5, 0);
  for (int round = 0; round < 300; ++round) {
    LogProbs first(6), second(6);
    for (auto& x : first) x = uniform(random);
    for (auto& x : second) x = uniform(random);
    const Duel duel = DuelOf(first, second, 0);
    ASSERT_NE(duel.total_winner, Side::kNone);
    const double sign = duel.total_winner == Side::kFirst ? 1 : -1;
    size_t fewest = 7;
    for (unsigned set = 0; set < 64; ++set) {
      double margin = 0;
      for (unsigned i = 0; i < 6; ++i) margin += (set >> i & 1) != 0 ? 0 : sign * *duel.positions[i].difference;
      if (margin <= 1e-12) fewest = std::min<size_t>(fewest, __builtin_popcount(set));
    }
    EXPECT_EQ(duel.deciding_positions.size(), fewest);
  }
}

TEST(TokenDuelTest, ALongerOneHasNoOppositeAtItsEnd) {
  const Duel duel = DuelOf({-1}, {-0.5, -2}, 0);
  EXPECT_EQ(duel.second_wins, 1);
  EXPECT_EQ(duel.first_wins, 0) << "a position that one of them has is no contest";
  EXPECT_EQ(duel.total_winner, Side::kFirst);
  EXPECT_FALSE(duel.positions[1].first);
  EXPECT_EQ(*duel.positions[1].difference, 2);
  EXPECT_EQ(duel.lead_lost_at, 1);
  EXPECT_THAT(duel.deciding_positions, ElementsAre(1));
}

TEST(TokenDuelTest, ImpossibleTokensAreNeverNan) {
  const Duel one = DuelOf({-1, -kInf, -1}, {-5, -5, -5}, 0);
  EXPECT_EQ(one.total_winner, Side::kSecond);
  EXPECT_EQ(*one.total_margin, kInf);
  EXPECT_EQ(one.positions[2].first_sum, -kInf);
  EXPECT_THAT(one.deciding_positions, ElementsAre(1));
  const Duel both = DuelOf({-1, -kInf}, {-kInf, -kInf}, 0);
  EXPECT_EQ(both.total_winner, Side::kNone);
  EXPECT_FALSE(both.total_margin);
  EXPECT_FALSE(both.positions[1].difference);
  EXPECT_THAT(both.deciding_positions, IsEmpty());
  for (const DuelPosition& at : both.positions) EXPECT_FALSE(std::isnan(at.first_sum) || std::isnan(at.second_sum));
}

TEST(TokenDuelTest, PositionsWithoutTokensCountNothing) {
  const Duel duel = DuelOf({std::nullopt, -1.0}, {std::nullopt, -2.0}, 0);
  EXPECT_EQ(duel.first_wins + duel.second_wins + duel.ties, 1);
  EXPECT_EQ(*duel.positions[0].difference, 0);
  EXPECT_EQ(DuelOf({}, {}, 0).total_winner, Side::kNone);
}

TEST(TokenDuelTest, SharedPositionsAreNoContest) {
  const Duel duel = DuelOf({-1, -2}, {-1, -3}, 1);
  EXPECT_EQ(duel.ties, 0);
  EXPECT_EQ(duel.first_wins, 1);
  const std::vector<int32_t> a = {5, 6, 7}, b = {5, 6, 8, 9};
  EXPECT_EQ(SharedLength(a, b), 2);
  EXPECT_EQ(SharedLength(a, a), 3);
}

}  // namespace
}  // namespace logitd::comparison

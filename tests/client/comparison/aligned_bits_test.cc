#include "client/comparison/aligned_bits.h"

#include <cmath>

#include "gmock/gmock.h"

namespace logitd::comparison {
namespace {

using ::testing::SizeIs;

const double kBit = -std::log(2.0);

TEST(AlignedBitsTest, PiecesEndWhereTokensOfBothEnd) {
  // "the" " ca" "t" and "th" "e" " cat".
  const std::vector<TokenOfText> first = {{3, kBit}, {3, 2 * kBit}, {1, 3 * kBit}};
  const std::vector<TokenOfText> second = {{2, kBit}, {1, kBit}, {4, 4 * kBit}};
  const auto pieces = AlignBits(first, second);
  ASSERT_TRUE(pieces);
  ASSERT_THAT(*pieces, SizeIs(2));
  EXPECT_EQ((*pieces)[0].end, 3);
  EXPECT_EQ((*pieces)[0].second_token_count, 2);
  EXPECT_NEAR((*pieces)[0].first_bits, 1, 1e-12);
  EXPECT_NEAR((*pieces)[0].second_bits, 2, 1e-12);
  EXPECT_EQ((*pieces)[1].begin, 3);
  EXPECT_EQ((*pieces)[1].end, 7);
  EXPECT_NEAR((*pieces)[1].first_bits, 5, 1e-12);
  EXPECT_NEAR((*pieces)[1].first_running_bits, 6, 1e-12);
  EXPECT_NEAR((*pieces)[1].second_running_bits, 6, 1e-12);
}

TEST(AlignedBitsTest, TokensWithoutBytesBelongToAPiece) {
  const auto pieces = AlignBits(std::vector<TokenOfText>{{0, kBit}, {2, kBit}, {0, kBit}},
                                std::vector<TokenOfText>{{1, kBit}, {1, kBit}});
  ASSERT_TRUE(pieces);
  ASSERT_THAT(*pieces, SizeIs(1));
  EXPECT_EQ((*pieces)[0].first_token_count, 3);
  EXPECT_NEAR((*pieces)[0].first_running_bits, 3, 1e-12);
}

TEST(AlignedBitsTest, OtherBytesAreNoPieces) {
  EXPECT_FALSE(AlignBits(std::vector<TokenOfText>{{3, 0}}, std::vector<TokenOfText>{{2, 0}}));
  EXPECT_FALSE(AlignBits(std::vector<TokenOfText>{{3, 0}, {1, 0}}, std::vector<TokenOfText>{{3, 0}}));
  EXPECT_FALSE(AlignBits(std::vector<TokenOfText>{{3, 0}}, {}));
  EXPECT_TRUE(AlignBits({}, {})->empty());
}

TEST(AlignedBitsTest, AnImpossibleTokenHasInfiniteBits) {
  const auto pieces =
      AlignBits(std::vector<TokenOfText>{{1, -HUGE_VAL}, {1, kBit}}, std::vector<TokenOfText>{{1, kBit}, {1, kBit}});
  ASSERT_TRUE(pieces);
  EXPECT_EQ((*pieces)[0].first_bits, HUGE_VAL);
  EXPECT_NEAR((*pieces)[1].first_bits, 1, 1e-12);
  EXPECT_EQ((*pieces)[1].first_running_bits, HUGE_VAL);
  EXPECT_EQ(BitsOf(0), 0);
}

}  // namespace
}  // namespace logitd::comparison

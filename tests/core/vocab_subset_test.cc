#include "core/vocab_subset.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::testing::ElementsAre;

TEST(VocabSubsetTest, HoldsExactlyTheIdsGiven) {
  ASSERT_OK_AND_ASSIGN(VocabSubset subset, VocabSubset::Of(130, std::vector<TokenId>{129, 0, 64}));
  EXPECT_EQ(subset.size(), 3);
  EXPECT_EQ(subset.vocab_size(), 130);
  for (TokenId t = 0; t < 130; ++t) EXPECT_EQ(subset.Contains(t), t == 0 || t == 64 || t == 129) << t;
}

TEST(VocabSubsetTest, RefusesBadIdsByTheirPlace) {
  const auto detail = [](std::vector<TokenId> ids) { return DetailOf(VocabSubset::Of(10, ids).status()); };
  EXPECT_EQ(detail({1, 10}).reason, ErrorReason::kTokenIdOutOfRange);
  EXPECT_EQ(detail({1, 10}).field, "token_ids[1]");
  EXPECT_EQ(detail({1, 10}).bound, "[0, 10)");
  EXPECT_EQ(detail({-1}).value, "-1");
  EXPECT_EQ(detail({3, 4, 3}).reason, ErrorReason::kDuplicateTokenId);
  EXPECT_EQ(detail({3, 4, 3}).field, "token_ids[2]");
  EXPECT_EQ(detail({}).reason, ErrorReason::kEmptyTokenSet);
}

TEST(VocabSubsetTest, ReadsABitmaskLittleEndian) {
  ASSERT_OK_AND_ASSIGN(VocabSubset subset, VocabSubset::OfBitmask(13, std::string("\x81\x10", 2)));
  EXPECT_EQ(subset.size(), 3);
  EXPECT_THAT(subset.mask().words(), ElementsAre(0x1081));
}

TEST(VocabSubsetTest, RefusesBitmasksOfTheWrongLengthOrWithSpareBits) {
  EXPECT_THAT(VocabSubset::OfBitmask(13, "a"), HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(VocabSubset::OfBitmask(13, "abc"), HasReason(ErrorReason::kFieldOutOfRange));
  const auto spare = VocabSubset::OfBitmask(13, std::string("\x01\x20", 2));
  EXPECT_THAT(spare, HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_EQ(DetailOf(spare.status()).value, "13");
  EXPECT_THAT(VocabSubset::OfBitmask(13, std::string("\0\0", 2)), HasReason(ErrorReason::kEmptyTokenSet));
}

TEST(VocabSubsetTest, WholeVocabularyHasNoSpareBits) {
  for (int32_t vocab_size : {1, 7, 63, 64, 65, 50257}) {
    const VocabSubset all = VocabSubset::All(vocab_size);
    EXPECT_EQ(all.size(), vocab_size);
    std::string bytes((vocab_size + 7) / 8, '\xff');
    if (vocab_size % 8 != 0) bytes.back() = static_cast<char>((1 << (vocab_size % 8)) - 1);
    ASSERT_OK_AND_ASSIGN(VocabSubset same, VocabSubset::OfBitmask(vocab_size, bytes));
    EXPECT_TRUE(std::ranges::equal(all.mask().words(), same.mask().words())) << vocab_size;
  }
}

TEST(VocabSubsetTest, WithoutMayLeaveNothing) {
  ASSERT_OK_AND_ASSIGN(VocabSubset some, VocabSubset::Of(100, std::vector<TokenId>{1, 70, 99}));
  ASSERT_OK_AND_ASSIGN(VocabSubset other, VocabSubset::Of(100, std::vector<TokenId>{70, 2}));
  const VocabSubset rest = some.Without(other);
  EXPECT_EQ(rest.size(), 2);
  EXPECT_FALSE(rest.Contains(70));
  EXPECT_EQ(some.Without(VocabSubset::All(100)).size(), 0);
}

}  // namespace
}  // namespace logitd

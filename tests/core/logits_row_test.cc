#include "core/logits_row.h"

#include <limits>
#include <random>
#include <vector>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOkAndHolds;
using ::logitd::testing::IsRow;
using ::testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(LogitsRowTest, ADenseRowIsItsLogits) {
  const std::vector<float> logits = {1, -kInf, 3};
  const LogitsRow row = logits;
  EXPECT_FALSE(row.is_sparse());
  EXPECT_EQ(row.vocab_size(), 3);
  EXPECT_EQ(row.slots().data(), logits.data());
  EXPECT_THAT(row, IsRow(ElementsAre(1, -kInf, 3)));
  for (TokenId id : {0, 1, 2}) {
    EXPECT_EQ(row.SlotOf(id), id);
    EXPECT_EQ(row.IdOf(id), id);
  }
}

TEST(LogitsRowTest, WhatIsNotListedIsExcluded) {
  const std::vector<float> logits = {2, -1};
  const std::vector<TokenId> ids = {1, 3};
  const LogitsRow row = LogitsRow::Sparse(logits, ids, 5);
  EXPECT_TRUE(row.is_sparse());
  EXPECT_THAT(row, IsRow(ElementsAre(-kInf, 2, -kInf, -1, -kInf)));
  EXPECT_THAT(row.slots(), ElementsAre(2, -1));
  EXPECT_EQ(row.IdOf(1), 3);
  const int32_t slots[] = {-1, 0, -1, 1, -1};
  for (TokenId id = 0; id < 5; ++id) EXPECT_EQ(row.SlotOf(id), slots[id]) << id;
  EXPECT_THAT(LogitsRow::Sparse({}, {}, 2), IsRow(ElementsAre(-kInf, -kInf)));
}

TEST(LogitsRowTest, OtherLogitsAreOfTheSameTokens) {
  const std::vector<float> logits = {2, -1}, others = {7, 8};
  const std::vector<TokenId> ids = {1, 3};
  EXPECT_THAT(LogitsRow::Sparse(logits, ids, 4).WithLogits(others), IsRow(ElementsAre(-kInf, 7, -kInf, 8)));
  EXPECT_THAT(LogitsRow(logits).WithLogits(others), IsRow(ElementsAre(7, 8)));
}

TEST(LogitsRowTest, EverySlotIsFoundByItsId) {
  std::mt19937 random(7);
  for (int i = 0; i < 500; ++i) {
    const auto vocab_size = static_cast<int32_t>(1 + random() % 100);
    std::vector<TokenId> ids;
    std::vector<float> logits, dense(vocab_size, -kInf);
    for (TokenId id = 0; id < vocab_size; ++id) {
      if (random() % 3 != 0) continue;
      ids.push_back(id);
      logits.push_back(dense[id] = static_cast<float>(random() % 1000) - 500);
    }
    ASSERT_THAT(LogitsRow::Sparse(logits, ids, vocab_size), IsRow(::testing::ElementsAreArray(dense)));
  }
}

TEST(CountUsedSlotsTest, TheFirstWrongIdIsNamed) {
  constexpr TokenId kLowest = std::numeric_limits<TokenId>::min();
  constexpr TokenId kHighest = std::numeric_limits<TokenId>::max();
  const struct {
    const char* name;
    std::vector<TokenId> ids;
    ErrorReason reason;
    const char* field;
    const char* value;
    const char* bound;
  } cases[] = {
      {"at vocab_size", {0, 10}, ErrorReason::kTokenIdOutOfRange, "ids[1]", "10", "[0, 10)"},
      {"far above", {kHighest}, ErrorReason::kTokenIdOutOfRange, "ids[0]", "2147483647", "[0, 10)"},
      {"below -1", {-2}, ErrorReason::kTokenIdOutOfRange, "ids[0]", "-2", "[0, 10)"},
      {"far below", {3, kLowest}, ErrorReason::kTokenIdOutOfRange, "ids[1]", "-2147483648", "[0, 10)"},
      {"below -1, after an unused slot", {3, -1, -2}, ErrorReason::kTokenIdOutOfRange, "ids[2]", "-2", "[0, 10)"},
      {"twice",
       {3, 4, 4, 2},
       ErrorReason::kDuplicateTokenId,
       "ids[2]",
       "4",
       "an id that the set does not have already"},
      {"0 twice", {0, 0}, ErrorReason::kDuplicateTokenId, "ids[1]", "0", "an id that the set does not have already"},
      {"descending", {3, 5, 4, 99}, ErrorReason::kFieldOutOfRange, "ids[2]", "4", "> 5, the id before it"},
      {"after an unused slot",
       {3, -1, 4},
       ErrorReason::kFieldOutOfRange,
       "ids[2]",
       "4",
       "-1, as the unused slot before it"},
      {"first slot unused", {-1, 0}, ErrorReason::kFieldOutOfRange, "ids[1]", "0", "-1, as the unused slot before it"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    const absl::Status status = CountUsedSlots(test.ids, "ids", 10).status();
    ASSERT_THAT(status, HasReason(test.reason));
    const ErrorDetail detail = DetailOf(status);
    EXPECT_EQ(detail.field, test.field);
    EXPECT_EQ(detail.value, test.value);
    EXPECT_EQ(detail.bound, test.bound);
  }
}

TEST(CountUsedSlotsTest, UsedSlotsAreCounted) {
  const struct {
    std::vector<TokenId> ids;
    size_t used;
  } cases[] = {{{}, 0}, {{-1}, 0}, {{0}, 1}, {{9}, 1}, {{0, 9, -1}, 2}, {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 10}};
  for (const auto& test : cases) EXPECT_THAT(CountUsedSlots(test.ids, "ids", 10), IsOkAndHolds(test.used));
}

}  // namespace
}  // namespace logitd

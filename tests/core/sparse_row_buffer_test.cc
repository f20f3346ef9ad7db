#include "core/sparse_row_buffer.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using logitd::testing::HasReason;
using logitd::testing::IsOk;
using logitd::testing::IsOkAndHolds;
using ::testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();

const char* BytesOf(const std::vector<TokenId>& ids) { return reinterpret_cast<const char*>(ids.data()); }

TEST(SparseRowBufferTest, WhatIsNotListedIsExcluded) {
  SparseRowBuffer buffer;
  EXPECT_THAT(buffer.Assign(BytesOf({1, 3}), std::vector<float>{2, -1}, 5),
              IsOkAndHolds(ElementsAre(-kInf, 2, -kInf, -1, -kInf)));
  EXPECT_THAT(buffer.Assign(BytesOf({0, 4}), std::vector<float>{7, 8}, 5),
              IsOkAndHolds(ElementsAre(7, -kInf, -kInf, -kInf, 8)))
      << "nothing is left of the row before";
  EXPECT_THAT(buffer.Assign(nullptr, {}, 2), IsOkAndHolds(ElementsAre(-kInf, -kInf)));
}

TEST(SparseRowBufferTest, UnusedSlotsAreNotLookedAt) {
  SparseRowBuffer buffer;
  const std::vector<float> values = {1, NAN, kInf};
  EXPECT_THAT(buffer.Assign(BytesOf({2, -1, -1}), values, 3), IsOkAndHolds(ElementsAre(-kInf, -kInf, 1)));
  EXPECT_THAT(buffer.Assign(BytesOf({-1, -1, -1}), values, 3), IsOkAndHolds(ElementsAre(-kInf, -kInf, -kInf)));
  const auto row = buffer.Assign(BytesOf({0, 1, 2}), values, 3);
  ASSERT_THAT(row, IsOk());
  EXPECT_TRUE(std::isnan((*row)[1])) << "values of used slots are passed on as they are";
  EXPECT_EQ((*row)[2], kInf);
}

TEST(SparseRowBufferTest, IdsMayBeAtAnyAddress) {
  const std::vector<TokenId> ids = {0, 258, 259};
  for (size_t shift : {0, 1, 2, 3}) {
    std::string bytes(shift, 'x');
    bytes.append(BytesOf(ids), ids.size() * sizeof(TokenId));
    SparseRowBuffer buffer;
    const auto row = buffer.Assign(bytes.data() + shift, std::vector<float>{1, 2, 3}, 260);
    ASSERT_THAT(row, IsOk());
    EXPECT_THAT((std::vector<float>{(*row)[0], (*row)[1], (*row)[257], (*row)[258], (*row)[259]}),
                ElementsAre(1, -kInf, -kInf, 2, 3));
  }
}

TEST(SparseRowBufferTest, TheFirstWrongIdIsNamed) {
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

TEST(SparseRowBufferTest, UsedSlotsAreCounted) {
  const struct {
    std::vector<TokenId> ids;
    size_t used;
  } cases[] = {{{}, 0}, {{-1}, 0}, {{0}, 1}, {{9}, 1}, {{0, 9, -1}, 2}, {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 10}};
  for (const auto& test : cases) EXPECT_THAT(CountUsedSlots(test.ids, "ids", 10), IsOkAndHolds(test.used));
}

// One buffer through rows of every kind, wrong ones and other vocabularies in between: each is what a fresh vector of
// -inf becomes.
TEST(SparseRowBufferTest, EveryRowIsAsIfItWereTheFirst) {
  std::mt19937 random(7);
  SparseRowBuffer buffer;
  int wrong = 0;
  for (int i = 0; i < 5000; ++i) {
    const int32_t vocab_size = random() % 8 == 0 ? 40 : 33;
    std::vector<TokenId> ids;
    for (TokenId id = 0; id < vocab_size; ++id) {
      if (random() % 4 == 0) ids.push_back(id);
    }
    const size_t used = ids.size();
    ids.resize(used + random() % 3, kUnusedSlot);
    std::vector<float> values(ids.size());
    for (float& value : values) value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (used > 0 && random() % 5 == 0) {
      ++wrong;
      ids[random() % used] = vocab_size + static_cast<TokenId>(random() % 3);
      EXPECT_THAT(buffer.Assign(BytesOf(ids), values, vocab_size), HasReason(ErrorReason::kTokenIdOutOfRange));
      continue;
    }
    std::vector<float> expected(vocab_size, -kInf);
    for (size_t slot = 0; slot < used; ++slot) expected[ids[slot]] = values[slot];
    const auto row = buffer.Assign(BytesOf(ids), values, vocab_size);
    ASSERT_THAT(row, IsOk());
    ASSERT_EQ(row->size(), expected.size());
    ASSERT_EQ(std::memcmp(row->data(), expected.data(), expected.size() * sizeof(float)), 0) << i;
  }
  EXPECT_GT(wrong, 500);
}

}  // namespace
}  // namespace logitd

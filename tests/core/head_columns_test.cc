// The bits of a logit depend on its row and its column alone.
#include "core/head_columns.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "core/softmax_head.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/head_reference.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using testing::BuildHead;
using testing::HasReason;
using testing::HeadModel;
using testing::LogitsOf;
using testing::MakeHeadModel;
using testing::MakeTile;
using testing::NormalFloats;
using testing::NormativeLogit;
using testing::SameBits;

std::vector<float> NormativeLogits(const HeadModel& model, std::span<const float> rows) {
  const size_t d = static_cast<size_t>(model.hidden_size);
  std::vector<float> logits;
  for (size_t begin = 0; begin < rows.size(); begin += d) {
    for (int32_t token = 0; token < model.vocab_size; ++token) {
      logits.push_back(NormativeLogit(model, rows.subspan(begin, d), token));
    }
  }
  return logits;
}

class HeadColumnsTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(HeadColumnsTest);

TEST_P(HeadColumnsTest, EveryBatchGivesTheNormativeBits) {
  HeadModel model = MakeHeadModel(67, 600, 1);
  model.bias = NormalFloats(67, 1, 2);
  model.scale = 0.7f;
  const std::vector<float> rows = NormalFloats(256 * 600, 1, 3);
  const std::vector<float> expected = NormativeLogits(model, rows);
  const std::shared_ptr<const SoftmaxHead> head = BuildHead(model);
  for (const size_t batch : {1, 2, 5, 6, 7, 11, 12, 13, 24, 95, 96, 97, 200, 256}) {
    // Not from the first row, so that a row takes several places in its group.
    const size_t first = (256 - batch) / 3;
    const HiddenTile tile = MakeTile(std::span(rows).subspan(first * 600, batch * 600), 600);
    EXPECT_TRUE(SameBits(LogitsOf(head->columns(), tile), std::span(expected).subspan(first * 67, batch * 67)))
        << batch << " rows";
  }
}

TEST_P(HeadColumnsTest, RandomShapesGiveTheNormativeBits) {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    const int32_t vocab_size = 1 + static_cast<int32_t>(random() % 300);
    const int32_t hidden_size = 1 + static_cast<int32_t>(random() % (round % 4 == 0 ? 900 : 40));
    const size_t row_count = 1 + random() % 30;
    HeadModel model = MakeHeadModel(vocab_size, hidden_size, random());
    if (random() % 2 == 0) model.bias = NormalFloats(static_cast<size_t>(vocab_size), 1, random());
    if (random() % 2 == 0) model.scale = 0.3f;
    const std::vector<float> rows = NormalFloats(row_count * static_cast<size_t>(hidden_size), 1, random());
    const std::shared_ptr<const SoftmaxHead> head = BuildHead(model);
    ASSERT_TRUE(SameBits(LogitsOf(head->columns(), MakeTile(rows, hidden_size)), NormativeLogits(model, rows)))
        << "V " << vocab_size << " d " << hidden_size << " rows " << row_count;
  }
}

TEST_P(HeadColumnsTest, ASubsetHasTheBitsOfTheWhole) {
  HeadModel model = MakeHeadModel(1000, 300, 4);
  model.bias = NormalFloats(1000, 1, 5);
  model.scale = 1.25f;
  model.soft_cap = 3;
  const std::shared_ptr<const SoftmaxHead> head = BuildHead(model);
  const HiddenTile tile = MakeTile(NormalFloats(30 * 300, 1, 6), 300);
  const std::vector<float> whole = LogitsOf(head->columns(), tile);
  std::mt19937 random(7);
  std::vector<TokenId> all(1000);
  for (int32_t i = 0; i < 1000; ++i) all[static_cast<size_t>(i)] = i;
  for (const size_t count : {1, 2, 10, 16, 17, 129, 1000}) {
    std::vector<TokenId> ids = all;
    std::ranges::shuffle(ids, random);
    ids.resize(count);
    for (const bool in_order : {false, true}) {
      if (in_order) std::ranges::sort(ids);
      // Packed, and by reference to the head's own weights.
      for (const size_t max_packed_bytes : {HeadColumns::kMaxPackedBytes, size_t{0}}) {
        ASSERT_OK_AND_ASSIGN(const HeadColumns subset, head->columns().Select(ids, max_packed_bytes));
        ASSERT_EQ(subset.size(), static_cast<int32_t>(count));
        const std::vector<float> logits = LogitsOf(subset, tile);
        std::vector<float> expected;
        for (size_t row = 0; row < 30; ++row) {
          for (const TokenId id : ids) expected.push_back(whole[row * 1000 + static_cast<size_t>(id)]);
        }
        ASSERT_TRUE(SameBits(logits, expected)) << count << " ids, " << max_packed_bytes;
      }
    }
  }
}

TEST_P(HeadColumnsTest, ThreadsMayShareThePanelsOfATile) {
  const HeadModel model = MakeHeadModel(1003, 320, 8);
  const std::shared_ptr<const SoftmaxHead> head = BuildHead(model);
  const HiddenTile tile = MakeTile(NormalFloats(20 * 320, 1, 9), 320);
  std::vector<TokenId> odd;
  for (int32_t i = 1; i < 1003; i += 2) odd.push_back(i);
  ASSERT_OK_AND_ASSIGN(const HeadColumns by_reference, head->columns().Select(odd, 0));
  for (const HeadColumns* columns : {&head->columns(), &by_reference}) {
    const std::vector<float> expected = LogitsOf(*columns, tile);
    const size_t width = static_cast<size_t>(columns->size());
    for (const int32_t cut : {0, 1, 31, columns->panel_count()}) {
      // A stride above the width, into memory of an odd alignment; nothing else may be written.
      std::vector<float> out(1 + 20 * (width + 3), -5);
      float* const begin = out.data() + 1;
      std::thread other([&] { columns->ComputeLogits(tile, cut, columns->panel_count(), begin, width + 3); });
      columns->ComputeLogits(tile, 0, cut, begin, width + 3);
      other.join();
      EXPECT_EQ(out[0], -5);
      for (size_t row = 0; row < 20; ++row) {
        const std::span<const float> found(begin + row * (width + 3), width + 3);
        ASSERT_TRUE(SameBits(found.first(width), std::span(expected).subspan(row * width, width))) << cut;
        ASSERT_THAT(found.last(3), ::testing::Each(-5));
      }
    }
  }
}

TEST(HeadColumnsSelectTest, UnknownIdsAndNoIdsAreErrors) {
  const std::shared_ptr<const SoftmaxHead> head = BuildHead(MakeHeadModel(20, 4, 1));
  for (const TokenId bad : {-1, 20}) {
    const absl::Status status = head->columns().Select(std::vector<TokenId>{3, bad}).status();
    EXPECT_THAT(status, HasReason(ErrorReason::kTokenIdOutOfRange));
    EXPECT_EQ(DetailOf(status).field, "token_ids[1]");
  }
  EXPECT_THAT(head->columns().Select({}).status(), HasReason(ErrorReason::kEmptyTokenSet));
}

TEST(HeadColumnsSelectTest, ASubsetOutlivesItsHead) {
  std::shared_ptr<const SoftmaxHead> head = BuildHead(MakeHeadModel(200, 8, 1));
  const HiddenTile tile = MakeTile(NormalFloats(8, 1, 2), 8);
  const float expected = LogitsOf(head->columns(), tile)[150];
  for (const size_t max_packed_bytes : {HeadColumns::kMaxPackedBytes, size_t{0}}) {
    std::shared_ptr<const SoftmaxHead> other = BuildHead(MakeHeadModel(200, 8, 1));
    ASSERT_OK_AND_ASSIGN(const HeadColumns subset,
                         other->columns().Select(std::vector<TokenId>{150}, max_packed_bytes));
    other.reset();
    EXPECT_EQ(LogitsOf(subset, tile)[0], expected);
    EXPECT_EQ(subset.panel_count(), 1);
    EXPECT_EQ(subset.bytes(), max_packed_bytes == 0 ? head->bytes() : 16 * 8 * sizeof(float));
  }
}

}  // namespace
}  // namespace logitd

#include "core/softmax_head.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/head_reference.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using testing::BuildHead;
using ::testing::ElementsAre;
using testing::HasReason;
using ::testing::HasSubstr;
using testing::HeadModel;
using testing::IsOk;
using testing::LogitsOf;
using testing::MakeHeadModel;
using testing::MakeTile;
using testing::NormalFloats;
using testing::SameBits;
using testing::StatusIs;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

SoftmaxHead::Builder MakeBuilder(int32_t vocab_size, int32_t hidden_size) {
  auto builder = SoftmaxHead::Builder::Make({vocab_size, hidden_size});
  EXPECT_THAT(builder, IsOk());
  return *std::move(builder);
}

class SoftmaxHeadTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(SoftmaxHeadTest);

TEST_P(SoftmaxHeadTest, TheExampleOfTheHeader) {
  SoftmaxHead::Builder builder = MakeBuilder(3, 2);
  ASSERT_THAT(builder.AddTokens(std::vector<float>{1, 2, 3, 4, 5, 6}), IsOk());
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const SoftmaxHead> head, std::move(builder).Build());
  EXPECT_THAT(LogitsOf(head->columns(), MakeTile(std::vector<float>{1, 10}, 2)), ElementsAre(21, 43, 65));
  EXPECT_EQ(head->vocab_size(), 3);
  EXPECT_EQ(head->hidden_size(), 2);
  EXPECT_EQ(head->bytes(), 16 * 2 * sizeof(float));
  EXPECT_EQ(SoftmaxHead::Builder::BytesFor({3, 2}), head->bytes());
  EXPECT_EQ(head->output_norm(), nullptr);
}

TEST_P(SoftmaxHeadTest, BothOrdersOfTheSourceInAnyPiecesGiveTheSameHead) {
  const HeadModel model = MakeHeadModel(37, 19, 5);
  std::vector<float> transposed;
  for (size_t k = 0; k < 19; ++k) {
    for (size_t token = 0; token < 37; ++token) transposed.push_back(model.weights[token * 19 + k]);
  }
  const std::vector<float> rows = NormalFloats(5 * 19, 1, 6);
  const std::vector<float> expected = LogitsOf(BuildHead(model)->columns(), MakeTile(rows, 19));
  for (const size_t piece : {1, 2, 7, 18}) {
    SoftmaxHead::Builder by_token = MakeBuilder(37, 19), by_dimension = MakeBuilder(37, 19);
    for (size_t i = 0; i < 37; i += piece) {
      const size_t count = std::min<size_t>(piece, 37 - i);
      ASSERT_THAT(by_token.AddTokens(std::span(model.weights).subspan(i * 19, count * 19)), IsOk());
    }
    for (size_t i = 0; i < 19; i += piece) {
      const size_t count = std::min<size_t>(piece, 19 - i);
      ASSERT_THAT(by_dimension.AddDimensions(std::span(transposed).subspan(i * 37, count * 37)), IsOk());
    }
    for (SoftmaxHead::Builder* builder : {&by_token, &by_dimension}) {
      ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const SoftmaxHead> head, std::move(*builder).Build());
      EXPECT_TRUE(SameBits(LogitsOf(head->columns(), MakeTile(rows, 19)), expected));
    }
  }
}

// Each alone and all together; the bias before the scale, the scale before the cap.
TEST_P(SoftmaxHeadTest, BiasScaleAndSoftCapAgreeWithDouble) {
  const std::vector<float> rows = NormalFloats(3 * 300, 1, 8);
  const HiddenTile tile = MakeTile(rows, 300);
  for (const bool with_bias : {false, true}) {
    for (const float scale : {1.0f, 0.0625f, -1.7f}) {
      for (const float cap : {0.0f, 30.0f, 1.5f}) {
        HeadModel model = MakeHeadModel(50, 300, 7);
        if (with_bias) model.bias = NormalFloats(50, 3, 9);
        model.scale = scale;
        model.soft_cap = cap;
        const std::shared_ptr<const SoftmaxHead> head = BuildHead(model);
        EXPECT_EQ(head->columns().logit_scale(), scale);
        EXPECT_EQ(head->columns().soft_cap(), cap);
        const std::vector<float> logits = LogitsOf(head->columns(), tile);
        for (int32_t row = 0; row < 3; ++row) {
          for (int32_t token = 0; token < 50; ++token) {
            const double expected = DoubleLogit(model, std::span(rows).subspan(row * 300, 300), token);
            ASSERT_NEAR(logits[row * 50 + token], expected, 1e-5)
                << "row " << row << " token " << token << " scale " << scale << " cap " << cap;
          }
        }
      }
    }
  }
}

TEST_P(SoftmaxHeadTest, ASoftCapIsRoundedOnceOverItsWholeRange) {
  // One dimension and W = 1: the logits before the cap are the hidden states.
  HeadModel model{1, 1, {1}, {}, 1, 30};
  std::vector<float> values = {0, 1e-42f, 1e-20f, 3e-5f, 0.9374f, 0.9375f, 0.9376f, 29, 300, 600, 1e30f};
  for (float x = 0.001f; x < 700; x *= 1.01f) values.push_back(x);
  const std::shared_ptr<const SoftmaxHead> head = BuildHead(model);
  for (const float sign : {1.0f, -1.0f}) {
    for (const float value : values) {
      const float x = sign * value;
      const float found = LogitsOf(head->columns(), MakeTile(std::vector<float>{x}, 1))[0];
      const double expected = 30 * std::tanh(static_cast<double>(x) / 30);
      ASSERT_NEAR(found, expected, std::fabs(expected) * 0x1p-24 * 1.0001 + 0x1p-149) << x;
    }
  }
}

TEST_P(SoftmaxHeadTest, AnOverflowIsNeverTakenForAnExcludedToken) {
  const float most = std::numeric_limits<float>::max();
  for (const float cap : {0.0f, 30.0f}) {
    HeadModel model{4, 2, {most, most, -most, -most, most, -most, 0.5f, 0.25f}, {}, 1, cap};
    const std::vector<float> logits = LogitsOf(BuildHead(model)->columns(), MakeTile(std::vector<float>{3, 2}, 2));
    EXPECT_TRUE(std::isnan(logits[0]));
    EXPECT_TRUE(std::isnan(logits[1]));
    EXPECT_TRUE(std::isnan(logits[2])) << "infinity minus a number";
    EXPECT_NEAR(logits[3], 2, 1e-2);
  }
  // The scale overflows.
  HeadModel scaled{1, 1, {-1e30f}, {}, 1e20f, 0};
  EXPECT_TRUE(std::isnan(LogitsOf(BuildHead(scaled)->columns(), MakeTile(std::vector<float>{1}, 1))[0]));
}

TEST(SoftmaxHeadBuilderTest, WeightsThatAreNotFiniteAreNamed) {
  for (const float bad : {kNan, kInf, -kInf}) {
    SoftmaxHead::Builder by_token = MakeBuilder(20, 3);
    ASSERT_THAT(by_token.AddTokens(std::vector<float>(17 * 3)), IsOk());
    std::vector<float> piece(2 * 3);
    piece[5] = bad;
    const absl::Status status = by_token.AddTokens(piece);
    EXPECT_THAT(status, HasReason(ErrorReason::kFieldOutOfRange));
    EXPECT_EQ(DetailOf(status).field, "weights[18][2]");
    EXPECT_EQ(DetailOf(status).bound, "finite");

    SoftmaxHead::Builder by_dimension = MakeBuilder(20, 3);
    ASSERT_THAT(by_dimension.AddDimensions(std::vector<float>(20)), IsOk());
    std::vector<float> dimension(20);
    dimension[4] = bad;
    EXPECT_EQ(DetailOf(by_dimension.AddDimensions(dimension)).field, "weights[4][1]");

    SoftmaxHead::Builder builder = MakeBuilder(3, 2);
    EXPECT_EQ(DetailOf(builder.SetBias(std::vector<float>{0, bad, 0})).field, "bias[1]");
    EXPECT_EQ(DetailOf(builder.SetOutputNorm(std::vector<float>{0, bad}, 0)).field, "output_norm[1]");
    EXPECT_EQ(DetailOf(builder.SetLogitScale(bad)).field, "logit_scale");
    EXPECT_EQ(DetailOf(builder.SetSoftCap(bad)).field, "soft_cap");
    EXPECT_EQ(DetailOf(builder.SetOutputNorm(std::vector<float>{0, 0}, bad)).field, "output_norm_epsilon");
  }
}

TEST(SoftmaxHeadBuilderTest, ShapesAndSettingsOutOfRangeAreErrors) {
  EXPECT_EQ(DetailOf(SoftmaxHead::Builder::Make({0, 4}).status()).field, "vocab_size");
  EXPECT_EQ(DetailOf(SoftmaxHead::Builder::Make({(1 << 20) + 1, 4}).status()).field, "vocab_size");
  EXPECT_EQ(DetailOf(SoftmaxHead::Builder::Make({4, 0}).status()).field, "hidden_size");
  EXPECT_EQ(DetailOf(SoftmaxHead::Builder::Make({4, (1 << 16) + 1}).status()).field, "hidden_size");

  SoftmaxHead::Builder builder = MakeBuilder(3, 2);
  EXPECT_THAT(builder.SetBias(std::vector<float>(2)), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3")));
  EXPECT_THAT(builder.SetOutputNorm(std::vector<float>(3), 1e-5),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 values")));
  EXPECT_THAT(builder.SetOutputNorm(std::vector<float>(2), -1e-9), HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(builder.SetLogitScale(0), HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(builder.SetSoftCap(0), HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(builder.SetSoftCap(-1), HasReason(ErrorReason::kFieldOutOfRange));
}

// AddressSanitizer needs all of the address space, and ends the program where memory is not given.
#ifndef __SANITIZE_ADDRESS__
TEST(SoftmaxHeadBuilderTest, MemoryThatIsNotGivenIsAnError) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  rlimit lower = before;
  lower.rlim_cur = rlim_t{64} << 30;
  ASSERT_EQ(setrlimit(RLIMIT_AS, &lower), 0);
  const absl::Status status = SoftmaxHead::Builder::Make({1 << 20, 1 << 16}).status();
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_THAT(status, HasReason(ErrorReason::kLimitExceeded));
  EXPECT_EQ(DetailOf(status).field, "head");
  EXPECT_EQ(DetailOf(status).value, std::to_string(int64_t{1} << 38));
}
#endif

TEST(SoftmaxHeadBuilderTest, TooFewTooManyAndMixedWeightsAreErrors) {
  const std::vector<float> six(6);
  SoftmaxHead::Builder few = MakeBuilder(3, 2);
  ASSERT_THAT(few.AddTokens(std::span(six).first(4)), IsOk());
  EXPECT_THAT(few.AddTokens(std::span(six).first(3)), HasReason(ErrorReason::kFieldOutOfRange)) << "half a token";
  EXPECT_THAT(few.AddTokens(std::span(six).first(4)), HasReason(ErrorReason::kFieldOutOfRange)) << "beyond the last";
  EXPECT_THAT(std::move(few).Build(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("all 3 tokens")));

  SoftmaxHead::Builder mixed = MakeBuilder(3, 2);
  ASSERT_THAT(mixed.AddTokens(std::span(six).first(2)), IsOk());
  ASSERT_THAT(mixed.AddDimensions(six), IsOk());
  EXPECT_THAT(std::move(mixed).Build(), HasReason(ErrorReason::kFieldOutOfRange));

  SoftmaxHead::Builder none = MakeBuilder(3, 2);
  EXPECT_THAT(std::move(none).Build(), HasReason(ErrorReason::kFieldOutOfRange));
}

}  // namespace
}  // namespace logitd

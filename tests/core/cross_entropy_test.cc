#include "core/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "core/compensated_sum.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/golden.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using testing::GeneratedRow;
using testing::HasReason;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::ReadGolden;

bool KeepsAll(int32_t) { return true; }

double Sum(std::span<const float> values) {
  CompensatedSum sum;
  for (const float value : values) sum.Add(value);
  return sum.value();
}

TEST(CrossEntropyTest, EqualsCentralDifferencesOfFiftyDigits) {
  const auto golden = ReadGolden("regression.json");
  ASSERT_GE(golden.at("gradients").size(), 6u);
  for (const auto& test : golden.at("gradients")) {
    const auto logits = test.at("row").get<std::vector<float>>();
    const auto allowed = test.at("allowed").get<std::set<int32_t>>();
    const auto temperature = test.at("temperature").get<double>();
    const auto keeps = [&](int32_t slot) { return allowed.empty() || allowed.count(slot) > 0; };
    std::vector<float> gradient(logits.size());
    ASSERT_THAT(CrossEntropyGradient(logits, keeps, temperature, test.at("target").get<int32_t>(), gradient), IsOk());
    for (size_t i = 0; i < gradient.size(); ++i) {
      EXPECT_NEAR(gradient[i], test.at("differences")[i].get<double>(), 1e-6) << i;
    }
    EXPECT_LE(std::abs(Sum(gradient)), 0x1p-24 / temperature);
  }
}

TEST(CrossEntropyTest, SumsToZeroAlsoInLargeRowsAndAtEveryTemperature) {
  for (const int32_t vocab_size : {2, 3, 1000, 50257, 152064}) {
    const std::vector<float> logits = GeneratedRow(vocab_size, 5, 30);
    std::vector<float> gradient(logits.size());
    for (const double temperature : {1.0, 0.1, 0.7, 2.5, 1e6}) {
      for (const TokenId target : {0, vocab_size - 1}) {
        ASSERT_THAT(CrossEntropyGradient(logits, KeepsAll, temperature, target, gradient), IsOk());
        EXPECT_LE(std::abs(Sum(gradient)), -0x1p-24 * gradient[static_cast<size_t>(target)]);
        // One entry is not above 0, all others are not below it.
        EXPECT_LE(gradient[static_cast<size_t>(target)], 0);
        EXPECT_LE(std::count_if(gradient.begin(), gradient.end(), [](float entry) { return entry < 0; }), 1);
      }
    }
  }
}

TEST(CrossEntropyTest, TheWorkedExampleHasItsNumbers) {
  const std::vector<float> logits = {6, 3, 0.5, 0.5};
  std::vector<float> gradient(4);
  ASSERT_THAT(CrossEntropyGradient(logits, KeepsAll, 1, 1, gradient), IsOk());
  EXPECT_THAT(gradient, ElementsAre(FloatNear(0.945215f, 1e-6f), FloatNear(-0.952941f, 1e-6f),
                                    FloatNear(0.003863f, 1e-6f), FloatNear(0.003863f, 1e-6f)));
  ASSERT_THAT(CrossEntropyGradient(
                  logits, [](int32_t slot) { return slot > 0; }, 1, 1, gradient),
              IsOk());
  EXPECT_THAT(gradient,
              ElementsAre(0, FloatNear(-0.141019f, 1e-6f), FloatNear(0.070510f, 1e-6f), FloatNear(0.070510f, 1e-6f)));
}

TEST(CrossEntropyTest, ASparseRowHasItsPlacesInTheVocabulary) {
  const std::vector<float> logits = {1, 2, -HUGE_VALF};
  const std::vector<TokenId> ids = {2, 5, 6};
  std::vector<float> gradient(8, 7);
  ASSERT_THAT(CrossEntropyGradient(LogitsRow::Sparse(logits, ids, 8), KeepsAll, 1, 5, gradient), IsOk());
  const float p = 0.26894142f;
  EXPECT_THAT(gradient, ElementsAre(0, 0, FloatNear(p, 1e-7f), 0, 0, FloatNear(-p, 1e-7f), 0, 0));
}

TEST(CrossEntropyTest, ATargetOfInfiniteLossHasNoGradient) {
  const std::vector<float> logits = {1, -HUGE_VALF, 2};
  std::vector<float> gradient(3);
  for (const TokenId target : {1, 2}) {
    const absl::Status status = CrossEntropyGradient(
        logits, [](int32_t slot) { return slot < 2; }, 1, target, gradient);
    EXPECT_THAT(status, HasReason(ErrorReason::kFieldOutOfRange));
    EXPECT_THAT(status.message(), HasSubstr("token_ids must be a token of finite loss, to have a gradient, got"));
  }
}

TEST(CrossEntropyTest, ACertainTargetHasATinyGradientNotZero) {
  const std::vector<float> logits = {40, 0};
  std::vector<float> gradient(2);
  ASSERT_THAT(CrossEntropyGradient(logits, KeepsAll, 1, 0, gradient), IsOk());
  EXPECT_FLOAT_EQ(gradient[1], 4.248354e-18f);
  EXPECT_EQ(gradient[0], -gradient[1]);
}

TEST(CrossEntropyTest, OnlyTheTemperatureAndTokenSetsHaveThisGradient) {
  SamplingParams params;
  params.temperature = 0.7;
  EXPECT_THAT(CheckGradientStages(params), IsOk());
  params.top_p = 0.9;
  const absl::Status status = CheckGradientStages(params);
  EXPECT_THAT(status, HasReason(ErrorReason::kFieldsExclusive));
  EXPECT_THAT(status.message(), HasSubstr("gradient and sampling.top_p exclude each other"));
}

}  // namespace
}  // namespace logitd

#include "core/plackett_luce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "core/compensated_sum.h"
#include "core/ranker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/golden.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOkAndHolds;
using ::logitd::testing::Number;
using ::logitd::testing::ReadGolden;
using ::logitd::testing::StatusIs;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kNever = -std::numeric_limits<double>::infinity();
using Order = std::vector<int32_t>;
using Strengths = std::vector<double>;

// All orders of [0, count), in lexicographical order.
std::vector<Order> AllOrders(int32_t count) {
  Order order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::vector<Order> orders;
  do {
    orders.push_back(order);
  } while (std::next_permutation(order.begin(), order.end()));
  return orders;
}

TEST(PlackettLuceTest, AnOrderOfThreeIsAProductOfTwoChoices) {
  const Strengths strengths = {std::log(6), std::log(3), std::log(1)};
  EXPECT_THAT(OrderLogProb(strengths, Order{0, 1, 2}), IsOkAndHolds(DoubleNear(std::log(0.6 * 0.75), 1e-15)));
  EXPECT_THAT(OrderLogProb(strengths, Order{2, 1, 0}), IsOkAndHolds(DoubleNear(std::log(0.1 / 3), 1e-15)));
  EXPECT_THAT(TopLogProb(strengths, Order{1}), IsOkAndHolds(DoubleNear(std::log(0.3), 1e-15)));
  EXPECT_THAT(OrderLogProb(Strengths{-7.5}, Order{0}), IsOkAndHolds(0));
}

TEST(PlackettLuceTest, GoldenOrders) {
  const nlohmann::json golden = ReadGolden("plackett_luce.json");
  const double relative = golden["tolerance_order"]["relative"];
  const double absolute = golden["tolerance_order"]["nats_per_item"];
  ASSERT_GE(golden["orders"].size(), 20u);
  for (const auto& test_case : golden["orders"]) {
    SCOPED_TRACE(test_case["name"].get<std::string>());
    Strengths strengths;
    for (const auto& value : test_case["log_strengths"]) strengths.push_back(Number(value));
    const Order order = test_case["order"];
    for (const auto& top : test_case["tops"]) {
      const double expected = Number(top["log_prob"]);
      const size_t count = top["place_count"];
      const double tolerance = relative * std::abs(expected) + absolute * static_cast<double>(strengths.size());
      EXPECT_THAT(TopLogProb(strengths, std::span(order).first(count)), IsOkAndHolds(DoubleNear(expected, tolerance)))
          << count;
      if (count < order.size()) continue;
      EXPECT_EQ(*OrderLogProb(strengths, order), *TopLogProb(strengths, order));
    }
  }
}

TEST(PlackettLuceTest, ProbabilitiesOfAllOrdersOfSixSumToOne) {
  const std::vector<Strengths> cases = {{0, 0, 0, 0, 0, 0},
                                        {0.3, -1.7, 2.2, 0.9, -0.4, 1.1},
                                        {-3000, -2999, -3001.5, -2998, -2990, -2995},
                                        {0, 1000, -1000, 999, 1000, -1000},
                                        {40, 0, -40, 20, -20, 1},
                                        {1, kNever, 0.5, kNever, kNever, -2},
                                        {kNever, kNever, kNever, kNever, kNever, kNever}};
  for (const Strengths& strengths : cases) {
    SCOPED_TRACE(::testing::PrintToString(strengths));
    CompensatedSum sum;
    for (const Order& order : AllOrders(6)) {
      ASSERT_OK_AND_ASSIGN(const double log_prob, OrderLogProb(strengths, order));
      EXPECT_LE(log_prob, 0);
      sum.Add(std::exp(log_prob));
    }
    EXPECT_NEAR(sum.value(), 1, 1e-12);
  }
}

TEST(PlackettLuceTest, TheTopIsTheSumOverItsCompletions) {
  const Strengths strengths = {0.3, -1.7, 2.2, 0.9, kNever, 1.1};
  for (const Order& top : {Order{2}, Order{1, 3}, Order{5, 0, 2}, Order{0, 1, 2, 3}, Order{3, 2, 1, 0, 5}}) {
    SCOPED_TRACE(::testing::PrintToString(top));
    CompensatedSum sum;
    for (const Order& order : AllOrders(6)) {
      if (std::equal(top.begin(), top.end(), order.begin())) sum.Add(std::exp(*OrderLogProb(strengths, order)));
    }
    EXPECT_THAT(TopLogProb(strengths, top), IsOkAndHolds(DoubleNear(std::log(sum.value()), 1e-13)));
  }
}

TEST(PlackettLuceTest, ACommonShiftChangesNothing) {
  const Strengths strengths = {0.25, -1.75, 2.5, 0.875};
  for (const double shift : {1.0, -512.0, 4096.0}) {
    Strengths shifted = strengths;
    for (double& value : shifted) value += shift;
    for (const Order& order : AllOrders(4)) {
      EXPECT_THAT(OrderLogProb(shifted, order), IsOkAndHolds(DoubleNear(*OrderLogProb(strengths, order), 1e-12)));
      EXPECT_THAT(TopLogProb(shifted, std::span(order).first(2)),
                  IsOkAndHolds(DoubleNear(*TopLogProb(strengths, std::span(order).first(2)), 1e-12)));
    }
  }
}

TEST(PlackettLuceTest, TheFirstPlaceHasTheProbabilityOfTheSoftmax) {
  const std::vector<std::optional<double>> values = {-3.5, -1.25, -2, -2};
  const auto probabilities = CandidateProbabilities(values, 0.7);
  Strengths strengths;
  for (const auto& value : values) strengths.push_back(0.7 * *value);
  for (int32_t i = 0; i < 4; ++i) {
    EXPECT_THAT(TopLogProb(strengths, Order{i}), IsOkAndHolds(DoubleNear(std::log(*probabilities[i]), 1e-14)));
  }
}

TEST(PlackettLuceTest, EqualStrengthsMakeEveryOrderEquallyProbable) {
  const double expected = -std::log(720);
  for (const Order& order : AllOrders(6)) {
    EXPECT_THAT(OrderLogProb(Strengths(6, 3.25), order), IsOkAndHolds(DoubleNear(expected, 1e-14)));
  }
}

TEST(PlackettLuceTest, ANearlyCertainOrderKeepsItsDigits) {
  // -ln(1 + e^-50), which a sum 1 + e^-50 would lose.
  EXPECT_THAT(OrderLogProb(Strengths{50, 0}, Order{0, 1}), IsOkAndHolds(DoubleNear(-std::exp(-50), 1e-36)));
  EXPECT_THAT(OrderLogProb(Strengths{1000, 0}, Order{0, 1}), IsOkAndHolds(0));
  EXPECT_THAT(OrderLogProb(Strengths{1000, 0}, Order{1, 0}), IsOkAndHolds(-1000));
  EXPECT_THAT(OrderLogProb(Strengths{1e300, -1e300, 0}, Order{1, 2, 0}), IsOkAndHolds(-3e300));
  EXPECT_FALSE(std::signbit(*OrderLogProb(Strengths{1000, 0}, Order{0, 1})));
}

TEST(PlackettLuceTest, ItemsWithoutStrengthComeLast) {
  const Strengths strengths = {kNever, 0.5, kNever, 1.5};
  EXPECT_THAT(OrderLogProb(strengths, Order{0, 1, 2, 3}), IsOkAndHolds(kNever));
  EXPECT_THAT(OrderLogProb(strengths, Order{3, 0, 1, 2}), IsOkAndHolds(kNever));
  const double pair = *OrderLogProb(Strengths{0.5, 1.5}, Order{1, 0});
  EXPECT_THAT(OrderLogProb(strengths, Order{3, 1, 2, 0}), IsOkAndHolds(DoubleNear(pair - std::log(2), 1e-15)));
  EXPECT_THAT(TopLogProb(strengths, Order{3, 1}), IsOkAndHolds(pair));
  EXPECT_THAT(TopLogProb(strengths, Order{3, 1, 0}), IsOkAndHolds(DoubleNear(pair - std::log(2), 1e-15)));
  EXPECT_THAT(TopLogProb(strengths, Order{2}), IsOkAndHolds(kNever));
}

TEST(PlackettLuceTest, WhatIsNotAnOrderIsRefused) {
  const Strengths strengths = {0.5, 1.5, -2};
  struct Case {
    Order order;
    const char* message;
    const char* value;
    const char* bound;
  };
  const Case cases[] = {{{0, 1},
                         "order must be an order of all 3 items, got 2, without item 2",
                         "2, without item 2",
                         "an order of all 3 items"},
                        {{0, 1, 1},
                         "order[2] must be another item than those before it, got 1",
                         "1",
                         "another item than those before it"},
                        {{0, 3, 1}, "order[1] must be in [0, 3), got 3", "3", "[0, 3)"},
                        {{-1, 0, 1}, "order[0] must be in [0, 3), got -1", "-1", "[0, 3)"},
                        {{0, 1, 2, 0}, "order[3] must be", "0", "another item than those before it"},
                        {{},
                         "order must be an order of all 3 items, got 0, without item 0",
                         "0, without item 0",
                         "an order of all 3 items"}};
  for (const Case& test_case : cases) {
    SCOPED_TRACE(::testing::PrintToString(test_case.order));
    const auto result = OrderLogProb(strengths, test_case.order);
    EXPECT_THAT(result, HasReason(ErrorReason::kOrderInvalid));
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test_case.message)));
    EXPECT_EQ(DetailOf(result.status()).value, test_case.value);
    EXPECT_EQ(DetailOf(result.status()).bound, test_case.bound);
  }
  EXPECT_THAT(TopLogProb(strengths, Order{}), HasReason(ErrorReason::kOrderInvalid));
  EXPECT_THAT(TopLogProb(strengths, Order{1, 1}), HasReason(ErrorReason::kOrderInvalid));
  EXPECT_THAT(TopLogProb(strengths, Order{3}), HasReason(ErrorReason::kOrderInvalid));
  EXPECT_THAT(OrderLogProb({}, {}), HasReason(ErrorReason::kNoCandidates));
}

TEST(PlackettLuceTest, StrengthsThatAreNoNumbersAreRefused) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), 1.5e300, -1.5e300}) {
    const auto result = OrderLogProb(Strengths{0, bad}, Order{0, 1});
    EXPECT_THAT(result, HasReason(ErrorReason::kFieldOutOfRange));
    EXPECT_EQ(DetailOf(result.status()).field, "log_strengths[1]");
    EXPECT_EQ(DetailOf(result.status()).bound, "-inf, or in [-1e+300, 1e+300]");
  }
}

TEST(PlackettLuceTest, PlacesBecomeAnOrder) {
  EXPECT_THAT(OrderOfPlaces(Order{4, 2, 7}, Order{3, 1, 9}, Ties::kRefuse), IsOkAndHolds(ElementsAre(2, 4, 7)));
  EXPECT_THAT(OrderOfPlaces(Order{4, 2, 7, 0}, Order{1, 1, 4, 1}, Ties::kByIndex),
              IsOkAndHolds(ElementsAre(0, 2, 4, 7)));
  const auto tied = OrderOfPlaces(Order{4, 2, 7}, Order{1, 2, 2}, Ties::kRefuse);
  EXPECT_THAT(tied, HasReason(ErrorReason::kOrderInvalid));
  EXPECT_THAT(tied, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("that of item 2")));
  EXPECT_EQ(DetailOf(tied.status()).field, "places[2]");
  EXPECT_THAT(OrderOfPlaces(Order{4, 2}, Order{1}, Ties::kRefuse), HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(OrderOfPlaces(Order{4, 2}, Order{0, 1}, Ties::kRefuse), HasReason(ErrorReason::kFieldOutOfRange));
}

}  // namespace
}  // namespace logitd

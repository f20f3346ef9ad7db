#include "server/handlers/item_orders.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using ::testing::ElementsAre;

using ItemOrdersTest = logitd::testing::InProcessServer;

// Candidates whose sums are these.
std::string Candidates(const std::vector<double>& sums) {
  std::string text;
  for (const double sum : sums) {
    text += "candidates { sums { sum_model_log_prob: " + std::to_string(sum) + " token_count: 2 } } ";
  }
  return text;
}

// ln P of an order of strengths, straight from the definition.
double LogProbOf(std::vector<double> strengths, size_t count) {
  double log_prob = 0;
  for (size_t place = 0; place < count; ++place) {
    double total = 0;
    for (size_t i = place; i < strengths.size(); ++i) total += std::exp(strengths[i]);
    log_prob += strengths[place] - std::log(total);
  }
  return log_prob;
}

TEST_F(ItemOrdersTest, TheReturnedAndAGivenOrderHaveTheirProbabilities) {
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank("items { " + Candidates({-3, -1, -2.5, -2}) +
                       " given_order: [0, 3, 1, 2] } inverse_temperature: 0.7 order { top_k: 2 }",
                   &responses)
                  .ok());
  const v1::RankedItem item = ReplyTo(0, responses).item();
  EXPECT_THAT(item.returned_order().candidate_indices(), ElementsAre(1, 3, 2, 0));
  EXPECT_NEAR(item.returned_order().log_prob(), LogProbOf({-0.7, -1.4, -1.75, -2.1}, 4), 1e-14);
  EXPECT_EQ(item.returned_order().top_count(), 2);
  EXPECT_NEAR(item.returned_order().top_log_prob(), LogProbOf({-0.7, -1.4, -1.75, -2.1}, 2), 1e-14);
  EXPECT_THAT(item.given_order().candidate_indices(), ElementsAre(0, 3, 1, 2));
  EXPECT_NEAR(item.given_order().log_prob(), LogProbOf({-2.1, -1.4, -0.7, -1.75}, 4), 1e-14);
  EXPECT_NEAR(item.given_order().top_log_prob(), LogProbOf({-2.1, -1.4, -0.7, -1.75}, 2), 1e-14);
}

TEST_F(ItemOrdersTest, StrengthsAreTheValuesOfOrderBy) {
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank(R"(items {
      candidates { sums { sum_model_log_prob: -4 token_count: 4 } }
      candidates { sums { sum_model_log_prob: -2 token_count: 1 } } }
      order_by: NORMALIZATION_PER_TOKEN inverse_temperature: 2 order { top_k: 1 })",
                   &responses)
                  .ok());
  const v1::RankedItem item = ReplyTo(0, responses).item();
  EXPECT_THAT(item.returned_order().candidate_indices(), ElementsAre(0, 1));
  EXPECT_NEAR(item.returned_order().log_prob(), LogProbOf({-2, -4}, 2), 1e-14);
  EXPECT_NEAR(item.returned_order().top_log_prob(), std::log(item.candidates(0).candidate_probability()), 1e-14);
  EXPECT_FALSE(item.has_given_order());
}

TEST_F(ItemOrdersTest, ThereAreNoneUnlessAskedFor) {
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank("items { " + Candidates({-3, -1}) + " } items { " + Candidates({-3, -1}) + " given_order: [0, 1] }",
                   &responses)
                  .ok());
  EXPECT_FALSE(ReplyTo(0, responses).item().has_returned_order());
  EXPECT_FALSE(ReplyTo(0, responses).item().has_given_order());
  const v1::RankedItem item = ReplyTo(1, responses).item();
  EXPECT_NEAR(item.given_order().log_prob(), LogProbOf({-3, -1}, 2), 1e-14);
  EXPECT_FALSE(item.given_order().has_top_log_prob());
  EXPECT_EQ(item.given_order().top_count(), 0);
  EXPECT_NEAR(item.returned_order().log_prob(), LogProbOf({-1, -3}, 2), 1e-14) << "to compare with";
}

TEST_F(ItemOrdersTest, TheGivenOrdersOfSixSumToOne) {
  std::vector<int> order(6);
  std::iota(order.begin(), order.end(), 0);
  std::string items;
  do {
    items += "items { " + Candidates({-7.25, -3, -5.5, -4.75, -9, -3}) + " given_order: [";
    for (size_t i = 0; i < order.size(); ++i) items += (i == 0 ? "" : ", ") + std::to_string(order[i]);
    items += "] } ";
  } while (std::next_permutation(order.begin(), order.end()));
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank(items + "inverse_temperature: 0.3", &responses).ok());
  ASSERT_EQ(responses.size(), 720u);
  double sum = 0;
  for (const v1::RankResponse& response : responses) sum += std::exp(response.item().given_order().log_prob());
  EXPECT_NEAR(sum, 1, 1e-12);
}

TEST_F(ItemOrdersTest, EqualValuesAreEquallyProbableInEveryOrder) {
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(
      Rank("items { " + Candidates({-2, -2, -1}) + " given_order: [2, 1, 0] } order { top_k: 9 }", &responses).ok());
  const v1::RankedItem item = ReplyTo(0, responses).item();
  EXPECT_THAT(item.returned_order().candidate_indices(), ElementsAre(2, 0, 1)) << "ties are broken by place";
  EXPECT_EQ(item.returned_order().log_prob(), item.given_order().log_prob());
  EXPECT_EQ(item.returned_order().top_count(), 3) << "there are no more places";
  EXPECT_EQ(item.returned_order().top_log_prob(), item.returned_order().log_prob());
}

TEST_F(ItemOrdersTest, ACandidateWithAnErrorIsLeftOut) {
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank("items { " + Candidates({-3, -1}) + " candidates { } " + Candidates({-2}) +
                       " given_order: [0, 2, 3, 1] } order { top_k: 2 } "
                       "items { candidates { } given_order: 0 } items { " +
                       Candidates({-4}) + " given_order: 0 }",
                   &responses)
                  .ok());
  const v1::RankedItem item = ReplyTo(0, responses).item();
  EXPECT_TRUE(item.candidates(2).has_error());
  EXPECT_THAT(item.returned_order().candidate_indices(), ElementsAre(1, 3, 0));
  EXPECT_THAT(item.given_order().candidate_indices(), ElementsAre(0, 3, 1));
  EXPECT_NEAR(item.given_order().log_prob(), LogProbOf({-3, -2, -1}, 3), 1e-14);
  EXPECT_NEAR(item.given_order().top_log_prob(), LogProbOf({-3, -2, -1}, 2), 1e-14);
  EXPECT_FALSE(ReplyTo(1, responses).item().has_given_order());
  EXPECT_FALSE(ReplyTo(1, responses).item().has_returned_order());
  EXPECT_EQ(ReplyTo(2, responses).item().given_order().log_prob(), 0) << "one candidate is in one order";
  EXPECT_TRUE(ReplyTo(2, responses).item().given_order().has_log_prob());
}

TEST(ItemOrderTest, CandidatesThatAreNotPossibleComeLast) {
  const double never = -std::numeric_limits<double>::infinity();
  const std::vector<std::optional<double>> strengths = {-1, never, -2, std::nullopt, never};
  const auto of = [&](std::vector<int32_t> order, std::optional<int32_t> top) {
    return *ProbabilityOf(order, strengths, top);
  };
  const v1::OrderProbability last = of({2, 3, 0, 1, 4}, 2);
  EXPECT_THAT(last.candidate_indices(), ElementsAre(2, 0, 1, 4));
  EXPECT_NEAR(last.log_prob(), LogProbOf({-2, -1}, 2), 1e-15);
  EXPECT_EQ(last.log_prob(), of({2, 0, 4, 1, 3}, 2).log_prob());
  EXPECT_EQ(last.top_log_prob(), last.log_prob());
  EXPECT_EQ(of({2, 0, 4, 1, 3}, 4).top_count(), 2);
  const v1::OrderProbability between = of({2, 1, 0, 3, 4}, 1);
  EXPECT_FALSE(between.has_log_prob());
  EXPECT_NEAR(between.top_log_prob(), LogProbOf({-2, -1}, 1), 1e-15);
  EXPECT_EQ(between.top_count(), 1);
  const v1::OrderProbability first = of({4, 2, 1, 0, 3}, 1);
  EXPECT_FALSE(first.has_log_prob());
  EXPECT_FALSE(first.has_top_log_prob());
  EXPECT_EQ(first.top_count(), 1);
  const std::vector<int32_t> none = {1, 3, 4};
  EXPECT_EQ(ProbabilityOf(none, strengths, 1), std::nullopt);
}

TEST_F(ItemOrdersTest, WhatIsNotAnOrderIsAnErrorOfItsItem) {
  std::vector<v1::RankResponse> responses;
  const std::string three = Candidates({-3, -1, -2});
  ASSERT_TRUE(Rank("items { " + three + " given_order: [0, 1] } items { " + three +
                       " given_order: [0, 1, 1] } items { " + three + " given_order: [0, 3, 1] } items { " + three +
                       " given_order: [0, -1, 1] } items { " + three + " given_order: [0, 1, 2, 0] } items { " + three +
                       " given_order: [2, 1, 0] }",
                   &responses)
                  .ok());
  const char* const expected[] = {"ORDER_INVALID of items[0].given_order", "ORDER_INVALID of items[1].given_order[2]",
                                  "ORDER_INVALID of items[2].given_order[1]",
                                  "ORDER_INVALID of items[3].given_order[1]",
                                  "ORDER_INVALID of items[4].given_order[3]"};
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Describe(ReplyTo(i, responses).item().error()), expected[i]);
    EXPECT_TRUE(ReplyTo(i, responses).item().candidates().empty());
  }
  EXPECT_EQ(ReplyTo(0, responses).item().error().message(),
            "items[0].given_order must be an order of all 3 candidates, got 2, without candidate 2");
  EXPECT_EQ(ReplyTo(1, responses).item().error().message(),
            "items[1].given_order[2] must be another candidate than those before it, got 1");
  EXPECT_EQ(ReplyTo(2, responses).item().error().bound(), "[0, 3)");
  EXPECT_TRUE(ReplyTo(5, responses).item().has_given_order());
}

TEST_F(ItemOrdersTest, WrongOptionsAreRefused) {
  std::vector<v1::RankResponse> responses;
  const std::string item = "items { " + Candidates({-3, -1});
  EXPECT_EQ(Describe(Rank(item + " } order { top_k: 0 }", &responses)), "FIELD_OUT_OF_RANGE of order.top_k");
  EXPECT_EQ(Describe(Rank(item + " } order { top_k: -4 }", &responses)), "FIELD_OUT_OF_RANGE of order.top_k");
  EXPECT_EQ(Describe(Rank(item + " } order { } winner_only: true", &responses)), "FIELDS_EXCLUSIVE of winner_only");
  EXPECT_EQ(Describe(Rank(item + " given_order: [0, 1] } winner_only: true", &responses)),
            "FIELDS_EXCLUSIVE of winner_only");
  EXPECT_TRUE(responses.empty());
}

}  // namespace
}  // namespace logitd::server

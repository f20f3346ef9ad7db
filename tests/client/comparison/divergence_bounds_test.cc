#include "client/comparison/divergence_bounds.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "client/comparison/row_divergence.h"
#include "gmock/gmock.h"

namespace logitd::comparison {
namespace {

constexpr double kInf = HUGE_VAL;

// The union of the `count` most likely tokens of both.
std::vector<ListedToken> TopOf(const RowLogProbs& p, const RowLogProbs& q, size_t count) {
  std::vector<bool> is_listed(p.log_probs().size());
  for (const RowLogProbs* row : {&p, &q}) {
    std::vector<size_t> order(is_listed.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return row->log_probs()[a] > row->log_probs()[b]; });
    for (size_t i = 0; i < std::min(count, order.size()); ++i) is_listed[order[i]] = true;
  }
  std::vector<ListedToken> listed;
  for (size_t i = 0; i < is_listed.size(); ++i) {
    if (is_listed[i]) listed.push_back({p.log_probs()[i], q.log_probs()[i]});
  }
  return listed;
}

TEST(DivergenceBoundsTest, HoldForRandomRowsAndTightenWithTheList) {
  std::mt19937 random(9);
  for (const double scale : {0.01, 1.0, 4.0}) {
    for (int round = 0; round < 30; ++round) {
      std::normal_distribution<double> normal(0, 3), noise(0, scale);
      std::vector<double> p_row(300), q_row(300);
      for (size_t i = 0; i < p_row.size(); ++i) {
        p_row[i] = normal(random);
        q_row[i] = p_row[i] + noise(random);
      }
      RowLogProbs p, q;
      p.Assign(p_row, 0.8);
      q.Assign(q_row, 0.8);
      const RowDivergence exact = DivergenceOf(p, q, 0);
      double before = 0;
      for (const size_t count : {1, 5, 20, 100, 300}) {
        const std::vector<ListedToken> listed = TopOf(p, q, count);
        const auto bounds = BoundsOf(listed, static_cast<int64_t>(p_row.size() - listed.size()));
        EXPECT_LE(bounds.kl_pq.lower, exact.kl_pq + 1e-13);
        EXPECT_LE(bounds.kl_qp.lower, exact.kl_qp + 1e-13);
        EXPECT_LE(bounds.js.lower, exact.js + 1e-13);
        EXPECT_GE(bounds.js.upper, exact.js - 1e-13);
        EXPECT_GE(bounds.kl_pq.lower, before - 1e-4) << "a longer list says no less";
        before = bounds.kl_pq.lower;
        if (listed.size() == p_row.size()) {
          EXPECT_NEAR(bounds.kl_pq.lower, exact.kl_pq, 1e-13);
          EXPECT_EQ(bounds.kl_pq.upper, bounds.kl_pq.lower);
          EXPECT_EQ(bounds.js.upper, bounds.js.lower);
        } else {
          EXPECT_EQ(bounds.kl_pq.upper, kInf) << "nothing keeps q of an unlisted token away from 0";
          EXPECT_LT(bounds.js.lower, bounds.js.upper);
        }
      }
    }
  }
}

TEST(DivergenceBoundsTest, TheRestIsATokenOfItsOwn) {
  // p = (0.5, rest 0.5), q = (0.9, rest 0.1).
  const std::vector<ListedToken> listed = {{std::log(0.5), std::log(0.9)}};
  const auto bounds = BoundsOf(listed, 10);
  EXPECT_NEAR(bounds.p_rest, 0.5, 1e-15);
  EXPECT_NEAR(bounds.q_rest, 0.1, 1e-15);
  EXPECT_NEAR(bounds.kl_pq.lower, 0.5 * std::log(0.5 / 0.9) + 0.5 * std::log(0.5 / 0.1), 1e-5);
}

TEST(DivergenceBoundsTest, RoundingOfTheRestMakesNothingInfinite) {
  // q's listed tokens round to more than 1: its rest is 0, and p's is not.
  const std::vector<ListedToken> listed = {{std::log(0.7), 1e-16}};
  const auto bounds = BoundsOf(listed, 10);
  EXPECT_EQ(bounds.q_rest, 0);
  EXPECT_TRUE(std::isfinite(bounds.kl_pq.lower));
  EXPECT_GT(bounds.kl_pq.lower, 0);
}

TEST(DivergenceBoundsTest, AListedTokenThatOneExcludesMakesTheLowerBoundInfinite) {
  const std::vector<ListedToken> listed = {{std::log(0.5), -kInf}, {std::log(0.5), std::log(0.6)}};
  const auto bounds = BoundsOf(listed, 5);
  EXPECT_EQ(bounds.kl_pq.lower, kInf);
  EXPECT_TRUE(std::isfinite(bounds.kl_qp.lower));
  EXPECT_TRUE(std::isfinite(bounds.js.lower));
}

}  // namespace
}  // namespace logitd::comparison

#include "client/comparison/row_divergence.h"

#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "tests/core/golden.h"

namespace logitd::comparison {
namespace {

using ::logitd::testing::Number;
using ::logitd::testing::ReadGolden;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr double kInf = HUGE_VAL;
constexpr double kLn2 = 0.69314718055994531;

RowLogProbs Row(const std::vector<double>& logits, double temperature = 1) {
  RowLogProbs row;
  row.Assign(logits, temperature);
  return row;
}

RowDivergence Compare(const std::vector<double>& p, const std::vector<double>& q, double temperature = 1) {
  return DivergenceOf(Row(p, temperature), Row(q, temperature), 3);
}

void ExpectNear(double actual, double exact, const std::string& what) {
  if (std::isinf(exact)) {
    EXPECT_EQ(actual, exact) << what;
  } else {
    // The bound that the header states.
    EXPECT_NEAR(actual, exact, 1e-14 + 1e-9 * std::abs(exact)) << what;
  }
}

TEST(RowDivergenceTest, IsThatOfFiftyDigits) {
  const auto golden = ReadGolden("divergence.json");
  ASSERT_GE(golden["cases"].size(), 20u);
  for (const auto& c : golden["cases"]) {
    const std::string name = c["name"];
    std::vector<double> p, q;
    for (const auto& x : c["p"]) p.push_back(Number(x));
    for (const auto& x : c["q"]) q.push_back(Number(x));
    const double temperature = c["temperature"];
    const RowDivergence divergence = Compare(p, q, temperature);
    ExpectNear(divergence.kl_pq, Number(c["kl_pq"]), name + " kl_pq");
    ExpectNear(divergence.kl_qp, Number(c["kl_qp"]), name + " kl_qp");
    ExpectNear(divergence.js, Number(c["js"]), name + " js");
    ExpectNear(divergence.total_variation, Number(c["total_variation"]), name + " total_variation");
    ExpectNear(Row(p, temperature).entropy(), Number(c["p_entropy"]), name + " entropy");
    if (Number(c["total_variation"]) > 1e-12) {
      ASSERT_FALSE(divergence.largest.empty()) << name;
      // Several tokens may have the largest difference: two tokens always do.
      const RowLogProbs p_row = Row(p, temperature), q_row = Row(q, temperature);
      const auto difference = [&](size_t i) { return std::abs(p_row.probabilities()[i] - q_row.probabilities()[i]); };
      EXPECT_NEAR(difference(divergence.largest[0].token_id), difference(c["largest"]), 1e-12) << name;
    }
  }
}

TEST(RowDivergenceTest, SmallDivergencesKeepTheirDigits) {
  // Differences of 1e-9 give a KL of 5e-19, below the last digit of ln p.
  const auto golden = ReadGolden("divergence.json");
  for (const auto& c : golden["cases"]) {
    if (c["name"] != "moved by 1e-06") continue;
    std::vector<double> p, q;
    for (const auto& x : c["p"]) p.push_back(Number(x));
    for (const auto& x : c["q"]) q.push_back(Number(x));
    const RowDivergence divergence = Compare(p, q);
    EXPECT_NEAR(divergence.kl_pq / Number(c["kl_pq"]), 1, 1e-6);
    EXPECT_NEAR(divergence.js / Number(c["js"]), 1, 1e-6);
    return;
  }
  FAIL() << "no such case";
}

TEST(RowDivergenceTest, IsExactlyZeroForEqualRowsAndSymmetricOtherwise) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0, 4);
  for (const int size : {1, 2, 7, 1000}) {
    std::vector<double> p(size), q(size);
    for (double& x : p) x = normal(random);
    for (double& x : q) x = normal(random);
    if (size > 2) p[1] = q[1] = -kInf;
    const RowDivergence same = Compare(p, p, 0.7);
    EXPECT_EQ(same.kl_pq, 0);
    EXPECT_EQ(same.js, 0);
    EXPECT_EQ(same.total_variation, 0);
    EXPECT_TRUE(same.top_agrees);
    EXPECT_THAT(same.largest, IsEmpty());
    const RowDivergence there = Compare(p, q, 0.7);
    const RowDivergence back = Compare(q, p, 0.7);
    EXPECT_DOUBLE_EQ(there.kl_pq, back.kl_qp);
    EXPECT_DOUBLE_EQ(there.kl_qp, back.kl_pq);
    EXPECT_NEAR(there.js, back.js, 1e-15);
    EXPECT_LE(there.js, kLn2);
  }
}

TEST(RowDivergenceTest, AnExcludedTokenIsALimitAndNeverNan) {
  const RowDivergence d = Compare({2, 1, -kInf, -kInf}, {2, -kInf, 1, -kInf});
  EXPECT_EQ(d.kl_pq, kInf);
  EXPECT_EQ(d.kl_qp, kInf);
  EXPECT_EQ(d.excluded_by_q_alone, 1);
  EXPECT_EQ(d.excluded_by_p_alone, 1);
  // Token 0 has the same probability in both: half of it each way.
  const double rest = 1 / (1 + std::exp(1));
  EXPECT_NEAR(d.js, rest * kLn2, 1e-15);
  EXPECT_NEAR(d.total_variation, rest, 1e-15);
  EXPECT_EQ(Compare({1, -kInf}, {-kInf, 1}).js, kLn2);
}

TEST(RowDivergenceTest, TiesOfTheTopGoToTheLowestId) {
  EXPECT_EQ(Row({1, 3, 3}).top_token(), 1);
  EXPECT_FALSE(Compare({1, 3, 3}, {1, 2, 3}).top_agrees);
  // At a temperature of 1e6 both log-probs round to the same double; the logits still decide.
  EXPECT_EQ(Row({0, 1e-12}, 1e6).top_token(), 1);
}

TEST(RowDivergenceTest, TheLargestDifferencesComeInOrder) {
  const RowDivergence d = Compare({5, 0, 3, 0}, {0, 5, 3, 0});
  ASSERT_EQ(d.largest.size(), 2u) << "tokens without a difference are left out";
  EXPECT_EQ(d.largest[0].token_id, 0) << "of equal ones the lowest id";
  EXPECT_EQ(d.largest[1].token_id, 1);
  EXPECT_NEAR(d.largest[0].p_log_prob - d.largest[0].q_log_prob, 5, 1e-12);
}

TEST(RowDivergenceTest, RowsThatAreNoneAreFound) {
  EXPECT_FALSE(FaultOf(std::vector<double>{1, -kInf}));
  const auto nan = FaultOf(std::vector<double>{1, 2, std::nan("")});
  ASSERT_TRUE(nan && nan->token_id);
  EXPECT_EQ(*nan->token_id, 2);
  EXPECT_EQ(*FaultOf(std::vector<double>{kInf, 0})->token_id, 0);
  EXPECT_EQ(*FaultOf(std::vector<double>{0, -1e39})->token_id, 1);
  const auto empty = FaultOf(std::vector<double>{-kInf, -kInf});
  ASSERT_TRUE(empty);
  EXPECT_FALSE(empty->token_id);
}

}  // namespace
}  // namespace logitd::comparison

// Log-probs against the exact ones: every token of rows of 262,144, over families of rows and temperatures from 1e-4 to
// 1e6, and rows that are made to be the worst. The reference is of 106 bits and is judged by 50 digits
// (log_prob_reference_check.py). The worst error is printed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "core/distribution.h"
#include "gtest/gtest.h"
#include "tests/proofs/double_double.h"
#include "tests/proofs/length.h"
#include "tests/proofs/rows.h"
#include "tests/testing/matchers.h"

namespace logitd::proofs {
namespace {

using ::logitd::testing::IsOk;

constexpr int32_t kVocabSize = 262144;
// The contract: 1e-6 nats, relative 1e-15 where that is more.
constexpr double kBound = 1e-6;
constexpr double kRelativeBound = 1e-15;

// exact[i] = (x_i - max) / T - ln(sum): high + low. Tokens of -inf get -inf.
void ExactLogProbs(const ProofRow& row, std::vector<DoubleDouble>& exact) {
  const double max = *std::max_element(row.logits.begin(), row.logits.end());
  exact.resize(row.logits.size());
  DoubleDouble sum;
  for (size_t i = 0; i < exact.size(); ++i) {
    if (std::isinf(row.logits[i])) continue;
    exact[i] = Quotient(Difference(row.logits[i], max), row.temperature);
    // Beyond -100 all tokens together weigh less than 1e-37.
    if (exact[i].high > -100) sum = sum + Exp(exact[i]);
  }
  const DoubleDouble log_sum = Log(sum);
  for (DoubleDouble& log_prob : exact) log_prob = log_prob - log_sum;
}

struct Worst {
  // Part of the bound that was used: error / max(1e-6, 1e-15 |log-prob|).
  double part = 0;
  double error = 0;
  std::string where;
};

void Compare(const ProofRow& row, uint64_t index, const char* what, const std::vector<DoubleDouble>& exact,
             const auto& log_prob_of, Worst& worst) {
  for (size_t i = 0; i < exact.size(); ++i) {
    const double found = log_prob_of(static_cast<TokenId>(i));
    if (std::isinf(row.logits[i])) {
      ASSERT_EQ(found, -std::numeric_limits<double>::infinity()) << what << " row " << index << " token " << i;
      continue;
    }
    const double error = std::abs((found - exact[i].high) - exact[i].low);
    const double part = error / std::max(kBound, kRelativeBound * std::abs(exact[i].high));
    // Written so that NaN fails.
    ASSERT_TRUE(part <= 1) << what << " row " << index << " token " << i << " T " << row.temperature << ": " << found
                           << " is off by " << error;
    if (part > worst.part) {
      worst = {part, error,
               std::string(what) + ", row " + std::to_string(index) + " (family " +
                   std::to_string(index % kRowFamilyCount) + "), T = " + std::to_string(row.temperature)};
    }
  }
}

TEST(LogProbProof, EveryTokenIsWithin1e6NatsOfTheExactValue) {
  const auto rows = static_cast<uint64_t>(Count(18, 10000));
  Distribution distribution;
  std::vector<DoubleDouble> exact;
  Worst worst;
  for (uint64_t index = 0; index < rows; ++index) {
    ProofRow row = MakeProofRow(kVocabSize, index);
    ExactLogProbs(row, exact);
    ASSERT_THAT(distribution.Assign(row.logits, {.temperature = row.temperature}, {}), IsOk());
    ASSERT_NO_FATAL_FAILURE(Compare(
        row, index, "sampling_log_prob", exact, [&](TokenId t) { return distribution.LogProb(t); }, worst));
    // Every third row at temperature 1 besides: model_log_prob has a path of its own.
    if (index % 3 != 0) continue;
    row.temperature = 1;
    ExactLogProbs(row, exact);
    ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row.logits));
    ASSERT_NO_FATAL_FAILURE(Compare(
        row, index, "model_log_prob", exact, [&](TokenId t) { return statistics.LogProb(row.logits[t]); }, worst));
  }
  // The rows are hard enough to come near the bound; if not, the proof has gone soft.
  EXPECT_GT(worst.part, 0.3);
  std::printf("%llu rows of %d tokens: worst error %.3g nats (%.0f %% of the bound): %s\n",
              static_cast<unsigned long long>(rows), kVocabSize, worst.error, 100 * worst.part, worst.where.c_str());
}

// The reference by itself, where the values are known.
TEST(LogProbProof, ReferenceHasTheKnownValues) {
  // e^-1 and ln 10 as two doubles, from 50 digits.
  const DoubleDouble e = Exp({-1, 0});
  EXPECT_EQ(e.high, 0x1.78b56362cef38p-2);
  EXPECT_NEAR(e.low, -0x1.ca8a4270fadf5p-57, 1e-28);
  const DoubleDouble log = Log({10, 0});
  EXPECT_EQ(log.high, 0x1.26bb1bbb55516p+1);
  EXPECT_NEAR(log.low, -0x1.f48ad494ea3e9p-53, 1e-28);
}

}  // namespace
}  // namespace logitd::proofs

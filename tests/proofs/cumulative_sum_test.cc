// The cumulative log-prob of the longest sequence, 131,072 tokens, is within 1e-9 nats of the exact sum of its terms,
// where the terms are what sequences are made of: log-probs of tokens that were drawn.
#include "core/compensated_sum.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/distribution.h"
#include "core/limits.h"
#include "core/random_stream.h"
#include "gtest/gtest.h"
#include "tests/proofs/double_double.h"
#include "tests/proofs/rows.h"
#include "tests/testing/matchers.h"

namespace logitd::proofs {
namespace {

using ::logitd::testing::IsOk;

struct Case {
  const char* name;
  double scale;
  SamplingParams params;
  // Every so many tokens one that nobody would draw, as in a text that is scored.
  int unlikely_every = 0;
};

TEST(CumulativeSumProof, IsWithin1e9OfTheExactSumOfRealLogProbs) {
  const Case cases[] = {
      {"flat", 0.7, {.temperature = 1}},
      {"wide, at 0.7", 3, {.temperature = 0.7}},
      {"top-p at 1.5", 2, {.temperature = 1.5, .top_p = 0.9}},
      {"with unlikely tokens", 2, {.temperature = 0.7}, 5},
      {"nearly certain", 20, {.temperature = 0.5}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Distribution distribution;
    CompensatedSum sum;
    DoubleDouble exact;
    double plain = 0;
    std::vector<float> row(300);
    RowRandom random(300);
    for (int32_t position = 0; position < kMaxTokens; ++position) {
      for (float& logit : row) logit = static_cast<float>(random.Bell() * c.scale);
      ASSERT_THAT(distribution.Assign(row, c.params, {}), IsOk());
      const RandomStream stream(9, 4, position, RandomPurpose::kTokenDraw);
      TokenId token_id = distribution.DrawToken(stream.Uniform64(0)).token_id;
      if (c.unlikely_every > 0 && position % c.unlikely_every == 0) token_id = position % 300;
      const double term = distribution.LogProb(token_id);
      sum.Add(term);
      exact = exact + DoubleDouble{term, 0};
      plain += term;
    }
    ASSERT_TRUE(std::isfinite(exact.high));
    EXPECT_LE(std::abs((sum.value() - exact.high) - exact.low), 1e-9) << "of " << exact.high;
    // A sum without compensation is not: the case would show it.
    if (exact.high < -1e5) {
      EXPECT_GT(std::abs((plain - exact.high) - exact.low), 1e-9);
    }
  }
}

}  // namespace
}  // namespace logitd::proofs

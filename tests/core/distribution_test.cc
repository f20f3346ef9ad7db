#include "core/distribution.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/exact_math.h"
#include "core/random_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/golden.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"
#include "tests/testing/weights.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;
using ::logitd::testing::Number;
using ::logitd::testing::WeightsOf;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::shared_ptr<const VocabSubset> Subset(int32_t vocab_size, std::vector<TokenId> ids) {
  return std::make_shared<VocabSubset>(*VocabSubset::Of(vocab_size, ids));
}

std::vector<double> Probabilities(LogitsView row, const SamplingParams& params) {
  Distribution distribution;
  EXPECT_THAT(distribution.Assign(row, params, {}), IsOk());
  std::vector<double> probabilities;
  for (TokenId t = 0; t < static_cast<TokenId>(row.size()); ++t) probabilities.push_back(Exp(distribution.LogProb(t)));
  return probabilities;
}

TEST(DistributionTest, GivesTheWorkedExamplesToSixDigits) {
  struct Case {
    const char* name;
    std::vector<float> logits;
    double temperature;
    std::vector<TokenId> allowed;
    std::vector<double> expected;
  };
  constexpr double kThird = 1.0 / 3;
  const Case cases[] = {
      {"mat rug floor chair", {6, 3, .5, .5}, 1, {}, {.945215, .047059, .003863, .003863}},
      {"colder", {6, 3, .5, .5}, 0.5, {}, {.997494, .002473, .000017, .000017}},
      {"warmer", {6, 3, .5, .5}, 2, {}, {.740200, .165161, .047319, .047319}},
      {"subset", {6, 3, .5, .5}, 1, {1, 2}, {0, .924142, .075858, 0}},
      {"2 1 0.1", {2, 1, .1f}, 1, {}, {.659001, .242433, .098566}},
      {"2 1 0.5", {2, 1, .5}, 1, {}, {.628532, .231224, .140244}},
      {"2 1 0.5 colder", {2, 1, .5}, 0.5, {}, {.843795, .114195, .042010}},
      {"2 1 0.5 warmer", {2, 1, .5}, 2, {}, {.481024, .291756, .227220}},
      {"1 2 3", {1, 2, 3}, 1, {}, {.090031, .244728, .665241}},
      {"1 5 10", {1, 5, 10}, 1, {}, {.000123, .006692, .993185}},
      {"4 4 2", {4, 4, 2}, 1, {}, {.468311, .468311, .063379}},
      {"4 4 12", {4, 4, 12}, 1, {}, {.000335, .000335, .999330}},
      {"equal", {3, 3, 3}, 1, {}, {kThird, kThird, kThird}},
      {"equal, colder", {3, 3, 3}, 0.3, {}, {kThird, kThird, kThird}},
      {"3 1 0", {3, 1, 0}, 1, {}, {.843795, .114195, .042010}},
      {"13 11 10", {13, 11, 10}, 1, {}, {.843795, .114195, .042010}},
      {"thousands", {1000, 1001, 1002}, 1, {}, {.090031, .244728, .665241}},
      {"huge", {1e30f, -1e30f, 0}, 1, {}, {1, 0, 0}},
      {"greedy", {1, 7, 7, 2}, 0, {}, {0, 1, 0, 0}},
      {"greedy in a subset", {1, 7, 7, 2}, 0, {0, 3}, {0, 0, 0, 1}},
      {"excluded by the row", {-kInf, 1, 1}, 0.7, {}, {0, .5, .5}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    SamplingParams params{.temperature = c.temperature};
    if (!c.allowed.empty()) params.subset = Subset(c.logits.size(), c.allowed);
    EXPECT_THAT(Probabilities(c.logits, params),
                ::testing::Pointwise(::testing::DoubleNear(0.5e-6 + 1e-12), c.expected));
  }
}

// The numbers that docs/numerics.md shows, bit for bit.
TEST(DistributionTest, HasTheWeightsOfTheDocumentation) {
  const std::vector<float> row = {6, 3, .5, .5};
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {}, {}), IsOk());
  EXPECT_THAT(WeightsOf(distribution), ::testing::ElementsAre(4398046511104, 218965852160, 17973811200, 17973811200));
  EXPECT_EQ(distribution.TotalWeight(), 4652959985664);
  EXPECT_EQ(RandomStream(0, 0, 0, RandomPurpose::kTokenDraw).Uniform64(0), 0xe169c58d6627e8d5);
  EXPECT_EQ(distribution.DrawToken(0xe169c58d6627e8d5).token_id, 0);
  EXPECT_EQ(distribution.DrawToken(~uint64_t{0}).token_id, 3);
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.5}, {}), IsOk());
  EXPECT_EQ(distribution.Weight(1), 10901666816);
}

TEST(DistributionTest, IsUniformAtTheHighestTemperature) {
  EXPECT_THAT(Probabilities(std::vector<float>{6, 3, .5, .5}, {.temperature = 1e6}),
              ::testing::Each(::testing::DoubleNear(0.25, 1e-5)));
}

TEST(DistributionTest, LowestTemperatureIsTheArgmaxAndSplitsTies) {
  const std::vector<double> p = Probabilities(std::vector<float>{1, 2, 2, 1.5}, {.temperature = 1e-4});
  EXPECT_THAT(p, ::testing::Pointwise(::testing::DoubleNear(1e-9), std::vector<double>{0, .5, .5, 0}));
}

// Weights and log-probs against 50-digit values.
TEST(DistributionGoldenTest, AgreesWithFiftyDigits) {
  const auto golden = testing::ReadGolden("softmax.json");
  const double tolerance = golden["tolerance_log_prob_nats"];
  Distribution distribution;
  double worst = 0;
  for (const auto& r : golden["rows"]) {
    const std::vector<float> row = testing::GoldenRow(r);
    for (const auto& c : r["cases"]) {
      const double temperature = Number(c["temperature"]);
      SCOPED_TRACE(r["name"].get<std::string>() + " at " + errors::Show(temperature));
      ASSERT_THAT(distribution.Assign(row, {.temperature = temperature}, {}), IsOk());
      EXPECT_NEAR(LogOfWeight(distribution.TotalWeight()), Number(c["log_total"]), tolerance);
      EXPECT_NEAR(distribution.Entropy(), Number(c["entropy"]), tolerance);
      for (const auto& token : c["tokens"]) {
        const TokenId t = token["id"];
        const double log_prob = Number(token["log_prob"]);
        // A log-prob far below is a quotient of f64 numbers: its error is relative.
        const double error = std::abs(distribution.LogProb(t) - log_prob);
        EXPECT_LE(error, std::max(tolerance, std::abs(log_prob) * 1e-15)) << t;
        if (std::abs(log_prob) < 1e6) worst = std::max(worst, error);
        const double exponential = Number(token["exp"]);
        const double distance = std::abs(row[t] - distribution.max());
        const double bound = (1e-7 + 0x1p-24 * distance * std::max(1.0, 1 / temperature)) * exponential + 0x1p-43;
        EXPECT_NEAR(static_cast<double>(distribution.Weight(t)) * 0x1p-42, exponential, bound) << t;
      }
      if (temperature == 1) {
        ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row));
        EXPECT_NEAR(statistics.log_sum_exp - statistics.max, Number(c["log_total"]), tolerance);
        EXPECT_NEAR(*StatisticsOf(row, {statistics.max, statistics.argmax}, /*with_entropy=*/true).entropy,
                    Number(c["entropy"]), tolerance);
      }
    }
  }
  RecordProperty("worst_log_prob_error", std::to_string(worst));
}

TEST(DistributionTest, ProbabilitiesSumToOneAndKeepTheOrder) {
  for (int32_t n : {1, 7, 8, 9, 1000, 50257}) {
    const std::vector<float> row = MakeRow(n, 3, n);
    for (double temperature : {0.3, 0.7, 1.0, 2.5}) {
      const std::vector<double> p = Probabilities(row, {.temperature = temperature});
      long double sum = 0;
      for (double x : p) sum += x;
      EXPECT_NEAR(static_cast<double>(sum), 1, 2e-7) << n << " at " << temperature;
      const std::vector<TokenId> sorted = testing::SortedTokens(row);
      for (int32_t i = 1; i < n; ++i) ASSERT_GE(p[sorted[i - 1]], p[sorted[i]]);
    }
  }
}

TEST(DistributionTest, AgreesWithTheReferenceOnEveryToken) {
  for (int32_t n : {9, 1000, 50257}) {
    const std::vector<float> row = MakeRow(n, 4, n + 1);
    for (double temperature : {0.3, 0.7, 1.0, 2.5}) {
      Distribution distribution;
      ASSERT_THAT(distribution.Assign(row, {.temperature = temperature}, {}), IsOk());
      const auto reference = testing::ReferenceOf(row, {.temperature = temperature});
      for (int32_t t = 0; t < n; ++t) ASSERT_NEAR(distribution.LogProb(t), reference.log_probs[t], 1e-6);
      EXPECT_NEAR(distribution.Entropy(), reference.entropy, 1e-6);
    }
  }
}

TEST(DistributionTest, AnExactShiftChangesNoBit) {
  std::vector<float> row = MakeRow(5000, 4, 8);
  for (double temperature : {0.3, 1.0, 2.5}) {
    Distribution plain, shifted;
    std::vector<float> moved = row;
    for (float& logit : moved) logit += 64;  // exact: the row's values are multiples of 2^-10
    ASSERT_THAT(plain.Assign(row, {.temperature = temperature}, {}), IsOk());
    ASSERT_THAT(shifted.Assign(moved, {.temperature = temperature}, {}), IsOk());
    EXPECT_EQ(plain.TotalWeight(), shifted.TotalWeight());
    EXPECT_EQ(WeightsOf(plain), WeightsOf(shifted));
    EXPECT_EQ(plain.LogProb(77), shifted.LogProb(77));
  }
}

TEST(DistributionTest, APermutationPermutesTheWeights) {
  const std::vector<float> row = MakeRow(3001, 4, 9);
  std::vector<TokenId> order = testing::SortedTokens(row);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  std::vector<float> permuted(row.size());
  for (size_t i = 0; i < row.size(); ++i) permuted[i] = row[order[i]];
  Distribution a, b;
  ASSERT_THAT(a.Assign(row, {.temperature = 0.7}, {}), IsOk());
  ASSERT_THAT(b.Assign(permuted, {.temperature = 0.7}, {}), IsOk());
  EXPECT_EQ(a.TotalWeight(), b.TotalWeight());
  for (size_t i = 0; i < row.size(); ++i) ASSERT_EQ(b.Weight(static_cast<TokenId>(i)), a.Weight(order[i]));
  EXPECT_EQ(a.Entropy(), b.Entropy());
}

TEST(DistributionTest, AMaskedRowHasTheBitsOfTheGatheredOne) {
  for (int32_t n : {9, 65, 4000}) {
    const std::vector<float> row = MakeRow(n, 4, n);
    std::vector<TokenId> ids;
    std::vector<float> gathered;
    std::mt19937 random(n);
    for (TokenId t = 0; t < n; ++t) {
      if (random() % 3 == 0 || t == 1) {
        ids.push_back(t);
        gathered.push_back(row[t]);
      }
    }
    for (double temperature : {0.3, 1.0, 2.5}) {
      SamplingParams params{.temperature = temperature, .top_p = 0.9};
      Distribution whole, part;
      ASSERT_THAT(part.Assign(gathered, params, {}), IsOk());
      params.subset = Subset(n, ids);
      ASSERT_THAT(whole.Assign(row, params, {}), IsOk());
      EXPECT_EQ(whole.TotalWeight(), part.TotalWeight());
      EXPECT_EQ(whole.CountKept(), part.CountKept());
      EXPECT_EQ(whole.Entropy(), part.Entropy());
      for (size_t i = 0; i < ids.size(); ++i) {
        ASSERT_EQ(whole.Weight(ids[i]), part.Weight(static_cast<TokenId>(i)));
        ASSERT_EQ(whole.LogProb(ids[i]), part.LogProb(i));
      }
      for (uint64_t u : {uint64_t{0}, uint64_t{1} << 63, ~uint64_t{0}})
        EXPECT_EQ(whole.DrawToken(u).token_id, ids[part.DrawToken(u).token_id]);
    }
  }
}

TEST(DistributionTest, ASubsetIsTheRenormalisedWhole) {
  const std::vector<float> row = MakeRow(100, 2, 3);
  const std::vector<TokenId> ids = {3, 17, 64, 99};
  for (double temperature : {0.7, 1.0, 2.5}) {
    const std::vector<double> whole = Probabilities(row, {.temperature = temperature});
    const std::vector<double> part = Probabilities(row, {.temperature = temperature, .subset = Subset(100, ids)});
    double sum = 0;
    for (TokenId t : ids) sum += whole[t];
    for (TokenId t : ids) EXPECT_NEAR(part[t], whole[t] / sum, 1e-6);
  }
}

TEST(DistributionTest, ExcludedTokensAreLeftOutWithAndWithoutASubset) {
  const std::vector<float> row = {5, 4, 3, 2};
  const std::vector<TokenId> excluded = {2, 0};
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.7}, {.excluded = excluded}), IsOk());
  EXPECT_EQ(distribution.argmax(), 1);
  EXPECT_EQ(distribution.CountKept(), 2);
  EXPECT_EQ(distribution.LogProb(0), -std::numeric_limits<double>::infinity());
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.7, .subset = Subset(4, {0, 3})}, {.excluded = excluded}),
              IsOk());
  EXPECT_EQ(distribution.argmax(), 3);
  EXPECT_EQ(distribution.CountKept(), 1);
  EXPECT_EQ(distribution.LogProb(3), 0);
}

TEST(DistributionTest, GreedyKeepsTheArgmaxAlone) {
  const std::vector<float> row = {1, -0.0f, 7, 7, -kInf};
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0, .top_k = 3, .top_p = 0.5}, {}), IsOk());
  EXPECT_EQ(distribution.CountKept(), 1);
  EXPECT_EQ(distribution.TotalWeight(), uint64_t{1} << 42);
  EXPECT_EQ(distribution.LogProb(2), 0);
  EXPECT_EQ(distribution.LogProb(3), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(distribution.Entropy(), 0);
  EXPECT_EQ(distribution.DrawToken(~uint64_t{0}).token_id, 2);
}

TEST(DistributionTest, GreedyNamesTheTokensThatItChoseFrom) {
  constexpr int kWidth = 70;
  std::vector<float> row(kWidth, 1);
  row[3] = -kInf;
  row[68] = 2;
  const std::vector<TokenId> prompt = {5, 68};
  const std::vector<TokenId> excluded = {0, 69};
  struct Case {
    std::string name;
    SamplingParams params;
    StepContext context;
    std::set<TokenId> missing;
  };
  SamplingParams bans{.temperature = 0};
  bans.no_repeat_ngram_size = 1;
  SamplingParams penalty{.temperature = 0};
  penalty.repetition_penalty = 3;
  const auto all_but_one = [] {
    std::vector<TokenId> ids(kWidth - 1);
    std::iota(ids.begin(), ids.end(), 1);
    return ids;
  };
  const Case cases[] = {
      {"nothing is off limits", {.temperature = 0}, {}, {}},
      {"cuts are skipped", {.temperature = 0, .top_k = 2, .min_p = 0.9}, {}, {}},
      {"a set", {.temperature = 0, .subset = Subset(kWidth, all_but_one())}, {}, {0}},
      {"stop tokens before min_tokens", {.temperature = 0}, {.excluded = excluded}, {0, 69}},
      {"n-grams", bans, {.prompt = prompt}, {5, 68}},
      {"penalties take nothing away", penalty, {.prompt = prompt}, {}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Distribution distribution;
    ASSERT_THAT(distribution.Assign(row, c.params, c.context), IsOk());
    std::set<TokenId> missing;
    for (TokenId id = 0; id < kWidth; ++id) {
      if (id != 3 && !distribution.IsCandidate(id)) missing.insert(id);
    }
    EXPECT_EQ(missing, c.missing);
    EXPECT_EQ(distribution.CountKept(), 1);
  }
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.7, .top_k = 2}, {}), IsOk());
  for (TokenId id = 0; id < kWidth; ++id) EXPECT_EQ(distribution.IsCandidate(id), distribution.Keeps(id)) << id;
}

TEST(DistributionTest, NamesTheFirstLogitThatIsNotFinite) {
  for (float bad : {kNan, -kNan, kInf}) {
    std::vector<float> row = MakeRow(300, 1, 1);
    row[290] = bad;
    row[128] = bad;
    for (double temperature : {0.0, 0.7}) {
      Distribution distribution;
      // Also outside of the allowed set.
      for (const auto& subset : {Subset(300, {5, 6}), std::shared_ptr<const VocabSubset>()}) {
        const absl::Status status = distribution.Assign(row, {.temperature = temperature, .subset = subset}, {});
        EXPECT_THAT(status, HasReason(ErrorReason::kNonFiniteLogit));
        EXPECT_EQ(DetailOf(status).token_id, 128);
      }
      const std::vector<TokenId> excluded = {128, 290};
      EXPECT_THAT(distribution.Assign(row, {.temperature = temperature}, {.excluded = excluded}),
                  HasReason(ErrorReason::kNonFiniteLogit));
      EXPECT_THAT(ReadRow(row), HasReason(ErrorReason::kNonFiniteLogit));
      // The object is as good as new after an error.
      const std::vector<float> good = {0, 0};
      ASSERT_THAT(distribution.Assign(good, {.temperature = 0.7}, {}), IsOk());
      EXPECT_EQ(distribution.CountKept(), 2);
    }
  }
}

TEST(DistributionTest, TellsAnEmptyRowFromAnEmptyChoice) {
  const std::vector<float> empty(70, -kInf);
  std::vector<float> row = empty;
  row[69] = 1;
  for (double temperature : {0.0, 0.7}) {
    SamplingParams params{.temperature = temperature};
    Distribution distribution;
    EXPECT_THAT(distribution.Assign(empty, params, {}), HasReason(ErrorReason::kNoFiniteLogit));
    EXPECT_THAT(ReadRow(empty), HasReason(ErrorReason::kNoFiniteLogit));
    const std::vector<TokenId> last = {69};
    EXPECT_THAT(distribution.Assign(row, params, {.excluded = last}), HasReason(ErrorReason::kAllTokensExcluded));
    params.subset = Subset(70, {3, 4});
    EXPECT_THAT(distribution.Assign(row, params, {}), HasReason(ErrorReason::kAllTokensExcluded));
    EXPECT_THAT(distribution.Assign(empty, params, {}), HasReason(ErrorReason::kNoFiniteLogit));
  }
}

TEST(DistributionTest, NeutralParametersShareTheModelsPass) {
  const std::vector<float> row = MakeRow(50257, 3, 7);
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {}, {}), IsOk());
  ASSERT_OK_AND_ASSIGN(const RowStatistics read, ReadRow(row));
  const RowStatistics shared = distribution.ModelStatistics(/*with_entropy=*/false);
  EXPECT_EQ(shared.max, read.max);
  EXPECT_EQ(shared.argmax, read.argmax);
  EXPECT_EQ(shared.total_weight, read.total_weight);
  EXPECT_EQ(shared.log_sum_exp, read.log_sum_exp);
  for (TokenId t : {0, 5, 50256}) EXPECT_EQ(distribution.LogProb(t), read.LogProb(row[t]));
  EXPECT_EQ(distribution.Entropy(), *StatisticsOf(row, {read.max, read.argmax}, /*with_entropy=*/true).entropy);
}

TEST(DistributionTest, TheLargestVocabularyFits) {
  const std::vector<float> row(1 << 20, 0.5f);
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.7}, {}), IsOk());
  EXPECT_EQ(distribution.TotalWeight(), uint64_t{1} << 62);
  EXPECT_NEAR(distribution.LogProb(0), -20 * std::log(2), 1e-12);
  EXPECT_EQ(distribution.DrawToken(~uint64_t{0}).token_id, (1 << 20) - 1);
}

}  // namespace
}  // namespace logitd

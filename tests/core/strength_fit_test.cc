#include "core/strength_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "core/plackett_luce.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/golden.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::Number;
using ::logitd::testing::ReadGolden;
using ::logitd::testing::StatusIs;
using ::testing::HasSubstr;

absl::StatusOr<StrengthFit> FitOf(int32_t item_count, const std::vector<Ranking>& rankings) {
  return FitStrengths(item_count, rankings, [] { return absl::OkStatus(); });
}

// Draws orders by the definition: a choice with the probabilities of the softmax for each place.
class OrderSource {
 public:
  OrderSource(std::vector<double> log_strengths, uint64_t seed)
      : log_strengths_(std::move(log_strengths)), seed_(seed) {}

  std::vector<int32_t> Draw() {
    std::vector<int32_t> left(log_strengths_.size());
    std::iota(left.begin(), left.end(), 0);
    std::vector<int32_t> order;
    while (!left.empty()) {
      double total = 0;
      for (const int32_t item : left) total += std::exp(log_strengths_[static_cast<size_t>(item)]);
      const uint64_t bits = Next();
      double rest = static_cast<double>(bits >> 11) * 0x1p-53 * total;
      size_t chosen = 0;
      while (chosen + 1 < left.size()) {
        rest -= std::exp(log_strengths_[static_cast<size_t>(left[chosen])]);
        if (rest < 0) break;
        ++chosen;
      }
      order.push_back(left[chosen]);
      left.erase(left.begin() + static_cast<std::ptrdiff_t>(chosen));
    }
    return order;
  }

  // SplitMix64.
  uint64_t Next() {
    uint64_t z = (seed_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

 private:
  const std::vector<double> log_strengths_;
  uint64_t seed_;
};

double SumOf(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

TEST(StrengthFitTest, TwoItemsHaveTheirOdds) {
  ASSERT_OK_AND_ASSIGN(const StrengthFit fit,
                       FitOf(2, {{.item_indices = {0, 1}, .count = 3}, {.item_indices = {1, 0}}}));
  EXPECT_NEAR(fit.log_strengths[0] - fit.log_strengths[1], std::log(3), 1e-14);
  EXPECT_NEAR(SumOf(fit.log_strengths), 0, 1e-15);
  // The variance of a log-odds is 1 / (n p (1 - p)); half of the difference has a quarter of it.
  EXPECT_NEAR(fit.standard_errors[0], 0.5 * std::sqrt(1 / (4 * 0.75 * 0.25)), 1e-12);
  EXPECT_NEAR(fit.log_likelihood, 3 * std::log(0.75) + std::log(0.25), 1e-13);
  EXPECT_NEAR(fit.equal_log_likelihood, 4 * std::log(0.5), 1e-14);
}

TEST(StrengthFitTest, GoldenFits) {
  const nlohmann::json golden = ReadGolden("plackett_luce.json");
  const double tolerance = golden["tolerance_fit_nats"];
  ASSERT_GE(golden["fits"].size(), 6u);
  for (const auto& test_case : golden["fits"]) {
    SCOPED_TRACE(test_case["name"].get<std::string>());
    std::vector<Ranking> rankings;
    for (const auto& ranking : test_case["rankings"]) {
      rankings.push_back({ranking["items"], ranking["others_below"], ranking["count"]});
    }
    ASSERT_OK_AND_ASSIGN(const StrengthFit fit, FitOf(test_case["item_count"], rankings));
    for (size_t i = 0; i < fit.log_strengths.size(); ++i) {
      EXPECT_NEAR(fit.log_strengths[i], Number(test_case["log_strengths"][i]), tolerance);
      EXPECT_NEAR(fit.standard_errors[i], Number(test_case["standard_errors"][i]), tolerance);
    }
    const double log_likelihood = Number(test_case["log_likelihood"]);
    EXPECT_NEAR(fit.log_likelihood, log_likelihood, 1e-13 * std::abs(log_likelihood));
    EXPECT_LE(fit.last_newton_step, kMaxLastNewtonStep);
    EXPECT_NEAR(SumOf(fit.log_strengths), 0, 1e-12);
  }
}

TEST(StrengthFitTest, PlantedStrengthsAreRecoveredWithinThreeStandardErrors) {
  const std::vector<double> planted = {1.5, 0.75, 0.25, -0.25, -0.75, -1.5};
  OrderSource source(planted, 20261127);
  std::vector<Ranking> rankings;
  for (int i = 0; i < 10'000; ++i) rankings.push_back({.item_indices = source.Draw()});
  ASSERT_OK_AND_ASSIGN(const StrengthFit fit, FitOf(6, rankings));
  for (size_t i = 0; i < planted.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_NEAR(fit.log_strengths[i], planted[i], 3 * fit.standard_errors[i]);
    EXPECT_LT(fit.standard_errors[i], 0.02);
    EXPECT_GT(fit.standard_errors[i], 0.002);
  }
  EXPECT_GT(fit.log_likelihood, fit.equal_log_likelihood);
}

TEST(StrengthFitTest, StandardErrorsAreTheSpreadOfManyFits) {
  const std::vector<double> planted = {1, 0, -0.5, -0.5};
  OrderSource source(planted, 11);
  constexpr int kFits = 400;
  std::vector<double> squares(planted.size()), errors(planted.size());
  for (int i = 0; i < kFits; ++i) {
    std::vector<Ranking> rankings;
    for (int j = 0; j < 200; ++j) {
      std::vector<int32_t> order = source.Draw();
      order.resize(2);
      rankings.push_back({.item_indices = order, .others_below = true});
    }
    ASSERT_OK_AND_ASSIGN(const StrengthFit fit, FitOf(4, rankings));
    for (size_t k = 0; k < planted.size(); ++k) {
      squares[k] += (fit.log_strengths[k] - planted[k]) * (fit.log_strengths[k] - planted[k]) / kFits;
      errors[k] += fit.standard_errors[k] / kFits;
    }
  }
  // The standard deviation of 400 numbers is known to 1 / sqrt(800) = 3.5 %; 12 % leave 3.4 of those.
  for (size_t k = 0; k < planted.size(); ++k) EXPECT_NEAR(std::sqrt(squares[k]) / errors[k], 1, 0.12) << k;
}

TEST(StrengthFitTest, CountsStandForRepeatedRankings) {
  const std::vector<Ranking> counted = {
      {.item_indices = {0, 1, 2}, .count = 5}, {.item_indices = {2, 0, 1}, .count = 2}, {.item_indices = {1, 2}}};
  std::vector<Ranking> repeated;
  for (const Ranking& ranking : counted) {
    for (int64_t i = 0; i < ranking.count; ++i) repeated.push_back({.item_indices = ranking.item_indices});
  }
  ASSERT_OK_AND_ASSIGN(const StrengthFit one, FitOf(3, counted));
  ASSERT_OK_AND_ASSIGN(const StrengthFit other, FitOf(3, repeated));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(one.log_strengths[i], other.log_strengths[i], 1e-13);
    EXPECT_NEAR(one.standard_errors[i], other.standard_errors[i], 1e-13);
  }
}

TEST(StrengthFitTest, AFullRankingIsTheTopOfAll) {
  const std::vector<Ranking> full = {
      {.item_indices = {0, 1, 2}}, {.item_indices = {2, 1, 0}}, {.item_indices = {1, 0, 2}}};
  std::vector<Ranking> top = full;
  for (Ranking& ranking : top) {
    ranking.item_indices.resize(2);
    ranking.others_below = true;
  }
  ASSERT_OK_AND_ASSIGN(const StrengthFit one, FitOf(3, full));
  ASSERT_OK_AND_ASSIGN(const StrengthFit other, FitOf(3, top));
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(one.log_strengths[i], other.log_strengths[i], 1e-14);
}

TEST(StrengthFitTest, ALongChainOfRareWinsIsFitted) {
  // The worst case of MM: neighbours alone are compared, and the ends differ by 99 ln 3 = 109 nats.
  std::vector<Ranking> rankings;
  for (int32_t i = 0; i + 1 < 100; ++i) {
    rankings.push_back({.item_indices = {i, i + 1}, .count = 3});
    rankings.push_back({.item_indices = {i + 1, i}});
  }
  ASSERT_OK_AND_ASSIGN(const StrengthFit fit, FitOf(100, rankings));
  for (size_t i = 0; i + 1 < 100; ++i) {
    EXPECT_NEAR(fit.log_strengths[i] - fit.log_strengths[i + 1], std::log(3), 1e-9);
  }
  EXPECT_LE(fit.newton_step_count, 20);
}

TEST(StrengthFitTest, ASteepChainIsFitted) {
  // Odds of a million to one, and 276 nats from end to end.
  std::vector<Ranking> rankings;
  for (int32_t i = 0; i + 1 < 21; ++i) {
    rankings.push_back({.item_indices = {i, i + 1}, .count = 1'000'000});
    rankings.push_back({.item_indices = {i + 1, i}});
  }
  ASSERT_OK_AND_ASSIGN(const StrengthFit fit, FitOf(21, rankings));
  for (size_t i = 0; i + 1 < 21; ++i) {
    EXPECT_NEAR(fit.log_strengths[i] - fit.log_strengths[i + 1], std::log(1e6), 1e-8);
  }
}

TEST(StrengthFitTest, RankingsThatDetermineNoStrengthsAreRefusedByName) {
  struct Case {
    const char* name;
    int32_t item_count;
    std::vector<Ranking> rankings;
    const char* because;
    const char* value;
  };
  const Case cases[] = {
      {"one ranking",
       3,
       {{.item_indices = {2, 0, 1}}},
       "item 2 wins every comparison with the others; item 1 loses every one",
       "2, 1"},
      {"an unbeaten item",
       3,
       {{.item_indices = {2, 0, 1}}, {.item_indices = {2, 1, 0}}},
       "item 2 wins every comparison with the others; items 0, 1 lose every one",
       "2, 0, 1"},
      {"an item that only loses",
       3,
       {{.item_indices = {0, 1, 2}}, {.item_indices = {1, 0, 2}}},
       "items 0, 1 win every comparison with the others; item 2 loses every one",
       "0, 1, 2"},
      {"an item that nobody compared",
       3,
       {{.item_indices = {0, 1}}, {.item_indices = {1, 0}}},
       "item 2 is never compared with the others",
       "2"},
      {"item 0 apart",
       3,
       {{.item_indices = {2, 1}}, {.item_indices = {1, 2}}},
       "item 0 is never compared with the others",
       "0"},
      {"item 0 apart, the others one way",
       3,
       {{.item_indices = {2, 1}}},
       "item 0 is never compared with the others",
       "0"},
      {"two islands",
       4,
       {{.item_indices = {0, 1}}, {.item_indices = {1, 0}}, {.item_indices = {2, 3}}, {.item_indices = {3, 2}}},
       "items 2, 3 are never compared with the others",
       "2, 3"},
      {"one winner each time",
       3,
       {{.item_indices = {0}, .others_below = true}},
       "item 0 wins every comparison with the others; items 1, 2 lose every one",
       "0, 1, 2"},
      {"many losers",
       20,
       {{.item_indices = {7}, .others_below = true}},
       "items 0, 1, 2, 3, 4, 5, 6, 8 and 11 more lose every one",
       "7, 0, 1, 2, 3, 4, 5, 6, 8 and 11 more"}};
  for (const Case& test_case : cases) {
    SCOPED_TRACE(test_case.name);
    const auto fit = FitOf(test_case.item_count, test_case.rankings);
    EXPECT_THAT(fit, HasReason(ErrorReason::kStrengthsUndefined));
    EXPECT_THAT(fit, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test_case.because)));
    EXPECT_EQ(DetailOf(fit.status()).field, "rankings");
    EXPECT_EQ(DetailOf(fit.status()).value, test_case.value);
    EXPECT_EQ(DetailOf(fit.status()).bound, "compare every group of items with the rest, with wins and losses");
  }
}

TEST(StrengthFitTest, WrongRankingsAreRefusedByPlace) {
  const std::vector<Ranking> good = {{.item_indices = {0, 1, 2}}, {.item_indices = {2, 1, 0}}};
  const auto with = [&](const Ranking& ranking) {
    std::vector<Ranking> rankings = good;
    rankings.push_back(ranking);
    return FitOf(3, rankings);
  };
  struct Case {
    Ranking ranking;
    ErrorReason reason;
    const char* message;
  };
  const Case cases[] = {
      {{.item_indices = {0, 3}}, ErrorReason::kOrderInvalid, "rankings[2].item_indices[1] must be in [0, 3), got 3"},
      {{.item_indices = {-1, 0}}, ErrorReason::kOrderInvalid, "rankings[2].item_indices[0] must be in [0, 3), got -1"},
      {{.item_indices = {1, 0, 1}},
       ErrorReason::kOrderInvalid,
       "rankings[2].item_indices[2] must be another item than those before it, got 1"},
      {{.item_indices = {}}, ErrorReason::kOrderInvalid, "rankings[2].item_indices must be at least 2 items"},
      {{.item_indices = {1}}, ErrorReason::kOrderInvalid, "rankings[2].item_indices must be at least 2 items"},
      {{.item_indices = {}, .others_below = true},
       ErrorReason::kOrderInvalid,
       "rankings[2].item_indices must be at least 1 item, got 0"},
      {{.item_indices = {1, 0}, .count = 0},
       ErrorReason::kFieldOutOfRange,
       "rankings[2].count must be in [1, 1000000000], got 0"},
      {{.item_indices = {1, 0}, .count = 1'000'000'001},
       ErrorReason::kFieldOutOfRange,
       "rankings[2].count must be in"}};
  for (const Case& test_case : cases) {
    SCOPED_TRACE(test_case.message);
    const auto fit = with(test_case.ranking);
    EXPECT_THAT(fit, HasReason(test_case.reason));
    EXPECT_THAT(fit, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test_case.message)));
  }
  EXPECT_THAT(FitOf(0, good), HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(FitOf(1, good),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item_count must be >= 2, got 1")));
  EXPECT_THAT(FitOf(1001, good), HasReason(ErrorReason::kLimitExceeded));
  EXPECT_THAT(FitOf(3, {}), HasReason(ErrorReason::kNoCandidates));
  EXPECT_THAT(FitOf(3, std::vector<Ranking>((1 << 17) + 1, good[0])), HasReason(ErrorReason::kLimitExceeded));
  // 1,049 rankings that each go through 1,000 items.
  const auto many = FitOf(1000, std::vector<Ranking>(1049, {.item_indices = {0}, .others_below = true}));
  EXPECT_THAT(many, HasReason(ErrorReason::kLimitExceeded));
  EXPECT_EQ(DetailOf(many.status()).limit, "max_ranked_items");
  EXPECT_EQ(DetailOf(many.status()).value, "1049000");
}

TEST(StrengthFitTest, StrengthsTooFarApartAreAnError) {
  std::vector<Ranking> rankings;
  for (int32_t i = 0; i + 1 < 200; ++i) {
    rankings.push_back({.item_indices = {i, i + 1}, .count = 1000});
    rankings.push_back({.item_indices = {i + 1, i}});
  }
  const auto fit = FitOf(200, rankings);
  EXPECT_THAT(fit, HasReason(ErrorReason::kStrengthsUndefined));
  EXPECT_EQ(DetailOf(fit.status()).bound, "determine log-strengths in [-300, 300] within double precision")
      << fit.status();
}

TEST(StrengthFitTest, AnErrorOfTheCheckEndsTheFit) {
  const std::vector<Ranking> rankings = {{.item_indices = {0, 1, 2}}, {.item_indices = {2, 1, 0}}};
  int calls = 0;
  ASSERT_THAT(FitStrengths(3, rankings, [&] { return ++calls, absl::OkStatus(); }), testing::IsOk());
  EXPECT_GE(calls, 20);
  for (int last = 1; last <= calls; ++last) {
    int count = 0;
    const auto fit =
        FitStrengths(3, rankings, [&] { return ++count == last ? errors::Cancelled() : absl::OkStatus(); });
    EXPECT_THAT(fit, HasReason(ErrorReason::kCancelled)) << last;
    EXPECT_EQ(count, last);
  }
}

TEST(StrengthFitTest, ManyItemsAreFittedWithinTheirErrors) {
  // Six times 500 full rankings of 300 items.
  constexpr int32_t kItems = 300;
  std::vector<double> planted;
  for (int i = 0; i < kItems; ++i) planted.push_back(3 * std::sin(i));
  const double mean = SumOf(planted) / kItems;
  double squares = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    OrderSource source(planted, seed);
    std::vector<Ranking> rankings;
    for (int i = 0; i < 500; ++i) {
      // By exponential clocks, whose order is that of Plackett and Luce: quicker than a draw for each place.
      std::vector<std::pair<double, int32_t>> clocks;
      for (int32_t item = 0; item < kItems; ++item) {
        const double u = (static_cast<double>(source.Next() >> 11) + 0.5) * 0x1p-53;
        clocks.emplace_back(-std::log(u) / std::exp(planted[static_cast<size_t>(item)]), item);
      }
      std::sort(clocks.begin(), clocks.end());
      Ranking& ranking = rankings.emplace_back();
      for (const auto& [time, item] : clocks) ranking.item_indices.push_back(item);
    }
    ASSERT_OK_AND_ASSIGN(const StrengthFit fit, FitOf(kItems, rankings));
    for (size_t i = 0; i < planted.size(); ++i) {
      const double z = (fit.log_strengths[i] - planted[i] + mean) / fit.standard_errors[i];
      squares += z * z / (6 * kItems);
      EXPECT_LT(std::abs(z), 5);
    }
    EXPECT_LE(fit.newton_step_count, 10);
  }
  // Over seeds the mean square of 300 items has a standard deviation of 0.11, and that of six seeds of 0.045.
  EXPECT_NEAR(squares, 1, 0.15);
}

}  // namespace
}  // namespace logitd

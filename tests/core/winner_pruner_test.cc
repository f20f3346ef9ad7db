#include "core/winner_pruner.h"

#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "core/ranker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

CandidateScore Counts(int32_t tokens, int64_t bytes = 1, int64_t characters = 1) {
  return {.log_prob = 0, .token_count = tokens, .byte_count = bytes, .character_count = characters};
}

TEST(WinnerPrunerTest, AMeanIsBoundedByTheSumSoFarOverAllTokens) {
  WinnerPruner pruner({.by = Normalization::kPerToken});
  const size_t done = pruner.Add(Counts(2));
  const size_t running = pruner.Add(Counts(4));
  pruner.AddToken(running, -2);
  EXPECT_TRUE(pruner.CanWin(running));
  pruner.AddToken(done, -0.5);
  EXPECT_TRUE(pruner.CanWin(running)) << "nothing is complete yet";
  pruner.AddToken(done, -0.5);
  EXPECT_TRUE(pruner.CanWin(running)) << "with certain tokens it would tie at -0.5";
  pruner.AddToken(running, -0.0001);
  EXPECT_FALSE(pruner.CanWin(running));
  EXPECT_TRUE(pruner.CanWin(done));
}

TEST(WinnerPrunerTest, TheToleranceCountsAgainstBoth) {
  WinnerPruner pruner({.by = Normalization::kSum, .tolerance = 0.1});
  const size_t done = pruner.Add(Counts(1));
  const size_t running = pruner.Add(Counts(2));
  pruner.AddToken(done, -1);
  pruner.AddToken(running, -1.19);
  EXPECT_TRUE(pruner.CanWin(running));
  const size_t other = pruner.Add(Counts(2));
  pruner.AddToken(other, -1.21);
  EXPECT_FALSE(pruner.CanWin(other));
}

TEST(WinnerPrunerTest, AnImpossibleCandidateNeverWinsNorBeatsOthers) {
  WinnerPruner pruner({.by = Normalization::kSum});
  const size_t impossible = pruner.Add(Counts(1));
  const size_t other = pruner.Add(Counts(1));
  pruner.AddToken(impossible, kNever);
  EXPECT_FALSE(pruner.CanWin(impossible));
  EXPECT_TRUE(pruner.CanWin(other));
}

TEST(WinnerPrunerTest, ACandidateWithoutAValueIsKept) {
  WinnerPruner pruner({.by = Normalization::kPerByte});
  CandidateScore unknown = Counts(3);
  unknown.byte_count = std::nullopt;
  const size_t candidate = pruner.Add(unknown);
  pruner.AddComplete({.log_prob = -1, .token_count = 1, .byte_count = 1, .character_count = 1});
  pruner.AddToken(candidate, -1000);
  EXPECT_TRUE(pruner.CanWin(candidate));
}

// Sets whose values often tie: log-probs are few, and multiples of 1/4.
TEST(WinnerPrunerTest, TheWinnersOf1000RandomSetsAreThoseOfACompleteEvaluation) {
  std::mt19937_64 bits(5);
  int64_t all = 0;
  int64_t evaluated = 0;
  for (int round = 0; round < 1000; ++round) {
    const auto by = static_cast<Normalization>(1 + bits() % 5);
    const std::optional<double> alpha = by == Normalization::kGnmt ? std::optional(0.6) : std::nullopt;
    const bool ties = bits() % 2 == 0;
    std::vector<CandidateScore> scores;
    std::vector<std::vector<double>> tokens(2 + bits() % 30);
    WinnerPruner pruner({.by = by, .gnmt_alpha = alpha});
    for (std::vector<double>& log_probs : tokens) {
      const auto length = static_cast<int32_t>(1 + bits() % 8);
      CandidateScore score = Counts(length, length + static_cast<int64_t>(bits() % 20), 1 + length);
      double sum = 0;
      for (int32_t i = 0; i < length; ++i) {
        const double u = static_cast<double>(bits() >> 11) * 0x1p-53;
        log_probs.push_back(ties ? -0.25 * static_cast<double>(bits() % 6) : 3 * std::log(1 - u));
        if (bits() % 200 == 0) log_probs.back() = kNever;
        sum += log_probs.back();
      }
      pruner.Add(score);
      score.log_prob = sum;
      scores.push_back(score);
      all += length;
    }
    std::vector<std::optional<double>> expected;
    for (const CandidateScore& score : scores) {
      expected.push_back(std::isinf(score.log_prob) ? std::nullopt : NormalizedLogProb(score, by, alpha));
    }
    // A token of every candidate that is left, in turn.
    std::vector<size_t> next(tokens.size());
    for (bool goes_on = true; std::exchange(goes_on, false);) {
      for (size_t i = 0; i < tokens.size(); ++i) {
        if (next[i] == tokens[i].size() || !pruner.CanWin(i)) continue;
        pruner.AddToken(i, tokens[i][next[i]++]);
        ++evaluated;
        goes_on = true;
      }
    }
    std::vector<std::optional<double>> found = expected;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (next[i] < tokens[i].size()) found[i] = std::nullopt;
    }
    const Ordering complete = OrderBy(expected);
    const Ordering pruned = OrderBy(found);
    const auto winners = [](const Ordering& ordering) {
      std::vector<int32_t> best;
      for (size_t i = 0; i < ordering.places.size() && ordering.places[i] == 1; ++i) {
        best.push_back(ordering.candidate_indices[i]);
      }
      return best;
    };
    EXPECT_EQ(winners(pruned), winners(complete)) << "set " << round;
  }
  std::printf("%lld of %lld tokens\n", static_cast<long long>(evaluated), static_cast<long long>(all));
  EXPECT_LT(evaluated, all * 8 / 10);
}

}  // namespace
}  // namespace logitd

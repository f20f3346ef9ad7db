#include "server/models/rebuild_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace logitd::server {
namespace {

using Tokens = std::vector<TokenId>;

// What a runner holds after the plan, and how many tokens it had to evaluate.
struct Outcome {
  std::map<int64_t, Tokens> sequences;
  size_t evaluated = 0;
};

Outcome Run(const std::vector<std::vector<SequenceWork>>& rounds) {
  Outcome outcome;
  for (const auto& round : rounds) {
    const std::map<int64_t, Tokens> before = outcome.sequences;
    std::set<int64_t> seen;
    for (const SequenceWork& work : round) {
      EXPECT_TRUE(seen.insert(work.sequence_id).second) << "a sequence twice in one round";
      EXPECT_TRUE(work.rows.empty());
      Tokens& tokens = outcome.sequences[work.sequence_id];
      if (work.fork_from_sequence_id) {
        EXPECT_TRUE(tokens.empty()) << "a copy must be new";
        EXPECT_TRUE(work.append_token_ids.empty()) << "a round copies or appends";
        tokens = before.at(*work.fork_from_sequence_id);
      }
      tokens.insert(tokens.end(), work.append_token_ids.begin(), work.append_token_ids.end());
      outcome.evaluated += work.append_token_ids.size();
    }
  }
  return outcome;
}

Outcome RunPlan(const std::vector<Tokens>& wanted, bool fork) {
  std::vector<SequenceTokens> sequences;
  for (size_t i = 0; i < wanted.size(); ++i) sequences.push_back({static_cast<int64_t>(i + 1), wanted[i]});
  Outcome outcome = Run(RebuildPlan(sequences, fork));
  EXPECT_EQ(outcome.sequences.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(outcome.sequences[static_cast<int64_t>(i + 1)], wanted[i]) << "sequence " << i + 1;
  }
  return outcome;
}

TEST(RebuildPlanTest, NothingNeedsNothing) {
  EXPECT_TRUE(RebuildPlan({}, true).empty());
  EXPECT_TRUE(RebuildPlan({}, false).empty());
}

TEST(RebuildPlanTest, PromptIsEvaluatedOnce) {
  // A prompt and three completions of it, one of which has not begun.
  EXPECT_EQ(RunPlan({{5, 6, 7}, {5, 6, 7, 1}, {5, 6, 7, 2, 3}, {5, 6, 7}}, true).evaluated, 6u);
}

TEST(RebuildPlanTest, ReleasedPromptIsStillShared) {
  EXPECT_EQ(RunPlan({{5, 6, 7, 1}, {5, 6, 7, 2}}, true).evaluated, 5u);
}

TEST(RebuildPlanTest, WithoutForksEachIsEvaluatedByItself) {
  EXPECT_EQ(RunPlan({{5, 6, 7, 1}, {5, 6, 7, 2}}, false).evaluated, 8u);
}

TEST(RebuildPlanTest, UnrelatedSequencesShareNothing) { EXPECT_EQ(RunPlan({{1, 2}, {2, 1}}, true).evaluated, 4u); }

TEST(RebuildPlanTest, RandomSetsCostTheirTree) {
  std::mt19937 random(20261122);
  for (int round = 0; round < 300; ++round) {
    std::vector<Tokens> wanted(1 + random() % 12);
    std::set<Tokens> prefixes;
    for (Tokens& tokens : wanted) {
      tokens.resize(1 + random() % 8);
      for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 2);
      for (size_t n = 1; n <= tokens.size(); ++n)
        prefixes.emplace(tokens.begin(), tokens.begin() + static_cast<long>(n));
    }
    EXPECT_EQ(RunPlan(wanted, true).evaluated, prefixes.size()) << "each distinct prefix costs one token";
  }
}

}  // namespace
}  // namespace logitd::server

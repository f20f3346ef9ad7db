#include "core/closed_set.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd {
namespace {

using ::testing::DoubleNear;
using ::testing::Optional;

using Tokens = std::vector<TokenId>;

constexpr double kNever = -std::numeric_limits<double>::infinity();

TEST(ClosedSetTest, DisjointSequencesAddUp) {
  const Tokens a{1, 2}, b{1, 3}, c{2};
  const ClosedSetMass set = MassOf({{a, std::log(0.25)}, {b, std::log(0.125)}, {c, std::log(0.5)}});
  EXPECT_FALSE(set.has_prefixes);
  EXPECT_NEAR(set.mass, 0.875, 1e-15);
  EXPECT_THAT(set.log_mass, Optional(DoubleNear(std::log(0.875), 1e-15)));
  EXPECT_EQ(set.sequence_count, 3);
}

TEST(ClosedSetTest, EqualSequencesCountOnce) {
  const Tokens a{1, 2}, again{1, 2};
  const ClosedSetMass set = MassOf({{a, std::log(0.25)}, {again, std::log(0.25)}});
  EXPECT_FALSE(set.has_prefixes);
  EXPECT_NEAR(set.mass, 0.25, 1e-15);
  EXPECT_EQ(set.sequence_count, 1);
}

TEST(ClosedSetTest, WhateverBeginsWithAnotherSequenceIsPartOfIt) {
  // 1 3 comes between 1 2 and what begins with it in no order but this.
  const Tokens shortest{1, 2}, longer{1, 2, 9}, longest{1, 2, 9, 9}, other{1, 3}, before{0};
  const ClosedSetMass set = MassOf({{longest, std::log(0.01)},
                                    {other, std::log(0.125)},
                                    {longer, std::log(0.1)},
                                    {before, std::log(0.0625)},
                                    {shortest, std::log(0.25)}});
  EXPECT_TRUE(set.has_prefixes);
  EXPECT_NEAR(set.mass, 0.4375, 1e-15);
  EXPECT_EQ(set.sequence_count, 3);
}

TEST(ClosedSetTest, NothingPossibleHasNoLogarithm) {
  const Tokens a{1}, b{2};
  EXPECT_EQ(MassOf({{a, kNever}, {b, kNever}}).log_mass, std::nullopt);
  EXPECT_EQ(MassOf({{a, kNever}, {b, kNever}}).mass, 0);
  EXPECT_THAT(MassOf({{a, kNever}, {b, -2}}).log_mass, Optional(-2.0));
  EXPECT_EQ(MassOf({}).log_mass, std::nullopt);
}

TEST(ClosedSetTest, TooSmallForADoubleKeepsItsLogarithm) {
  const Tokens a{1}, b{2};
  const ClosedSetMass set = MassOf({{a, -5000}, {b, -5000}});
  EXPECT_EQ(set.mass, 0);
  EXPECT_THAT(set.log_mass, Optional(DoubleNear(-5000 + std::log(2), 1e-12)));
}

TEST(ClosedSetTest, RoundingNeverMakesMoreThanEverything) {
  const Tokens a{1}, b{2};
  const ClosedSetMass set = MassOf({{a, -1e-7}, {b, std::log(1e-6)}});
  EXPECT_EQ(set.mass, 1);
  EXPECT_THAT(set.log_mass, Optional(0.0));
}

TEST(ClosedSetTest, RandomSetsEqualTheProbabilityOfTheirUnion) {
  // Every text of 4 tokens over {0, 1, 2}, tokens independent: the union is counted text by text.
  constexpr double kProbability[] = {0.5, 0.3, 0.2};
  std::mt19937_64 bits(11);
  for (int round = 0; round < 300; ++round) {
    std::vector<Tokens> sequences(1 + bits() % 8);
    std::vector<SetSequence> set;
    for (Tokens& tokens : sequences) {
      tokens.resize(1 + bits() % 4);
      double log_prob = 0;
      for (TokenId& token : tokens) {
        token = static_cast<TokenId>(bits() % 3);
        log_prob += std::log(kProbability[token]);
      }
      set.push_back({tokens, log_prob});
    }
    double expected = 0;
    bool has_prefixes = false;
    for (int text = 0; text < 81; ++text) {
      const Tokens tokens = {text / 27, text / 9 % 3, text / 3 % 3, text % 3};
      const auto begins = [&](const Tokens& sequence) {
        return std::equal(sequence.begin(), sequence.end(), tokens.begin());
      };
      if (std::none_of(sequences.begin(), sequences.end(), begins)) continue;
      double probability = 1;
      for (const TokenId token : tokens) probability *= kProbability[token];
      expected += probability;
    }
    for (const Tokens& a : sequences) {
      for (const Tokens& b : sequences) {
        has_prefixes |= a.size() < b.size() && std::equal(a.begin(), a.end(), b.begin());
      }
    }
    const ClosedSetMass mass = MassOf(set);
    EXPECT_NEAR(mass.mass, expected, 1e-12);
    EXPECT_EQ(mass.has_prefixes, has_prefixes);
    std::shuffle(set.begin(), set.end(), bits);
    EXPECT_EQ(MassOf(set).mass, mass.mass);
  }
}

}  // namespace
}  // namespace logitd

#include "server/models/cached_tokens.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

namespace logitd::server {
namespace {

SequenceWork Work(int64_t sequence_id, size_t tokens, std::optional<int64_t> source = std::nullopt) {
  SequenceWork work;
  work.sequence_id = sequence_id;
  work.append_token_ids.resize(tokens);
  work.fork_from_sequence_id = source;
  return work;
}

TEST(CachedTokensTest, WhatIsSharedCountsOnceAsLongAsAnybodyHasIt) {
  CachedTokens cached;
  cached.Add({Work(1, 100)});
  cached.Add({Work(2, 1, 1), Work(3, 1, 1)});
  EXPECT_EQ(cached.count(), 102);
  cached.Release(1);
  EXPECT_EQ(cached.count(), 102);
  cached.Add({Work(2, 5)});
  cached.Release(3);
  EXPECT_EQ(cached.count(), 106);
  cached.Release(2);
  EXPECT_EQ(cached.count(), 0);
}

TEST(CachedTokensTest, ASourceGrowsByItself) {
  CachedTokens cached;
  cached.Add({Work(1, 10)});
  // The copy is taken before the source goes on.
  cached.Add({Work(1, 3), Work(2, 0, 1)});
  EXPECT_EQ(cached.count(), 13);
  cached.Release(1);
  EXPECT_EQ(cached.count(), 10);
  cached.Clear();
  EXPECT_EQ(cached.count(), 0);
}

// Against cells with the set of sequences that have them.
TEST(CachedTokensTest, AgreesWithCells) {
  std::mt19937 random(2);
  for (int round = 0; round < 50; ++round) {
    CachedTokens cached;
    std::map<int64_t, std::vector<int>> sequences;
    int last_cell = 0;
    for (int i = 0; i < 60; ++i) {
      const auto id = static_cast<int64_t>(random() % 8);
      if (random() % 4 == 0) {
        cached.Release(id);
        sequences.erase(id);
      } else if (!sequences.contains(id) && random() % 2 == 0 && !sequences.empty()) {
        const int64_t source = std::next(sequences.begin(), static_cast<int>(random() % sequences.size()))->first;
        cached.Add({Work(id, 1, source)});
        sequences[id] = sequences[source];
        sequences[id].push_back(++last_cell);
      } else {
        const size_t tokens = 1 + random() % 5;
        cached.Add({Work(id, tokens)});
        for (size_t j = 0; j < tokens; ++j) sequences[id].push_back(++last_cell);
      }
      std::set<int> cells;
      for (const auto& [sequence_id, own] : sequences) cells.insert(own.begin(), own.end());
      ASSERT_EQ(cached.count(), std::ssize(cells));
    }
  }
}

}  // namespace
}  // namespace logitd::server

#include "server/models/prefix_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace logitd::server {
namespace {

using Tokens = std::vector<TokenId>;

TEST(PrefixCacheTest, TheLongestBeginningIsFound) {
  PrefixCache cache(true, true);
  cache.Append(4, 6);
  cache.Publish(4, "", Tokens{1, 5, 7, 7, 2, 3});
  cache.Copy(6, 4, 4);
  cache.Append(6, 1);
  EXPECT_EQ(cache.Find("", Tokens{1, 5, 7, 7, 9}, 5).length, 4);
  cache.Publish(6, "", Tokens{1, 5, 7, 7, 9});
  EXPECT_EQ(cache.Find("", Tokens{1, 5, 7, 7, 2, 8}, 6).length, 5);
  EXPECT_EQ(cache.Find("", Tokens{1, 5, 7, 7, 2, 8}, 6).sequence_id, 4);
  EXPECT_EQ(cache.Find("", Tokens{1, 5, 7, 7, 9, 9}, 6).sequence_id, 6);
  EXPECT_EQ(cache.Find("", Tokens{1, 5, 7, 7, 9, 9}, 3).length, 3);
  EXPECT_EQ(cache.Find("", Tokens{2}, 1).length, 0);
  EXPECT_EQ(cache.Find("other", Tokens{1, 5}, 2).length, 0);
}

TEST(PrefixCacheTest, WithoutTrimOnlyWholeSequencesServe) {
  PrefixCache cache(true, false);
  cache.Append(1, 3);
  cache.Publish(1, "", Tokens{1, 2, 3});
  EXPECT_EQ(cache.Find("", Tokens{1, 2, 3, 4}, 4).length, 3);
  EXPECT_EQ(cache.Find("", Tokens{1, 2, 3, 4}, 2).length, 0);
  EXPECT_EQ(cache.Find("", Tokens{1, 2, 9}, 3).length, 0);
}

TEST(PrefixCacheTest, WithoutCopiesNothingIsKept) {
  PrefixCache cache(false, false);
  cache.Append(1, 3);
  cache.Publish(1, "", Tokens{1, 2, 3});
  EXPECT_EQ(cache.Find("", Tokens{1, 2, 3}, 3).length, 0);
  EXPECT_FALSE(cache.Keep(1));
}

TEST(PrefixCacheTest, TheLeastRecentlyUsedGoesFirstAndPinnedOnesStay) {
  PrefixCache cache(true, true);
  for (int64_t id = 1; id <= 3; ++id) {
    cache.Append(id, 10);
    cache.Publish(id, "", Tokens(10, static_cast<TokenId>(id)));
    EXPECT_TRUE(cache.Keep(id));
  }
  EXPECT_EQ(cache.kept_cells(), 30);
  // A copy is a use.
  cache.Copy(9, 1, 5);
  EXPECT_EQ(cache.kept_cells(), 25);
  cache.Forget(9);
  EXPECT_EQ(cache.kept_cells(), 30);
  cache.Pin(2);
  EXPECT_EQ(cache.pinned_tokens(), 10);
  EXPECT_EQ(cache.ShrinkTo(3, 25), std::vector<int64_t>({3}));
  EXPECT_EQ(cache.ShrinkTo(1, 25), std::vector<int64_t>({1}));
  EXPECT_TRUE(cache.ShrinkTo(0, 0).empty());
  cache.Unpin(2);
  EXPECT_EQ(cache.pinned_tokens(), 0);
  EXPECT_EQ(cache.ShrinkTo(0, 0), std::vector<int64_t>({2}));
  EXPECT_EQ(cache.kept_cells(), 0);
}

TEST(PrefixCacheTest, EqualTokensAreKeptOnce) {
  PrefixCache cache(true, true);
  for (int64_t id = 1; id <= 2; ++id) {
    cache.Append(id, 4);
    cache.Publish(id, "", Tokens{1, 2, 3, 4});
  }
  EXPECT_TRUE(cache.Keep(1));
  EXPECT_FALSE(cache.Keep(2));
}

TEST(PrefixCacheTest, AGrowingSequenceIsNotFound) {
  PrefixCache cache(true, true);
  cache.Append(1, 4);
  EXPECT_EQ(cache.Find("", Tokens{1, 2, 3, 4}, 4).length, 0);
  EXPECT_FALSE(cache.Keep(1));
  // The runner may have more tokens than its session knows, never fewer.
  cache.Publish(1, "", Tokens{1, 2, 3, 4, 5});
  EXPECT_EQ(cache.Find("", Tokens{1, 2, 3, 4}, 4).length, 0);
  cache.Publish(1, "", Tokens{1, 2, 3});
  EXPECT_EQ(cache.Find("", Tokens{1, 2, 3, 4}, 4).length, 3);
}

// Against lists of tokens and cells, in 40,000 random steps.
TEST(PrefixCacheTest, RandomStepsAgreeWithLists) {
  std::mt19937 random(14);
  PrefixCache cache(true, true);
  struct Sequence {
    Tokens tokens;
    std::vector<int> cells;
    std::string tenant;
    bool is_published = false;
    bool is_kept = false;
    int pins = 0;
  };
  std::map<int64_t, Sequence> sequences;
  int last_cell = 0;
  int64_t last_id = 0;
  const auto pick = [&](auto allowed) -> int64_t {
    std::vector<int64_t> ids;
    for (const auto& [id, sequence] : sequences) {
      if (allowed(sequence)) ids.push_back(id);
    }
    return ids.empty() ? 0 : ids[random() % ids.size()];
  };
  const auto tokens_of = [&](size_t count) {
    Tokens tokens(count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 2);
    return tokens;
  };
  int finds = 0;
  int64_t evictions = 0;
  for (int step = 0; step < 40'000; ++step) {
    const auto growing = [](const Sequence& s) { return !s.is_published; };
    switch (random() % 8) {
      case 0: {
        const int64_t id = ++last_id;
        sequences[id].tenant = random() % 4 == 0 ? "b" : "a";
        [[fallthrough]];
      }
      case 1: {
        const int64_t id = pick(growing);
        if (id == 0) break;
        for (const TokenId token : tokens_of(1 + random() % 6)) {
          sequences[id].tokens.push_back(token);
          sequences[id].cells.push_back(++last_cell);
          cache.Append(id, 1);
        }
        break;
      }
      case 2: {
        const int64_t source = pick([](const Sequence& s) { return s.is_published; });
        if (source == 0) break;
        const int64_t id = ++last_id;
        const size_t length = 1 + random() % sequences[source].tokens.size();
        Sequence copy;
        copy.tenant = sequences[source].tenant;
        copy.tokens.assign(sequences[source].tokens.begin(), sequences[source].tokens.begin() + length);
        copy.cells.assign(sequences[source].cells.begin(), sequences[source].cells.begin() + length);
        sequences[id] = copy;
        cache.Copy(id, source,
                   length == sequences[source].tokens.size() && random() % 2 == 0
                       ? std::nullopt
                       : std::optional<int64_t>(static_cast<int64_t>(length)));
        break;
      }
      case 3: {
        const int64_t id = pick([](const Sequence& s) { return !s.is_published && !s.tokens.empty(); });
        if (id == 0) break;
        sequences[id].is_published = true;
        cache.Publish(id, sequences[id].tenant, sequences[id].tokens);
        break;
      }
      case 4: {
        const int64_t id = pick([](const Sequence& s) { return s.is_published && !s.is_kept; });
        if (id == 0) break;
        if (cache.Keep(id)) {
          sequences[id].is_kept = true;
        } else {
          const bool has_twin = std::any_of(sequences.begin(), sequences.end(), [&](const auto& other) {
            return other.first != id && other.second.is_kept && other.second.tokens == sequences[id].tokens &&
                   other.second.tenant == sequences[id].tenant;
          });
          EXPECT_TRUE(has_twin);
          cache.Forget(id);
          sequences.erase(id);
        }
        break;
      }
      case 5: {
        const int64_t id = pick([](const Sequence& s) { return s.is_published && s.pins < 2; });
        if (id != 0 && random() % 2 == 0) {
          cache.Pin(id);
          ++sequences[id].pins;
        }
        const int64_t pinned = pick([](const Sequence& s) { return s.pins > 0; });
        if (pinned != 0 && random() % 3 != 0) {
          cache.Unpin(pinned);
          --sequences[pinned].pins;
        }
        break;
      }
      case 6: {
        if (random() % 8 == 0) {
          const int64_t id = pick([](const Sequence& s) { return s.pins == 0; });
          if (id != 0) {
            cache.Forget(id);
            sequences.erase(id);
          }
        }
        const auto most = static_cast<int64_t>(random() % 60);
        for (const int64_t id : cache.ShrinkTo(8, most)) {
          ASSERT_TRUE(sequences.at(id).is_kept);
          ASSERT_EQ(sequences.at(id).pins, 0);
          sequences.erase(id);
          ++evictions;
        }
        break;
      }
      default: {
        const Tokens tokens = tokens_of(1 + random() % 20);
        const auto most = static_cast<int64_t>(random() % (tokens.size() + 1));
        int64_t longest = 0;
        for (const auto& [id, s] : sequences) {
          if (!s.is_published || s.tenant != "a") continue;
          const auto end = std::mismatch(s.tokens.begin(), s.tokens.end(), tokens.begin(), tokens.end()).first;
          longest = std::max<int64_t>(longest, std::min<int64_t>(most, end - s.tokens.begin()));
        }
        const PrefixCache::Match match = cache.Find("a", tokens, most);
        ASSERT_EQ(match.length, longest);
        if (longest > 0) {
          const Sequence& found = sequences.at(match.sequence_id);
          ASSERT_TRUE(std::equal(tokens.begin(), tokens.begin() + longest, found.tokens.begin()));
          ++finds;
        }
      }
    }
    std::set<int> cells;
    int64_t kept = 0;
    int64_t pinned = 0;
    for (const auto& [id, s] : sequences) {
      ASSERT_EQ(cache.LengthOf(id), static_cast<int64_t>(s.tokens.size()));
      if (!s.is_kept) continue;
      ++kept;
      cells.insert(s.cells.begin(), s.cells.end());
      if (s.pins > 0) pinned += static_cast<int64_t>(s.tokens.size());
    }
    for (const auto& [id, s] : sequences) {
      if (s.is_kept) continue;
      for (const int cell : s.cells) cells.erase(cell);
    }
    ASSERT_EQ(cache.kept_sequences(), kept);
    ASSERT_EQ(cache.kept_cells(), static_cast<int64_t>(cells.size()));
    ASSERT_EQ(cache.pinned_tokens(), pinned);
  }
  EXPECT_GT(finds, 1000);
  EXPECT_GT(evictions, 100);
}

}  // namespace
}  // namespace logitd::server

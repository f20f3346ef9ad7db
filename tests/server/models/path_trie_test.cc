#include "server/models/path_trie.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace logitd::server {
namespace {

using Tokens = std::vector<TokenId>;

const auto kAll = [](size_t, size_t) { return true; };
const auto kNowhere = [](const TokenPath&, size_t) { return false; };

TEST(PathTrieTest, WhatPathsShareIsANode) {
  const Tokens context = {1, 2, 3};
  const Tokens xy = {7, 8}, xw = {7, 9}, zv = {6, 5};
  std::vector<TokenPath> paths = {{context, xy, {}}, {context, xw, {}}, {context, zv, {}}};
  std::sort(paths.begin(), paths.end(), FedBefore);
  EXPECT_EQ(FedTokens(paths), 5);
  const std::vector<TrieNode> nodes = BuildTrie(paths, kAll, kNowhere);
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[0].parent, -1);
  EXPECT_EQ(nodes[0].end, 3u);
  EXPECT_EQ(nodes[0].targets.size(), 3u);
  EXPECT_EQ(nodes[1].end - nodes[1].begin, 1u);
  EXPECT_EQ(nodes[1].targets.size() + nodes[2].targets.size(), 3u);
}

TEST(PathTrieTest, ManyCandidatesOfOneTokenNeedTheContextAlone) {
  const Tokens context = {1, 2, 3};
  std::vector<Tokens> candidates;
  for (TokenId token = 0; token < 1024; ++token) candidates.push_back({token});
  std::vector<TokenPath> paths;
  for (const Tokens& candidate : candidates) paths.push_back({context, candidate, {}});
  const std::vector<TrieNode> nodes = BuildTrie(paths, kAll, kNowhere);
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].targets.size(), 1024u);
  EXPECT_EQ(FedTokens(paths), 3);
}

TEST(PathTrieTest, APathThatGoesOnIsNoBranch) {
  const Tokens context = {1, 2, 3};
  const Tokens one = {4}, two = {4, 5, 6};
  const std::vector<TokenPath> paths = {{context, one, {}}, {context, two, {}}};
  const std::vector<TrieNode> nodes = BuildTrie(paths, kAll, kNowhere);
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].end, 5u);
}

TEST(PathTrieTest, WhatNobodyNeedsIsLeftOut) {
  const Tokens context = {1, 2, 3};
  const Tokens xyz = {7, 8, 4}, wv = {6, 5};
  std::vector<TokenPath> paths = {{context, wv, {}}, {context, xyz, {}}};
  std::sort(paths.begin(), paths.end(), FedBefore);
  // Only the second target of the second path is wanted: row 3, after the first target.
  const auto nodes = BuildTrie(
      paths, [](size_t path, size_t target) { return path == 1 && target == 1; }, kNowhere);
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[1].begin, 3u);
  EXPECT_EQ(nodes[1].end, 4u);
  EXPECT_TRUE(BuildTrie(
                  paths, [](size_t, size_t) { return false; }, kNowhere)
                  .empty());
}

// In random sets of paths: each target is asked for once, in the row that it belongs to; nodes hold the tokens of their
// paths; no two nodes hold the same tokens; together they hold as many as FedTokens says.
TEST(PathTrieTest, RandomPathsArePutTogether) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::pair<Tokens, Tokens>> texts(1 + random() % 12);
    for (auto& [context, targets] : texts) {
      context.resize(1 + random() % 5);
      targets.resize(1 + random() % 4);
      for (Tokens* tokens : {&context, &targets}) {
        for (TokenId& token : *tokens) token = static_cast<TokenId>(random() % 2);
      }
    }
    std::vector<TokenPath> paths;
    for (const auto& [context, targets] : texts) paths.push_back({context, targets, {}});
    std::stable_sort(paths.begin(), paths.end(), FedBefore);
    const bool is_partial = random() % 2 == 0;
    std::set<std::pair<size_t, size_t>> wanted;
    for (size_t p = 0; p < paths.size(); ++p) {
      for (size_t t = 0; t < paths[p].targets.size(); ++t) {
        if (!is_partial || random() % 3 == 0) wanted.emplace(p, t);
      }
    }
    const size_t boundary = 1 + random() % 6;
    const bool has_boundary = random() % 3 == 0;
    const std::vector<TrieNode> nodes = BuildTrie(
        paths,
        [&](size_t path, size_t target) {
          return wanted.contains({path, target});
        },
        [&](const TokenPath&, size_t index) { return has_boundary && index == boundary; });
    std::set<std::pair<size_t, size_t>> asked;
    std::set<Tokens> histories;
    size_t tokens = 0;
    for (size_t i = 0; i < nodes.size(); ++i) {
      const TrieNode& node = nodes[i];
      ASSERT_LT(node.parent, static_cast<int>(i));
      ASSERT_LT(node.begin, node.end);
      ASSERT_EQ(node.begin, node.parent < 0 ? 0 : nodes[static_cast<size_t>(node.parent)].end);
      ASSERT_EQ(node.depth, node.parent < 0 ? 0 : nodes[static_cast<size_t>(node.parent)].depth + 1);
      Tokens history;
      for (size_t k = 0; k < node.end; ++k) {
        history.push_back(paths[node.path].fed(k));
        if (k >= node.begin) {
          ASSERT_TRUE(histories.insert(history).second) << "tokens twice";
          ++tokens;
        }
        if (k > node.begin && has_boundary) {
          ASSERT_NE(k, boundary);
        }
      }
      if (node.parent >= 0) {
        const TrieNode& parent = nodes[static_cast<size_t>(node.parent)];
        for (size_t k = 0; k < parent.end; ++k) ASSERT_EQ(paths[parent.path].fed(k), history[k]);
        ASSERT_THAT(parent.children, ::testing::Contains(static_cast<int>(i)));
      }
      size_t last_row = 0;
      for (const TrieTarget& target : node.targets) {
        ASSERT_TRUE(asked.emplace(target.path, target.target).second);
        ASSERT_EQ(target.row, paths[target.path].row_of(target.target));
        ASSERT_GE(target.row, node.begin);
        ASSERT_LT(target.row, node.end);
        ASSERT_GE(target.row, last_row);
        last_row = target.row;
        for (size_t k = 0; k <= target.row; ++k) ASSERT_EQ(paths[target.path].fed(k), history[k]);
      }
      ASSERT_TRUE(!node.targets.empty() || !node.children.empty());
    }
    ASSERT_EQ(asked, wanted);
    if (!is_partial) {
      ASSERT_EQ(static_cast<int64_t>(tokens), FedTokens(paths));
    }
  }
}

}  // namespace
}  // namespace logitd::server

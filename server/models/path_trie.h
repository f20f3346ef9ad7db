// The token trie of some paths: tokens that they share are a node, which is evaluated once.
//
//   paths            trie
//   a b c | x y      [a b c] -+- [x]        row c: targets x and z; row x: target y
//   a b c | x w                             row x: targets y and w
//   a b c | z v               +- [z]        row z: target v
//
// A path is a context and the targets after it. Its last target is never fed. Row i of a path is the one that predicts
// target i: it comes after the context's last token, or after target i - 1.
//
// Pure computation.
#ifndef LOGITD_SERVER_MODELS_PATH_TRIE_H_
#define LOGITD_SERVER_MODELS_PATH_TRIE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/types.h"

namespace logitd::server {

// Tokens, and the tokens to score after them.
struct TokenPath {
  // At least one.
  std::span<const TokenId> context;
  // At least one.
  std::span<const TokenId> targets;
  // The tokens that are named for each target, besides those named for all; empty: none.
  std::span<const std::vector<TokenId>> named;

  // The tokens that are fed: the context, and all targets except the last.
  size_t fed_count() const { return context.size() + targets.size() - 1; }
  TokenId fed(size_t i) const { return i < context.size() ? context[i] : targets[i - context.size()]; }
  // The index among the fed tokens of the one after which row `target` comes.
  size_t row_of(size_t target) const { return context.size() - 1 + target; }
};

// The number of fed tokens with which both paths begin.
size_t CommonFed(const TokenPath& a, const TokenPath& b);
// Orders paths by their fed tokens, then as they come.
bool FedBefore(const TokenPath& a, const TokenPath& b);

// The number of tokens that must be fed for all of `paths`: those of their trie. `paths` come in any order.
int64_t FedTokens(std::vector<TokenPath> paths);

// A target to score in a row of a node.
struct TrieTarget {
  // The row's index among the fed tokens.
  size_t row = 0;
  // Indices of the path and of its target.
  size_t path = 0;
  size_t target = 0;
};

// Fed tokens [begin, end) of each of its paths.
struct TrieNode {
  // Index of the node before it; -1: none.
  int parent = -1;
  // A path that goes through it.
  size_t path = 0;
  size_t begin = 0;
  size_t end = 0;
  // Number of nodes after which it comes.
  int depth = 0;
  std::vector<int> children;
  // In order of their rows.
  std::vector<TrieTarget> targets;
};

// The trie of `paths`, parents before children. Nodes without a target in or below them are left out, and so are tokens
// that nobody needs. REQUIRES: `paths` are sorted (FedBefore).
// `is_wanted(path, target)`: the target still has to be scored.
// `ends_node(path, index)`: a node must end before that fed token of the path. It may depend on the fed tokens up to
// there, and on nothing else that differs between paths that share them.
std::vector<TrieNode> BuildTrie(std::span<const TokenPath> paths, const std::function<bool(size_t, size_t)>& is_wanted,
                                const std::function<bool(const TokenPath&, size_t)>& ends_node);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_PATH_TRIE_H_

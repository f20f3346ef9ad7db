#include "server/models/path_trie.h"

#include <algorithm>
#include <utility>

namespace logitd::server {
namespace {

// Removes nodes that nobody needs, and the tokens at the ends of others.
std::vector<TrieNode> Pruned(std::vector<TrieNode> nodes) {
  std::vector<bool> is_needed(nodes.size(), false);
  for (size_t i = nodes.size(); i-- > 0;) {
    TrieNode& node = nodes[i];
    std::stable_sort(node.targets.begin(), node.targets.end(),
                     [](const TrieTarget& a, const TrieTarget& b) { return a.row < b.row; });
    const bool has_children = std::any_of(node.children.begin(), node.children.end(),
                                          [&](int child) { return is_needed[static_cast<size_t>(child)]; });
    is_needed[i] = has_children || !node.targets.empty();
    if (!has_children && !node.targets.empty()) node.end = node.targets.back().row + 1;
  }
  std::vector<TrieNode> left;
  std::vector<int> places(nodes.size(), -1);
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!is_needed[i]) continue;
    places[i] = static_cast<int>(left.size());
    TrieNode& node = left.emplace_back(std::move(nodes[i]));
    node.children.clear();
    if (node.parent < 0) continue;
    node.parent = places[static_cast<size_t>(node.parent)];
    left[static_cast<size_t>(node.parent)].children.push_back(places[i]);
  }
  return left;
}

}  // namespace

size_t CommonFed(const TokenPath& a, const TokenPath& b) {
  const size_t most = std::min(a.fed_count(), b.fed_count());
  size_t common = 0;
  if (a.context.data() == b.context.data()) common = std::min({most, a.context.size(), b.context.size()});
  while (common < most && a.fed(common) == b.fed(common)) ++common;
  return common;
}

bool FedBefore(const TokenPath& a, const TokenPath& b) {
  const size_t common = CommonFed(a, b);
  if (common == b.fed_count()) return false;
  return common == a.fed_count() || a.fed(common) < b.fed(common);
}

int64_t FedTokens(std::vector<TokenPath> paths) {
  std::sort(paths.begin(), paths.end(), FedBefore);
  size_t tokens = 0;
  for (size_t i = 0; i < paths.size(); ++i) {
    tokens += paths[i].fed_count() - (i == 0 ? 0 : CommonFed(paths[i - 1], paths[i]));
  }
  return static_cast<int64_t>(tokens);
}

std::vector<TrieNode> BuildTrie(std::span<const TokenPath> paths, const std::function<bool(size_t, size_t)>& is_wanted,
                                const std::function<bool(const TokenPath&, size_t)>& ends_node) {
  std::vector<TrieNode> nodes;
  // The nodes of the last path, from its first token on.
  std::vector<int> chain;
  const auto append_node = [&](size_t path, size_t begin, size_t end) {
    TrieNode& node = nodes.emplace_back();
    node.parent = chain.empty() ? -1 : chain.back();
    node.path = path;
    node.begin = begin;
    node.end = end;
    const int index = static_cast<int>(nodes.size()) - 1;
    if (node.parent >= 0) nodes[static_cast<size_t>(node.parent)].children.push_back(index);
    chain.push_back(index);
  };
  for (size_t p = 0; p < paths.size(); ++p) {
    const TokenPath& path = paths[p];
    const size_t common = p == 0 ? 0 : CommonFed(paths[p - 1], path);
    while (!chain.empty() && nodes[static_cast<size_t>(chain.back())].begin >= common) chain.pop_back();
    if (!chain.empty() && nodes[static_cast<size_t>(chain.back())].end > common && path.fed_count() > common) {
      // The paths part within this node: its rest becomes a child, which takes over its children and later targets.
      const int upper = chain.back();
      const int lower = static_cast<int>(nodes.size());
      nodes.push_back(nodes[static_cast<size_t>(upper)]);
      TrieNode& first = nodes[static_cast<size_t>(upper)];
      TrieNode& rest = nodes.back();
      first.end = common;
      rest.begin = common;
      rest.parent = upper;
      first.children = {lower};
      for (const int child : rest.children) nodes[static_cast<size_t>(child)].parent = lower;
      std::erase_if(first.targets, [&](const TrieTarget& target) { return target.row >= common; });
      std::erase_if(rest.targets, [&](const TrieTarget& target) { return target.row < common; });
    }
    for (size_t begin = common; begin < path.fed_count();) {
      size_t end = begin + 1;
      while (end < path.fed_count() && !ends_node(path, end)) ++end;
      TrieNode* const last = chain.empty() ? nullptr : &nodes[static_cast<size_t>(chain.back())];
      if (last != nullptr && last->end == begin && last->children.empty() && !ends_node(path, begin)) {
        // The path before ends here.
        last->end = end;
        last->path = p;
      } else {
        append_node(p, begin, end);
      }
      begin = end;
    }
    // A target's row is in the node of the chain that holds it.
    size_t next = 0;
    for (size_t i = 0; i < path.targets.size(); ++i) {
      if (!is_wanted(p, i)) continue;
      while (nodes[static_cast<size_t>(chain[next])].end <= path.row_of(i)) ++next;
      nodes[static_cast<size_t>(chain[next])].targets.push_back({path.row_of(i), p, i});
    }
  }
  // Splits may have put parents behind their children.
  std::vector<size_t> order;
  std::vector<int> places(nodes.size(), -1);
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].parent < 0) order.push_back(i);
  }
  for (size_t next = 0; next < order.size(); ++next) {
    for (const int child : nodes[order[next]].children) order.push_back(static_cast<size_t>(child));
  }
  std::vector<TrieNode> sorted;
  for (const size_t i : order) {
    places[i] = static_cast<int>(sorted.size());
    sorted.push_back(std::move(nodes[i]));
  }
  for (TrieNode& node : sorted) {
    if (node.parent >= 0) node.parent = places[static_cast<size_t>(node.parent)];
    for (int& child : node.children) child = places[static_cast<size_t>(child)];
    node.depth = node.parent < 0 ? 0 : sorted[static_cast<size_t>(node.parent)].depth + 1;
  }
  return Pruned(std::move(sorted));
}

}  // namespace logitd::server

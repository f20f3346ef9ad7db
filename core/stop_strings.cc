#include "core/stop_strings.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace logitd {

StopStrings::StopStrings(const std::vector<std::string>& strings) {
  // Sorted, so that the strings with one prefix follow each other, and the prefix itself comes first if it is a string.
  std::vector<std::pair<std::string_view, int32_t>> sorted;
  for (const std::string& string : strings) sorted.emplace_back(string, static_cast<int32_t>(sorted.size()));
  std::sort(sorted.begin(), sorted.end());
  const auto is_equal = [](const auto& a, const auto& b) { return a.first == b.first; };
  sorted.erase(std::unique(sorted.begin(), sorted.end(), is_equal), sorted.end());

  // Level by level: each node has its strings, [begin, end), and a fallback above it that is complete.
  struct Range {
    size_t begin;
    size_t end;
    size_t depth;
  };
  std::vector<Range> ranges = {{0, sorted.size(), 0}};
  nodes_.emplace_back();
  for (size_t i = 0; i < nodes_.size(); ++i) {
    auto [begin, end, depth] = ranges[i];
    const Node fallback = nodes_[static_cast<size_t>(nodes_[i].fallback)];
    nodes_[i].match_index = fallback.match_index;
    nodes_[i].match_length = fallback.match_length;
    if (depth > 0 && sorted[begin].first.size() == depth) {
      nodes_[i].match_index = sorted[begin].second;
      nodes_[i].match_length = static_cast<int32_t>(depth);
      ++begin;
    }
    nodes_[i].first_child = static_cast<int32_t>(nodes_.size());
    while (begin < end) {
      const char byte = sorted[begin].first[depth];
      size_t next = begin;
      while (next < end && sorted[next].first[depth] == byte) ++next;
      Node child;
      child.byte = static_cast<unsigned char>(byte);
      if (depth > 0) child.fallback = Next(nodes_[i].fallback, byte);
      nodes_.push_back(child);
      ranges.push_back({begin, next, depth + 1});
      ++nodes_[i].child_count;
      begin = next;
    }
    // A prefix that no string continues can only go on as one of its suffixes.
    nodes_[i].held_bytes = nodes_[i].child_count > 0 ? static_cast<int32_t>(depth) : fallback.held_bytes;
  }
}

StopStrings::State StopStrings::Child(State state, unsigned char byte) const {
  const Node& node = nodes_[static_cast<size_t>(state)];
  const auto begin = nodes_.begin() + node.first_child;
  const auto end = begin + node.child_count;
  const auto found =
      std::lower_bound(begin, end, byte, [](const Node& child, unsigned char b) { return child.byte < b; });
  return found != end && found->byte == byte ? static_cast<State>(found - nodes_.begin()) : -1;
}

StopStrings::State StopStrings::Next(State state, char byte) const {
  while (true) {
    const State child = Child(state, static_cast<unsigned char>(byte));
    if (child >= 0) return child;
    if (state == kStart) return kStart;
    // Each fallback shortens the held bytes, and each byte adds at most one: O(1) a byte on average.
    state = nodes_[static_cast<size_t>(state)].fallback;
  }
}

std::optional<StopStrings::Match> StopStrings::MatchAt(State state) const {
  const Node& node = nodes_[static_cast<size_t>(state)];
  if (node.match_index < 0) return std::nullopt;
  return Match{node.match_index, node.match_length};
}

}  // namespace logitd

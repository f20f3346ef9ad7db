#include "core/comparison_graph.h"

#include <algorithm>
#include <span>
#include <string>

#include "core/errors.h"

namespace logitd {
namespace {

using Wins = std::vector<std::pair<int32_t, int32_t>>;

// The strongly connected components of a graph, by Tarjan's algorithm with a stack of its own: a long chain of wins
// would overflow the thread's.
class Components {
 public:
  // `wins`: sorted.
  Components(int32_t item_count, const Wins& wins)
      : wins_(wins), first_win_(static_cast<size_t>(item_count) + 1), component_of_(item_count, kNone) {
    for (const auto& [winner, loser] : wins) ++first_win_[static_cast<size_t>(winner) + 1];
    for (size_t item = 0; item < component_of_.size(); ++item) first_win_[item + 1] += first_win_[item];
    order_.assign(component_of_.size(), kNone);
    low_.assign(component_of_.size(), kNone);
    for (int32_t item = 0; item < item_count; ++item) {
      if (order_[static_cast<size_t>(item)] == kNone) Visit(item);
    }
  }

  int32_t count() const { return count_; }
  // The component of each item.
  const std::vector<int32_t>& of() const { return component_of_; }

 private:
  static constexpr int32_t kNone = -1;
  struct Frame {
    int32_t item;
    size_t next_win;
  };

  void Enter(int32_t item) {
    const auto i = static_cast<size_t>(item);
    order_[i] = low_[i] = next_order_++;
    open_.push_back(item);
    frames_.push_back({item, first_win_[i]});
  }

  void Visit(int32_t root) {
    Enter(root);
    while (!frames_.empty()) {
      Frame& frame = frames_.back();
      const auto item = static_cast<size_t>(frame.item);
      if (frame.next_win < first_win_[item + 1]) {
        const int32_t loser = wins_[frame.next_win++].second;
        const auto other = static_cast<size_t>(loser);
        if (order_[other] == kNone) {
          Enter(loser);
        } else if (component_of_[other] == kNone) {
          low_[item] = std::min(low_[item], order_[other]);
        }
        continue;
      }
      if (low_[item] == order_[item]) Close(frame.item);
      frames_.pop_back();
      if (frames_.empty()) break;
      int32_t& low = low_[static_cast<size_t>(frames_.back().item)];
      low = std::min(low, low_[item]);
    }
  }

  // The open items from `root` on are a component.
  void Close(int32_t root) {
    int32_t item = kNone;
    do {
      item = open_.back();
      open_.pop_back();
      component_of_[static_cast<size_t>(item)] = count_;
    } while (item != root);
    ++count_;
  }

  const Wins& wins_;
  std::vector<size_t> first_win_;
  std::vector<int32_t> component_of_;
  std::vector<int32_t> order_;
  std::vector<int32_t> low_;
  std::vector<int32_t> open_;
  std::vector<Frame> frames_;
  int32_t next_order_ = 0;
  int32_t count_ = 0;
};

// "4, 5, 6 and 12 more".
std::string ListOf(std::span<const int32_t> items) {
  constexpr size_t kMaxShown = 8;
  std::string text;
  for (size_t i = 0; i < std::min(items.size(), kMaxShown); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(items[i]);
  }
  if (items.size() > kMaxShown) text += " and " + std::to_string(items.size() - kMaxShown) + " more";
  return text;
}

// "item 4 wins", "items 4, 5 win".
std::string Say(std::span<const int32_t> items, const char* one, const char* several) {
  return (items.size() == 1 ? "item " : "items ") + ListOf(items) + (items.size() == 1 ? one : several);
}

}  // namespace

absl::Status ComparisonGraph::Check() const {
  Wins wins = wins_;
  std::sort(wins.begin(), wins.end());
  wins.erase(std::unique(wins.begin(), wins.end()), wins.end());
  const Components components(item_count_, wins);
  if (components.count() == 1) return absl::OkStatus();

  const std::vector<int32_t>& of = components.of();
  std::vector<bool> has_won(static_cast<size_t>(components.count()));
  std::vector<bool> has_lost(static_cast<size_t>(components.count()));
  for (const auto& [winner, loser] : wins) {
    const auto from = static_cast<size_t>(of[static_cast<size_t>(winner)]);
    const auto to = static_cast<size_t>(of[static_cast<size_t>(loser)]);
    if (from == to) continue;
    has_won[from] = true;
    has_lost[to] = true;
  }
  std::vector<int32_t> apart, winners, losers;
  std::vector<int32_t> sizes(static_cast<size_t>(components.count()));
  for (const int32_t group : of) ++sizes[static_cast<size_t>(group)];
  // A group that is apart from the others; of several the smallest, and of those that of the last item.
  int32_t apart_group = -1;
  for (const int32_t group : of) {
    const auto g = static_cast<size_t>(group);
    if (has_won[g] || has_lost[g]) continue;
    if (apart_group == -1 || sizes[g] <= sizes[static_cast<size_t>(apart_group)]) apart_group = group;
  }
  for (int32_t item = 0; item < item_count_; ++item) {
    const int32_t group = of[static_cast<size_t>(item)];
    if (group == apart_group) apart.push_back(item);
    if (!has_lost[static_cast<size_t>(group)]) winners.push_back(item);
    if (!has_won[static_cast<size_t>(group)]) losers.push_back(item);
  }
  constexpr char kBound[] = "compare every group of items with the rest, with wins and losses";
  if (!apart.empty()) {
    const std::string because = Say(apart, " is never compared with the others", " are never compared with the others");
    return errors::StrengthsUndefined(kBound, because, ListOf(apart));
  }
  return errors::StrengthsUndefined(
      kBound,
      Say(winners, " wins every comparison with the others", " win every comparison with the others") + "; " +
          Say(losers, " loses every one", " lose every one"),
      ListOf(winners) + ", " + ListOf(losers));
}

}  // namespace logitd

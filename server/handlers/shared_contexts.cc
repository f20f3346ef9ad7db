#include "server/handlers/shared_contexts.h"

#include <algorithm>
#include <span>
#include <utility>

namespace logitd::server {
namespace {

// A group costs a sequence and a round, so it must save at least this many tokens.
constexpr size_t kLeastSaving = 16;

// The part of a context that may be shared.
std::span<const TokenId> BodyOf(const ItemInput& item, size_t continuation) {
  const std::vector<TokenId>& context = *item.continuations[continuation].context;
  return std::span(context).first(context.size() - 1);
}

size_t CommonPrefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const auto ends = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(ends.first - a.begin());
}

}  // namespace

std::vector<ContextGroup> GroupByContext(const ItemInput& item, size_t item_index) {
  std::vector<size_t> all;
  for (size_t j = 0; j < item.continuations.size(); ++j) {
    if (item.continuations[j].status.ok()) all.push_back(j);
  }
  std::stable_sort(all.begin(), all.end(), [&item](size_t a, size_t b) {
    if (item.continuations[a].context == item.continuations[b].context) return false;
    const auto x = BodyOf(item, a);
    const auto y = BodyOf(item, b);
    return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end());
  });
  std::vector<ContextGroup> groups;
  // Sorted neighbours share the most. Each round takes one set and puts the parts that it splits off aside.
  std::vector<std::vector<size_t>> left;
  if (!all.empty()) left.push_back(std::move(all));
  while (!left.empty()) {
    const std::vector<size_t> set = std::move(left.back());
    left.pop_back();
    ContextGroup group{item_index, CommonPrefix(BodyOf(item, set.front()), BodyOf(item, set.back())), {}};
    const size_t shared = group.shared_count;
    const auto next_token = [&](size_t j) {
      const auto body = BodyOf(item, j);
      return body.size() > shared ? int64_t{body[shared]} : int64_t{-1};
    };
    for (size_t begin = 0; begin < set.size();) {
      size_t end = begin + 1;
      while (end < set.size() && next_token(set[end]) == next_token(set[begin])) ++end;
      const size_t more = CommonPrefix(BodyOf(item, set[begin]), BodyOf(item, set[end - 1])) - shared;
      // On its own the part evaluates `shared` again, but its further common tokens only once.
      const bool is_whole = begin == 0 && end == set.size();
      std::vector<size_t> part(set.begin() + static_cast<ptrdiff_t>(begin), set.begin() + static_cast<ptrdiff_t>(end));
      if (!is_whole && (part.size() - 1) * more > shared + kLeastSaving) {
        left.push_back(std::move(part));
      } else {
        group.continuations.insert(group.continuations.end(), part.begin(), part.end());
      }
      begin = end;
    }
    if (group.continuations.empty()) continue;
    std::sort(group.continuations.begin(), group.continuations.end());
    // The rest may have more in common than the whole set.
    group.shared_count = BodyOf(item, group.continuations.front()).size();
    for (const size_t j : group.continuations) {
      group.shared_count =
          std::min(group.shared_count,
                   CommonPrefix(BodyOf(item, group.continuations.front()).first(group.shared_count), BodyOf(item, j)));
    }
    groups.push_back(std::move(group));
  }
  std::sort(groups.begin(), groups.end(), [](const ContextGroup& a, const ContextGroup& b) {
    return a.continuations.front() < b.continuations.front();
  });
  return groups;
}

}  // namespace logitd::server

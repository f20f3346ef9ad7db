#include "server/models/prefix_cache.h"

#include <algorithm>
#include <utility>

namespace logitd::server {

// The tokens between two places where sequences part or end.
struct PrefixCache::Node {
  std::vector<TokenId> tokens;
  // Null: a root.
  Node* parent = nullptr;
  // The name of a root's tree.
  std::string tenant;
  // Keyed by their first token.
  std::map<TokenId, std::unique_ptr<Node>> children;
  // The sequences that end here.
  std::set<int64_t> sequences;
};

namespace {

int64_t CommonLength(std::span<const TokenId> a, std::span<const TokenId> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

PrefixCache::PrefixCache(bool can_copy, bool can_trim) : can_copy_(can_copy), can_trim_(can_trim) {}

PrefixCache::~PrefixCache() {
  // Long chains must not be destroyed by recursion.
  entries_.clear();
  for (auto& [tenant, root] : roots_) {
    std::vector<std::unique_ptr<Node>> nodes;
    nodes.push_back(std::move(root));
    while (!nodes.empty()) {
      const std::unique_ptr<Node> node = std::move(nodes.back());
      nodes.pop_back();
      for (auto& [token, child] : node->children) nodes.push_back(std::move(child));
    }
  }
}

PrefixCache::Match PrefixCache::Find(const std::string& tenant, std::span<const TokenId> tokens, int64_t most) const {
  const auto root = roots_.find(tenant);
  if (root == roots_.end() || most <= 0) return {};
  std::span<const TokenId> left = tokens.first(std::min(tokens.size(), static_cast<size_t>(most)));
  int64_t length = 0;
  const Node* node = root->second.get();
  Match whole;
  while (!left.empty()) {
    const auto child = node->children.find(left.front());
    if (child == node->children.end()) break;
    node = child->second.get();
    const int64_t common = CommonLength(node->tokens, left);
    length += common;
    left = left.subspan(static_cast<size_t>(common));
    if (common < std::ssize(node->tokens)) break;
    if (!node->sequences.empty()) whole = {*node->sequences.begin(), length};
  }
  if (!can_trim_ || whole.length == length) return whole;
  // Every sequence below this node begins with the same tokens.
  while (node->sequences.empty()) node = node->children.begin()->second.get();
  return {*node->sequences.begin(), length};
}

std::shared_ptr<PrefixCache::Cells> PrefixCache::Split(Cells& cells, int64_t count) {
  auto first = std::make_shared<Cells>(Cells{std::move(cells.before), count, cells.keepers, cells.users});
  cells.count -= count;
  cells.before = first;
  return first;
}

void PrefixCache::Copy(int64_t sequence_id, int64_t source_id, std::optional<int64_t> length) {
  const auto source = entries_.find(source_id);
  if (source == entries_.end()) return;
  Entry copy;
  copy.length = std::min(source->second.length, length.value_or(source->second.length));
  copy.cells = source->second.cells;
  int64_t surplus = source->second.length - copy.length;
  while (surplus > 0 && surplus >= copy.cells->count) {
    surplus -= copy.cells->count;
    copy.cells = copy.cells->before;
  }
  if (surplus > 0) copy.cells = Split(*copy.cells, copy.cells->count - surplus);
  if (source->second.is_kept) kept_.splice(kept_.end(), kept_, source->second.place);
  CountCells(copy, 0, 1);
  entries_[sequence_id] = std::move(copy);
}

void PrefixCache::Append(int64_t sequence_id, int64_t tokens) {
  Entry& entry = entries_[sequence_id];
  // Cells that others share do not grow.
  if (entry.cells == nullptr || entry.cells.use_count() > 1) {
    entry.cells = std::make_shared<Cells>(Cells{std::move(entry.cells), 0, 0, 1});
  }
  entry.cells->count += tokens;
  entry.length += tokens;
}

PrefixCache::Node* PrefixCache::NodeOf(const std::string& tenant, std::span<const TokenId> tokens) {
  std::unique_ptr<Node>& root = roots_[tenant];
  if (root == nullptr) {
    root = std::make_unique<Node>();
    root->tenant = tenant;
  }
  Node* node = root.get();
  while (!tokens.empty()) {
    std::unique_ptr<Node>& child = node->children[tokens.front()];
    if (child == nullptr) {
      child = std::make_unique<Node>();
      child->tokens.assign(tokens.begin(), tokens.end());
      child->parent = node;
      return child.get();
    }
    const int64_t common = CommonLength(child->tokens, tokens);
    if (common < std::ssize(child->tokens)) {
      // Splits the child.
      auto upper = std::make_unique<Node>();
      upper->parent = node;
      upper->tokens.assign(child->tokens.begin(), child->tokens.begin() + common);
      child->tokens.erase(child->tokens.begin(), child->tokens.begin() + common);
      child->parent = upper.get();
      const TokenId next = child->tokens.front();
      upper->children[next] = std::move(child);
      child = std::move(upper);
    }
    node = child.get();
    tokens = tokens.subspan(static_cast<size_t>(common));
  }
  return node;
}

void PrefixCache::Publish(int64_t sequence_id, const std::string& tenant, std::span<const TokenId> tokens) {
  const auto found = entries_.find(sequence_id);
  if (!can_copy_ || tokens.empty() || found == entries_.end() || found->second.node != nullptr) return;
  // The runner may have evaluated more than its session has seen. Then only a part of the sequence may be copied.
  if (found->second.length < std::ssize(tokens)) return;
  if (found->second.length > std::ssize(tokens) && !can_trim_) return;
  found->second.node = NodeOf(tenant, tokens);
  found->second.node->sequences.insert(sequence_id);
}

void PrefixCache::CountCells(const Entry& entry, int64_t keepers, int64_t users) {
  for (Cells* cells = entry.cells.get(); cells != nullptr; cells = cells->before.get()) {
    if (cells->is_kept_only()) kept_cells_ -= cells->count;
    cells->keepers += keepers;
    cells->users += users;
    if (cells->is_kept_only()) kept_cells_ += cells->count;
  }
}

int64_t PrefixCache::CellsOfItsOwn(const Entry& entry) {
  int64_t own = 0;
  for (const Cells* cells = entry.cells.get(); cells != nullptr; cells = cells->before.get()) {
    if (cells->keepers == 1 && cells->users == 0) own += cells->count;
  }
  return own;
}

void PrefixCache::CountPinned(const Entry& entry, int sign) {
  if (!entry.is_kept || entry.pins == 0) return;
  pinned_sequences_ += sign;
  pinned_tokens_ += sign * entry.length;
}

bool PrefixCache::Keep(int64_t sequence_id) {
  const auto found = entries_.find(sequence_id);
  if (found == entries_.end() || found->second.node == nullptr) return false;
  Entry& entry = found->second;
  // Another kept sequence has the same tokens. A copy of its own serves nobody.
  const std::set<int64_t>& same = entry.node->sequences;
  const bool has_twin = entry.pins == 0 && std::any_of(same.begin(), same.end(), [this, sequence_id](int64_t other) {
                          return other != sequence_id && entries_.at(other).is_kept;
                        });
  if (has_twin) return false;
  entry.is_kept = true;
  entry.place = kept_.insert(kept_.end(), sequence_id);
  CountCells(entry, 1, -1);
  CountPinned(entry, 1);
  return true;
}

void PrefixCache::RemoveFromTree(int64_t sequence_id, Node* node) {
  node->sequences.erase(sequence_id);
  while (node->parent != nullptr && node->sequences.empty() && node->children.empty()) {
    Node* const parent = node->parent;
    const TokenId first = node->tokens.front();
    parent->children.erase(first);
    node = parent;
  }
  if (node->parent == nullptr) {
    if (node->children.empty()) roots_.erase(std::string(node->tenant));
    return;
  }
  // A node with a single child and no sequence of its own is one with it.
  if (!node->sequences.empty() || node->children.size() != 1) return;
  const std::unique_ptr<Node> child = std::move(node->children.begin()->second);
  node->children = std::move(child->children);
  node->sequences = std::move(child->sequences);
  node->tokens.insert(node->tokens.end(), child->tokens.begin(), child->tokens.end());
  for (auto& [token, grandchild] : node->children) grandchild->parent = node;
  for (const int64_t moved : node->sequences) entries_.at(moved).node = node;
}

void PrefixCache::Erase(Entries::iterator found) {
  Entry& entry = found->second;
  if (entry.node != nullptr) RemoveFromTree(found->first, entry.node);
  if (entry.is_kept) {
    CountPinned(entry, -1);
    CountCells(entry, -1, 0);
    kept_.erase(entry.place);
  } else {
    CountCells(entry, 0, -1);
  }
  // Long chains of cells must not be destroyed by recursion.
  std::shared_ptr<Cells> cells = std::move(entry.cells);
  entries_.erase(found);
  while (cells != nullptr && cells.use_count() == 1) {
    std::shared_ptr<Cells> before = std::move(cells->before);
    cells = std::move(before);
  }
}

void PrefixCache::Forget(int64_t sequence_id) {
  const auto found = entries_.find(sequence_id);
  if (found != entries_.end()) Erase(found);
}

int64_t PrefixCache::LengthOf(int64_t sequence_id) const {
  const auto found = entries_.find(sequence_id);
  return found == entries_.end() ? 0 : found->second.length;
}

void PrefixCache::Pin(int64_t sequence_id) {
  Entry& entry = entries_.at(sequence_id);
  CountPinned(entry, -1);
  ++entry.pins;
  CountPinned(entry, 1);
}

void PrefixCache::Unpin(int64_t sequence_id) {
  const auto found = entries_.find(sequence_id);
  if (found == entries_.end()) return;
  CountPinned(found->second, -1);
  --found->second.pins;
  CountPinned(found->second, 1);
}

std::vector<int64_t> PrefixCache::ShrinkTo(int64_t sequences, int64_t cells) {
  std::vector<int64_t> evicted;
  for (auto next = kept_.begin(); next != kept_.end() && (kept_sequences() > sequences || kept_cells_ > cells);) {
    const int64_t sequence_id = *next++;
    const auto entry = entries_.find(sequence_id);
    if (entry->second.pins > 0) continue;
    // Without it there would be no more room.
    if (kept_sequences() <= sequences && CellsOfItsOwn(entry->second) == 0) continue;
    Erase(entry);
    evicted.push_back(sequence_id);
  }
  return evicted;
}

}  // namespace logitd::server

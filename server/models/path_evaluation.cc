// Example: contexts [a b c] and [a b d], with the continuations [x y] after both and [z] after the second.
//
//   sorted paths   a b c | x y    a b d | z    a b d | x y
//   trie           [a b] -+- [c x]      targets x (row c) and y (row x)
//                         +- [d x]      targets z and x (row d), y (row x)
//   level 0        a b, as a sequence that others may copy too
//   level 1        c x and d x, as copies of it; three requests for rows, which give all five records
//
// - A row that several targets share is asked for once: the first is the request's target, and the others are named
//   ids, whose log-probs and ranks are the same numbers.
// - A runner that cannot copy takes one path at a time, and every path that is a beginning of it.
// - A long node is asked for in portions if rows come as logits, or if the caller may lose interest.
#include "server/models/path_evaluation.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "base/status_macros.h"

namespace logitd::server {
namespace {

// A copy of a shared sequence is worth keeping for later requests if it has at least this many tokens of its own.
constexpr size_t kWorthKeeping = 32;
// Sequences that a wave leaves for the next: its last path's, and the beginning of that.
constexpr int kMostRetained = 2;

}  // namespace

int MostPathsAtOnce(const RunnerCapacity& capacity) {
  // A path needs a sequence for its own node, and one for a node that it parts from.
  return std::clamp(capacity.max_sequences / 4 - 1, 1, 16);
}

PathEvaluation::PathEvaluation(const PathOptions& options, ServedModel& model, RecordCache& records,
                               const RequestContext& context, PathSink& sink)
    : options_(options),
      model_(model),
      records_(records),
      context_(context),
      sink_(sink),
      session_(model, options.scope),
      is_isolated_(options.scope.isolated_on.has_value()),
      can_fork_(!is_isolated_ && model.capabilities().fork && session_.capacity().max_sequences > 1) {}

RecordsWanted PathEvaluation::WantedFor(const TokenPath& path, size_t target) const {
  RecordsWanted wanted = options_.wanted;
  if (!path.named.empty()) {
    wanted.named_token_ids.insert(wanted.named_token_ids.end(), path.named[target].begin(), path.named[target].end());
  }
  return wanted;
}

const PathHash& PathEvaluation::HashBefore(size_t sorted, size_t target) {
  PathState& state = states_[index_of_[sorted]];
  if (!state.hash || target < state.hashed) {
    state.hash = hashes_[sorted];
    state.hashed = 0;
  }
  for (; state.hashed < target; ++state.hashed) state.hash->Add(sorted_[sorted].targets[state.hashed]);
  return *state.hash;
}

void PathEvaluation::LookUp(std::span<const TokenPath> paths) {
  std::vector<size_t> order(paths.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&paths](size_t a, size_t b) { return FedBefore(paths[a], paths[b]); });
  for (const size_t path : order) {
    index_of_.push_back(path);
    sorted_.push_back(paths[path]);
    states_[path].is_missing.assign(paths[path].targets.size(), true);
  }
  if (options_.as_logits || options_.scope.is_private || records_.max_bytes() == 0) return;
  const std::string model = model_.record_scope();
  for (size_t i = 0; i < sorted_.size(); ++i) {
    const TokenPath& path = sorted_[i];
    const bool has_same_context = i > 0 && sorted_[i - 1].context.data() == path.context.data() &&
                                  sorted_[i - 1].context.size() == path.context.size();
    if (has_same_context) {
      hashes_.push_back(hashes_.back());
    } else {
      PathHash& hash = hashes_.emplace_back(records_.Begin(model, options_.scope.tenant));
      for (const TokenId token : path.context) hash.Add(token);
    }
    PathState& state = states_[index_of_[i]];
    for (size_t target = 0; target < path.targets.size(); ++target) {
      auto record = path.named.empty()
                        ? records_.Find(HashBefore(i, target), path.targets[target], options_.wanted)
                        : records_.Find(HashBefore(i, target), path.targets[target], WantedFor(path, target));
      if (!record) continue;
      state.is_missing[target] = false;
      state.records.emplace(target, *std::move(record));
    }
  }
}

std::vector<PathEvaluation::Wave> PathEvaluation::PlanWaves() const {
  const RunnerCapacity& capacity = session_.capacity();
  const int most_paths = can_fork_ ? MostPathsAtOnce(capacity) : 1;
  std::vector<Wave> waves;
  int64_t most_tokens = 0;
  int wave_paths = 0;
  for (size_t i = 0; i < sorted_.size(); ++i) {
    const auto length = static_cast<int64_t>(sorted_[i].fed_count());
    const int64_t common = i == 0 ? 0 : static_cast<int64_t>(CommonFed(sorted_[i - 1], sorted_[i]));
    // A path that begins with all of the one before needs no sequence of its own.
    const bool goes_on =
        i > 0 && common == static_cast<int64_t>(sorted_[i - 1].fed_count()) && (!is_isolated_ || common == length);
    const bool fits = !waves.empty() && (goes_on || (can_fork_ && wave_paths < most_paths)) &&
                      waves.back().tokens + length - common <= most_tokens;
    if (!fits) {
      waves.push_back({i, i, 0, 0});
      wave_paths = 0;
      // A quarter of the cache, or an eighth beside a longer first path.
      most_tokens = std::min(capacity.max_cached_tokens,
                             std::max(capacity.max_cached_tokens / 4, length + capacity.max_cached_tokens / 8));
    }
    Wave& wave = waves.back();
    wave.tokens += fits ? length - common : length;
    if (!fits || !goes_on) ++wave_paths;
    wave.end = i + 1;
    const bool is_one = wave_paths == 1 && model_.capabilities().trim;
    wave.sequences = can_fork_ && !is_one ? std::min(2 * wave_paths, capacity.max_sequences) : 1;
  }
  return waves;
}

absl::Status PathEvaluation::Reserve(const std::vector<Wave>& waves) {
  const RunnerCapacity& capacity = session_.capacity();
  RoomNeeded room{1, 0, 0};
  for (const Wave& wave : waves) {
    room.sequences = std::max(room.sequences, wave.sequences);
    room.tokens = std::max(room.tokens, wave.tokens);
  }
  int64_t retained = 0;
  for (const TokenPath& path : sorted_) retained = std::max(retained, static_cast<int64_t>(path.fed_count()));
  retains_ = can_fork_ && waves.size() > 1 && room.sequences + kMostRetained <= capacity.max_sequences &&
             room.tokens + retained <= capacity.max_cached_tokens;
  if (retains_) room.sequences += kMostRetained;
  if (retains_) room.tokens += retained;
  room.begins_with = sorted_.front().context;
  return session_.Reserve(room, options_.field, context_);
}

absl::Status PathEvaluation::Run(std::span<const TokenPath> paths) {
  states_.resize(paths.size());
  LookUp(paths);
  for (size_t path = 0; path < paths.size(); ++path) Deliver(path);
  // Only paths that still miss something go on.
  size_t left = 0;
  for (size_t i = 0; i < sorted_.size(); ++i) {
    const std::vector<bool>& is_missing = states_[index_of_[i]].is_missing;
    if (!IsOpen(i) || std::none_of(is_missing.begin(), is_missing.end(), [](bool missing) { return missing; })) {
      continue;
    }
    sorted_[left] = sorted_[i];
    index_of_[left] = index_of_[i];
    if (!hashes_.empty()) hashes_[left] = hashes_[i];
    ++left;
  }
  sorted_.resize(left);
  index_of_.resize(left);
  if (left == 0) return absl::OkStatus();
  const std::vector<Wave> waves = PlanWaves();
  RETURN_IF_ERROR(Reserve(waves));
  for (const Wave& wave : waves) RETURN_IF_ERROR(RunWave(wave, &wave == &waves.back()));
  return absl::OkStatus();
}

std::vector<size_t> PathEvaluation::MembersOf(const Wave& wave) const {
  std::vector<size_t> members;
  for (size_t i = wave.begin; i < wave.end; ++i) members.push_back(i);
  if (is_isolated_) return members;
  // The paths are sorted, so that no later path has more in common with any path of the wave than with its last.
  const TokenPath& last = sorted_[wave.end - 1];
  for (size_t i = wave.end; i < sorted_.size(); ++i) {
    const size_t common = CommonFed(last, sorted_[i]);
    if (common < sorted_[i].context.size()) {
      if (common == 0) break;
      continue;
    }
    const size_t rows = common - sorted_[i].context.size() + 1;
    const std::vector<bool>& is_missing = states_[index_of_[i]].is_missing;
    const auto end = is_missing.begin() + static_cast<ptrdiff_t>(std::min(rows, is_missing.size()));
    if (std::find(is_missing.begin(), end, true) != end) members.push_back(i);
  }
  return members;
}

absl::Status PathEvaluation::RunWave(const Wave& wave, bool is_last) {
  const std::vector<size_t> members = MembersOf(wave);
  std::vector<TokenPath> paths(sorted_.begin() + static_cast<ptrdiff_t>(wave.begin),
                               sorted_.begin() + static_cast<ptrdiff_t>(wave.end));
  // Of later paths, only their beginning is of this wave.
  for (size_t i = paths.size(); i < members.size(); ++i) {
    TokenPath& later = paths.emplace_back(sorted_[members[i]]);
    const size_t common = CommonFed(sorted_[wave.end - 1], later);
    later.targets = later.targets.first(common - later.context.size() + 1);
  }
  const auto is_wanted = [&](size_t path, size_t target) {
    return IsOpen(members[path]) && states_[index_of_[members[path]]].is_missing[target];
  };
  // A copy that cannot be cut must end before the row that others will need.
  const bool splits_contexts = can_fork_ && !model_.capabilities().trim;
  const auto ends_node = [&](const TokenPath& path, size_t index) {
    return splits_contexts && index == path.context.size() - 1;
  };
  std::vector<TrieNode> nodes = BuildTrie(paths, is_wanted, ends_node);
  int depth = 0;
  for (TrieNode& node : nodes) {
    node.path = members[node.path];
    for (TrieTarget& target : node.targets) target.path = members[target.path];
    depth = std::max(depth, node.depth);
  }
  std::vector<Running> running(nodes.size());
  border_path_ = wave.begin;
  border_ = retained_.empty() ? 0 : CommonFed(sorted_[wave.begin - 1], sorted_[wave.begin]);
  for (int level = 0; level <= depth && !nodes.empty(); ++level) {
    RETURN_IF_ERROR(RunLevel(nodes, running, level));
    // The nodes before have been copied, and those of this level may be leaves.
    for (size_t i = 0; i < nodes.size(); ++i) {
      const bool is_leaf = nodes[i].depth == level && nodes[i].children.empty();
      if (nodes[i].depth != level - 1 && !is_leaf) continue;
      const bool is_border = is_leaf ? IsOnPath(nodes[i], wave.end - 1) : nodes[i].depth == 0;
      Release(nodes[i], running[i], retains_ && !is_last && is_border);
    }
  }
  // If nothing of this wave serves the next one, that of the wave before may.
  while (std::ssize(retained_) > kMostRetained) {
    session_.Release(retained_.front());
    retained_.erase(retained_.begin());
  }
  return absl::OkStatus();
}

bool PathEvaluation::IsOnPath(const TrieNode& node, size_t sorted) const {
  const TokenPath& path = sorted_[sorted];
  return node.begin < path.fed_count() && CommonFed(sorted_[node.path], path) >= std::min(node.end, path.fed_count());
}

std::vector<bool> PathEvaluation::OpenNodes(const std::vector<TrieNode>& nodes, const std::vector<Running>& running) {
  std::vector<bool> is_open(nodes.size(), false);
  for (size_t i = nodes.size(); i-- > 0;) {
    const TrieNode& node = nodes[i];
    if (!is_open[i] && running[i].status.ok()) {
      is_open[i] = std::any_of(node.targets.begin() + static_cast<ptrdiff_t>(running[i].asked), node.targets.end(),
                               [this](const TrieTarget& target) { return IsOpen(target.path); });
    }
    if (is_open[i] && node.parent >= 0) is_open[static_cast<size_t>(node.parent)] = true;
  }
  return is_open;
}

absl::Status PathEvaluation::RunLevel(std::vector<TrieNode>& nodes, std::vector<Running>& running, int depth) {
  while (true) {
    const std::vector<bool> is_open = OpenNodes(nodes, running);
    std::vector<SequenceWork> work;
    std::vector<Sent> sent;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (nodes[i].depth != depth || !is_open[i] || !running[i].status.ok()) continue;
      if (running[i].sequence != 0 && running[i].fed == nodes[i].end) continue;
      sent.push_back({i, 0, 0, {}});
      work.push_back(WorkOf(nodes, running, is_open, sent.back()));
    }
    if (work.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::vector<SequenceRows> rows, session_.Evaluate(std::move(work), context_));
    for (size_t i = 0; i < sent.size(); ++i) {
      Running& next = running[sent[i].node];
      if (!rows[i].status.ok()) {
        // The session has freed its sequence.
        next.is_gone = true;
        Fail(nodes, sent[i].node, rows[i].status);
        next.status = rows[i].status;
        continue;
      }
      const TrieNode& node = nodes[sent[i].node];
      states_[index_of_[node.path]].evaluated +=
          static_cast<int64_t>(sent[i].end - sent[i].begin) - rows[i].cached_count;
      next.fed = sent[i].end;
      TakeRows(node, sent[i], rows[i]);
    }
  }
}

PathEvaluation::Portion PathEvaluation::NextPortion(const TrieNode& node, size_t first) const {
  const std::vector<TrieTarget>& targets = node.targets;
  const bool is_whole = options_.rows_at_once == std::numeric_limits<size_t>::max();
  if (is_whole) return {targets.size(), node.end};
  size_t end = first;
  if (is_isolated_) {
    // Work on an isolated sequence ends where one of its batches does.
    const size_t batch_end = (targets[first].row / kIsolatedTokens + 1) * kIsolatedTokens;
    while (end < targets.size() && targets[end].row < batch_end) ++end;
    return {end, end == targets.size() ? node.end : batch_end};
  }
  for (size_t rows = 0; end < targets.size(); ++end) {
    if (end > first && targets[end].row == targets[end - 1].row) continue;
    if (rows++ == options_.rows_at_once) break;
  }
  return {end, end == targets.size() ? node.end : targets[end - 1].row + 1};
}

SequenceWork PathEvaluation::WorkOf(const std::vector<TrieNode>& nodes, std::vector<Running>& running,
                                    const std::vector<bool>& is_open, Sent& sent) {
  const TrieNode& node = nodes[sent.node];
  Running& self = running[sent.node];
  const size_t first = self.asked;
  const auto [end, fed_end] = NextPortion(node, first);
  sent.end = fed_end;
  self.asked = end;

  SequenceWork work;
  size_t begin = self.fed;
  if (self.sequence == 0) {
    begin = node.parent < 0 ? 0 : node.begin;
    Running* const parent = node.parent < 0 ? nullptr : &running[static_cast<size_t>(node.parent)];
    // The wave before has more of these tokens than this one's nodes.
    const bool is_border = node.begin < border_ && IsOnPath(node, border_path_);
    if (is_border) begin = 0;
    if (parent == nullptr || is_border) {
      work.from_cache = can_fork_;
      // Others may copy it unless more is appended.
      self.is_final = work.is_final = can_fork_ && options_.keeps_sequences && sent.end == node.end;
      self.sequence = session_.NewSequence();
    } else {
      const auto& siblings = nodes[static_cast<size_t>(node.parent)].children;
      const auto open_siblings = std::count_if(siblings.begin(), siblings.end(),
                                               [&](int child) { return is_open[static_cast<size_t>(child)]; });
      if (open_siblings == 1 && !parent->is_final) {
        self.sequence = parent->sequence;
        parent->is_gone = true;
      } else {
        self.sequence = session_.NewSequence();
        work.fork_from_sequence_id = parent->sequence;
      }
    }
  }
  work.sequence_id = self.sequence;
  sent.begin = begin;
  const TokenPath& path = sorted_[node.path];
  for (size_t i = begin; i < sent.end; ++i) work.append_token_ids.push_back(path.fed(i));
  AskForRows(node, first, end, begin, work, sent);
  return work;
}

void PathEvaluation::AskForRows(const TrieNode& node, size_t first, size_t end, size_t offset, SequenceWork& work,
                                Sent& sent) {
  // The request that the next row may extend.
  RowRequest* last = nullptr;
  for (size_t i = first; i < end;) {
    const size_t row = node.targets[i].row;
    // The distinct targets of the row, and the ids that are named for them besides those named for all.
    std::vector<TokenId> targets;
    std::vector<TokenId> named;
    bool is_wanted = false;
    size_t next = i;
    for (; next < end && node.targets[next].row == row; ++next) {
      const TrieTarget& target = node.targets[next];
      if (!IsOpen(target.path)) continue;
      is_wanted = true;
      const TokenPath& path = sorted_[target.path];
      targets.push_back(path.targets[target.target]);
      if (!path.named.empty()) {
        named.insert(named.end(), path.named[target.target].begin(), path.named[target.target].end());
      }
    }
    const size_t row_first = std::exchange(i, next);
    if (!is_wanted) {
      last = nullptr;
      continue;
    }
    const TokenId target = targets.front();
    std::sort(targets.begin(), targets.end());
    targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
    std::erase(targets, target);
    const bool is_plain = targets.empty() && named.empty();
    const auto place = static_cast<int32_t>(row - offset);
    const bool extends =
        last != nullptr && last->first_row + last->row_count == place && (is_plain || options_.as_logits);
    if (extends) {
      ++last->row_count;
      sent.asked.back().end = next;
      if (!options_.as_logits) std::get<RecordsWanted>(last->form).targets.push_back(target);
      continue;
    }
    sent.asked.push_back({row_first, next, row});
    if (!is_plain && !options_.as_logits) sent.asked.back().target = target;
    if (options_.as_logits) {
      last = &work.rows.emplace_back(RowRequest{place, 1, LogitsWanted()});
      continue;
    }
    RecordsWanted wanted = options_.wanted;
    wanted.targets = {target};
    for (std::vector<TokenId>* ids : {&named, &targets}) {
      wanted.named_token_ids.insert(wanted.named_token_ids.end(), ids->begin(), ids->end());
    }
    std::vector<TokenId>& ids = wanted.named_token_ids;
    if (!is_plain) {
      std::sort(ids.begin(), ids.end());
      ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    }
    work.rows.push_back({place, 1, std::move(wanted)});
    last = is_plain ? &work.rows.back() : nullptr;
  }
}

void PathEvaluation::TakeRows(const TrieNode& node, const Sent& sent, const SequenceRows& rows) {
  const auto vocab_size = static_cast<size_t>(model_.description().vocab_size);
  for (size_t request = 0; request < sent.asked.size(); ++request) {
    const Asked& asked = sent.asked[request];
    const RequestRows& given = rows.requests[request];
    // The record of each target, where a row has several. Such a row may have thousands.
    std::unordered_map<TokenId, const TokenAlternative*> named;
    if (asked.target && !options_.as_logits) {
      for (const TokenAlternative& one : given.records.front().named) named.emplace(one.token_id, &one);
    }
    for (size_t i = asked.first; i < asked.end; ++i) {
      const TrieTarget& target = node.targets[i];
      if (!IsOpen(target.path)) continue;
      const size_t place = target.row - asked.first_row;
      if (options_.as_logits) {
        const LogitsView row(given.logits->data() + place * vocab_size, vocab_size);
        PathState& state = states_[index_of_[target.path]];
        state.is_missing[target.target] = false;
        state.status = sink_.OnLogits(index_of_[target.path], target.target, row);
        continue;
      }
      RowRecord record = given.records[place];
      if (asked.target) {
        const TokenPath& path = sorted_[target.path];
        const TokenId token = path.targets[target.target];
        if (token != *asked.target) {
          const TokenAlternative& own = *named.at(token);
          record.target_log_prob = *own.model_log_prob;
          record.target_rank = own.rank;
        }
        record.named.clear();
        for (const TokenId id : WantedFor(path, target.target).named_token_ids) record.named.push_back(*named.at(id));
      }
      TakeRecord(target, std::move(record));
    }
  }
}

void PathEvaluation::TakeRecord(const TrieTarget& target, RowRecord record) {
  const size_t path = index_of_[target.path];
  PathState& state = states_[path];
  const TokenPath& tokens = sorted_[target.path];
  if (!hashes_.empty()) {
    records_.Put(HashBefore(target.path, target.target), tokens.targets[target.target],
                 WantedFor(tokens, target.target), record);
  }
  state.is_missing[target.target] = false;
  state.records.emplace(target.target, std::move(record));
  Deliver(path);
}

void PathEvaluation::Deliver(size_t path) {
  PathState& state = states_[path];
  while (state.status.ok() && !state.records.empty() && state.records.begin()->first == state.next) {
    state.status = sink_.OnRecord(path, state.next, state.records.begin()->second);
    state.records.erase(state.records.begin());
    ++state.next;
  }
}

void PathEvaluation::Fail(const std::vector<TrieNode>& nodes, size_t node, const absl::Status& status) {
  for (const TrieTarget& target : nodes[node].targets) {
    PathState& state = states_[index_of_[target.path]];
    if (state.status.ok() && state.is_missing[target.target]) state.status = status;
  }
  for (const int child : nodes[node].children) Fail(nodes, static_cast<size_t>(child), status);
}

void PathEvaluation::Release(const TrieNode& node, Running& running, bool retain) {
  if (running.sequence == 0 || std::exchange(running.is_gone, true)) return;
  if (retain) {
    if (!running.is_final) session_.Publish(running.sequence);
    retained_.push_back(running.sequence);
  } else if (options_.keeps_sequences && !is_isolated_ && !running.is_final && node.end - node.begin >= kWorthKeeping) {
    session_.Keep(running.sequence);
  } else {
    session_.Release(running.sequence);
  }
}

}  // namespace logitd::server

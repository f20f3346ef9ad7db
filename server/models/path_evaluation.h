// Evaluates the rows that some token paths need, each of them once.
//
//   PathEvaluation evaluation(options, model, records, context, sink);
//   RETURN_IF_ERROR(evaluation.Run(paths));      // sink.OnRecord or sink.OnLogits for every target of every path
//   evaluation.status(i), evaluation.evaluated(i)
//
// The caller states the paths. Everything about caches is decided here and below:
//
// - A record that is in the record cache (record_cache.h) needs no evaluation.
// - Paths form a trie (path_trie.h), whose nodes are evaluated once, a level at a time. The targets of all paths that
//   go through a row are asked for together.
// - The tokens that the runner's cache holds (prefix_cache.h) are not evaluated again.
// - In a scope that is isolated, all of this is off: each path is evaluated by itself, from its first token.
// - As many paths are evaluated together as have room; the rest follow in their sorted order, so that what neighbours
//   share is still there.
#ifndef LOGITD_SERVER_MODELS_PATH_EVALUATION_H_
#define LOGITD_SERVER_MODELS_PATH_EVALUATION_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/types.h"
#include "server/models/model_session.h"
#include "server/models/path_trie.h"
#include "server/models/record_cache.h"
#include "server/models/served_model.h"
#include "server/models/work.h"
#include "server/request_context.h"

namespace logitd::server {

// Paths that are evaluated at once by runners of that capacity: enough to fill a batch, few enough to leave room for
// other requests.
int MostPathsAtOnce(const RunnerCapacity& capacity);

struct PathOptions {
  // The contents of records; its `targets` are not looked at.
  RecordsWanted wanted;
  // Rows come as logits, because records do not serve.
  bool as_logits = false;
  // The requests with which this one shares the runner's cache.
  CacheScope scope;
  // Leave the sequences in the runner's cache for later requests.
  bool keeps_sequences = true;
  // Rows of a path that are asked for at once. sink.IsWanted is asked again after that many.
  size_t rows_at_once = std::numeric_limits<size_t>::max();
  // The field of the request that an error names if a path never fits the runner's cache.
  std::string field = "items";
};

// Receives the rows. Those of a path come in order of its targets; paths interleave.
class PathSink {
 public:
  virtual ~PathSink() = default;
  // The record of a target of a path. An error ends the path.
  virtual absl::Status OnRecord(size_t path, size_t target, const RowRecord& record) = 0;
  // The row in which a target of a path is scored, shape [vocab_size]. An error ends the path.
  virtual absl::Status OnLogits(size_t path, size_t target, LogitsView row) = 0;
  // False: the path's further rows are not needed.
  virtual bool IsWanted(size_t /*path*/) { return true; }
};

// One thread, one run.
class PathEvaluation {
 public:
  // All arguments outlive it.
  PathEvaluation(const PathOptions& options, ServedModel& model, RecordCache& records, const RequestContext& context,
                 PathSink& sink);

  // Evaluates `paths`. Errors are those of the whole: CANCELLED, RUNNER_LOST, LIMIT_EXCEEDED, ... An error of one path
  // is in its status.
  absl::Status Run(std::span<const TokenPath> paths);

  // OK, or why not all rows of the path have come.
  const absl::Status& status(size_t path) const { return states_[path].status; }
  // The tokens that were evaluated for the path. Tokens that several paths need count for one of them. Tokens that are
  // evaluated again because a runner was lost do not count.
  int64_t evaluated(size_t path) const { return states_[path].evaluated; }

 private:
  struct PathState {
    absl::Status status;
    int64_t evaluated = 0;
    // The next target to deliver.
    size_t next = 0;
    // Records that have come and are not delivered.
    std::map<size_t, RowRecord> records;
    // The targets whose records are neither cached nor here.
    std::vector<bool> is_missing;
    // The hash of the tokens before target `hashed`.
    std::optional<PathHash> hash;
    size_t hashed = 0;
  };
  // Sorted paths that are evaluated together.
  struct Wave {
    size_t begin = 0;
    size_t end = 0;
    int64_t tokens = 0;
    int32_t sequences = 0;
  };
  // A node of the trie in evaluation.
  struct Running {
    int64_t sequence = 0;
    // Fed tokens that are evaluated.
    size_t fed = 0;
    // Targets that have been asked for.
    size_t asked = 0;
    // Nobody may append to its sequence.
    bool is_final = false;
    // The session has freed its sequence, or another node uses it.
    bool is_gone = false;
    absl::Status status;
  };
  // A request for rows of a node, and the targets that it answers: [first, end) of the node's.
  struct Asked {
    size_t first = 0;
    size_t end = 0;
    // The node's row that is its first.
    size_t first_row = 0;
    // Set: one row with several targets or named ids, of which this one is the request's target. Unset: each row has
    // one target.
    std::optional<TokenId> target = std::nullopt;
  };
  // Work that is on its way.
  struct Sent {
    size_t node = 0;
    // Its tokens among the fed ones.
    size_t begin = 0;
    size_t end = 0;
    std::vector<Asked> asked;
  };

  // The targets [first, end) of a node whose rows are asked for next, and the fed token before which that work ends.
  struct Portion {
    size_t end = 0;
    size_t fed_end = 0;
  };

  void LookUp(std::span<const TokenPath> paths);
  std::vector<Wave> PlanWaves() const;
  absl::Status Reserve(const std::vector<Wave>& waves);
  // The wave's paths, and the later ones that need rows of its last path: those rows are asked for now.
  std::vector<size_t> MembersOf(const Wave& wave) const;
  absl::Status RunWave(const Wave& wave, bool is_last);
  // Evaluates the nodes of one depth.
  absl::Status RunLevel(std::vector<TrieNode>& nodes, std::vector<Running>& running, int depth);
  // Whether the path goes through the node, or ends in it.
  bool IsOnPath(const TrieNode& node, size_t sorted) const;
  // For each node, whether it or a node below it still has a target to ask for.
  std::vector<bool> OpenNodes(const std::vector<TrieNode>& nodes, const std::vector<Running>& running);
  Portion NextPortion(const TrieNode& node, size_t first) const;
  // The next work of an open node.
  SequenceWork WorkOf(const std::vector<TrieNode>& nodes, std::vector<Running>& running,
                      const std::vector<bool>& is_open, Sent& sent);
  // Asks for the rows of targets [first, end) of the node. `offset`: the work's first token is that one of the path.
  void AskForRows(const TrieNode& node, size_t first, size_t end, size_t offset, SequenceWork& work, Sent& sent);
  void TakeRows(const TrieNode& node, const Sent& sent, const SequenceRows& rows);
  void TakeRecord(const TrieTarget& target, RowRecord record);
  // Gives the sink what has come, in order.
  void Deliver(size_t path);
  // No more rows come of the node and of those below it.
  void Fail(const std::vector<TrieNode>& nodes, size_t node, const absl::Status& status);
  // Frees the sequence of a node that nobody needs any more.
  void Release(const TrieNode& node, Running& running, bool retain);
  bool IsOpen(size_t sorted) {
    const size_t path = index_of_[sorted];
    return states_[path].status.ok() && sink_.IsWanted(path);
  }
  // The hash of the tokens before a target of a sorted path.
  const PathHash& HashBefore(size_t sorted, size_t target);
  // The options of a target's record, with all ids that are named for it.
  RecordsWanted WantedFor(const TokenPath& path, size_t target) const;

  const PathOptions& options_;
  ServedModel& model_;
  RecordCache& records_;
  const RequestContext& context_;
  PathSink& sink_;
  ModelSession session_;
  // Each path is evaluated by itself.
  const bool is_isolated_;
  const bool can_fork_;
  std::vector<PathState> states_;
  // The paths with a target that is missing, sorted, and their indices among the caller's.
  std::vector<TokenPath> sorted_;
  std::vector<size_t> index_of_;
  // Parallel to sorted_: the hash of the path's context.
  std::vector<PathHash> hashes_;
  // Sequences of earlier waves that are not freed yet.
  std::vector<int64_t> retained_;
  bool retains_ = false;
  // The first path of the wave begins with that many tokens of the last path of the wave before.
  size_t border_path_ = 0;
  size_t border_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_PATH_EVALUATION_H_

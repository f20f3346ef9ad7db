// Knows which token sequences a runner's cache holds, so that what requests share is evaluated once.
//
// A runner's sequences are in one of three states here:
//
//   growing     a session works on it. Its tokens are counted, and nobody else may copy it.
//   published   a session holds it and will not change it. Others may copy it.
//   kept        its session has ended, or needs it no more. Others may copy it until its room is needed.
//
// Published and kept sequences are found by their tokens, in a radix tree for each tenant:
//
//   [1 5 7 7] -+- [2 3]      sequence 4 holds 1 5 7 7 2 3
//              +- [9]        sequence 6 holds 1 5 7 7 9
//
// Find(1 5 7 7 2 8) is sequence 4 with 5 tokens: the runner copies it and drops its last token. If the runner cannot
// drop tokens, only a whole sequence serves.
//
// Sequences that were copied share the cells of their common tokens. Cells are counted as the runner counts them: once,
// while any sequence holds them. Equal tokens that were evaluated twice have cells of their own.
//
// Pure bookkeeping. Not thread-safe.
#ifndef LOGITD_SERVER_MODELS_PREFIX_CACHE_H_
#define LOGITD_SERVER_MODELS_PREFIX_CACHE_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/types.h"

namespace logitd::server {

class PrefixCache {
 public:
  // The beginning of some tokens that a sequence holds. length 0: no sequence does.
  struct Match {
    int64_t sequence_id = 0;
    int64_t length = 0;
  };

  // `can_copy`, `can_trim`: the runner can copy sequences, and drop tokens from the end of one. Without copies nothing
  // is ever found or kept.
  PrefixCache(bool can_copy, bool can_trim);
  ~PrefixCache();

  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // The longest beginning of `tokens`, of at most `most` tokens, that a published or kept sequence of the tenant holds.
  // Cost: linear in `most`.
  Match Find(const std::string& tenant, std::span<const TokenId> tokens, int64_t most) const;

  // `sequence_id` begins as a copy of the first `length` tokens of another one; unset: of all of them.
  void Copy(int64_t sequence_id, int64_t source_id, std::optional<int64_t> length);
  // `sequence_id` grows. REQUIRES: it is growing, or new.
  void Append(int64_t sequence_id, int64_t tokens);
  // A growing sequence has been evaluated, holds `tokens`, and will not change any more. Cost: linear in their number.
  void Publish(int64_t sequence_id, const std::string& tenant, std::span<const TokenId> tokens);
  // The session needs the sequence no more. Returns whether it is kept; if not, the caller frees it.
  bool Keep(int64_t sequence_id);
  // The sequence is gone or will be: nobody may copy it.
  void Forget(int64_t sequence_id);

  // Its tokens; 0: it is not known.
  int64_t LengthOf(int64_t sequence_id) const;

  // A pinned sequence is not evicted. Pins are counted.
  void Pin(int64_t sequence_id);
  void Unpin(int64_t sequence_id);
  // The room of pinned sequences that are kept: they cannot be evicted now. Tokens that they share count for each.
  int32_t pinned_sequences() const { return pinned_sequences_; }
  int64_t pinned_tokens() const { return pinned_tokens_; }

  // Evicts kept sequences, the least recently used first, until at most that many sequences and cells are kept, or
  // until nothing that is left can be evicted. Returns the sequences that the caller frees.
  std::vector<int64_t> ShrinkTo(int64_t sequences, int64_t cells);

  // Kept sequences, and the cells that they hold and no session does.
  int64_t kept_sequences() const { return std::ssize(kept_); }
  int64_t kept_cells() const { return kept_cells_; }

 private:
  struct Node;
  // Consecutive cells that the same sequences hold.
  struct Cells {
    std::shared_ptr<Cells> before;
    int64_t count = 0;
    // Number of kept sequences that hold them, and of sequences of sessions.
    int64_t keepers = 0;
    int64_t users = 0;
    bool is_kept_only() const { return keepers > 0 && users == 0; }
  };
  struct Entry {
    std::shared_ptr<Cells> cells;
    // Where its tokens end in the tree. Null: it is growing.
    Node* node = nullptr;
    int64_t length = 0;
    bool is_kept = false;
    int32_t pins = 0;
    // Its place in kept_ if it is kept.
    std::list<int64_t>::iterator place = {};
  };
  using Entries = std::unordered_map<int64_t, Entry>;

  // Splits `cells` after its first `count` cells, and returns these.
  static std::shared_ptr<Cells> Split(Cells& cells, int64_t count);
  Node* NodeOf(const std::string& tenant, std::span<const TokenId> tokens);
  void RemoveFromTree(int64_t sequence_id, Node* node);
  // Changes the counts of all cells that the sequence holds.
  void CountCells(const Entry& entry, int64_t keepers, int64_t users);
  // The cells that would be free without this kept sequence.
  static int64_t CellsOfItsOwn(const Entry& entry);
  void CountPinned(const Entry& entry, int sign);
  void Erase(Entries::iterator entry);

  const bool can_copy_;
  const bool can_trim_;
  // Keyed by tenant.
  std::map<std::string, std::unique_ptr<Node>> roots_;
  Entries entries_;
  // Least recently used first.
  std::list<int64_t> kept_;
  int64_t kept_cells_ = 0;
  int32_t pinned_sequences_ = 0;
  int64_t pinned_tokens_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_PREFIX_CACHE_H_

// Keeps the books of a model's cache: which sequences have one, in which slot, and how many cells are in use. A cell
// that several sequences share counts once.
//
// Some libraries (llama.cpp) report a full cache only after they were given a whole batch, and do not say which
// sequence filled it. The ledger knows beforehand, so that only the sequence that does not fit is refused.
//
// Not thread-safe.
#ifndef LOGITD_CLIENT_RUNNER_CACHE_LEDGER_H_
#define LOGITD_CLIENT_RUNNER_CACHE_LEDGER_H_

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace logitd::runner {

class CacheLedger {
 public:
  CacheLedger(int max_sequences, int64_t max_cells);

  // The slot of a sequence, in [0, max_sequences). Unset: the sequence is not known.
  std::optional<int> SlotOf(int64_t sequence_id) const;
  // All functions below REQUIRE that the sequence is known, except Open, which REQUIRES that it is not.

  // Assigns a slot to a new, empty sequence. Unset: no slot is free.
  std::optional<int> Open(int64_t sequence_id);
  // Makes the empty sequence `to` share the first `length` cells of `from`. REQUIRES: length <= LengthOf(from).
  void Share(int64_t from, int64_t to, int64_t length);
  // Keeps only the first `length` cells. REQUIRES: length <= LengthOf(sequence_id).
  void Trim(int64_t sequence_id, int64_t length);
  // Returns false, and changes nothing, if fewer than `count` cells are free.
  bool Append(int64_t sequence_id, int64_t count);
  // Frees the sequence's cells and its slot.
  void Close(int64_t sequence_id);

  // Length in tokens.
  int64_t LengthOf(int64_t sequence_id) const;
  int64_t used_cells() const { return used_cells_; }
  int64_t max_cells() const { return max_cells_; }

 private:
  // The slot and the cells of one sequence.
  struct Holding {
    int slot = 0;
    // Numbers of its cells, by position. They are the ledger's own: it does not matter which cells llama.cpp uses.
    std::vector<int32_t> cells;
  };

  // Gives back all cells after the first `length`.
  void Release(Holding& holding, size_t length);

  const int64_t max_cells_;
  int64_t used_cells_ = 0;
  std::unordered_map<int64_t, Holding> sequences_;
  std::vector<int> free_slots_;
  std::vector<int32_t> free_cells_;
  // For each cell, the number of sequences that hold it.
  std::vector<int32_t> holders_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_CACHE_LEDGER_H_

// Which sequences have a cache, in which slot of the model, and how many cells of the cache are in use. Cells that
// forks share count once.
//
// For models whose own cache says only that it is full, when it has been given a whole batch, and not which sequence
// was too many (llama.cpp). The ledger knows before, so that one sequence is refused and the others go on.
//
// One thread.
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

  // Slot in [0, max_sequences) of a sequence. Unset: not known.
  std::optional<int> SlotOf(int64_t sequence_id) const;
  // REQUIRES for all below: the sequence is known (Open: is not known).

  // A slot for a new, empty sequence. Unset: none is free.
  std::optional<int> Open(int64_t sequence_id);
  // Makes `to`, an empty sequence, share the first `length` cells of `from`. REQUIRES: length <= LengthOf(from).
  void Share(int64_t from, int64_t to, int64_t length);
  // Keeps the first `length` cells. REQUIRES: length <= LengthOf.
  void Trim(int64_t sequence_id, int64_t length);
  // False, and nothing changed, if fewer than `count` cells are free.
  bool Append(int64_t sequence_id, int64_t count);
  // Frees its cells and its slot.
  void Close(int64_t sequence_id);

  // In tokens.
  int64_t LengthOf(int64_t sequence_id) const;
  int64_t used_cells() const { return used_cells_; }
  int64_t max_cells() const { return max_cells_; }

 private:
  // What one sequence holds.
  struct Holding {
    int slot = 0;
    // The cells' numbers, in order of position. They are the ledger's own: which cell llama.cpp takes does not matter.
    std::vector<int32_t> cells;
  };

  // Gives back all cells but the first `length`.
  void Release(Holding& holding, size_t length);

  const int64_t max_cells_;
  int64_t used_cells_ = 0;
  std::unordered_map<int64_t, Holding> sequences_;
  std::vector<int> free_slots_;
  std::vector<int32_t> free_cells_;
  // Sequences that hold a cell.
  std::vector<int32_t> holders_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_CACHE_LEDGER_H_

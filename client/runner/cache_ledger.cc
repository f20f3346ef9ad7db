#include "client/runner/cache_ledger.h"

namespace logitd::runner {

CacheLedger::CacheLedger(int max_sequences, int64_t max_cells) : max_cells_(max_cells), holders_(max_cells, 0) {
  for (int slot = max_sequences - 1; slot >= 0; --slot) free_slots_.push_back(slot);
  for (int64_t cell = max_cells - 1; cell >= 0; --cell) free_cells_.push_back(static_cast<int32_t>(cell));
}

std::optional<int> CacheLedger::SlotOf(int64_t sequence_id) const {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) return std::nullopt;
  return found->second.slot;
}

std::optional<int> CacheLedger::Open(int64_t sequence_id) {
  if (free_slots_.empty()) return std::nullopt;
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  sequences_[sequence_id].slot = slot;
  return slot;
}

void CacheLedger::Share(int64_t from, int64_t to, int64_t length) {
  const std::vector<int32_t>& source = sequences_.at(from).cells;
  std::vector<int32_t>& target = sequences_.at(to).cells;
  target.assign(source.begin(), source.begin() + length);
  for (int32_t cell : target) ++holders_[cell];
}

void CacheLedger::Trim(int64_t sequence_id, int64_t length) { Release(sequences_.at(sequence_id), length); }

bool CacheLedger::Append(int64_t sequence_id, int64_t count) {
  if (count > max_cells_ - used_cells_) return false;
  std::vector<int32_t>& cells = sequences_.at(sequence_id).cells;
  for (int64_t i = 0; i < count; ++i) {
    cells.push_back(free_cells_.back());
    holders_[free_cells_.back()] = 1;
    free_cells_.pop_back();
  }
  used_cells_ += count;
  return true;
}

void CacheLedger::Close(int64_t sequence_id) {
  const auto found = sequences_.find(sequence_id);
  Release(found->second, 0);
  free_slots_.push_back(found->second.slot);
  sequences_.erase(found);
}

int64_t CacheLedger::LengthOf(int64_t sequence_id) const {
  return static_cast<int64_t>(sequences_.at(sequence_id).cells.size());
}

void CacheLedger::Release(Holding& holding, size_t length) {
  while (holding.cells.size() > length) {
    const int32_t cell = holding.cells.back();
    holding.cells.pop_back();
    if (--holders_[cell] == 0) {
      free_cells_.push_back(cell);
      --used_cells_;
    }
  }
}

}  // namespace logitd::runner

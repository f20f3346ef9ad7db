// Example: a cache of 10 tokens. A (age 1) has 4 of them, B (age 2) has 3 and C (age 3) has 3.
//
//   B asks for a total of 5    nothing is free: C, the youngest, is suspended, and B has 5. 1 token is free.
//   D (age 4) asks for 1       D waits although 1 is free, because C is older and has not asked again.
//   C asks for 3 again         C waits.
//   A ends                     5 are free: C begins with 3, then D with 1.
#include "server/models/cache_room.h"

namespace logitd::server {

void CacheRoom::Ask(CacheShare& share, int32_t sequences, int64_t tokens) {
  suspended_.erase(&share);
  share.is_suspended = false;
  share.wanted_sequences = sequences;
  share.wanted_tokens = tokens;
  waited_for_tokens_ += tokens;
  beginning_.insert(&share);
}

void CacheRoom::AskForMore(CacheShare& share, int64_t tokens) {
  share.wanted_sequences = share.sequences;
  share.wanted_tokens = tokens;
  waited_for_tokens_ += tokens - share.tokens;
  growing_.insert(&share);
}

bool CacheRoom::TryToGrow(CacheShare& share, int64_t tokens) {
  if (tokens <= share.tokens) return true;
  if (share.is_suspended || !growing_.empty() || tokens - share.tokens > free_tokens_ - pinned_tokens_) {
    return false;
  }
  free_tokens_ -= tokens - share.tokens;
  share.tokens = tokens;
  return true;
}

void CacheRoom::Withdraw(CacheShare& share) {
  if (growing_.erase(&share) + beginning_.erase(&share) > 0) waited_for_tokens_ -= share.wanted_tokens - share.tokens;
  share.wanted_sequences = 0;
  share.wanted_tokens = 0;
}

void CacheRoom::GiveBack(CacheShare& share) {
  Withdraw(share);
  suspended_.erase(&share);
  holding_.erase(&share);
  free_sequences_ += share.sequences;
  free_tokens_ += share.tokens;
  share.sequences = 0;
  share.tokens = 0;
}

std::vector<CacheShare*> CacheRoom::Settle() {
  std::vector<CacheShare*> settled;
  const auto give = [&](CacheShare& share) {
    const int32_t sequences = share.wanted_sequences;
    const int64_t tokens = share.wanted_tokens;
    Withdraw(share);
    free_sequences_ -= sequences - share.sequences;
    free_tokens_ -= tokens - share.tokens;
    share.sequences = sequences;
    share.tokens = tokens;
    holding_.insert(&share);
    settled.push_back(&share);
  };
  while (!growing_.empty()) {
    CacheShare& oldest = **growing_.begin();
    if (oldest.wanted_tokens - oldest.tokens <= free_tokens_ - pinned_tokens_) {
      give(oldest);
      continue;
    }
    // The pins will go soon.
    if (oldest.wanted_tokens - oldest.tokens <= free_tokens_) return settled;
    CacheShare& youngest = **holding_.rbegin();
    // It goes on when an older share ends.
    if (&youngest == &oldest) return settled;
    GiveBack(youngest);
    youngest.is_suspended = true;
    suspended_.insert(&youngest);
    settled.push_back(&youngest);
  }
  // First come, first served: otherwise many small shares could keep a large one out for ever.
  while (!beginning_.empty()) {
    CacheShare& oldest = **beginning_.begin();
    if (!suspended_.empty() && (*suspended_.begin())->age < oldest.age) break;
    if (oldest.wanted_sequences > free_sequences_ - pinned_sequences_ ||
        oldest.wanted_tokens > free_tokens_ - pinned_tokens_) {
      break;
    }
    give(oldest);
  }
  return settled;
}

double CacheRoom::load() const {
  return static_cast<double>(capacity_tokens_ - free_tokens_ + waited_for_tokens_) /
         static_cast<double>(capacity_tokens_);
}

}  // namespace logitd::server

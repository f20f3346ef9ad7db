// Decides which sessions have room in a runner's cache, and which wait for it.
//
// A session begins with room for its first tokens and takes more as it grows. The rules:
//
// - Sessions are served by age: the oldest first. A session that grows goes before one that begins.
// - When the cache is full and an older session has to grow, the youngest session that has room is suspended. It loses
//   its room, and begins again when its turn comes.
// - If the session that has to grow is itself the youngest, it keeps its room and waits.
//
// The oldest session therefore always advances, and every session ends. Little is evaluated twice: the suspension of a
// session with s tokens lets the others grow by s before the next suspension, and no session begins while one waits to
// grow.
//
// Pure bookkeeping. Not thread-safe.
#ifndef LOGITD_SERVER_MODELS_CACHE_ROOM_H_
#define LOGITD_SERVER_MODELS_CACHE_ROOM_H_

#include <cstdint>
#include <set>
#include <vector>

namespace logitd::server {

// The room of one session.
struct CacheShare {
  // Smaller: older. No two shares have the same age.
  int64_t age = 0;
  int32_t sequences = 0;
  int64_t tokens = 0;
  // The total that it waits for, including its present room; 0: it does not wait.
  int32_t wanted_sequences = 0;
  int64_t wanted_tokens = 0;
  // It has lost its room. It gets its turn when it asks again.
  bool is_suspended = false;
};

class CacheRoom {
 public:
  CacheRoom(int32_t sequences, int64_t tokens)
      : capacity_tokens_(tokens), free_sequences_(sequences), free_tokens_(tokens) {}

  // Asks for room. A suspended share that asks is no longer suspended. REQUIRES: the share has no room and waits for
  // none; the cache is at least that large.
  void Ask(CacheShare& share, int32_t sequences, int64_t tokens);
  // Asks for a total of `tokens`. REQUIRES: the share has fewer and waits for nothing; the cache is at least that
  // large.
  void AskForMore(CacheShare& share, int64_t tokens);
  // Takes a total of `tokens`, if that is free and no other share waits to grow.
  bool TryToGrow(CacheShare& share, int64_t tokens);
  // The share waits no more.
  void Withdraw(CacheShare& share);
  // The share gives up its room and waits no more. If it was suspended, it does not come back.
  void GiveBack(CacheShare& share);
  // That much room of sequences that nobody has reserved cannot be freed now.
  void SetPinned(int32_t sequences, int64_t tokens) {
    pinned_sequences_ = sequences;
    pinned_tokens_ = tokens;
  }
  // The room that no share has.
  int32_t free_sequences() const { return free_sequences_; }
  int64_t free_tokens() const { return free_tokens_; }
  // Gives out room as far as it goes. Returns the shares that changed: each has the room that it asked for, or is
  // suspended.
  std::vector<CacheShare*> Settle();

  // The part of the cache's tokens that some share has or waits for. 1 is all of it.
  double load() const;

 private:
  struct Older {
    bool operator()(const CacheShare* a, const CacheShare* b) const { return a->age < b->age; }
  };
  using ByAge = std::set<CacheShare*, Older>;

  const int64_t capacity_tokens_;
  int32_t free_sequences_;
  int64_t free_tokens_;
  int32_t pinned_sequences_ = 0;
  int64_t pinned_tokens_ = 0;
  ByAge holding_;
  // Each of these is also in holding_.
  ByAge growing_;
  // Suspended shares that have not asked again. No younger share begins meanwhile.
  ByAge suspended_;
  ByAge beginning_;
  int64_t waited_for_tokens_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_CACHE_ROOM_H_

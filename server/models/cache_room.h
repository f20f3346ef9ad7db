// Who has room in a runner's cache, and who waits for it.
//
// A session begins with room for what it has and its next tokens, and takes more as it grows. All are served by age:
// who came first is first. Who grows goes before who begins. When the cache is full and an older session has to grow,
// the youngest that has room is suspended: it loses its room, and begins again when its turn comes. Who is the youngest
// itself keeps what it has, and waits. So the oldest always advances, and every session ends.
//
// Each suspension of a session with s tokens lets the others grow by s before the next one, and nobody begins while
// somebody waits to grow: what is evaluated again is less than what is generated.
//
// Numbers only; not thread-safe.
#ifndef LOGITD_SERVER_MODELS_CACHE_ROOM_H_
#define LOGITD_SERVER_MODELS_CACHE_ROOM_H_

#include <cstdint>
#include <set>
#include <vector>

namespace logitd::server {

// One session's room.
struct CacheShare {
  // Smaller: older. No two shares have the same.
  int64_t age = 0;
  int32_t sequences = 0;
  int64_t tokens = 0;
  // Of all that it waits for; 0: it does not wait.
  int32_t wanted_sequences = 0;
  int64_t wanted_tokens = 0;
  // It lost its room. It has its turn when it asks again.
  bool is_suspended = false;
};

class CacheRoom {
 public:
  CacheRoom(int32_t sequences, int64_t tokens)
      : capacity_tokens_(tokens), free_sequences_(sequences), free_tokens_(tokens) {}

  // Asks for so much; a suspended share is one like all others then. REQUIRES: the share has nothing and waits for
  // nothing; the cache is as large.
  void Ask(CacheShare& share, int32_t sequences, int64_t tokens);
  // Asks for so many tokens altogether. REQUIRES: the share has fewer, and waits for nothing; the cache is as large.
  void AskForMore(CacheShare& share, int64_t tokens);
  // Takes so many tokens altogether, if they are free and nobody else wants to grow.
  bool TryToGrow(CacheShare& share, int64_t tokens);
  // The share does not wait any more.
  void Withdraw(CacheShare& share);
  // The share has nothing any more, and waits for nothing. If it is suspended, it does not come back.
  void GiveBack(CacheShare& share);
  // Gives room as far as it goes. Returns whom it concerns: they have what they waited for, or are suspended.
  std::vector<CacheShare*> Settle();

  // Tokens that somebody has or waits for, of the cache's: 1 is all of it.
  double load() const;

 private:
  struct Older {
    bool operator()(const CacheShare* a, const CacheShare* b) const { return a->age < b->age; }
  };
  using ByAge = std::set<CacheShare*, Older>;

  const int64_t capacity_tokens_;
  int32_t free_sequences_;
  int64_t free_tokens_;
  ByAge holding_;
  // Each is also in holding_.
  ByAge growing_;
  // They have not asked again yet: nobody younger begins meanwhile.
  ByAge suspended_;
  ByAge beginning_;
  int64_t waited_for_tokens_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_CACHE_ROOM_H_

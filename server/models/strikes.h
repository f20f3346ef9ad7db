// Which requests are suspected of killing runners, and what follows.
//
// Each time that a runner ends by a signal of its own, every request whose work it had gets a strike: one of them may
// be the reason, and nobody knows which. With two strikes a request is evaluated alone. If the runner ends then, too,
// it was this request, and it is refused; if not, it is innocent.
//
//   requests in the batch     A B C     A B C      A        B        C
//   the runner                dies      dies       lives    dies     lives
//   strikes then              1 1 1     2 2 2      0 2 2    0 3 2    0 3 0       B is refused
//
// An innocent request goes back to the others after one evaluation; when it has to be alone again, after 8, then 64: a
// request that is bad only in company, or that keeps bad company, does not end runners for ever.
//
// docs/adr/0012-requests-that-kill-runners.md has the reasons. Free of gRPC and protobuf.
#ifndef LOGITD_SERVER_MODELS_STRIKES_H_
#define LOGITD_SERVER_MODELS_STRIKES_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>

#include "core/types.h"

namespace logitd::server {

inline constexpr int kStrikesToBeAlone = 2;
inline constexpr int kStrikesToBeRefused = 3;

// What a request asked to be evaluated: the tokens of its sequences, those that are new included. Not the tokens
// themselves are kept, but their number and a hash whose seed is this process's.
class WorkFingerprint {
 public:
  void AddSequence(std::span<const TokenId> tokens, std::span<const TokenId> new_tokens);

  size_t token_count() const { return token_count_; }
  auto operator<=>(const WorkFingerprint&) const = default;

 private:
  void AddToken(uint64_t value);

  size_t token_count_ = 0;
  uint64_t hash_ = 0;
};

// The strikes of work that was given up or refused, so that a client that sends it again does not begin at none.
// Bounded; an entry is forgotten some time after its last strike. Thread-safe.
class SuspectMemory {
 public:
  static constexpr std::chrono::minutes kKeepTime{10};
  static constexpr size_t kMaxEntries = 1024;

  explicit SuspectMemory(std::chrono::milliseconds keep_time = kKeepTime, size_t max_entries = kMaxEntries)
      : keep_time_(keep_time), max_entries_(max_entries) {}

  struct Known {
    int strikes = 0;
    // Of the last one: "SIGSEGV".
    std::string signal;
  };

  // Whether work of so many tokens may be known: to spare the making of its fingerprint.
  bool MayKnow(size_t token_count);
  // No strikes if it is not known.
  Known Find(const WorkFingerprint& work);
  // Keeps the larger number of strikes.
  void Remember(const WorkFingerprint& work, int strikes, const std::string& signal);
  void Forget(const WorkFingerprint& work);

 private:
  struct Entry {
    Known known;
    std::chrono::steady_clock::time_point until;
  };
  // REQUIRES: mutex_ is held.
  void ForgetOld();

  const std::chrono::milliseconds keep_time_;
  const size_t max_entries_;
  // Nearly always true: then nothing else is looked at.
  std::atomic<bool> is_empty_{true};
  std::mutex mutex_;
  std::map<WorkFingerprint, Entry> entries_;
};

// One request's strikes. One thread.
class Strikes {
 public:
  int count() const { return count_; }
  // Whether it has to be evaluated alone.
  bool is_alone() const { return alone_left_ > 0; }
  bool is_refused() const { return count_ >= kStrikesToBeRefused; }

  // A runner ended by a signal of its own while it had this request's work. The last strike takes being alone.
  void Add();
  // What is known from before: it counts as if this request had got it.
  void StartWith(int count);
  // An evaluation went well.
  void OnSuccess();

 private:
  void Set(int count);

  int count_ = 0;
  // Evaluations that have to go well, alone, before it goes back to the others.
  int64_t alone_left_ = 0;
  int quarantines_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_STRIKES_H_

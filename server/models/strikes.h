// Finds the requests that kill runners.
//
// When a runner ends by a signal of its own, every request whose work it had gets a strike: one of them may be the
// cause, and nothing tells which. A request with two strikes is evaluated alone. If the runner ends then too, the
// request is the cause and is refused; if the runner lives, the request is innocent.
//
//   requests in the batch     A B C     A B C      A        B        C
//   the runner                dies      dies       lives    dies     lives
//   strikes then              1 1 1     2 2 2      0 2 2    0 3 2    0 3 0       B is refused
//
// An innocent request returns to shared batches after one evaluation alone. The second time that it has to be alone it
// returns after 8, the third time after 64: a request that is harmful only in company, or that keeps bad company, does
// not end runners for ever.
//
// Reasons: docs/adr/0012-requests-that-kill-runners.md. Free of gRPC and protobuf.
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

// Identifies the work of a request: all tokens of its sequences, new ones included. It keeps their number and a hash,
// with a seed of this process, and not the tokens.
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

// Remembers the strikes of work that was given up or refused, so that a client that repeats the request does not begin
// at zero. Bounded; an entry is forgotten some time after its last strike. Thread-safe.
class SuspectMemory {
 public:
  static constexpr std::chrono::minutes kKeepTime{10};
  static constexpr size_t kMaxEntries = 1024;

  explicit SuspectMemory(std::chrono::milliseconds keep_time = kKeepTime, size_t max_entries = kMaxEntries)
      : keep_time_(keep_time), max_entries_(max_entries) {}

  struct Known {
    int strikes = 0;
    // The signal of the last strike, such as "SIGSEGV".
    std::string signal;
  };

  // Whether work of `token_count` tokens may be known. If not, its fingerprint need not be computed.
  bool MayKnow(size_t token_count);
  // Returns zero strikes for work that is not known.
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
  // Nearly always true, and then the only member that is read.
  std::atomic<bool> is_empty_{true};
  std::mutex mutex_;
  std::map<WorkFingerprint, Entry> entries_;
};

// The strikes of one request. One thread.
class Strikes {
 public:
  int count() const { return count_; }
  // Whether the request must be evaluated alone.
  bool is_alone() const { return alone_left_ > 0; }
  bool is_refused() const { return count_ >= kStrikesToBeRefused; }

  // A runner ended by a signal of its own while it had this request's work. The last strike can only be given to a
  // request that is alone.
  void Add();
  // Takes over strikes that the same work got before.
  void StartWith(int count);
  // An evaluation ended well.
  void OnSuccess();

 private:
  void Set(int count);

  int count_ = 0;
  // Evaluations that must end well, alone, before the request returns to shared batches.
  int64_t alone_left_ = 0;
  int quarantines_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_STRIKES_H_

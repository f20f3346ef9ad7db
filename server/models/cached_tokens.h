// Counts the tokens that a session's sequences hold in a runner's cache. Tokens that copies share with their source
// count once, until every sequence that holds them is released.
//
// Not thread-safe.
#ifndef LOGITD_SERVER_MODELS_CACHED_TOKENS_H_
#define LOGITD_SERVER_MODELS_CACHED_TOKENS_H_

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "server/models/work.h"

namespace logitd::server {

class CachedTokens {
 public:
  CachedTokens() = default;
  CachedTokens(const CachedTokens&) = delete;
  CachedTokens& operator=(const CachedTokens&) = delete;

  // Call it after `work` was evaluated. It applies all copies first, then all appended tokens.
  void Add(const std::vector<SequenceWork>& work);
  void Release(int64_t sequence_id) { sequences_.erase(sequence_id); }
  void Clear() { sequences_.clear(); }
  int64_t count() const { return count_; }

 private:
  // Consecutive tokens that the same set of sequences holds.
  struct Run {
    explicit Run(int64_t& total) : total(total) {}
    ~Run() { total -= count; }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    int64_t& total;
    int64_t count = 0;
  };

  int64_t count_ = 0;
  // The runs of each sequence, in order.
  std::unordered_map<int64_t, std::vector<std::shared_ptr<Run>>> sequences_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_CACHED_TOKENS_H_

// Chooses the number of tokens that a runner's cache holds: as many as were asked for, within the memory that is
// available.
//
//   MemoryBudget budget = {.available = 2 GiB, .now = 2 GiB, .bound = "this machine"};
//   ASSIGN_OR_RETURN(CacheChoice choice, ChooseCache({.context_length = 131072}, budget, needs));
//   choice.cells   // 262144, twice the context length, or as many as fit
//
// How the available memory is divided:
//
//   available  |  kept for the server  |  weights in the page cache, once  |  runner 1  |  runner 2  |
//                                                                           weights of its own, computing,
//                                                                           rows, vocabulary, cache
//
// - llama.cpp writes to the whole cache when it makes it. A runner therefore owns the memory that it promises, and no
//   request finds it gone.
// - Isolated sequences have a cache of their own. It is made with the first of them, because most runners never have
// one.
//   A fifth of the room is left for it if it fits there, unless the size of the cache was given.
// - That cache holds the whole context length or is not there at all: its size must not depend on the memory, because
//   some models compute their positions by it.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_MEMORY_BUDGET_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_MEMORY_BUDGET_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::runner {

// The most sequences with a cache at once: a slot costs a bit in every cell.
inline constexpr int kMaxSequences = 64;

struct MemoryBudget {
  // Bytes that were available before any of the runners that share them began.
  int64_t available = 0;
  // Bytes that are available now. Less than `available` if other programs or the other runners have taken some.
  int64_t now = 0;
  // The reason for the bound, for people: "this machine".
  std::string bound;
  // Runners that share the memory, this one included.
  int sharers = 1;
};

// The requested sizes. 0: not given.
struct CacheRequest {
  int64_t cache_tokens = 0;
  int max_sequences = 0;
  // The model's context length in tokens, >= 1.
  int64_t context_length = 1;
  // A sequence takes memory even without tokens, as in recurrent models.
  bool sequences_cost = false;
};

// The memory that the model needs, in bytes.
struct MemoryNeeds {
  // Weights mapped from a file, which runners share.
  int64_t mapped_weights = 0;
  // Weights that llama.cpp lays out anew for each runner.
  int64_t own_weights = 0;
  // Each runner's other needs that do not depend on its cache: rows, vocabulary, threads.
  int64_t fixed = 0;
  // Cache and working space for `cells` tokens in `sequences` sequences. Never decreases.
  std::function<int64_t(int64_t cells, int sequences)> context;
};

struct CacheChoice {
  int64_t cells = 0;
  int sequences = kMaxSequences;
  // There is room for a second cache, of the whole context length, in which one sequence at a time is isolated.
  bool isolates = false;
  // How it was chosen, for RunnerCapacity.cache_choice.
  std::string why;
  // The cache has fewer cells than the context length.
  bool is_short = false;
};

// The part of `available` bytes that is kept for the server.
int64_t ServerReserve(int64_t available);

// Checks that `weights` bytes of weights can be served at all.
// Errors: RESOURCE_EXHAUSTED, one sentence with the sizes and the remedy, which continues "model file PATH ".
absl::Status CheckWeightsFit(int64_t weights, const MemoryBudget& budget);

// Errors: as CheckWeightsFit; also if the requested cache does not fit, or not even the smallest one.
absl::StatusOr<CacheChoice> ChooseCache(const CacheRequest& request, const MemoryBudget& budget,
                                        const MemoryNeeds& needs);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_MEMORY_BUDGET_H_

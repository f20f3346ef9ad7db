// How many tokens a runner's cache holds: as many as were asked for, and never more than the memory that is there.
//
//   MemoryBudget budget = {.available = 2 GiB, .now = 2 GiB, .bound = "this machine"};
//   ASSIGN_OR_RETURN(CacheChoice choice, ChooseCache({.context_length = 131072}, budget, needs));
//   choice.cells   // 262144, twice the context length, or as many as fit
//
// The memory, from what is there down to what a cache may take:
//
//   available  |  kept for the server  |  weights in the page cache, once  |  runner 1  |  runner 2  |
//                                                                           weights of its own, computing,
//                                                                           rows, vocabulary, cache
//
// llama.cpp writes to the whole cache when it makes it. It stays so: what a runner promises is then its own, and no
// request finds it gone.
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

// Sequences with a cache at once, at most: a slot costs a bit in every cell.
inline constexpr int kMaxSequences = 64;

struct MemoryBudget {
  // Bytes that were there before any of the runners that share them began.
  int64_t available = 0;
  // Bytes that are there now. Less than `available`: somebody else has taken some, or the other runners have.
  int64_t now = 0;
  // What bounds them, for people: "this machine".
  std::string bound;
  // Runners that share them, this one included.
  int sharers = 1;
};

// What was asked for. 0: not said.
struct CacheRequest {
  int64_t cache_tokens = 0;
  int max_sequences = 0;
  // The model's, in tokens; >= 1.
  int64_t context_length = 1;
  // A sequence takes memory whether it holds tokens or not: recurrent models.
  bool sequences_cost = false;
};

// What the model takes, in bytes.
struct MemoryNeeds {
  // Weights that are mapped from a file: runners share them.
  int64_t mapped_weights = 0;
  // Weights that llama.cpp lays out anew, for each runner.
  int64_t own_weights = 0;
  // What each runner needs besides, whatever its cache: rows, vocabulary, threads.
  int64_t fixed = 0;
  // Cache and working space for so many tokens and sequences. Never falls.
  std::function<int64_t(int64_t cells, int sequences)> context;
};

struct CacheChoice {
  int64_t cells = 0;
  int sequences = kMaxSequences;
  // How it was chosen: RunnerCapacity.cache_choice.
  std::string why;
  // Fewer cells than the context length.
  bool is_short = false;
};

// What is kept for the server, of `available` bytes.
int64_t ServerReserve(int64_t available);

// Whether weights of so many bytes can be served at all.
// Errors: RESOURCE_EXHAUSTED, one sentence with the sizes and what to do, as it continues "model file PATH ".
absl::Status CheckWeightsFit(int64_t weights, const MemoryBudget& budget);

// Errors: as CheckWeightsFit, also if not even the smallest cache fits, or not the one that was asked for.
absl::StatusOr<CacheChoice> ChooseCache(const CacheRequest& request, const MemoryBudget& budget,
                                        const MemoryNeeds& needs);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_MEMORY_BUDGET_H_

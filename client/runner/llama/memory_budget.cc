#include "client/runner/llama/memory_budget.h"

#include <algorithm>

#include "base/status_macros.h"
#include "host/available_memory.h"

namespace logitd::runner {
namespace {

using host::ByteText;

// llama.cpp rounds the size of a cache up to a multiple of this.
constexpr int64_t kCellStep = 256;
// A cache of fewer tokens is useless.
constexpr int64_t kFewestCells = 512;
// The part of the room that is left for the cache of isolated sequences: one in this many.
constexpr int64_t kIsolatedPart = 5;

std::string Tokens(int64_t count) { return std::to_string(count) + (count == 1 ? " token" : " tokens"); }

// "6.1 GiB of memory are there (this machine), 1.0 GiB of it kept for the server, the rest shared by 2 runners".
std::string WhatIsThere(const MemoryBudget& budget) {
  std::string text = ByteText(budget.available) + " of memory are there (" + budget.bound + "), " +
                     ByteText(ServerReserve(budget.available)) + " of it kept for the server";
  if (budget.sharers > 1) text += ", the rest shared by " + std::to_string(budget.sharers) + " runners";
  return text;
}

std::string FewerRunners(const MemoryBudget& budget) { return budget.sharers > 1 ? ", fewer --runners" : ""; }

// The most cells in [least, most], in steps of kCellStep, for which `fits`; 0: none. Once `fits` is false, it must stay
// false.
template <typename Fits>
int64_t MostCells(int64_t least, int64_t most, Fits fits) {
  if (fits(most)) return most;
  if (least >= most || !fits(least)) return 0;
  int64_t low = least / kCellStep;
  int64_t high = (most + kCellStep - 1) / kCellStep;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle * kCellStep) ? low : high) = middle;
  }
  return std::max(least, low * kCellStep);
}

}  // namespace

int64_t ServerReserve(int64_t available) {
  constexpr int64_t kMiB = 1 << 20;
  return std::clamp(available / 8, 64 * kMiB, 1024 * kMiB);
}

absl::Status CheckWeightsFit(int64_t weights, const MemoryBudget& budget) {
  if (weights <= budget.available - ServerReserve(budget.available)) return absl::OkStatus();
  return absl::ResourceExhaustedError("cannot be served: its weights take " + ByteText(weights) + ", and " +
                                      WhatIsThere(budget) +
                                      "; give more memory, or a model with smaller or fewer weights");
}

absl::StatusOr<CacheChoice> ChooseCache(const CacheRequest& request, const MemoryBudget& budget,
                                        const MemoryNeeds& needs) {
  RETURN_IF_ERROR(CheckWeightsFit(needs.mapped_weights + needs.own_weights, budget));
  const int64_t shared = budget.available - ServerReserve(budget.available) - needs.mapped_weights;
  // The server's part is not subtracted from the memory that is available now: that varies by less, and runners that
  // start one after the other should choose alike.
  const int64_t share = std::min(shared / budget.sharers, budget.now - needs.mapped_weights);
  const int64_t room = share - needs.own_weights - needs.fixed;

  CacheChoice choice;
  const int64_t wanted = request.cache_tokens > 0 ? request.cache_tokens : 2 * request.context_length;
  const int64_t least = std::min({kFewestCells, request.context_length, wanted});
  // A sequence needs a cell, and llama.cpp aborts if there are more sequences than cells.
  choice.sequences =
      static_cast<int>(std::min<int64_t>(least, request.max_sequences > 0 ? request.max_sequences : kMaxSequences));
  // The states of sequences take at most half of the room, unless the number of sequences was given.
  while (request.max_sequences == 0 && request.sequences_cost && choice.sequences > 1 &&
         needs.context(least, choice.sequences) > room / 2) {
    choice.sequences /= 2;
  }
  const auto most_cells = [&](int64_t in_room) {
    return MostCells(least, wanted, [&](int64_t cells) { return needs.context(cells, choice.sequences) <= in_room; });
  };
  const auto isolates = [&] {
    return choice.cells > 0 &&
           needs.context(request.context_length, 1) <= room - needs.context(choice.cells, choice.sequences);
  };
  if (request.cache_tokens == 0) choice.cells = most_cells(room - room / kIsolatedPart);
  // Room that does not serve isolated sequences is not left empty.
  if (!isolates()) choice.cells = most_cells(room);
  choice.isolates = isolates();
  const auto refuse = [&](const std::string& what, const std::string& to_do) {
    return absl::ResourceExhaustedError("cannot be served: " + what + ", and " + WhatIsThere(budget) + "; " + to_do);
  };
  const int64_t without_cache = needs.mapped_weights + needs.own_weights + needs.fixed;
  if (choice.cells == 0) {
    return refuse("its weights take " + ByteText(needs.mapped_weights + needs.own_weights) +
                      ", and the smallest cache, of " + Tokens(least) + ", with what a runner needs besides " +
                      ByteText(needs.fixed + needs.context(least, choice.sequences)),
                  "give more memory, a smaller model" + FewerRunners(budget) + ", or lower --max-sequences");
  }
  if (request.cache_tokens > 0 && choice.cells < wanted) {
    return refuse("--cache-tokens " + std::to_string(wanted) + " would make it take " +
                      ByteText(without_cache + needs.context(wanted, choice.sequences)),
                  "lower --cache-tokens to " + std::to_string(choice.cells) + ", or leave it out");
  }
  choice.is_short = choice.cells < request.context_length;
  const std::string of = ByteText(needs.own_weights + needs.fixed + needs.context(choice.cells, choice.sequences)) +
                         " of the " + ByteText(share) + " that this runner may use";
  choice.why = Tokens(choice.cells);
  if (request.cache_tokens > 0) {
    choice.why += ", as --cache-tokens says: " + of;
  } else if (choice.cells == wanted) {
    choice.why += ", twice the context length: " + of;
  } else {
    choice.why += ", as many as fit: " + of + " (" + budget.bound + ")";
  }
  if (choice.is_short) choice.why += "; less than the context length of " + std::to_string(request.context_length);
  return choice;
}

}  // namespace logitd::runner

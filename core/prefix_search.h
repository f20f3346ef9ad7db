// Finds where a truncation cuts a row: the last token of the shortest prefix, in the order (logit descending, id
// ascending), whose mass reaches a target. A token's mass is 1 (top-k) or its weight (top-p). Masses are exact
// integers.
//
// The row is never sorted:
// - The first pass keeps the largest logit of each block. Often the few blocks with the largest ones hold the prefix.
// - Otherwise a sample guesses the cut. One pass adds up the tokens that are surely above the guess; the few tokens
//   around it are gathered and sorted.
// - A run of equal logits at the guess is not gathered: all its tokens have one mass, so a division finds the place in
//   it.
// prefix_search.cc begins with a picture and an example.
//
// Holds buffers that only grow: no allocation per row once warm. Thread-compatible.
#ifndef LOGITD_CORE_PREFIX_SEARCH_H_
#define LOGITD_CORE_PREFIX_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/kernels/float_sorter.h"
#include "core/kernels/row_kernels.h"
#include "core/logit_order.h"
#include "core/token_list.h"
#include "core/types.h"

namespace logitd {

// The tokens that a prefix is taken of. A view; see kernels/row_kernels.h for the shapes.
struct PrefixTokens {
  LogitsView row;
  // Tokens that are in. Those with a logit of -inf are not in, whatever it says.
  const TokenMask* mask = nullptr;
  // No token of a block is larger.
  std::span<const float> block_max;
  // Their number, >= 1.
  int32_t count = 0;
  // The largest of them.
  float max = 0;
  // For the weights. Null: the mass of each is 1.
  const kernels::ExpConstants* constants = nullptr;
  // The mass of all of them.
  uint64_t total_mass = 0;
};

// A prefix: its last token, its size (unset: not counted), its mass.
struct Prefix {
  Cut cut;
  std::optional<int32_t> count;
  uint64_t mass = 0;
  // Whether all its tokens are in list(), weighed if masses are weights.
  bool is_in_list = false;
  // Whether block_sums() are those of the prefix.
  bool has_block_sums = false;
};

// A few logits, descending, and what each weighs: a sample of a row, from which PrefixSearch estimates where in the
// order a prefix ends. Holds buffers that only grow. Can be moved, not copied.
class LogitSample {
 public:
  void Clear() { logits_.clear(); }
  void Add(float logit) { logits_.push_back(logit); }
  // `constants` null: the mass of each is 1.
  void Sort(float max, const kernels::ExpConstants* constants);

  size_t size() const { return logits_.size(); }
  // The mass of the logit at a place. REQUIRES: place < size().
  uint64_t MassAt(size_t place) const { return masses_[place]; }
  // The logit at a place, the largest at 0; places beyond the last are the last.
  float At(size_t place) const { return logits_[place < size() ? place : size() - 1]; }
  // The place that has about `beyond` mass after it, if each of the sample stands for `each` tokens. The masses are
  // added up from the end: many tokens of small mass lie beyond a cut, and a sample estimates those well.
  size_t PlaceBefore(double beyond, double each) const;

 private:
  std::vector<float> logits_;
  std::vector<uint64_t> masses_;
  kernels::FloatSorter sorter_;
};

class PrefixSearch {
 public:
  // REQUIRES: target >= 1 and at most tokens.total_mass.
  // Time: at most a few passes over the row, expected; a sort of it for rows that mislead both samples.
  Prefix Find(const PrefixTokens& tokens, uint64_t target);
  // Find(tokens, target_of(mass of all tokens)), without adding that mass up: bounds of it often give the same prefix.
  // Unset: they do not, or are not likely to. `target_of` never falls as the mass rises. The target may be 0: the first
  // token. Ignores tokens.total_mass.
  // REQUIRES: more than 4,096 tokens, which the largest blocks may hold; masses are weights.
  std::optional<Prefix> FindByBounds(const PrefixTokens& tokens, absl::FunctionRef<uint64_t(uint64_t)> target_of);
  // The same among the tokens of a list, weighed if `constants` is not null; `total_mass` is theirs, `max` is the
  // largest of them.
  Prefix FindInList(const TokenList& list, float max, const kernels::ExpConstants* constants, uint64_t total_mass,
                    uint64_t target);

  // The prefix's sums of weights by blocks (kernels::kSumBlockSize), where the last Find says so.
  std::vector<uint64_t>& block_sums() { return block_sums_; }
  // Tokens among which the last Find found the cut; the prefix's are in it where it says so.
  TokenList& list() { return list_; }

 private:
  // The cut is at one of the logits in [lowest, highest].
  struct Bracket {
    float lowest = -std::numeric_limits<float>::max();
    float highest = std::numeric_limits<float>::max();
  };
  // The tokens above a bracket, which are all in the prefix.
  struct Above {
    int32_t count = 0;
    uint64_t mass = 0;
  };

  // Gathers the tokens above the `rank`-th largest block maximum, which it returns. REQUIRES: there are that many
  // blocks.
  float CollectTopBlocks(size_t rank);
  // The prefix, if it ends at or above the `rank`-th largest block maximum; else narrows `bracket` to the logits below
  // that.
  std::optional<Prefix> FindInTopBlocks(size_t rank, uint64_t target, Bracket& bracket);
  Prefix FindBySample(uint64_t target, Bracket bracket);
  // The prefix, if it ends among the tokens with this logit; otherwise adds their mass to `above`. Adds the tokens that
  // it takes to block_sums_.
  std::optional<Prefix> FindTie(float logit, uint64_t target, Above& above);
  // The prefix that ends among the tokens of `list`, uncounted; `mass` is theirs. REQUIRES: above < target <= above +
  // mass.
  Prefix FindAmong(const TokenList& list, uint64_t mass, uint64_t above, uint64_t target);
  // The bracket of the cut among the tokens of a list that is not small; adds the mass above it to `above`.
  Bracket Narrow(const TokenList& list, uint64_t mass, uint64_t target, uint64_t& above);

  // Fills sample_ with logits of the bracket, and returns for how many tokens each of them stands.
  double TakeSample(const Bracket& bracket);
  // An estimate of the mass of all tokens, by a sample that misses the few that hold most of a peaked row.
  uint64_t EstimateMass();
  // Counts or adds up the tokens larger than `logit`, by blocks too.
  Above SumAbove(float logit);
  uint64_t MassOf(float logit) const;
  // Adds the weights of the list's tokens up to `cut`, and counts them.
  int32_t AddToBlockSums(const Cut& cut);

  const TokenMask& mask() const { return *tokens_.mask; }

  PrefixTokens tokens_;
  TokenList list_;
  std::vector<TokenId> places_;
  LogitSample sample_;
  std::vector<uint64_t> block_sums_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_PREFIX_SEARCH_H_

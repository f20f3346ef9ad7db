// The tokens that may still be chosen at a step, and their integer weights. Stages narrow them down.
//
//   KeptTokens kept;                     // reused for every row: it keeps its buffers
//   kept.Reset(row, mask, banned);
//   kept.SetTemperature(0.7);
//   kept.KeepMass(target);
//   Draw draw = kept.DrawToken(uniform);
//
// In a sparse row (core/logits_row.h) tokens are slots: `row` holds their logits, and ids below are their places.
//
// - Many tokens are stored as a mask over the row. Few tokens, which most truncations leave, are stored as a list, so
//   that later stages and the draw cost almost nothing. The form never shows in a result.
// - Weights are computed when they are first asked for, and not at all if a stage cuts before.
//
// Thread-compatible; keeps a view of the row. Source: docs/numerics.md, sections 1, 2 and 4.
#ifndef LOGITD_CORE_KEPT_TOKENS_H_
#define LOGITD_CORE_KEPT_TOKENS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/kernels/row_kernels.h"
#include "core/logit_order.h"
#include "core/prefix_search.h"
#include "core/token_list.h"
#include "core/token_mask.h"
#include "core/types.h"

namespace logitd {

// The weight of the largest logit.
inline constexpr uint64_t kUnitWeight = uint64_t{1} << kernels::kWeightBits;

// The integers of one draw: token_id is the kept token with interval_start <= r < interval_start + weight, r =
// floor(uniform total_weight / 2^64).
struct Draw {
  TokenId token_id = 0;
  uint64_t uniform = 0;
  uint64_t total_weight = 0;
  uint64_t interval_start = 0;
  uint64_t weight = 0;
};

class KeptTokens {
 public:
  // Starts over, at `temperature`, with the tokens of `mask` that are not in `banned` (any order) and whose logit is
  // not -inf. Returns the result of the first pass. If it found a NaN or +inf (first_non_finite >= 0), or no token
  // (argmax -1), the object is empty and may only be reset again.
  kernels::RowScan Reset(LogitsView row, const TokenMask& mask, std::span<const TokenId> banned,
                         double temperature = 1);
  // Weights are at this temperature from now on. In [kMinTemperature, kMaxTemperature], or near it.
  void SetTemperature(double temperature);

  LogitsView row() const { return row_; }
  double temperature() const { return temperature_; }
  // The first token in the order of logits. Weights are relative to it.
  float max() const { return max_; }
  TokenId argmax() const { return argmax_; }
  bool Contains(TokenId token_id) const;
  // Their number, >= 1.
  int32_t Count();

  // Sum of the weights, at least 2^42.
  uint64_t TotalWeight();
  // The same at another temperature, which is not set.
  uint64_t TotalWeightAt(double temperature);
  // The weight of each token of the row, [row size]; 0 for one that is not in it.
  void Weigh(std::span<uint64_t> weights);
  // (x - max) / T - ln(total_weight 2^-42), nats. REQUIRES: Contains(token_id).
  double LogProb(TokenId token_id);
  // 0 for a token that is not in it.
  uint64_t Weight(TokenId token_id) const;
  // ln(total_weight 2^-42).
  double LogTotal();
  // Nats, >= 0.
  double Entropy();

  // Keeps the first k; with `ties` also what equals the last of them. REQUIRES: k >= 1.
  void KeepFirst(int32_t k, bool ties = false);
  // Keeps the shortest prefix whose mass is at least `target`; with `ties` also what equals its last token.
  // REQUIRES: target <= TotalWeight().
  void KeepMass(uint64_t target, bool ties = false);
  // KeepMass(target_of(TotalWeight())). The total is not computed if bounds of it suffice. `target_of` never falls as
  // its argument rises.
  void KeepShare(absl::FunctionRef<uint64_t(uint64_t)> target_of, bool ties = false);
  // Keeps the tokens with a logit of at least `lowest`, the first one always.
  void KeepAtLeast(float lowest);
  // Keeps the tokens up to `cut`. REQUIRES: it keeps the first token.
  void KeepUpTo(const Cut& cut);
  // Takes out `token_ids`, ascending. REQUIRES: some token is left.
  void Remove(std::span<const TokenId> token_ids);

  // The tokens with lowest <= logit <= highest, bounds that are not infinite, weighed. Holds until the next call.
  const TokenList& Between(float lowest, float highest);
  // Calls visit(token_id) for each token, ids ascending.
  template <class Visit>
  void ForEach(const Visit& visit) const;
  // The tokens that are in it, with a bit for each; tokens with a logit of -inf may be there too. Holds until the next
  // call.
  const TokenMask& Mask();

  // REQUIRES: `uniform` are 64 random bits. A token of weight 0 has no interval.
  Draw DrawToken(uint64_t uniform);

 private:
  // The form of the tokens. Both members stay, because a std::variant would free the buffers of one of them at each
  // change.
  enum class Form {
    // mask_ and cut_: the tokens of the mask, up to the cut, whose logit is not -inf.
    kRow,
    // list_.
    kList,
  };
  struct Sums {
    uint64_t total_weight = 0;
    double log_total = 0;
  };

  bool is_list() const { return form_ == Form::kList; }
  // Changes the form to kList.
  void UseList();
  void MakeMask();
  // Works the cut into the mask. REQUIRES: !is_list().
  void SettleCut();
  void MakeList(float lowest);
  // Makes sums_ and count_, unless they are there.
  void Sum();
  void Rescan();
  // The weights of the tokens from `start`, a multiple of 64, up to the next one or the row's end, 0 for those that are
  // not in it; returns their sum. REQUIRES: !is_list().
  uint64_t WeighWord(size_t start, uint64_t* weights) const;
  PrefixTokens Tokens(bool weighed);
  void Keep(Prefix prefix, bool ties);
  void SetTotal(uint64_t total_weight);

  LogitsView row_;
  double temperature_ = 1;
  kernels::ExpConstants constants_{1};
  float max_ = 0;
  TokenId argmax_ = 0;
  // Unset: not counted yet.
  std::optional<int32_t> count_;
  // Unset: not summed yet. Else the list's weights, or block_sums_, are there too, and so is count_.
  std::optional<Sums> sums_;
  std::vector<uint64_t> block_sums_;

  Form form_ = Form::kRow;
  TokenList list_;
  TokenMask mask_;
  // Unset: the mask alone.
  std::optional<Cut> cut_;
  // An upper bound of the logits of each block (kernels/row_kernels.h).
  std::vector<float> block_max_;

  PrefixSearch search_;
  TokenList between_;
};

template <class Visit>
void KeptTokens::ForEach(const Visit& visit) const {
  if (is_list()) {
    for (TokenId token_id : list_.ids()) visit(token_id);
    return;
  }
  for (TokenId token_id = 0; token_id < static_cast<TokenId>(row_.size()); ++token_id) {
    if (Contains(token_id)) visit(token_id);
  }
}

}  // namespace logitd

#endif  // LOGITD_CORE_KEPT_TOKENS_H_

// The distribution that a token is drawn from: a row, processed with every stage of SamplingParams in the order of its
// plan. The temperature is applied here and nowhere else.
//
//   Distribution distribution;                      // reused for every row: it keeps its buffers
//   RETURN_IF_ERROR(distribution.Assign(row, params, context));
//   Draw draw = distribution.DrawToken(uniform);
//   double log_prob = distribution.LogProb(draw.token_id);
//
// A stage that is off costs nothing, and a sum that nobody asks for is not made.
//
// Source: docs/numerics.md.
#ifndef LOGITD_CORE_DISTRIBUTION_H_
#define LOGITD_CORE_DISTRIBUTION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/kept_tokens.h"
#include "core/logits_processor.h"
#include "core/logits_row.h"
#include "core/row_statistics.h"
#include "core/sampling_params.h"
#include "core/stages.h"
#include "core/top_tokens.h"
#include "core/truncation.h"
#include "core/types.h"
#include "core/vocab_subset.h"

namespace logitd {

// See Distribution. Large enough that rows of two sizes in turns do not make the buffers anew each time.
inline constexpr int32_t kRowsUntilTrim = 1024;

// Additions to Assign, and omissions.
struct DistributionOptions {
  // KeptMass().
  bool kept_mass = false;
  // Set: only that many first stages of the plan run, and no argmax is taken at temperature 0 (core/stage_report.h).
  std::optional<size_t> stage_count = std::nullopt;
};

// Thread-compatible; keeps a view of the last row.
// Memory, at most:
// - 105 bytes for each slot of the largest row, and 5 for each token of its vocabulary;
// - 90 bytes more for each slot if records have top_n;
// - 64 bytes for each token of the history that penalties and DRY look at;
// - twice the part of a vector that had to grow step by step.
// The memory is freed after kRowsUntilTrim rows of less than a quarter of the largest one.
class Distribution {
 public:
  // Processes `row` with every stage of `params` that is on. Temperature 0 leaves only the argmax.
  // The row's logits and ids must outlive this object's use.
  // Errors: NON_FINITE_LOGIT, NO_FINITE_LOGIT (the row itself has no finite value), ALL_TOKENS_EXCLUDED (the sets and
  // bans leave none). After an error the object may only be assigned to again.
  // REQUIRES: Validate(params, vocab_size).ok(); context holds what NeedsHistory(params) and NeedsPrompt(params) say.
  absl::Status Assign(const LogitsRow& row, const SamplingParams& params, const StepContext& context,
                      const DistributionOptions& options = {});

  // The row as it came.
  const LogitsRow& row() const { return row_; }
  // The first kept token in the order of logits, and its logit after every stage that changes logits.
  float max() const { return kept_.max(); }
  TokenId argmax() const { return row_.IdOf(kept_.argmax()); }
  // Allowed, finite and not cut; at temperature 0 the argmax alone. A kept token may have weight 0: it has a finite
  // log-prob and is never drawn.
  bool Keeps(TokenId token_id) const { return KeepsSlot(row_.SlotOf(token_id)); }
  // Keeps, for a slot of row(); false for -1.
  bool KeepsSlot(int32_t slot) const {
    return slot >= 0 && (is_greedy_ ? slot == kept_.argmax() : kept_.Contains(slot));
  }
  // As KeepsSlot, except at temperature 0: then the candidates of the argmax.
  bool IsCandidate(int32_t slot) const { return kept_.Contains(slot); }
  int32_t CountKept() { return is_greedy_ ? 1 : kept_.Count(); }
  // Integer weight, unit 2^-42 of the maximum's; 0 for a token that is not kept.
  uint64_t Weight(TokenId token_id) const {
    const int32_t slot = row_.SlotOf(token_id);
    return KeepsSlot(slot) ? kept_.Weight(slot) : 0;
  }
  // The weight of each slot of row(), [slots], as Weight() has it. REQUIRES: the argmax is not taken.
  void Weigh(std::span<uint64_t> weights) { kept_.Weigh(weights); }
  // Sum of the weights of the kept tokens: at least 2^42, at most 2^62.
  uint64_t TotalWeight() { return is_greedy_ ? kUnitWeight : kept_.TotalWeight(); }
  // ln p of `token_id`, nats: (x - max) / T - ln(total_weight 2^-42); -inf if it is not kept; 0 for the argmax at T =
  // 0.
  double LogProb(TokenId token_id);
  // Entropy over the kept tokens, nats, >= 0; |error| <= 1e-6. One more pass over the row.
  double Entropy() { return is_greedy_ ? 0 : kept_.Entropy(); }
  // The share of the kept tokens in the distribution before the cuts, at this temperature: Z exp((max - base max) / T)
  // / base Z, where `base` is the row after the last stage that changes logits or bans tokens. In [0, 1]: 0 if typical
  // or XTC removed the maximum and f64 cannot hold the rest. 1 at temperature 0. REQUIRES: options.kept_mass.
  double KeptMass();
  // The kept token whose interval of prefix sums, in id order, holds r = floor(uniform Z / 2^64): token i has
  // probability weight_i / Z, up to 2^-64. A token of weight 0 has no interval. At temperature 0 the argmax, whatever
  // `uniform` is.
  Draw DrawToken(uint64_t uniform);

  // Working space for a record's top tokens; it holds nothing of a row.
  TopTokens& top_tokens() { return top_tokens_; }

  // ReadRow(row(), with_entropy), without the passes that Assign made already.
  RowStatistics ModelStatistics(bool with_entropy);

 private:
  // Frees the buffers if a much larger row made them long ago.
  void Trim(size_t slot_count);
  // Applies the edits of a group; each logit is rounded once, after all of them. Afterwards no token is cut.
  absl::Status Edit(const StagePlan::Group& group, bool is_first, const StageStep& step);
  // Before the first cut after an edit: notes the values that top-n-sigma and KeptMass() need of the row as it is then.
  void LookBeforeCuts(const StageStep& step);

  // The slots of `mask` whose token is in `allowed`, as `allowed` itself or as mask_. `mask` may be mask_.
  const TokenMask* Allow(const TokenMask& allowed, const TokenMask* mask);
  // The slots of `token_ids`, except tokens that the row does not list. Holds until the next call.
  std::span<const int32_t> SlotsOf(std::span<const TokenId> token_ids);

  LogitsRow row_;
  DistributionOptions options_;
  // Whether the argmax is the token.
  bool is_greedy_ = false;
  // Its tokens are the slots of row_.
  KeptTokens kept_;
  LogitsProcessor processor_;
  TruncationSpace truncation_;
  TopTokens top_tokens_;
  // The logits after a group that changes some of them.
  std::vector<float> edited_;
  // The slots that a group begins with.
  TokenMask mask_;
  std::vector<int32_t> slots_;
  // No stage changed anything: the distribution is the model's own.
  bool is_models_ = false;
  // The first pass over the row as it came, if it was made without a mask.
  std::optional<RowMaximum> row_maximum_;
  // For KeptMass().
  float base_max_ = 0;
  uint64_t base_weight_ = 0;
  // Slots of the largest row since the buffers were made, and the number of much smaller rows in succession.
  size_t largest_row_ = 0;
  int32_t small_rows_ = 0;
};

}  // namespace logitd

#endif  // LOGITD_CORE_DISTRIBUTION_H_

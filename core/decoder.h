// One sequence, decoded step by step: a row in, a token and its numbers out.
//
//   Decoder decoder(config);
//   ASSIGN_OR_RETURN(Step step, decoder.Advance(/*position=*/0, row, distribution));
//
// A step is a function of row, config, position, prompt, tokens so far and sums so far. No clock or neighbour counts.
// Thread-compatible.
#ifndef LOGITD_CORE_DECODER_H_
#define LOGITD_CORE_DECODER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/distribution.h"
#include "core/logits_row.h"
#include "core/row_tail.h"
#include "core/sampling_params.h"
#include "core/sequence.h"
#include "core/token_record.h"
#include "core/types.h"
#include "core/vocab_subset.h"

namespace logitd {

// Tokens that several sequences look at and nobody changes.
using SharedTokens = std::shared_ptr<const std::vector<TokenId>>;

struct DecoderConfig {
  SamplingParams sampling;
  StopRules stop;
  RecordOptions record;
  // Philox key; SamplingParams in the proto carries it, or the server drew it.
  uint64_t seed = 0;
  // [0, 2^56).
  uint64_t sequence_key = 0;
  // False: tokens are kept only where a stage looks at them (sequence().token_ids()).
  bool keeps_all_tokens = true;
};

// Inputs of a step besides its row. Views: they must outlive the step.
struct StepInputs {
  // The tokens that may be chosen at this step, among those that the sequence's own sets leave. Null: all of those.
  // REQUIRES: of the row's vocabulary.
  const VocabSubset* allowed = nullptr;
  // Taken instead of a chosen token, whatever the stages do with it. REQUIRES: in the row's vocabulary.
  std::optional<TokenId> given_token_id;
  // The tail of a row that has one; then CheckTailIsEnough limits the sampling and the record. Null: the row has every
  // token's logit.
  const RowTail* tail = nullptr;
  // With a tail: the row that has every token's logit. A step that falls into the rest draws from its unlisted tokens.
  // Null: such a step is Step::is_rest. REQUIRES: of the row's vocabulary.
  const LogitsRow* dense_row = nullptr;
  // Not empty: the record's named tokens, instead of those of RecordOptions. REQUIRES: as given_token_id.
  std::span<const TokenId> named_token_ids;
};

// The result of one row.
struct Step {
  // The draw fell into the row's rest: no token was chosen, and the sequence is as before. The dense row decides.
  bool is_rest = false;
  // Unset if no token could be chosen (finish.reason is kNoAdmissibleToken), or is_rest.
  std::optional<TokenRecord> token;
  // Tokens and sums after this step.
  int32_t token_count = 0;
  SequenceSums sums;
  // Set: the sequence has ended.
  std::optional<Finish> finish;
};

class Decoder {
 public:
  // A new sequence. REQUIRES: config is valid (Validate) and of the rows' vocabulary.
  explicit Decoder(DecoderConfig config);
  // A sequence that goes on after tokens chosen earlier, on any machine. The prompt is shared, never copied, and kept
  // only if a stage looks at it; null: none. The tokens are kept if a stage looks at them or config.keeps_all_tokens;
  // otherwise only their number and the last one are.
  Decoder(DecoderConfig config, SharedTokens prompt, std::vector<TokenId> token_ids, const SequenceSums& sums);
  // The same if only the number of tokens is known. REQUIRES: no stage looks at them
  // (!NeedsHistory(config.sampling)); token_count >= 0.
  Decoder(DecoderConfig config, int32_t token_count, const SequenceSums& sums);

  // Takes the row for `position`. position() chooses the next token. position() - 1, after at least one step here,
  // computes the latest step again, with the same result and no effect.
  // `distribution` is working space that sequences of one thread share.
  // Errors: POSITION_GAP, POSITION_TOO_OLD (the field is "position"), POSITION_CONFLICT, NON_FINITE_LOGIT,
  // NO_FINITE_LOGIT. After an error the sequence is as before.
  absl::StatusOr<Step> Advance(int32_t position, const LogitsRow& row, Distribution& distribution,
                               const StepInputs& inputs = {});

  // Takes the token for position() that was chosen elsewhere by the same rules; unset: none could be chosen. `record`
  // has the numbers that config().record asks for. The step is the one that Advance would return for the same row.
  Step Accept(std::optional<TokenRecord> record);

  // Position of the next token.
  int32_t position() const { return sequence_.position(); }
  const Sequence& sequence() const { return sequence_; }
  // The sums before the latest token. Unset: it was not taken here by Advance.
  const std::optional<SequenceSums>& sums_before_latest() const { return before_latest_; }
  const DecoderConfig& config() const { return config_; }
  // The prompt, as long as the decoder lives. Empty: there is none, or no stage looks at it.
  std::span<const TokenId> prompt() const {
    return prompt_ == nullptr ? std::span<const TokenId>() : std::span<const TokenId>(*prompt_);
  }

 private:
  // The tokens chosen before `position`; none if no stage looks at them.
  std::span<const TokenId> OutputBefore(int32_t position) const;
  StepContext ContextAt(int32_t position, const StepInputs& inputs) const;
  absl::StatusOr<Step> Choose(const SequenceSums& sums_before, int32_t position, const LogitsRow& row,
                              Distribution& distribution, const StepInputs& inputs) const;
  // In decoder_tail.cc.
  struct TailStep;
  absl::StatusOr<Step> ChooseWithTail(const SequenceSums& sums_before, int32_t position, const LogitsRow& row,
                                      Distribution& distribution, const StepInputs& inputs) const;
  TokenRecord RecordOfListed(const TailStep& tail, const LogitsRow& row, TokenId token_id,
                             Distribution& distribution) const;
  absl::StatusOr<TokenRecord> RecordOfRest(const TailStep& tail, const LogitsRow& row, Distribution& distribution,
                                           const StepInputs& inputs) const;

  DecoderConfig config_;
  SharedTokens prompt_;
  Sequence sequence_;
  // The sums before the latest step taken here, so that it can be computed again.
  std::optional<SequenceSums> before_latest_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_DECODER_H_

#include "core/history_bans.h"

#include <cstddef>

#include "core/stages.h"
#include "core/token_history.h"

namespace logitd {
namespace {

TokenHistory InScope(PenaltyScope scope, std::span<const TokenId> prompt, std::span<const TokenId> output) {
  return TokenHistory(scope == PenaltyScope::kOutput ? std::span<const TokenId>() : prompt,
                      scope == PenaltyScope::kPrompt ? std::span<const TokenId>() : output);
}

bool IsBadWord(const SamplingParams& params, const TokenHistory& tokens, TokenId token_id) {
  for (const SequenceBias& bias : params.lists->sequence_biases) {
    const std::span<const TokenId> sequence(bias.token_ids);
    if (!bias.bias && sequence.back() == token_id && tokens.EndsWith(sequence.first(sequence.size() - 1))) return true;
  }
  return false;
}

// Whether `token_id` ends an n-gram that occurred and that begins with the last of `tokens`. `not_in_last`: an n-gram
// that ends within that many last tokens does not count.
bool RepeatsNgram(const TokenHistory& tokens, size_t n, size_t not_in_last, TokenId token_id) {
  for (size_t k = not_in_last; k < tokens.size(); ++k) {
    if (tokens.Back(k) != token_id || k + n > tokens.size()) continue;
    size_t same = 0;
    while (same < n - 1 && tokens.Back(k + 1 + same) == tokens.Back(same)) ++same;
    if (same == n - 1) return true;
  }
  return false;
}

}  // namespace

const char* BannedBy(const SamplingParams& params, std::span<const TokenId> prompt, std::span<const TokenId> output,
                     TokenId token_id) {
  if (IsOn(params, Stage::kSequenceBiases) &&
      IsBadWord(params, InScope(params.SequenceScope(), prompt, output), token_id)) {
    return "sequence_biases";
  }
  if (IsOn(params, Stage::kNoRepeatNgram)) {
    const PenaltyScope scope = params.RepetitionScope();
    // In the output alone nothing can match that begins in the prompt.
    const TokenHistory tokens = InScope(
        scope == PenaltyScope::kOutput ? PenaltyScope::kOutput : PenaltyScope::kPromptAndOutput, prompt, output);
    const size_t not_in_last = scope == PenaltyScope::kPrompt ? output.size() : 0;
    if (RepeatsNgram(tokens, static_cast<size_t>(params.no_repeat_ngram_size), not_in_last, token_id)) {
      return "no_repeat_ngram_size";
    }
  }
  return nullptr;
}

}  // namespace logitd

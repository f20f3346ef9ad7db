#include "core/logits_processor.h"

#include <algorithm>
#include <limits>

#include "core/token_history.h"

namespace logitd {
namespace {

TokenHistory InScope(PenaltyScope scope, const StepContext& context) {
  return TokenHistory(scope == PenaltyScope::kOutput ? std::span<const TokenId>() : context.prompt,
                      scope == PenaltyScope::kPrompt ? std::span<const TokenId>() : context.output);
}

}  // namespace

void LogitsProcessor::Begin(const LogitsRow& row, double divisor) {
  row_ = row;
  divisor_ = divisor;
  touched_.clear();
  counted_.clear();
  counted_scope_ = PenaltyScope::kDefault;
  edits_.clear();
  banned_.clear();
  const auto vocab_size = static_cast<size_t>(row.vocab_size());
  if (index_.size() < vocab_size) index_.resize(vocab_size);
}

size_t LogitsProcessor::Touch(TokenId token_id) {
  int32_t& index = index_[token_id];
  if (index == 0) {
    touched_.push_back({.token_id = token_id, .logit = double{row_[token_id]} / divisor_});
    index = static_cast<int32_t>(touched_.size());
  }
  return static_cast<size_t>(index) - 1;
}

void LogitsProcessor::Ban(TokenId token_id) {
  Touched& token = touched_[Touch(token_id)];
  if (token.banned) return;
  token.banned = true;
  banned_.push_back(token_id);
}

void LogitsProcessor::Ban(std::span<const TokenId> token_ids) {
  for (TokenId token_id : token_ids) Ban(token_id);
}

void LogitsProcessor::AddLogitBiases(std::span<const LogitBias> biases) {
  for (const LogitBias& bias : biases) touched_[Touch(bias.token_id)].logit += bias.bias;
}

void LogitsProcessor::Count(PenaltyScope scope, const SamplingParams& params, const StepContext& context) {
  if (scope == counted_scope_) return;
  counted_scope_ = scope;
  for (int32_t place : counted_) touched_[place].count = 0;
  counted_.clear();
  TokenHistory tokens = InScope(scope, context);
  if (params.penalty_window.has_value()) tokens = tokens.Last(static_cast<size_t>(*params.penalty_window));
  for (std::span<const TokenId> part : {tokens.prompt(), tokens.output()}) {
    for (TokenId token_id : part) {
      const size_t place = Touch(token_id);
      if (touched_[place].count++ == 0) counted_.push_back(static_cast<int32_t>(place));
    }
  }
}

void LogitsProcessor::PenaliseRepetition(const SamplingParams& params, const StepContext& context) {
  Count(params.RepetitionScope(), params, context);
  for (int32_t place : counted_) {
    double& logit = touched_[place].logit;
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  }
}

void LogitsProcessor::PenaliseFrequency(const SamplingParams& params, const StepContext& context) {
  Count(params.OccurrenceScope(), params, context);
  for (int32_t place : counted_) touched_[place].logit -= params.frequency_penalty * touched_[place].count;
}

void LogitsProcessor::PenalisePresence(const SamplingParams& params, const StepContext& context) {
  Count(params.OccurrenceScope(), params, context);
  for (int32_t place : counted_) touched_[place].logit -= params.presence_penalty;
}

void LogitsProcessor::Divide(double temperature) {
  divisor_ *= temperature;
  for (Touched& token : touched_) token.logit /= temperature;
}

void LogitsProcessor::AddSequenceBiases(const SamplingParams& params, const StepContext& context) {
  const TokenHistory tokens = InScope(params.SequenceScope(), context);
  for (const SequenceBias& bias : params.lists->sequence_biases) {
    const std::span<const TokenId> sequence(bias.token_ids);
    if (!tokens.EndsWith(sequence.first(sequence.size() - 1))) continue;
    if (bias.bias.has_value()) {
      touched_[Touch(sequence.back())].logit += *bias.bias;
    } else {
      Ban(sequence.back());
    }
  }
}

const DryBreakers& LogitsProcessor::BreakersOf(const std::shared_ptr<const SamplingLists>& lists) {
  // Null once nobody has them any more: then others may be at their address.
  if (breakers_lists_.lock() != lists) {
    breakers_.Assign(lists->dry.breakers);
    breakers_lists_ = lists;
  }
  return breakers_;
}

void LogitsProcessor::PenaliseDry(const std::shared_ptr<const SamplingLists>& lists, const StepContext& context) {
  const DryPenalty& dry = lists->dry;
  dry_matcher_.Find(TokenHistory(context.prompt, context.output), dry, BreakersOf(lists), row_.vocab_size());
  for (const DryMatch& match : dry_matcher_.matches()) {
    Touched& token = touched_[Touch(match.token_id)];
    token.match_length = std::max(token.match_length, match.length);
  }
  const int32_t max_exponent = DryMatcher::MaxExponent(dry.base);
  // With a base near 1 they are as many as the longest match: what the last step made is kept.
  if (powers_.empty() || powers_base_ != dry.base) {
    powers_.assign(1, 1.0);
    powers_base_ = dry.base;
  }
  for (const DryMatch& match : dry_matcher_.matches()) {
    Touched& token = touched_[Touch(match.token_id)];
    // A token that comes several times is penalised once.
    if (token.match_length == 0) continue;
    const size_t exponent = static_cast<size_t>(std::min(token.match_length - dry.allowed_length, max_exponent));
    // Not pow(): it differs between hosts.
    while (powers_.size() <= exponent) powers_.push_back(powers_.back() * dry.base);
    token.logit -= dry.multiplier * powers_[exponent];
    token.match_length = 0;
  }
}

void LogitsProcessor::BanRepeatedNgrams(const SamplingParams& params, const StepContext& context) {
  const PenaltyScope scope = params.RepetitionScope();
  const size_t n = static_cast<size_t>(params.no_repeat_ngram_size);
  // In the output alone nothing can match that begins in the prompt.
  const TokenHistory tokens =
      InScope(scope == PenaltyScope::kOutput ? PenaltyScope::kOutput : PenaltyScope::kPromptAndOutput, context);
  FindSuffixMatches(tokens, suffix_matches_);
  // The last token of an n-gram that occurred is Back(k - 1). k = size is the first token of all: it ends a 1-gram.
  for (size_t k = 1; k <= tokens.size(); ++k) {
    if (scope == PenaltyScope::kPrompt && k <= context.output.size()) continue;
    const size_t matched = k < tokens.size() ? static_cast<size_t>(suffix_matches_[k]) : 0;
    if (matched + 1 >= n) Ban(tokens.Back(k - 1));
  }
}

void LogitsProcessor::Finish() {
  constexpr double kMax = std::numeric_limits<float>::max();
  for (const Touched& token : touched_) {
    index_[token.token_id] = 0;
    const float before = row_[token.token_id];
    if (token.banned || before == -std::numeric_limits<float>::infinity()) continue;
    const float after = static_cast<float>(std::clamp(token.logit * divisor_, -kMax, kMax));
    if (after != before) edits_.push_back({token.token_id, after});
  }
}

}  // namespace logitd

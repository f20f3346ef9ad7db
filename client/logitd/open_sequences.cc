#include "client/logitd/open_sequences.h"

#include <utility>

namespace logitd::client {
namespace {

// Bounds of one batch that opens sequences: far below a message's.
constexpr int kOpensPerBatch = 1024;
constexpr size_t kBytesPerBatch = 8 << 20;

}  // namespace

bool LooksAtTokens(const v1::SamplingParams& sampling) {
  return sampling.has_repetition_penalty() || sampling.has_frequency_penalty() || sampling.has_presence_penalty() ||
         sampling.no_repeat_ngram_size() != 0 || sampling.has_dry() || sampling.sequence_biases_size() > 0;
}

OpenSequences::OpenSequences(const v1::DecodeConfig& config)
    : config_looks_at_tokens_(LooksAtTokens(config.sampling())) {}

void OpenSequences::Take(const v1::StepBatch& batch, const v1::BatchResult& result) {
  std::vector<std::shared_ptr<const v1::TokenIds>> shared_prompts;
  for (const v1::TokenIds& prompt : batch.shared_prompts()) {
    shared_prompts.push_back(std::make_shared<v1::TokenIds>(prompt));
  }
  for (int i = 0; i < batch.opens_size() && i < result.opens_size(); ++i) {
    if (!result.opens(i).has_error()) Open(batch.opens(i), shared_prompts, result.opens(i));
  }
  for (const v1::CloseResult& close : result.closes()) sequences_.erase(close.sequence_id());
  for (const v1::StepResult& step : result.steps()) Step(step);
}

void OpenSequences::Open(const v1::OpenSequence& open,
                         const std::vector<std::shared_ptr<const v1::TokenIds>>& shared_prompts,
                         const v1::OpenResult& result) {
  Sequence sequence;
  sequence.keeps_tokens = open.has_sampling() ? LooksAtTokens(open.sampling()) : config_looks_at_tokens_;
  const v1::SequenceStart& start = open.fresh();
  if (sequence.keeps_tokens) {
    if (start.has_shared_prompt()) {
      sequence.prompt = shared_prompts.at(static_cast<size_t>(start.shared_prompt()));
    } else if (start.prompt_token_ids_size() > 0) {
      auto prompt = std::make_shared<v1::TokenIds>();
      *prompt->mutable_token_ids() = start.prompt_token_ids();
      sequence.prompt = std::move(prompt);
    }
    sequence.tokens = start.state().tokens();
  }
  sequence.token_count = result.next_position();
  if (start.state().has_resume_state()) sequence.resume_state = start.state().resume_state();
  sequence.open.set_sequence_id(open.sequence_id());
  sequence.open.set_sequence_key(result.sequence_key());
  if (open.has_sampling()) {
    *sequence.open.mutable_sampling() = open.sampling();
    // Another stream would draw another seed.
    sequence.open.mutable_sampling()->set_seed(result.seed());
  }
  if (open.has_stop()) *sequence.open.mutable_stop() = open.stop();
  if (open.has_record()) *sequence.open.mutable_record() = open.record();
  sequences_.insert_or_assign(open.sequence_id(), std::move(sequence));
}

void OpenSequences::Step(const v1::StepResult& result) {
  const auto found = sequences_.find(result.sequence_id());
  if (found == sequences_.end()) return;
  if (result.has_error() || result.chosen().has_finish()) {
    sequences_.erase(found);
    return;
  }
  Sequence& sequence = found->second;
  // A rest changes nothing, and a step that was sent twice is answered twice.
  if (!result.has_chosen() || result.position() != sequence.token_count) return;
  sequence.token_count += result.chosen().tokens_size();
  sequence.resume_state = result.chosen().resume_state();
  if (!sequence.keeps_tokens) return;
  for (const v1::TokenRecord& token : result.chosen().tokens()) sequence.tokens.add_token_ids(token.token_id());
}

std::vector<v1::StepBatch> OpenSequences::Reopen() const {
  std::vector<v1::StepBatch> batches;
  std::map<const v1::TokenIds*, int> prompts;
  size_t bytes = 0;
  for (const auto& [id, sequence] : sequences_) {
    if (batches.empty() || batches.back().opens_size() >= kOpensPerBatch || bytes >= kBytesPerBatch) {
      batches.emplace_back();
      prompts.clear();
      bytes = 0;
    }
    v1::StepBatch& batch = batches.back();
    v1::OpenSequence& open = *batch.add_opens();
    open = sequence.open;
    v1::SequenceStart& start = *open.mutable_fresh();
    if (sequence.prompt != nullptr) {
      const auto [at, is_new] = prompts.try_emplace(sequence.prompt.get(), batch.shared_prompts_size());
      if (is_new) {
        *batch.add_shared_prompts() = *sequence.prompt;
        bytes += sequence.prompt->ByteSizeLong();
      }
      start.set_shared_prompt(at->second);
    }
    if (sequence.token_count > 0) {
      v1::SequenceState& state = *start.mutable_state();
      if (sequence.keeps_tokens) {
        *state.mutable_tokens() = sequence.tokens;
      } else {
        state.set_token_count(sequence.token_count);
      }
      if (sequence.resume_state) *state.mutable_resume_state() = *sequence.resume_state;
    }
    bytes += open.ByteSizeLong();
  }
  return batches;
}

}  // namespace logitd::client

// The open sequences of a Decode stream with everything that it takes to open them again on another one: what the
// caller said, and the state after the results so far (SequenceState).
//
//   OpenSequences sequences(config);
//   sequences.Take(batch, result);                         // of each result, in order
//   for (v1::StepBatch& batch : sequences.Reopen()) ...    // on a new stream
//
// Memory: the prompt and the tokens of a sequence are kept only if a stage looks at them. One thread.
#ifndef LOGITD_CLIENT_LOGITD_OPEN_SEQUENCES_H_
#define LOGITD_CLIENT_LOGITD_OPEN_SEQUENCES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "logitd/v1/decoding_service.pb.h"

namespace logitd::client {

// Whether a stage of these parameters looks at the tokens of a sequence, so that their number does not resume it.
bool LooksAtTokens(const v1::SamplingParams& sampling);

class OpenSequences {
 public:
  explicit OpenSequences(const v1::DecodeConfig& config);

  // Follows a batch and its result. A sequence that failed or ended is open no longer.
  void Take(const v1::StepBatch& batch, const v1::BatchResult& result);

  // Batches, without their ids, that open all sequences in their present state. Each fits a message.
  std::vector<v1::StepBatch> Reopen() const;

  size_t size() const { return sequences_.size(); }

 private:
  struct Sequence {
    // Without its prompt and its state.
    v1::OpenSequence open;
    // Null: it has none, or no stage looks at it. Sequences that share a prompt share it here.
    std::shared_ptr<const v1::TokenIds> prompt;
    bool keeps_tokens = false;
    // Kept tokens.
    v1::TokenIds tokens;
    int32_t token_count = 0;
    std::optional<v1::ResumeState> resume_state;
  };

  void Open(const v1::OpenSequence& open, const std::vector<std::shared_ptr<const v1::TokenIds>>& shared_prompts,
            const v1::OpenResult& result);
  void Step(const v1::StepResult& result);

  const bool config_looks_at_tokens_;
  std::map<int64_t, Sequence> sequences_;
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_OPEN_SEQUENCES_H_

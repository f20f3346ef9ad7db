// DecodingService.Decode: one stream's sequences.
#ifndef LOGITD_SERVER_HANDLERS_DECODE_H_
#define LOGITD_SERVER_HANDLERS_DECODE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/decoder.h"
#include "core/limits.h"
#include "logitd/v1/decoding_service.pb.h"
#include "server/converters/logits.h"
#include "server/handlers/kept_prompts.h"
#include "server/request_context.h"
#include "server/step_workspaces.h"

namespace logitd::server {

// The unit of max_stream_state_bytes, as messages show it.
inline constexpr char kStreamState[] = "bytes of the sets, lists, prompts and tokens of the open sequences";

// The state of one stream; it dies with it. One message at a time; no I/O; no reply depends on a clock, nor on how many
// threads take the steps of a batch.
class DecodeSession {
 public:
  // Answers one message; each step in a workspace lent for it alone, so that a batch of many slow steps keeps nobody
  // from the few there are, and those of different sequences with the help of workspaces.crew(). An error ends the
  // stream (CANCELLED, DEADLINE_EXCEEDED: `context` was given up between two steps, and `response` has those before the
  // first that was not taken); what concerns one sequence alone is in `response`. REQUIRES: the calling thread holds
  // none of `workspaces`.
  absl::Status Handle(const v1::DecodeRequest& request, const RequestContext& context, StepWorkspaces& workspaces,
                      v1::DecodeResponse& response);

  // What the session keeps until the next message: its sequences and their token sets, lists and tokens.
  int64_t held_bytes() const { return held_bytes_; }

 private:
  absl::Status Start(const v1::DecodeConfig& config, v1::DecodeStarted& started);
  absl::Status Step(const v1::StepBatch& batch, std::string_view payload, const RequestContext& context,
                    StepWorkspaces& workspaces, v1::BatchResult& result);
  absl::StatusOr<DecoderConfig> ConfigOf(const v1::OpenSequence& open) const;
  // Of StepBatch.shared_prompts.
  using Prompts = google::protobuf::RepeatedPtrField<v1::TokenIds>;
  absl::Status CheckSharedPrompts(const Prompts& prompts) const;
  absl::Status Open(const v1::OpenSequence& open, const Prompts& shared_prompts, v1::OpenResult& result);
  absl::Status Close(int64_t sequence_id, const std::string& field, v1::CloseResult& result);

  bool started_ = false;
  int32_t vocab_size_ = 0;
  std::vector<TokenId> end_token_ids_;
  // The stream's defaults.
  SamplingParams sampling_;
  StopRules stop_;
  RecordOptions record_;
  uint64_t seed_ = 0;
  int64_t last_batch_id_ = 0;
  // A sequence, and what it holds: of state_bytes_ and of held_bytes_, but for its prompt.
  struct OpenedSequence {
    std::unique_ptr<Decoder> decoder;
    // The decoder's; null: no stage looks at it.
    SharedTokens prompt;
    int64_t state_bytes = 0;
    int64_t held_bytes = 0;
    // The part of its tokens in them.
    int64_t token_state_bytes = 0;
    int64_t token_held_bytes = 0;
  };
  // The sums after the tokens of `state`, which is checked.
  absl::StatusOr<SequenceSums> PastOf(const v1::SequenceState& state, const DecoderConfig& config) const;
  // The prompt that it names or brings, checked; empty if no stage looks at it.
  absl::StatusOr<std::span<const TokenId>> PromptOf(const v1::SequenceStart& fresh, const Prompts& shared_prompts,
                                                    const DecoderConfig& config) const;
  void Erase(int64_t sequence_id);
  // Makes the counts those of its tokens as they are now.
  void CountTokens(OpenedSequence& sequence);

  // In decode_steps.cc. A step before any is taken, so that what it may use does not depend on who takes it when.
  struct PlannedStep;
  std::vector<PlannedStep> PlanSteps(const v1::StepBatch& batch, const WireRows& rows);
  absl::Status TakeSteps(const v1::StepBatch& batch, const WireRows& rows, const RequestContext& context,
                         StepWorkspaces& workspaces, v1::BatchResult& result);
  absl::Status TakeStep(const v1::SequenceStep& step, const PlannedStep& plan, const WireRows& rows,
                        StepWorkspace& workspace, v1::StepResult& result) const;

  std::unordered_map<int64_t, OpenedSequence> sequences_;
  // The prompts of sequences_.
  KeptPrompts prompts_;
  // What the sequences hold of what their callers chose: the same bytes of the same state, however it came about.
  int64_t state_bytes_ = 0;
  // The memory of all that the stream keeps: its own token set and lists too.
  int64_t held_bytes_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_DECODE_H_

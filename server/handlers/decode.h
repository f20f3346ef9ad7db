// DecodingService.Decode: one stream's sequences.
#ifndef LOGITD_SERVER_HANDLERS_DECODE_H_
#define LOGITD_SERVER_HANDLERS_DECODE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
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
#include "server/handlers/hidden_rows.h"
#include "server/handlers/kept_prompts.h"
#include "server/models/heads.h"
#include "server/request_context.h"
#include "server/step_workspaces.h"

namespace logitd::server {

// The unit of max_stream_state_bytes in messages.
inline constexpr char kStreamState[] = "bytes of the sets, lists, prompts and tokens of the open sequences";

// The state of one stream. It takes one message at a time and does no I/O. No reply depends on the number of threads
// that take the steps of a batch, and none on a clock, except that a sequence with a time limit ends after it.
class DecodeSession {
 public:
  // `heads`: those that blocks of hidden states may name. They outlive it.
  explicit DecodeSession(const Heads& heads = Heads::None()) : heads_(&heads) {}

  // Answers one message.
  // - Each step borrows a workspace of its own, so that a batch of many slow steps does not block other callers.
  // - workspaces.crew() helps with the steps of different sequences.
  // - An error of one sequence is in `response`. An error of the whole message ends the stream; CANCELLED and
  //   DEADLINE_EXCEEDED say that `context` was given up between two steps, and `response` has the steps before.
  // REQUIRES: the calling thread holds none of `workspaces`.
  absl::Status Handle(const v1::DecodeRequest& request, const RequestContext& context, StepWorkspaces& workspaces,
                      v1::DecodeResponse& response);

  // Bytes that the session keeps until the next message: its sequences with their token sets, lists and tokens.
  int64_t held_bytes() const { return held_bytes_; }

 private:
  absl::Status Start(const v1::DecodeConfig& config, v1::DecodeStarted& started);
  absl::Status Step(const v1::StepBatch& batch, std::string_view payload, const RequestContext& context,
                    StepWorkspaces& workspaces, v1::BatchResult& result);
  // The parts of a sequence's parameters that it may bring itself.
  struct SequenceConfig {
    DecoderConfig decoder;
    // Unset: none.
    std::optional<std::chrono::milliseconds> time_limit;
  };
  // The stop criteria of a message. Errors: those of StopRules, and FIELD_OUT_OF_RANGE for stop strings.
  absl::Status ReadStop(const v1::StopCriteria& message, StopRules& rules,
                        std::optional<std::chrono::milliseconds>& time_limit) const;
  // `base`: what holds where `open` brings nothing.
  absl::StatusOr<SequenceConfig> ConfigOf(const v1::OpenSequence& open, SequenceConfig base) const;
  // StepBatch.shared_prompts.
  using Prompts = google::protobuf::RepeatedPtrField<v1::TokenIds>;
  absl::Status CheckSharedPrompts(const Prompts& prompts) const;
  absl::Status Open(const v1::OpenSequence& open, const Prompts& shared_prompts, v1::OpenResult& result);
  absl::Status Close(int64_t sequence_id, const std::string& field, v1::CloseResult& result);

  const Heads* heads_;
  bool started_ = false;
  int32_t vocab_size_ = 0;
  std::vector<TokenId> end_token_ids_;
  // The stream's defaults.
  SamplingParams sampling_;
  StopRules stop_;
  std::optional<std::chrono::milliseconds> time_limit_;
  RecordOptions record_;
  uint64_t seed_ = 0;
  int64_t last_batch_id_ = 0;
  // The time of the batch that is worked on.
  std::chrono::steady_clock::time_point now_;
  // A sequence, and its parts of state_bytes_ and held_bytes_ without its prompt.
  struct OpenedSequence {
    std::unique_ptr<Decoder> decoder;
    // The decoder's prompt; null if no stage looks at it.
    SharedTokens prompt;
    // The state that a fork takes over.
    std::optional<std::chrono::milliseconds> time_limit;
    // No token is chosen from then on.
    std::chrono::steady_clock::time_point end_time = std::chrono::steady_clock::time_point::max();
    int64_t state_bytes = 0;
    int64_t held_bytes = 0;
    // The part of its tokens in both.
    int64_t token_state_bytes = 0;
    int64_t token_held_bytes = 0;
  };
  // The point at which a sequence begins. The spans point into the message, or into the source of a fork.
  struct Past {
    std::span<const TokenId> prompt;
    std::span<const TokenId> tokens;
    // Only the number of tokens is known, and `tokens` is empty.
    std::optional<int32_t> token_count;
    SequenceSums sums;
    // The fields that bring the prompt and the tokens, for errors.
    const char* prompt_field = "";
    const char* tokens_field = "";
  };
  absl::StatusOr<Past> PastOf(const v1::SequenceStart& fresh, const Prompts& shared_prompts,
                              const DecoderConfig& config) const;
  absl::StatusOr<Past> PastOf(const v1::SequenceFork& fork, const OpenedSequence& source,
                              const DecoderConfig& config) const;
  // Checks `state` and returns the sums after its tokens.
  absl::StatusOr<SequenceSums> SumsOf(const v1::SequenceState& state, const DecoderConfig& config) const;
  // The prompt that `fresh` names or brings, checked. Empty if no stage looks at it.
  absl::StatusOr<std::span<const TokenId>> PromptOf(const v1::SequenceStart& fresh, const Prompts& shared_prompts,
                                                    const DecoderConfig& config) const;
  void Erase(int64_t sequence_id);
  // Updates the counts to the sequence's present tokens.
  void CountTokens(OpenedSequence& sequence);

  // In decode_steps.cc. Plans a step before any step is taken, so its budget does not depend on the threads' order.
  struct PlannedStep;
  struct Chain;
  std::vector<PlannedStep> PlanSteps(const v1::StepBatch& batch, const WireRows& rows);
  absl::Status TakeSteps(const v1::StepBatch& batch, const WireRows& rows, const RequestContext& context,
                         StepWorkspaces& workspaces, v1::BatchResult& result);
  absl::Status TakeStep(const v1::SequenceStep& step, const PlannedStep& plan, const WireRows& rows,
                        const HiddenRows& hidden, StepWorkspace& workspace, v1::StepResult& result) const;

  std::unordered_map<int64_t, OpenedSequence> sequences_;
  // The prompts of sequences_.
  KeptPrompts prompts_;
  // Bytes that the sequences hold at their callers' choice. Equal states have equal bytes, however they came about.
  int64_t state_bytes_ = 0;
  // Bytes of everything that the stream keeps, its own token set and lists included.
  int64_t held_bytes_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_DECODE_H_

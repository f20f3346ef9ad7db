// DecodingService.Decode: one stream's sequences.
#ifndef LOGITD_SERVER_HANDLERS_DECODE_H_
#define LOGITD_SERVER_HANDLERS_DECODE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "core/decoder.h"
#include "logitd/v1/decoding_service.pb.h"
#include "server/converters/logits.h"
#include "server/request_context.h"
#include "server/step_workspaces.h"

namespace logitd::server {

// The state of one stream; it dies with it. One message at a time; no threads, no I/O; no reply depends on a clock.
class DecodeSession {
 public:
  // Answers one message; each step in a workspace lent for it alone, so that a batch of many slow steps keeps nobody
  // from the few there are. An error ends the stream (CANCELLED, DEADLINE_EXCEEDED: `context` was given up between two
  // steps, and `response` has those before); what concerns one sequence alone is in `response`.
  // REQUIRES: the calling thread holds none of `workspaces`.
  absl::Status Handle(const v1::DecodeRequest& request, const RequestContext& context, StepWorkspaces& workspaces,
                      v1::DecodeResponse& response);

  // What the session keeps until the next message: its sequences and their token sets, lists and tokens.
  int64_t held_bytes() const { return held_bytes_; }

 private:
  absl::Status Start(const v1::DecodeConfig& config, v1::DecodeStarted& started);
  absl::Status Step(const v1::StepBatch& batch, std::string_view payload, const RequestContext& context,
                    StepWorkspaces& workspaces, v1::BatchResult& result);
  absl::StatusOr<DecoderConfig> ConfigOf(const v1::OpenSequence& open) const;
  absl::Status Open(const v1::OpenSequence& open, v1::OpenResult& result);
  absl::Status Close(int64_t sequence_id, const std::string& field, v1::CloseResult& result);
  // `row_index`: of the step's row in `rows`.
  absl::Status StepSequence(const v1::SequenceStep& step, int32_t row_index, const WireRows& rows,
                            StepWorkspace& workspace, v1::StepChosen& chosen);

  bool started_ = false;
  int32_t vocab_size_ = 0;
  std::vector<TokenId> end_token_ids_;
  // The stream's defaults.
  SamplingParams sampling_;
  StopRules stop_;
  RecordOptions record_;
  uint64_t seed_ = 0;
  int64_t last_batch_id_ = 0;
  // Alternatives in the result of the batch that is being answered.
  int64_t alternatives_ = 0;
  // A sequence, and what of its memory the caller has chosen.
  struct OpenedSequence {
    std::unique_ptr<Decoder> decoder;
    int64_t state_bytes = 0;
    // Its part of held_bytes_.
    int64_t held_bytes = 0;
  };
  void Erase(int64_t sequence_id);

  std::unordered_map<int64_t, OpenedSequence> sequences_;
  // The sum of state_bytes.
  int64_t state_bytes_ = 0;
  // The stream's own token set and lists, and what the sequences hold.
  int64_t held_bytes_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_DECODE_H_

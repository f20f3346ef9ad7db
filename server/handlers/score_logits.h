// ScoringService.ScoreLogits: the sequences of one call.
#ifndef LOGITD_SERVER_HANDLERS_SCORE_LOGITS_H_
#define LOGITD_SERVER_HANDLERS_SCORE_LOGITS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/distribution.h"
#include "core/logits_row.h"
#include "core/scorer.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/converters/logits.h"
#include "server/converters/named_by_position.h"
#include "server/handlers/continuation_scores.h"
#include "server/models/heads.h"
#include "server/request_context.h"
#include "server/step_workspaces.h"

namespace logitd::server {

// The state of one call. It takes one message at a time and uses no threads and no I/O. A reply depends only on the
// rows of its sequence and on their order, not on their messages nor on other sequences.
class ScoreLogitsSession {
 public:
  // `heads`: those that blocks of hidden states may name. They outlive it.
  explicit ScoreLogitsSession(const Heads& heads = Heads::None()) : heads_(&heads) {}

  using Reply = std::optional<v1::ScoreLogitsResponse>;

  // Takes one message and reduces its rows to log-probs; each row borrows a workspace of its own. Returns the reply of
  // the message's sequence if the message ends it or its rows are wrong. An error ends the call; CANCELLED and
  // DEADLINE_EXCEEDED say that `context` was given up between two rows.
  // REQUIRES: the calling thread holds none of `workspaces`.
  absl::StatusOr<Reply> Take(const v1::ScoreLogitsRequest& request, const RequestContext& context,
                             StepWorkspaces& workspaces);

  // After the client has half-closed: the reply of the next open sequence, in the order of their indices. Unset: none
  // is left. Errors: UNEXPECTED_MESSAGE if no rows came.
  absl::StatusOr<Reply> TakeNext();

  // Bytes that the session keeps until the next message: token set, lists, sequences, their tokens and records.
  int64_t held_bytes() const { return config_bytes_ + sequence_bytes_; }

 private:
  // A sequence that has begun and not ended.
  struct Sequence {
    Scorer scorer;
    // Its records, serialised as in the reply: a quarter of their size as messages. A call may stay open for long.
    std::string tokens = {};
    // The tokens before the first target, if a stage looks at them.
    std::vector<TokenId> prompt = {};
    // The targets so far, if a stage looks at them.
    std::vector<TokenId> targets = {};
    int32_t record_count = 0;
    // The gradients of its scored rows, as in the reply.
    std::string gradient = {};
    int32_t gradient_rows = 0;
    // The number of its records.
    int64_t alternative_count = 0;
    // A target was not scored, so it is unknown.
    bool has_gap = false;
    // Its error was sent; its later rows are skipped.
    bool has_failed = false;
    // That its rows named last. Null: none.
    const NamedHead* head = nullptr;
  };

  absl::Status Start(const v1::ScoreLogitsConfig& config);
  absl::StatusOr<Reply> Score(const v1::ScoreLogitsRows& message, std::string_view payload,
                              const RequestContext& context, StepWorkspaces& workspaces);
  // Reduces the rows of a sequence. Returns the status of the call; sets `failure` if the rows are wrong.
  absl::Status AddRows(const v1::ScoreLogitsRows& message, const WireRows& rows, const NamedByPosition& named,
                       Sequence& sequence, const RequestContext& context, StepWorkspaces& workspaces,
                       absl::Status& failure);
  // Checks the rows' message before looking at a row; returns the tokens that the rows name.
  absl::StatusOr<NamedByPosition> Check(const v1::ScoreLogitsRows& message, int32_t row_count,
                                        const Sequence& sequence) const;
  // Checks the targets: out of range, or scored with a stage that looks at an earlier, unknown target.
  absl::Status CheckTargets(const v1::ScoreLogitsRows& message, const Sequence& sequence) const;
  // Checks the limits for `row_count` more rows, `scored_count` of which have a target to score. `named_count`: the
  // tokens that the rows name, each its own.
  absl::Status CheckLimits(const Sequence& sequence, int32_t row_count, int32_t scored_count,
                           int64_t named_count) const;
  absl::Status CheckPrompt(const v1::ScoreLogitsRows& message, int32_t position) const;
  absl::StatusOr<Reply> ReplyOf(int32_t index, Sequence& sequence);
  Reply Fail(int32_t index, Sequence& sequence, const absl::Status& failure);
  // Appends the gradient of row `row`. Errors: FIELD_OUT_OF_RANGE if the target's loss is infinite.
  absl::Status AddGradient(const LogitsRow& row, TokenId target, const Distribution& distribution, Sequence& sequence);
  // The bytes of a record without tokens named for its position.
  int64_t AlternativesPerRecord() const;
  // Frees the lists of a sequence.
  void Free(Sequence& sequence);
  int64_t BytesOf(const Sequence& sequence) const;

  const Heads* heads_;
  bool started_ = false;
  bool has_rows_ = false;
  int32_t vocab_size_ = 0;
  ScoreOptions options_;
  bool has_gradient_ = false;
  std::map<int32_t, Sequence> sequences_;
  // Sums over the open sequences.
  int64_t record_count_ = 0;
  int64_t alternative_count_ = 0;
  int64_t gradient_bytes_ = 0;
  int64_t config_bytes_ = 0;
  int64_t sequence_bytes_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SCORE_LOGITS_H_

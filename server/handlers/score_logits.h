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
#include "core/scorer.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/converters/logits.h"
#include "server/converters/named_by_position.h"
#include "server/handlers/continuation_scores.h"
#include "server/request_context.h"
#include "server/step_workspaces.h"

namespace logitd::server {

// The state of one call; it dies with it. One message at a time; no threads, no I/O. A reply depends on the rows of its
// sequence and their order alone, not on the messages that they came in, nor on other sequences.
class ScoreLogitsSession {
 public:
  using Reply = std::optional<v1::ScoreLogitsResponse>;

  // Takes one message: reduces its rows to log-probs, each in a workspace lent for it alone. The reply: that of the
  // message's sequence, if the message ends it or its rows are wrong. An error ends the call (CANCELLED,
  // DEADLINE_EXCEEDED: `context` was given up between two rows).
  // REQUIRES: the calling thread holds none of `workspaces`.
  absl::StatusOr<Reply> Take(const v1::ScoreLogitsRequest& request, const RequestContext& context,
                             StepWorkspaces& workspaces);

  // The client has half-closed: the reply of the next sequence that has none yet, in order of their indices. Unset:
  // there is none left. Errors: UNEXPECTED_MESSAGE (no rows came).
  absl::StatusOr<Reply> TakeNext();

  // What the session keeps until the next message: token set, lists, sequences, their tokens and records.
  int64_t held_bytes() const { return config_bytes_ + sequence_bytes_; }

 private:
  // A sequence that has begun and not ended.
  struct Sequence {
    Scorer scorer;
    // Its records as the reply will hold them, serialised: a quarter of what they take as messages, and a call may stay
    // open for long.
    std::string tokens = {};
    // What came before the first target, if a stage looks at it.
    std::vector<TokenId> prompt = {};
    // The targets so far, if a stage looks at them.
    std::vector<TokenId> targets = {};
    int32_t record_count = 0;
    // In its records.
    int64_t alternative_count = 0;
    // One of them was not scored: it is not known.
    bool has_gap = false;
    // Its error was sent; what else comes of it is passed over.
    bool has_failed = false;
  };

  absl::Status Start(const v1::ScoreLogitsConfig& config);
  absl::StatusOr<Reply> Score(const v1::ScoreLogitsRows& message, std::string_view payload,
                              const RequestContext& context, StepWorkspaces& workspaces);
  // Reduces the rows of a sequence. The status of the call; `failure`: what is wrong with the rows.
  absl::Status AddRows(const v1::ScoreLogitsRows& message, const WireRows& rows, const NamedByPosition& named,
                       Sequence& sequence, const RequestContext& context, StepWorkspaces& workspaces,
                       absl::Status& failure);
  // What can be told of rows before one of them is looked at; the tokens that they name.
  absl::StatusOr<NamedByPosition> Check(const v1::ScoreLogitsRows& message, int32_t row_count,
                                        const Sequence& sequence) const;
  // Where targets are wrong: out of range, or scored by a stage that looks at a target before it which is not known.
  absl::Status CheckTargets(const v1::ScoreLogitsRows& message, const Sequence& sequence) const;
  // The limits that `row_count` more rows, `scored_count` of them with a target to score, would break. `named_count`:
  // tokens that they name, each its own.
  absl::Status CheckLimits(const Sequence& sequence, int32_t row_count, int32_t scored_count,
                           int64_t named_count) const;
  absl::Status CheckPrompt(const v1::ScoreLogitsRows& message, int32_t position) const;
  absl::StatusOr<Reply> ReplyOf(int32_t index, Sequence& sequence);
  Reply Fail(int32_t index, Sequence& sequence, const absl::Status& failure);
  // Of a record with nothing named for its position alone.
  int64_t AlternativesPerRecord() const;
  // Frees what a sequence holds besides itself.
  void Free(Sequence& sequence);
  int64_t BytesOf(const Sequence& sequence) const;

  bool started_ = false;
  bool has_rows_ = false;
  int32_t vocab_size_ = 0;
  ScoreOptions options_;
  std::map<int32_t, Sequence> sequences_;
  // Of the sequences that are open.
  int64_t record_count_ = 0;
  int64_t alternative_count_ = 0;
  int64_t config_bytes_ = 0;
  int64_t sequence_bytes_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SCORE_LOGITS_H_

// ScoringService.ScoreLogits: the sequences of one call.
#ifndef LOGITD_SERVER_HANDLERS_SCORE_LOGITS_H_
#define LOGITD_SERVER_HANDLERS_SCORE_LOGITS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/scorer.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/handlers/continuation_scores.h"
#include "server/request_context.h"
#include "server/step_workspaces.h"

namespace logitd::server {

// The state of one call; it dies with it. One message at a time; no threads, no I/O. The reply depends on the rows of
// each sequence and their order alone, not on the messages that they came in.
class ScoreLogitsSession {
 public:
  // Takes one message: reduces its rows to log-probs, each in a workspace lent for it alone. An error ends the call
  // (CANCELLED, DEADLINE_EXCEEDED: `context` was given up between two rows).
  // REQUIRES: the calling thread holds none of `workspaces`.
  absl::Status Take(const v1::ScoreLogitsRequest& request, const RequestContext& context, StepWorkspaces& workspaces);

  // The client has half-closed: the reply. Called once, last; gives up what the session holds.
  absl::Status Finish(v1::ScoreLogitsResponse& response);

  // What the session keeps until the next message: token set, lists, sequences, their tokens and records.
  int64_t held_bytes() const { return held_bytes_; }

 private:
  // A sequence that has rows.
  struct Sequence {
    Scorer scorer;
    // Its records as the reply will hold them, serialised: a quarter of what they take as messages, and a call may stay
    // open for long.
    std::string tokens;
    // What came before the first target, if a stage looks at it.
    std::vector<TokenId> prompt;
    // The targets so far, if a stage looks at them.
    std::vector<TokenId> targets;
    // One of them was not scored: it is not known.
    bool has_gap = false;
  };

  absl::Status Start(const v1::ScoreLogitsConfig& config);
  absl::Status Score(const v1::ScoreLogitsRows& message, std::string_view payload, const RequestContext& context,
                     StepWorkspaces& workspaces);
  // Where targets [`position`, ...) of a sequence, if it has one already, are wrong: out of range, or scored by a stage
  // that looks at a target before it which is not known.
  absl::Status CheckTargets(const v1::ScoreLogitsRows& message, const Sequence* sequence, int32_t position) const;
  // The limits that `row_count` more rows, `scored_count` of them with a target to score, of a sequence of `position`
  // rows would break, before any of them is looked at.
  absl::Status CheckLimits(int32_t position, int32_t row_count, int32_t scored_count) const;
  // The prompt of a sequence of `position` rows.
  absl::Status CheckPrompt(const v1::ScoreLogitsRows& message, int32_t position) const;

  bool started_ = false;
  int32_t vocab_size_ = 0;
  ScoreOptions options_;
  std::map<int32_t, Sequence> sequences_;
  int64_t record_count_ = 0;
  int64_t held_bytes_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SCORE_LOGITS_H_

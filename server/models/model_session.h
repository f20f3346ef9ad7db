// One request's use of a model, on whichever runner: it outlives the loss of a runner.
//
//   ModelSession session(model);
//   RETURN_IF_ERROR(session.Reserve({1, 100, 300}, "prompt", context));  // room in a runner's cache
//   int64_t sequence = session.NewSequence();
//   auto rows = session.Evaluate({work}, context);                // blocks until the rows are there
//
// The session remembers the tokens of its sequences. When its runner is lost it takes another one (or the same, started
// again), evaluates what its sequences hold there, and goes on with the work that was asked for: the caller gets its
// rows, once, and does not notice. Logits differ from what the lost runner would have given by what batching makes them
// differ: see ModelInfo.precision.
//
// The same where the runner's cache is full and an older request needs the room: the session is suspended, and goes on
// when there is room for it again.
//
// A session whose work ends runner after runner is refused: see server/models/strikes.h.
#ifndef LOGITD_SERVER_MODELS_MODEL_SESSION_H_
#define LOGITD_SERVER_MODELS_MODEL_SESSION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/model_description.h"
#include "server/models/runner_session.h"
#include "server/models/served_model.h"
#include "server/models/strikes.h"
#include "server/models/work.h"
#include "server/request_context.h"

namespace logitd::server {

// One thread. What it holds is given back when it ends.
class ModelSession {
 public:
  // REQUIRES: the model outlives it.
  explicit ModelSession(const ServedModel& model) : model_(model), capacity_(model.capacity()) {}

  ModelSession(const ModelSession&) = delete;
  ModelSession& operator=(const ModelSession&) = delete;

  // Waits for room in a runner's cache. Once, before anything else. What it begins with, the session has; what it may
  // come to, it takes as it grows: it may be suspended for an older one's sake then, and does not notice.
  // `field`: of the request, named if it can never fit.
  // Errors: LIMIT_EXCEEDED if it can never fit; CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST.
  absl::Status Reserve(const RoomNeeded& room, const std::string& field, const RequestContext& context);

  // From now on rows come even from runners that could choose.
  void UseRows() { uses_rows_ = true; }

  // A new number, of a sequence or a decoder.
  int64_t NewSequence();
  // Gives the room back for now: nothing will be asked for in the next time. The next Evaluate waits for it again, and
  // evaluates again what the sequences hold.
  void Suspend();
  // Frees a sequence's cache, or ends a decoder.
  void Release(int64_t sequence_id);

  // Evaluates all of `work` together, at most one entry per sequence. Shapes: one result per work, in order. Where a
  // choice was asked for and the runner cannot choose, the row comes as logits instead.
  // `ahead`: what will be asked for next, as far as it is known: each entry appends what a decoder of `work` chooses
  // (SequenceWork::append_chosen), and nothing else. If the runner chooses, and takes more than one batch, it has that
  // before this returns. The next call then asks for the same entries with the tokens that were chosen, but for those
  // that have ended: they need not be evaluated any more. It is a hint: nothing that comes back depends on it.
  // Errors: CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST, RUNNER_KILLED; what fails for one entry is in its
  // SequenceRows.status, and its sequence is lost.
  absl::StatusOr<std::vector<SequenceRows>> Evaluate(std::vector<SequenceWork> work, const RequestContext& context,
                                                     std::vector<SequenceWork> ahead = {});

  // What every runner of the model had when the session began: it does not change under a request.
  const RunnerCapacity& capacity() const { return capacity_; }

 private:
  // A sequence or decoder of the session.
  struct Tracked {
    // On the runner; 0: not there.
    int64_t runner_sequence_id = 0;
    // What is evaluated; of a decoder nothing.
    std::vector<TokenId> tokens;
  };

  // Waits for `room` on that runner.
  absl::Status TakeRunner(const AttachedRunner& runner, const RoomNeeded& room, const std::string& field,
                          const RequestContext& context);
  // Takes a runner and puts the sequences there; `work` comes then.
  absl::Status Settle(const std::vector<SequenceWork>& work, const RequestContext& context);
  // Begins with the strikes that the same work has got before; RUNNER_KILLED if those are too many.
  absl::Status Recall(const std::vector<SequenceWork>& work);
  // Counts a lost runner; the error if it was one too many. `work`: what was asked for then.
  absl::Status CountLoss(const std::vector<SequenceWork>& work);
  // The evaluation of `work` went well.
  void OnSuccess(const std::vector<SequenceWork>& work);
  WorkFingerprint FingerprintOf(const std::vector<SequenceWork>& work) const;
  std::span<const TokenId> TokensBefore(const SequenceWork& work) const;
  // Whether `status` says that the session has lost its room to an older one.
  bool IsSuspended(const absl::Status& status) const;
  // What puts the sequences on a runner.
  std::vector<std::vector<SequenceWork>> PlanRebuild() const;
  // With the runner's numbers instead of the session's.
  absl::StatusOr<std::vector<SequenceRows>> EvaluateThere(std::vector<SequenceWork> work, const RequestContext& context,
                                                          std::vector<SequenceWork> ahead = {});
  // Of `work`, which is on its way.
  absl::StatusOr<std::vector<SequenceRows>> TakeAhead(const std::vector<SequenceWork>& work,
                                                      const RequestContext& context, std::vector<SequenceWork> ahead);
  // Gives the entries the runner's numbers, and tells it of decoders that it does not know.
  void NumberThere(std::vector<SequenceWork>& work);
  // `ahead` for this runner; empty: it cannot run ahead.
  std::vector<SequenceWork> AheadThere(std::vector<SequenceWork> ahead);

  const ServedModel& model_;
  const RunnerCapacity capacity_;
  std::optional<RunnerSession> runner_;
  // The runner takes ChoiceWanted.
  bool can_choose_ = false;
  bool uses_rows_ = false;
  int lost_runners_ = 0;
  // A doubt has to be resolved: the runner may have no texts meanwhile.
  bool is_quiet_ = false;
  Strikes strikes_;
  const int64_t age_ = RunnerSession::NewAge();
  RoomNeeded room_;
  int64_t last_sequence_id_ = 0;
  std::map<int64_t, Tracked> sequences_;
  // The session's sequences of what the runner has ahead, in its order.
  std::vector<int64_t> ahead_ids_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_MODEL_SESSION_H_

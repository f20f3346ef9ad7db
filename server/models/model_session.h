// One request's use of a model, on any of its runners. It outlives the loss of a runner.
//
//   ModelSession session(model);
//   RETURN_IF_ERROR(session.Reserve({1, 100, 300}, "prompt", context));  // room in a runner's cache
//   int64_t sequence = session.NewSequence();
//   auto rows = session.Evaluate({work}, context);                // blocks until the rows are there
//
// The session remembers the tokens of its sequences. When its runner is lost, the session takes another runner, or the
// same one started again. It evaluates its sequences there and then goes on with the work that was asked for. The
// caller gets its rows once and does not notice. The logits differ from those of the lost runner as much as batching
// makes them differ (ModelInfo.precision).
//
// The same happens when the runner's cache is full and an older request needs the room: the session is suspended, and
// goes on when there is room for it again.
//
// A session whose work ends one runner after another is refused (strikes.h).
#ifndef LOGITD_SERVER_MODELS_MODEL_SESSION_H_
#define LOGITD_SERVER_MODELS_MODEL_SESSION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
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

// One thread. The destructor gives back everything that the session holds.
class ModelSession {
 public:
  // REQUIRES: the model outlives it.
  explicit ModelSession(const ServedModel& model, CacheScope scope = {})
      : model_(model), capacity_(model.capacity()), scope_(std::move(scope)) {}

  ModelSession(const ModelSession&) = delete;
  ModelSession& operator=(const ModelSession&) = delete;

  // Waits for room in a runner's cache. An isolated session needs none, and only takes a runner. Must be called once,
  // before anything else. The session has room.tokens from then on, and takes more as it grows, up to room.most_tokens.
  // While it grows it may be suspended for an older session's sake, which the caller does not notice. `field`: the
  // request's field that the error names. Errors: LIMIT_EXCEEDED if the room can never fit; CANCELLED,
  // DEADLINE_EXCEEDED, RUNNER_LOST.
  absl::Status Reserve(const RoomNeeded& room, const std::string& field, const RequestContext& context);

  // From now on ChoiceWanted is answered with rows, even by runners that could choose.
  void UseRows() { uses_rows_ = true; }

  // A new number for a sequence or a decoder.
  int64_t NewSequence();
  // Releases this session's cache space until the next Evaluate, which waits for space again and re-evaluates its
  // sequences.
  void Suspend();
  // Frees the cache of a sequence, or ends a decoder. A final sequence (SequenceWork::is_final) stays in the cache
  // while there is room.
  void Release(int64_t sequence_id);
  // Others may copy the sequence, as it is now, from now on. REQUIRES: no later work changes it.
  void Publish(int64_t sequence_id);
  // As Release. The sequence's tokens stay in the cache while there is room, for later requests that begin with them.
  void Keep(int64_t sequence_id);

  // Evaluates all of `work` together, with at most one entry per sequence. Returns one result per entry, in order.
  // Where a choice was asked for and the runner cannot choose, the row comes back as logits instead.
  //
  // `ahead`: the work that the next call will ask for, as far as it is known. It is a hint: no result depends on it.
  // - Each entry appends a token that a decoder of `work` chooses (SequenceWork::append_chosen), and nothing else.
  // - If the runner chooses tokens and accepts more than one batch, `ahead` reaches it before this call returns.
  // - The next call must ask for the same entries with the tokens that were chosen. It may leave out those that have
  //   ended.
  //
  // Errors: CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST, RUNNER_KILLED. An entry that fails by itself says so in its
  // SequenceRows.status, and its sequence is lost.
  absl::StatusOr<std::vector<SequenceRows>> Evaluate(std::vector<SequenceWork> work, const RequestContext& context,
                                                     std::vector<SequenceWork> ahead = {});

  // The capacity that every runner of the model had when the session began. It does not change under a request.
  const RunnerCapacity& capacity() const { return capacity_; }

 private:
  // A sequence or decoder of the session.
  struct Tracked {
    // Its number on the runner; 0: it is not there.
    int64_t runner_sequence_id = 0;
    // The tokens that have been evaluated; empty for a decoder.
    std::vector<TokenId> tokens;
  };

  // Takes that runner and waits for `room` on it.
  absl::Status TakeRunner(const AttachedRunner& runner, const RoomNeeded& room, const std::string& field,
                          const RequestContext& context);
  // Takes a runner and evaluates there the tokens that the sequences hold, with room for `work`, which comes next.
  absl::Status Settle(const std::vector<SequenceWork>& work, const RequestContext& context);
  // Takes over the strikes that the same work got in earlier requests. Error: RUNNER_KILLED if those are too many.
  absl::Status Recall(const std::vector<SequenceWork>& work);
  // Counts the loss of a runner during `work`. Returns the error if it was one loss too many.
  absl::Status CountLoss(const std::vector<SequenceWork>& work);
  // `work` has been evaluated without a loss.
  void OnSuccess(const std::vector<SequenceWork>& work);
  WorkFingerprint FingerprintOf(const std::vector<SequenceWork>& work) const;
  std::span<const TokenId> TokensBefore(const SequenceWork& work) const;
  // Whether `status` means that the session has lost its room to an older one.
  bool IsSuspended(const absl::Status& status) const;
  // The work that puts the session's sequences on a runner.
  std::vector<std::vector<SequenceWork>> PlanRebuild() const;
  // Evaluates with the runner's sequence numbers instead of the session's.
  absl::StatusOr<std::vector<SequenceRows>> EvaluateThere(std::vector<SequenceWork> work, const RequestContext& context,
                                                          std::vector<SequenceWork> ahead = {});
  // Takes the results of `work`, which is on its way because an earlier call sent it ahead.
  absl::StatusOr<std::vector<SequenceRows>> TakeAhead(const std::vector<SequenceWork>& work,
                                                      const RequestContext& context, std::vector<SequenceWork> ahead);
  // Replaces the session's numbers by the runner's, and describes to the runner the decoders that it does not know.
  void NumberThere(std::vector<SequenceWork>& work);
  // `ahead` with this runner's numbers; empty: this runner cannot run ahead.
  std::vector<SequenceWork> AheadThere(std::vector<SequenceWork> ahead);

  const ServedModel& model_;
  const RunnerCapacity capacity_;
  const CacheScope scope_;
  std::optional<RunnerSession> runner_;
  // The runner takes ChoiceWanted, and the session may use it.
  bool can_choose_ = false;
  bool uses_rows_ = false;
  int lost_runners_ = 0;
  // The session is under a doubt (Suspicion::kDoubt), which must be resolved while the runner has no texts.
  bool is_quiet_ = false;
  Strikes strikes_;
  const int64_t age_ = RunnerSession::NewAge();
  RoomNeeded room_;
  int64_t last_sequence_id_ = 0;
  std::map<int64_t, Tracked> sequences_;
  // The sequences of the work that the runner has ahead, in its order.
  std::vector<int64_t> ahead_ids_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_MODEL_SESSION_H_

// A Decode stream that survives its servers: several batches in flight, and if the connection or the server is lost,
// the session opens its sequences again, on the same server or on another replica, and sends whatever was not answered.
//
//   v1::DecodeConfig config;
//   config.set_vocab_size(50257);
//   auto session = DecodeSession::Start({.addresses = {"10.0.0.1:50051", "10.0.0.2:50051"}}, config);
//   (*session)->Send(batch, payload);                                  // as often as there is work
//   absl::StatusOr<v1::BatchResult> result = (*session)->Receive();    // the oldest batch's
//   absl::Status status = (*session)->Finish();
//
// - The caller sees the result of each batch exactly once, in the order of the batches. Tokens, records and sums have
//   the bytes of a run without a loss: they depend on rows, parameters, seed, key and position alone. A seed that the
//   server drew is kept.
// - A batch is kept, with its rows, until it is answered: at most max_batches_in_flight of them.
// - Of each open sequence the session keeps parameters and state (open_sequences.h).
// - A step that was answered cannot be repeated after a loss (POSITION_TOO_OLD); within one stream it can.
//
// One thread at a time. Legal batches: DecodingService.Decode in decoding_service.proto.
#ifndef LOGITD_CLIENT_LOGITD_DECODE_SESSION_H_
#define LOGITD_CLIENT_LOGITD_DECODE_SESSION_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/logitd/connection.h"
#include "client/logitd/open_sequences.h"
#include "client/logitd/options.h"
#include "client/logitd/patience.h"
#include "logitd/v1/decoding_service.pb.h"

namespace logitd::client {

struct DecodeSessionOptions {
  // The replicas, taken in turn; >= 1, unless `connect` is set.
  std::vector<std::string> addresses = {kDefaultAddress};
  // How to reach each of them; `address` and `timeout` are not used.
  Options connection = {};
  // Connects instead of `addresses`: other credentials, another discovery. Attempts count from 0.
  std::function<absl::StatusOr<std::unique_ptr<Connection>>(int attempt)> connect = nullptr;
  // How long to look for a server that answers.
  PatienceOptions patience = {};
  // Batches that are sent before the first of them is answered, >= 1. Two keep a server busy; more help where the
  // connection is slow.
  int max_batches_in_flight = 4;
};

class DecodeSession {
 public:
  // Opens the first stream. Errors: kInvalidArgument (options); of the server, if it refuses the config; the last
  // failure, if no server answers in time.
  static absl::StatusOr<std::unique_ptr<DecodeSession>> Start(DecodeSessionOptions options, v1::DecodeConfig config);

  // Cancels the stream unless it is finished.
  ~DecodeSession();
  DecodeSession(const DecodeSession&) = delete;
  DecodeSession& operator=(const DecodeSession&) = delete;

  // The first server's acceptance: the seed in use and the numerics version. Later servers must have the same one.
  const v1::DecodeStarted& started() const { return started_; }
  // Streams that took the place of a lost one, so far.
  int reconnect_count() const { return reconnect_count_; }
  // Batches without a result that the caller has seen.
  size_t pending_count() const { return unanswered_.size() + results_.size(); }

  // Sends one batch with the bytes of its rows; batch_id must increase. If max_batches_in_flight are on their way,
  // waits for one result, which Receive returns later. The time of a time_limit_ms begins anew when a sequence is
  // resumed. Errors: InputError (batch_id, and opens.fork: forks cannot be resumed); whatever ended the session, which
  // is then over.
  absl::Status Send(v1::StepBatch batch, std::string payload);

  // Waits for the oldest batch's result. Errors: kFailedPrecondition (no batch waits for a result); whatever ended the
  // session.
  absl::StatusOr<v1::BatchResult> Receive();

  // Waits for all results, which Receive still returns, then half-closes, which ends all open sequences. Errors:
  // whatever ended the session. A second call returns the same.
  absl::Status Finish();

 private:
  struct Link;
  struct Unanswered {
    int64_t batch_id;
    v1::DecodeRequest request;
  };

  DecodeSession(DecodeSessionOptions options, v1::DecodeConfig config);
  // Waits for one result.
  absl::Status TakeResult();
  // Opens a stream, opens the sequences again and sends what is not answered, until that works. `failure`: why.
  absl::Status Connect(absl::Status failure);
  absl::Status TryConnect();
  absl::Status Reopen(Link& link);
  // Ends the session.
  absl::Status Fail(absl::Status status);

  const DecodeSessionOptions options_;
  v1::DecodeConfig config_;
  v1::DecodeStarted started_;
  OpenSequences sequences_;
  Patience patience_;
  std::unique_ptr<Link> link_;
  bool is_started_ = false;
  int attempts_ = 0;
  int reconnect_count_ = 0;
  int64_t last_batch_id_ = 0;
  // The caller's ids are not used on the wire, where batches that open sequences again come in between.
  int64_t last_wire_id_ = 0;
  std::deque<Unanswered> unanswered_;
  std::deque<v1::BatchResult> results_;
  bool is_finished_ = false;
  absl::Status final_status_;
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_DECODE_SESSION_H_

// A Decode stream: the caller's logits in, tokens out.
//
//   v1::DecodeConfig config;
//   config.set_vocab_size(50257);
//   absl::StatusOr<std::unique_ptr<DecodeStream>> stream = client.Decode(config);
//   while (...) {
//     absl::StatusOr<v1::BatchResult> result = (*stream)->Step(batch, payload);
//     ...                                        // per-sequence failures are StepResult.error: the stream goes on
//   }
//   absl::Status status = (*stream)->Finish();
//
// One thread at a time. Legal orders of messages: DecodingService.Decode in decoding_service.proto.
#ifndef LOGITD_CLIENT_LOGITD_DECODE_STREAM_H_
#define LOGITD_CLIENT_LOGITD_DECODE_STREAM_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"
#include "logitd/v1/decoding_service.grpc.pb.h"

namespace logitd::client {

class DecodeStream {
 public:
  using Stream = grpc::ClientReaderWriterInterface<v1::DecodeRequest, v1::DecodeResponse>;

  // Sends `config` and waits for the server to accept it. `context` is the one that `stream` was opened with.
  // Errors: what ended the stream (see the rpc's comment).
  static absl::StatusOr<std::unique_ptr<DecodeStream>> Start(std::unique_ptr<grpc::ClientContext> context,
                                                             std::unique_ptr<Stream> stream,
                                                             const v1::DecodeConfig& config);

  // Cancels the call unless it is finished.
  ~DecodeStream();
  DecodeStream(const DecodeStream&) = delete;
  DecodeStream& operator=(const DecodeStream&) = delete;

  // The server's acceptance: the seed in use and the numerics version.
  const v1::DecodeStarted& started() const { return started_; }

  // Sends one batch with the bytes of its rows and waits for its result.
  // Shape: `payload` is the batch's blocks, one after the other, little endian (LogitsBlock).
  // Errors: what ended the stream; kFailedPrecondition after that or after Finish().
  absl::StatusOr<v1::BatchResult> Step(v1::StepBatch batch, std::string payload);

  // Half-closes, which ends all open sequences, and waits for the stream's status. A second call returns the same.
  absl::Status Finish();

 private:
  DecodeStream(std::unique_ptr<grpc::ClientContext> context, std::unique_ptr<Stream> stream);
  // The reason why the stream ended, after a write or read failed; never OK.
  absl::Status Broken();

  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
  v1::DecodeStarted started_;
  bool finished_ = false;
  absl::Status final_status_;
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_DECODE_STREAM_H_

#include "client/logitd/decode_stream.h"

#include <utility>

#include "client/logitd/client_error.h"

namespace logitd::client {

DecodeStream::DecodeStream(std::unique_ptr<grpc::ClientContext> context, std::unique_ptr<Stream> stream)
    : context_(std::move(context)), stream_(std::move(stream)) {}

DecodeStream::~DecodeStream() {
  if (finished_) return;
  if (context_ != nullptr) context_->TryCancel();
  // gRPC requires Finish before a stream is destroyed. The status of a cancelled stream tells nothing.
  (void)stream_->Finish();
}

absl::StatusOr<std::unique_ptr<DecodeStream>> DecodeStream::Start(std::unique_ptr<grpc::ClientContext> context,
                                                                  std::unique_ptr<Stream> stream,
                                                                  const v1::DecodeConfig& config) {
  std::unique_ptr<DecodeStream> out(new DecodeStream(std::move(context), std::move(stream)));
  v1::DecodeRequest request;
  *request.mutable_config() = config;
  v1::DecodeResponse response;
  if (!out->stream_->Write(request, grpc::WriteOptions()) || !out->stream_->Read(&response)) return out->Broken();
  if (!response.has_started()) return absl::InternalError("the server's first message is not `started`");
  out->started_ = std::move(*response.mutable_started());
  return out;
}

absl::StatusOr<v1::BatchResult> DecodeStream::Step(v1::StepBatch batch, std::string payload) {
  if (finished_) return absl::FailedPreconditionError("the stream has ended: open another one");
  const int64_t batch_id = batch.batch_id();
  v1::DecodeRequest request;
  *request.mutable_batch() = std::move(batch);
  *request.mutable_payload() = std::move(payload);
  v1::DecodeResponse response;
  if (!stream_->Write(request, grpc::WriteOptions()) || !stream_->Read(&response)) return Broken();
  if (!response.has_result() || response.result().batch_id() != batch_id) {
    return absl::InternalError("the server's message is not this batch's result");
  }
  return std::move(*response.mutable_result());
}

absl::Status DecodeStream::Finish() {
  if (finished_) return final_status_;
  stream_->WritesDone();
  v1::DecodeResponse ignored;
  // Drops results that no Step waited for. There are none after complete Steps, but Finish() must not hang on them.
  while (stream_->Read(&ignored)) {
  }
  final_status_ = FromGrpcStatus(stream_->Finish());
  finished_ = true;
  return final_status_;
}

absl::Status DecodeStream::Broken() {
  if (!finished_) {
    final_status_ = FromGrpcStatus(stream_->Finish());
    finished_ = true;
  }
  return final_status_.ok() ? absl::InternalError("the server ended the stream before it answered") : final_status_;
}

}  // namespace logitd::client

#include "client/logitd/decode_session.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/logitd/client_error.h"
#include "client/logitd/reply_queue.h"
#include "grpcpp/client_context.h"

namespace logitd::client {

// One stream and its connection.
struct DecodeSession::Link {
  using Stream = grpc::ClientReaderWriterInterface<v1::DecodeRequest, v1::DecodeResponse>;

  explicit Link(std::unique_ptr<Connection> to)
      : connection(std::move(to)), stream(connection->decoding().Decode(&context)), replies(*stream) {}
  ~Link() {
    if (!is_finished) context.TryCancel();
    (void)Finish();
  }

  bool Write(const v1::DecodeRequest& request) { return stream->Write(request, grpc::WriteOptions()); }

  // The stream's status, once nothing is left to read.
  absl::Status Finish() {
    replies.Join();
    if (!std::exchange(is_finished, true)) status = FromGrpcStatus(stream->Finish());
    return status;
  }

  // The reason why it ended although its client has not ended it.
  absl::Status Broken() {
    absl::Status end = Finish();
    if (end.ok()) return absl::UnavailableError("the server ended the stream");
    // A caller that took a long break.
    return ErrorOf(end).limit == "max_idle_ms" ? absl::UnavailableError(end.message()) : end;
  }

  std::unique_ptr<Connection> connection;
  grpc::ClientContext context;
  std::unique_ptr<Stream> stream;
  ReplyQueue<v1::DecodeResponse> replies;
  bool is_finished = false;
  absl::Status status;
};

DecodeSession::DecodeSession(DecodeSessionOptions options, v1::DecodeConfig config)
    : options_(std::move(options)), config_(std::move(config)), sequences_(config_), patience_(options_.patience) {}

DecodeSession::~DecodeSession() = default;

absl::StatusOr<std::unique_ptr<DecodeSession>> DecodeSession::Start(DecodeSessionOptions options,
                                                                    v1::DecodeConfig config) {
  if (options.max_batches_in_flight < 1) {
    return InputError("max_batches_in_flight", absl::StrCat(options.max_batches_in_flight), ">= 1",
                      absl::StrCat("max_batches_in_flight must be >= 1, got ", options.max_batches_in_flight));
  }
  if (options.connect == nullptr && options.addresses.empty()) {
    return InputError("addresses", "", ">= 1", "addresses must have at least one address, got 0");
  }
  std::unique_ptr<DecodeSession> session(new DecodeSession(std::move(options), std::move(config)));
  if (absl::Status first = session->TryConnect(); !first.ok()) RETURN_IF_ERROR(session->Connect(std::move(first)));
  return session;
}

absl::Status DecodeSession::Fail(absl::Status status) {
  is_finished_ = true;
  final_status_ = std::move(status);
  link_.reset();
  return final_status_;
}

absl::Status DecodeSession::Connect(absl::Status failure) {
  while (!failure.ok()) {
    link_.reset();
    if (absl::Status wait = patience_.WaitAfter(failure); !wait.ok()) return Fail(std::move(wait));
    failure = TryConnect();
  }
  return absl::OkStatus();
}

absl::Status DecodeSession::TryConnect() {
  const int attempt = attempts_++;
  std::unique_ptr<Connection> connection;
  if (options_.connect != nullptr) {
    ASSIGN_OR_RETURN(connection, options_.connect(attempt));
  } else {
    Options to = options_.connection;
    to.address = options_.addresses[static_cast<size_t>(attempt) % options_.addresses.size()];
    ASSIGN_OR_RETURN(connection, Dial(to));
  }
  auto link = std::make_unique<Link>(std::move(connection));
  v1::DecodeRequest request;
  *request.mutable_config() = config_;
  if (!link->Write(request)) return link->Broken();
  const std::optional<v1::DecodeResponse> started = link->replies.Take(/*wait=*/true);
  if (!started) return link->Broken();
  if (!started->has_started()) return absl::InternalError("the server's first message is not `started`");
  if (is_started_) {
    RETURN_IF_ERROR(Reopen(*link));
    ++reconnect_count_;
  } else {
    is_started_ = true;
    started_ = started->started();
    // Another server would draw another seed, and might compute other numbers.
    config_.mutable_sampling()->set_seed(started_.seed());
    config_.set_numerics_version(started_.provenance().numerics_version());
  }
  link_ = std::move(link);
  return absl::OkStatus();
}

absl::Status DecodeSession::Reopen(Link& link) {
  std::vector<v1::StepBatch> batches = sequences_.Reopen();
  for (v1::StepBatch& batch : batches) {
    batch.set_batch_id(++last_wire_id_);
    v1::DecodeRequest request;
    *request.mutable_batch() = std::move(batch);
    if (!link.Write(request)) return link.Broken();
    const std::optional<v1::DecodeResponse> reply = link.replies.Take(/*wait=*/true);
    if (!reply) return link.Broken();
    for (const v1::OpenResult& open : reply->result().opens()) {
      if (open.has_error()) return FromError(open.error());
    }
  }
  for (Unanswered& batch : unanswered_) {
    batch.request.mutable_batch()->set_batch_id(++last_wire_id_);
    if (!link.Write(batch.request)) return link.Broken();
  }
  return absl::OkStatus();
}

absl::Status DecodeSession::Send(v1::StepBatch batch, std::string payload) {
  if (is_finished_) return final_status_.ok() ? absl::FailedPreconditionError("the session has ended") : final_status_;
  if (batch.batch_id() <= last_batch_id_) {
    return InputError("batch_id", absl::StrCat(batch.batch_id()), absl::StrCat("> ", last_batch_id_),
                      absl::StrCat("batch_id must be > ", last_batch_id_, ", got ", batch.batch_id()));
  }
  for (const v1::OpenSequence& open : batch.opens()) {
    // Its prompt and options are its source's, which the session does not follow. Resumed, it would have other tokens.
    if (open.has_fork()) return InputError("opens.fork", "a fork", "fresh", "opens.fork cannot be resumed: use fresh");
  }
  while (unanswered_.size() >= static_cast<size_t>(options_.max_batches_in_flight)) RETURN_IF_ERROR(TakeResult());
  last_batch_id_ = batch.batch_id();
  Unanswered& sent = unanswered_.emplace_back(Unanswered{.batch_id = batch.batch_id(), .request = {}});
  *sent.request.mutable_batch() = std::move(batch);
  sent.request.mutable_batch()->set_batch_id(++last_wire_id_);
  *sent.request.mutable_payload() = std::move(payload);
  // A write that fails is found again by whoever waits for the result: there may be results to be read before.
  (void)link_->Write(sent.request);
  return absl::OkStatus();
}

absl::Status DecodeSession::TakeResult() {
  std::optional<v1::DecodeResponse> reply = link_->replies.Take(/*wait=*/true);
  if (!reply) return Connect(link_->Broken());
  Unanswered& oldest = unanswered_.front();
  v1::BatchResult& result = *reply->mutable_result();
  if (!reply->has_result() || result.batch_id() != oldest.request.batch().batch_id()) {
    return Fail(absl::InternalError("the server's message is not the oldest batch's result"));
  }
  sequences_.Take(oldest.request.batch(), result);
  result.set_batch_id(oldest.batch_id);
  results_.push_back(std::move(result));
  unanswered_.pop_front();
  patience_.Reset();
  return absl::OkStatus();
}

absl::StatusOr<v1::BatchResult> DecodeSession::Receive() {
  while (results_.empty()) {
    if (is_finished_ && !final_status_.ok()) return final_status_;
    if (unanswered_.empty()) return absl::FailedPreconditionError("no batch waits for a result");
    RETURN_IF_ERROR(TakeResult());
  }
  v1::BatchResult result = std::move(results_.front());
  results_.pop_front();
  return result;
}

absl::Status DecodeSession::Finish() {
  if (is_finished_) return final_status_;
  while (!unanswered_.empty()) RETURN_IF_ERROR(TakeResult());
  link_->stream->WritesDone();
  absl::Status status = link_->Finish();
  // Everything is answered: a server that is lost now has nothing more to say.
  return Fail(IsTransient(status) ? absl::OkStatus() : std::move(status));
}

}  // namespace logitd::client

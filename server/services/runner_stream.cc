#include "server/services/runner_stream.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include <string>
#include <system_error>
#include <variant>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/api_version.h"
#include "server/converters/model.h"
#include "server/converters/runner.h"
#include "server/converters/wire.h"
#include "server/logging.h"
#include "server/services/request_reader.h"
#include "server/status.h"

namespace logitd::server {
namespace {

void LogGone(int64_t runner_id, const std::string& model, const std::string& name, const RunnerEnd& end) {
  const LogLevel level = end.kind == RunnerEnd::Kind::kLeft ? LogLevel::kInfo : LogLevel::kWarn;
  const bool runs = end.kind == RunnerEnd::Kind::kUnknown;
  Log(level, "runner gone",
      {{"runner", runner_id},
       {"name", name},
       {"model", model},
       {"cause", runs ? "its stream ended, and its process still runs" : end.cause}});
}

// Says that the runner is gone, and tells whoever waits for it.
void Lose(int64_t runner_id, const std::string& model, AttachedRunner& runner, const RunnerEnd& end) {
  LogGone(runner_id, model, runner.name(), end);
  runner.OnLost(errors::RunnerLost(model), end);
}

absl::Status CheckVersion(const grpc::ByteBuffer& bytes) {
  // The reader changes nothing.
  grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&bytes));
  if (!reader.status().ok()) return errors::Internal("the bytes of the message cannot be read");
  return CheckHelloVersion(reader, static_cast<int64_t>(bytes.Length()));
}

}  // namespace

void RunnerOutbox::SendBatch(Batch batch) {
  v1::AttachResponse message;
  ToProto(batch, row_dtype_, *message.mutable_batch());
  auto pieces = std::make_shared<Pieces>();
  for (SequenceWork& piece : batch.work) pieces->emplace(piece.sequence_id, std::move(piece));
  {
    std::lock_guard lock(mutex_);
    batches_.emplace(batch.batch_id, std::move(pieces));
  }
  Send(message);
}

void RunnerOutbox::SendCancel(int64_t batch_id, std::vector<int64_t> sequence_ids) {
  v1::AttachResponse message;
  message.mutable_cancel()->set_batch_id(batch_id);
  message.mutable_cancel()->mutable_sequence_ids()->Add(sequence_ids.begin(), sequence_ids.end());
  Send(message);
}

void RunnerOutbox::SendTokenize(int64_t call_id, std::vector<std::string> texts, const TokenizationOptions& options) {
  v1::AttachResponse message;
  message.mutable_tokenize()->set_call_id(call_id);
  for (std::string& text : texts) message.mutable_tokenize()->add_texts(std::move(text));
  ToProto(options, *message.mutable_tokenize()->mutable_options());
  message.mutable_tokenize()->set_continues_text(options.continues_text);
  Send(message);
}

void RunnerOutbox::SendDetokenize(int64_t call_id, std::vector<std::vector<TokenId>> tokens,
                                  bool render_special_tokens) {
  v1::AttachResponse message;
  message.mutable_detokenize()->set_call_id(call_id);
  message.mutable_detokenize()->set_render_special_tokens(render_special_tokens);
  for (const std::vector<TokenId>& ids : tokens) {
    message.mutable_detokenize()->add_tokens()->mutable_token_ids()->Add(ids.begin(), ids.end());
  }
  Send(message);
}

void RunnerOutbox::SendRenderChat(int64_t call_id, const ChatBytes& chat) {
  v1::AttachResponse message;
  message.mutable_render_chat()->set_call_id(call_id);
  // The handler has just made these bytes.
  message.mutable_render_chat()->mutable_chat()->ParseFromString(chat);
  Send(message);
}

void RunnerOutbox::SendCancelCall(int64_t call_id) {
  v1::AttachResponse message;
  message.mutable_cancel()->add_call_ids(call_id);
  Send(message);
}

void RunnerOutbox::Send(const v1::AttachResponse& message) {
  grpc::ByteBuffer bytes;
  const absl::Status written = WriteReply(message, bytes);
  if (!written.ok())
    return Log(LogLevel::kError, "no message to the runner", {{"error", std::string(written.message())}});
  std::lock_guard lock(mutex_);
  if (stream_ == nullptr) return;
  if (message.has_accepted()) is_accepted_ = true;
  queue_.push_back(std::move(bytes));
  if (is_writing_) return;
  is_writing_ = true;
  stream_->StartWrite(&queue_.front());
}

void RunnerOutbox::SendHeartbeat() {
  v1::AttachResponse message;
  message.mutable_heartbeat();
  {
    std::lock_guard lock(mutex_);
    if (!is_accepted_ || is_writing_) return;
  }
  Send(message);
}

void RunnerOutbox::OnWriteDone(bool ok) {
  std::lock_guard lock(mutex_);
  is_writing_ = false;
  if (!queue_.empty()) queue_.pop_front();
  if (!ok || stream_ == nullptr || queue_.empty()) return;
  is_writing_ = true;
  stream_->StartWrite(&queue_.front());
}

std::shared_ptr<const RunnerOutbox::Pieces> RunnerOutbox::BatchInFlight(int64_t batch_id) {
  static const auto none = std::make_shared<const Pieces>();
  std::lock_guard lock(mutex_);
  const auto found = batches_.find(batch_id);
  return found == batches_.end() ? none : found->second;
}

void RunnerOutbox::EndBatch(int64_t batch_id) {
  std::lock_guard lock(mutex_);
  batches_.erase(batch_id);
}

RunnerStream::RunnerStream(ModelPool& models, OpenCalls& open_calls, RunnerMonitor& monitor,
                           const AwaitRunnerEnd& await_end, int64_t runner_id)
    : models_(models),
      open_calls_(open_calls),
      monitor_(monitor),
      await_end_(await_end),
      runner_id_(runner_id),
      outbox_(std::make_shared<RunnerOutbox>(this)) {
  monitor_.Add(this);
  is_open_ = open_calls_.Add(this);
  if (!is_open_) {
    FinishOnce(errors::Draining());
  } else {
    StartRead(&bytes_);
  }
}

void RunnerStream::End(const absl::Status& status) {
  FinishOnce(status, {RunnerEnd::Kind::kLeft, "", "the server stops"});
}

void RunnerStream::OnHeartbeat(std::chrono::steady_clock::time_point now) {
  std::shared_ptr<AttachedRunner> attached;
  {
    std::lock_guard lock(mutex_);
    if (is_finished_) return;
    attached = attached_;
  }
  std::string why;
  if (const auto silence = now - last_heard_.load(); silence > monitor_.times().silence_limit) {
    why = "it was silent for " +
          std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(silence).count()) + " ms";
  }
  if (attached != nullptr && attached->IsOverdue(now)) why = "it hung: a batch or a call was not answered in time";
  if (why.empty()) return outbox_->SendHeartbeat();
  if (attached == nullptr) Log(LogLevel::kWarn, "runner refused", {{"runner", runner_id_}, {"reason", why}});
  FinishOnce(errors::RunnerLost(attached == nullptr ? "" : attached->name()), {RunnerEnd::Kind::kOther, "", why});
}

void RunnerStream::OnReadDone(bool ok) {
  if (!ok) return FinishOnce(absl::OkStatus());
  last_heard_ = std::chrono::steady_clock::now();
  const absl::Status status = Handle();
  if (!status.ok()) {
    Log(LogLevel::kWarn, "runner refused", {{"runner", runner_id_}, {"reason", std::string(status.message())}});
    return FinishOnce(status, {RunnerEnd::Kind::kOther, "", "refused: " + std::string(status.message())});
  }
  request_.Clear();
  std::lock_guard lock(mutex_);
  if (!is_finished_) StartRead(&bytes_);
}

absl::Status RunnerStream::Handle() {
  static const WireShape& shape = WireShape::Of(*v1::AttachRequest::descriptor());
  if (!description_) RETURN_IF_ERROR(CheckVersion(bytes_));
  RETURN_IF_ERROR(CheckBytes(bytes_, kHoldsRows<v1::AttachRequest>, shape).status());
  RETURN_IF_ERROR(ParseAndDrop(bytes_, request_));
  switch (request_.kind_case()) {
    case v1::AttachRequest::kHello:
      if (description_) return errors::RunnerProtocol("a second hello");
      return HandleHello(request_.hello());
    case v1::AttachRequest::kVocabulary: {
      if (!description_ || runner_ != nullptr) return errors::RunnerProtocol("a vocabulary that was not asked for");
      ASSIGN_OR_RETURN(Vocabulary vocabulary, FromProto(request_.vocabulary(), *description_));
      return Attach(std::make_shared<const Vocabulary>(std::move(vocabulary)));
    }
    case v1::AttachRequest::kHeartbeat:
      return absl::OkStatus();
    default:
      if (runner_ == nullptr) return errors::RunnerProtocol("the first messages must be hello and vocabulary");
      return HandleAnswer();
  }
}

absl::Status RunnerStream::HandleAnswer() {
  switch (request_.kind_case()) {
    case v1::AttachRequest::kOutput: {
      const v1::BatchOutput& output = request_.output();
      ASSIGN_OR_RETURN(std::vector<PieceOutput> pieces,
                       FromProto(output, request_.payload(), description_->vocab_size, description_->row_width(),
                                 *outbox_->BatchInFlight(output.batch_id())));
      if (output.final()) outbox_->EndBatch(output.batch_id());
      return runner_->scheduler()->OnOutput(output.batch_id(), std::move(pieces), output.final());
    }
    case v1::AttachRequest::kTokenized: {
      const v1::TokenizeResult& result = request_.tokenized();
      if (result.has_error()) return runner_->OnTokenized(result.call_id(), FromProto(result.error()));
      std::vector<std::vector<TokenId>> tokens;
      for (const v1::TokenIds& ids : result.tokens())
        tokens.emplace_back(ids.token_ids().begin(), ids.token_ids().end());
      return runner_->OnTokenized(result.call_id(), std::move(tokens));
    }
    case v1::AttachRequest::kDetokenized: {
      const v1::DetokenizeResult& result = request_.detokenized();
      if (result.has_error()) return runner_->OnDetokenized(result.call_id(), FromProto(result.error()));
      return runner_->OnDetokenized(result.call_id(),
                                    std::vector<std::string>(result.texts().begin(), result.texts().end()));
    }
    case v1::AttachRequest::kRenderedChat: {
      v1::RenderChatResult& result = *request_.mutable_rendered_chat();
      if (result.has_error()) return runner_->OnRenderedChat(result.call_id(), FromProto(result.error()));
      return runner_->OnRenderedChat(
          result.call_id(),
          RenderedChat{std::move(*result.mutable_text()), {result.token_ids().begin(), result.token_ids().end()}});
    }
    default:
      return errors::RunnerProtocol("a message without a kind");
  }
}

absl::Status RunnerStream::HandleHello(const v1::RunnerHello& hello) {
  if (!hello.has_model()) return errors::Required("hello.model");
  ASSIGN_OR_RETURN(ModelDescription description, FromProto(hello.model()));
  RETURN_IF_ERROR(CheckNames(hello));
  ASSIGN_OR_RETURN(description.hidden, HiddenOf(hello));
  RETURN_IF_ERROR(models_.CheckHidden(description));
  ASSIGN_OR_RETURN(capacity_, FromProto(hello.capacity()));
  capabilities_ = FromProto(hello.capabilities());
  ASSIGN_OR_RETURN(extras_, ExtrasOf(hello));
  outbox_->set_row_dtype(RowDtype(hello.capabilities()));
  runner_name_ = hello.runner_name();
  description_ = std::move(description);
  std::variant<std::string, int64_t, double> tolerance = "not known";
  if (description_->batch_tolerance_nats) tolerance = *description_->batch_tolerance_nats;
  Log(LogLevel::kInfo, "runner attached",
      {{"runner", runner_id_},
       {"name", runner_name_},
       {"model", description_->name},
       {"precision", description_->precision},
       {"batch_tolerance_nats", tolerance},
       {"cache", capacity_.cache_choice}});

  auto vocabulary = models_.KnownVocabulary(*description_);
  if (!capabilities_.vocabulary) vocabulary = std::make_shared<const Vocabulary>();
  v1::AttachResponse message;
  v1::RunnerAccepted& accepted = *message.mutable_accepted();
  accepted.set_runner_id(runner_id_);
  accepted.set_need_vocabulary(vocabulary == nullptr);
  accepted.set_api_major_version(kApiMajorVersion);
  accepted.set_api_minor_version(kApiMinorVersion);
  accepted.set_max_message_bytes(kMaxMessageBytes);
  accepted.set_numerics_version(kNumericsVersion);
  accepted.set_heartbeat_interval_ms(static_cast<int32_t>(monitor_.times().interval.count()));
  accepted.set_silence_limit_ms(static_cast<int32_t>(monitor_.times().silence_limit.count()));
  outbox_->Send(message);
  return vocabulary == nullptr ? absl::OkStatus() : Attach(std::move(vocabulary));
}

absl::Status RunnerStream::Attach(std::shared_ptr<const Vocabulary> vocabulary) {
  try {
    runner_ = std::make_shared<AttachedRunner>(runner_name_, *description_, capacity_, outbox_, extras_,
                                               CacheSharing{capabilities_.fork, capabilities_.trim});
  } catch (const std::system_error& error) {
    return errors::Internal(std::string("no thread for another runner: ") + error.what());
  }
  std::lock_guard lock(mutex_);
  if (is_finished_) return absl::OkStatus();
  ASSIGN_OR_RETURN(model_, models_.Attach(*description_, capabilities_, std::move(vocabulary), runner_));
  attached_ = runner_;
  return absl::OkStatus();
}

void RunnerStream::OnCancel() {
  {
    std::lock_guard lock(mutex_);
    is_cancelled_ = true;
  }
  FinishOnce(errors::Cancelled());
}

void RunnerStream::FinishOnce(const absl::Status& status, const RunnerEnd& end) {
  std::shared_ptr<AttachedRunner> attached;
  std::shared_ptr<ServedModel> model;
  {
    std::lock_guard lock(mutex_);
    if (is_finished_) return;
    is_finished_ = true;
    attached = std::exchange(attached_, nullptr);
    model = std::exchange(model_, nullptr);
  }
  // Before the runner can see the end, so that it, or another one, may attach again at once.
  if (attached != nullptr) {
    models_.Detach(model, attached);
    const std::string& name = model->description().name;
    if (end.kind != RunnerEnd::Kind::kUnknown) {
      Lose(runner_id_, name, *attached, end);
    } else if (const auto known = await_end_(
                   attached->name(),
                   [id = runner_id_, name, attached](const RunnerEnd& later) { Lose(id, name, *attached, later); })) {
      if (known->kind == RunnerEnd::Kind::kUnknown) {
        attached->OnLost(errors::RunnerLost(name));
        std::lock_guard lock(mutex_);
        is_gone_ = true;
      } else {
        Lose(runner_id_, name, *attached, *known);
      }
    }
  }
  outbox_->Close([&] { Finish(ToGrpcStatus(status)); });
}

void RunnerStream::OnDone() {
  if (is_gone_) {
    // A stream that ends in order is not cancelled.
    const RunnerEnd end = is_cancelled_ ? RunnerEnd{RunnerEnd::Kind::kOther, "", "its connection broke"}
                                        : RunnerEnd{RunnerEnd::Kind::kLeft, "", "it left"};
    LogGone(runner_id_, description_->name, runner_name_, end);
  }
  monitor_.Remove(this);
  if (is_open_) open_calls_.Remove(this);
  delete this;
}

}  // namespace logitd::server

#include "client/runner/model_runner.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "client/runner/batch_control.h"
#include "client/runner/batch_reply.h"
#include "client/runner/row_buffers.h"
#include "client/runner/text_calls.h"
#include "client/runner/work_queue.h"
#include "core/errors.h"
#include "core/float_environment.h"
#include "core/limits.h"
#include "host/vocab_fingerprint.h"
#include "logitd/v1/model_runner_service.grpc.pb.h"
#include "wire/token_ids.h"

namespace logitd::runner {
namespace {

// Rows are sent in messages of this size, so that the server can begin with the first rows while others are on the way,
// and hears from the runner in time even over a slow network. A longer row has a message of its own.
constexpr int64_t kUsualMessageBytes = int64_t{4} << 20;
// The bytes that a message needs beside a row; generous.
constexpr int64_t kMessageOverheadBytes = 1024;
// How long the server may take to answer a half-close before the stream is cut.
constexpr std::chrono::seconds kGoodbye{3};

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(static_cast<int>(kMaxMessageBytes));
  args.SetMaxSendMessageSize(static_cast<int>(kMaxMessageBytes));
  // Logits do not compress, and trying would cost time in every step.
  args.SetCompressionAlgorithm(GRPC_COMPRESS_NONE);
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // The kernel reports the end of a Unix socket's peer; over a network only a ping does.
  if (address.rfind("unix:", 0) != 0) {
    args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
    args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
    args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  }
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

// Serialises `message`, which has no payload of its own, with this payload.
grpc::ByteBuffer ToBytes(const v1::AttachRequest& message, RowBuffer payload) {
  std::string header;
  {
    google::protobuf::io::StringOutputStream stream(&header);
    google::protobuf::io::CodedOutputStream coded(&stream);
    message.SerializeToCodedStream(&coded);
    if (payload.size() > 0) {
      coded.WriteTag(google::protobuf::internal::WireFormatLite::MakeTag(
          v1::AttachRequest::kPayloadFieldNumber,
          google::protobuf::internal::WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
      coded.WriteVarint64(payload.size());
    }
  }
  const grpc::Slice slices[] = {grpc::Slice(header), std::move(payload).ToSlice()};
  return grpc::ByteBuffer(slices, std::size(slices));
}

// A batch, and whether the server still waits for it.
struct BatchWork {
  explicit BatchWork(v1::RunBatch received) : batch(std::move(received)), control(batch) {}
  // Belongs to the evaluating thread.
  v1::RunBatch batch;
  BatchControl control;
};

// One stream. Threads: the caller's reads; one evaluates; those of TextCalls tokenise; one sends heartbeats; one waits
// for `stop`.
class Attachment {
 public:
  Attachment(const RunnerOptions& options, Model& model)
      : options_(options),
        model_(model),
        vocab_size_(model.Info().vocab_size()),
        hidden_(model.Hidden()),
        row_width_(hidden_ ? hidden_->hidden_size() : vocab_size_),
        max_message_bytes_(
            std::max(kUsualMessageBytes, int64_t{row_width_} * int64_t{sizeof(float)} + kMessageOverheadBytes)),
        channel_(MakeChannel(options.server_address)),
        decoders_(vocab_size_) {}

  absl::Status Run(std::stop_token stop);

 private:
  // Exchanges hello and accepted, and sends the vocabulary if the server needs it.
  absl::Status Introduce();
  // Reads until the stream ends. Errors: the server sent something that the protocol does not allow.
  absl::Status ReadWork();
  absl::Status TakeBatch(v1::RunBatch batch);
  void Cancel(const v1::CancelBatch& cancel);
  void EvaluateBatches();
  void Evaluate(BatchWork& work);
  // Inserts the tokens that were chosen here where they are to be appended. Returns the entries that have none to
  // append.
  std::set<int> AppendChosen(v1::RunBatch& batch);
  void LeaveWhenStopped(std::stop_token stop);
  void SetEnded();
  // Sends heartbeats, and cuts the stream if the server is silent.
  void Beat();
  // False: the stream is broken. Reading then ends too, and its status says why.
  bool Write(const v1::AttachRequest& message, RowBuffer payload = {});

  const RunnerOptions& options_;
  Model& model_;
  const int32_t vocab_size_;
  const std::optional<v1::HiddenOutput> hidden_;
  // Values of a row.
  const int32_t row_width_;
  // The server may lower it.
  int64_t max_message_bytes_;
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  // Requests are raw bytes, so that rows are sent from the memory where they lie.
  std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, v1::AttachResponse>> stream_;
  const std::shared_ptr<RowBuffers> buffers_ = RowBuffers::Make(static_cast<size_t>(max_message_bytes_));
  bool accepted_ = false;
  std::chrono::milliseconds heartbeat_interval_{0};
  std::chrono::milliseconds silence_limit_{0};
  std::atomic<std::chrono::steady_clock::time_point> last_heard_{std::chrono::steady_clock::now()};
  std::atomic<bool> server_is_silent_ = false;

  std::timed_mutex write_mutex_;
  bool half_closed_ = false;

  WorkQueue<std::shared_ptr<BatchWork>> batches_;
  // Belongs to the evaluating thread.
  Decoders decoders_;
  // Batches that have not been answered, by number.
  std::mutex open_batches_mutex_;
  std::map<int64_t, std::shared_ptr<BatchWork>> open_batches_;
  std::optional<TextCalls> calls_;

  std::mutex end_mutex_;
  std::condition_variable_any ended_changed_;
  bool ended_ = false;
};

absl::Status Attachment::Run(std::stop_token stop) {
  const grpc::internal::RpcMethod attach("/logitd.v1.ModelRunnerService/Attach",
                                         grpc::internal::RpcMethod::BIDI_STREAMING, channel_);
  stream_.reset(grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, v1::AttachResponse>::Create(
      channel_.get(), attach, &context_));
  std::jthread leaver([this, stop] { LeaveWhenStopped(stop); });
  absl::Status protocol = Introduce();
  if (protocol.ok() && accepted_) {
    calls_.emplace(model_, vocab_size_, [this](const v1::AttachRequest& answer) { Write(answer); });
    std::jthread evaluator([this] { EvaluateBatches(); });
    std::jthread heart([this] { Beat(); });
    protocol = ReadWork();
    model_.Interrupt();
    batches_.Close();
    calls_.reset();
    SetEnded();
  }
  if (!protocol.ok()) context_.TryCancel();
  SetEnded();
  leaver.join();
  const grpc::Status status = stream_->Finish();
  if (stop.stop_requested()) return absl::OkStatus();
  if (!protocol.ok()) return protocol;
  if (status.ok()) return absl::OkStatus();
  if (server_is_silent_) {
    return absl::UnavailableError("the server has been silent for " + std::to_string(silence_limit_.count()) +
                                  " ms, and is taken for dead");
  }
  std::string message = status.error_message();
  if (!accepted_ && status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    message = "no server answers at " + options_.server_address + ": " + message;
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), message);
}

absl::Status Attachment::Introduce() {
  v1::AttachRequest hello;
  *hello.mutable_hello()->mutable_model() = model_.Info();
  v1::RunnerCapabilities capabilities = model_.Capabilities();
  if (options_.choice && !hidden_) capabilities.set_choice_numerics_version(kNumericsVersion);
  if (options_.records && !hidden_) capabilities.set_records_numerics_version(kNumericsVersion);
  // Rows are sent as f32, whatever type the model computes in.
  capabilities.clear_dtypes();
  capabilities.add_dtypes(v1::LOGITS_DTYPE_F32);
  *hello.mutable_hello()->mutable_capabilities() = std::move(capabilities);
  *hello.mutable_hello()->mutable_capacity() = model_.Capacity();
  if (hidden_) *hello.mutable_hello()->mutable_hidden() = *hidden_;
  if (const auto platform = model_.Platform()) *hello.mutable_hello()->mutable_platform() = *platform;
  hello.mutable_hello()->set_runner_version(options_.runner_version);
  hello.mutable_hello()->set_runner_name(options_.runner_name);
  hello.mutable_hello()->set_api_major_version(kApiMajorVersion);
  hello.mutable_hello()->set_api_minor_version(kApiMinorVersion);
  v1::AttachResponse response;
  if (!Write(hello) || !stream_->Read(&response)) return absl::OkStatus();  // Finish says why
  if (!response.has_accepted()) return errors::RunnerProtocol("the server's first message is not `accepted`");
  if (const auto& accepted = response.accepted(); accepted.api_major_version() != kApiMajorVersion) {
    return errors::RunnerProtocol("the server has API version " + std::to_string(accepted.api_major_version()) + "." +
                                  std::to_string(accepted.api_minor_version()) + " and this runner " +
                                  std::to_string(kApiMajorVersion) + "." + std::to_string(kApiMinorVersion) +
                                  ": attach to a server whose major version is the runner's");
  }
  accepted_ = true;
  if (options_.on_accepted) options_.on_accepted();
  if (response.accepted().max_message_bytes() > 0) {
    max_message_bytes_ = std::min(max_message_bytes_, response.accepted().max_message_bytes());
  }
  heartbeat_interval_ = std::chrono::milliseconds(response.accepted().heartbeat_interval_ms());
  silence_limit_ = std::chrono::milliseconds(response.accepted().silence_limit_ms());
  if (response.accepted().need_vocabulary()) {
    v1::AttachRequest message;
    *message.mutable_vocabulary() = model_.Vocabulary();
    Write(message);
  }
  return absl::OkStatus();
}

absl::Status Attachment::ReadWork() {
  v1::AttachResponse response;
  while (stream_->Read(&response)) {
    last_heard_ = std::chrono::steady_clock::now();
    switch (response.kind_case()) {
      case v1::AttachResponse::kBatch: {
        const absl::Status status = TakeBatch(std::move(*response.mutable_batch()));
        if (!status.ok()) return status;
        break;
      }
      case v1::AttachResponse::kCancel:
        Cancel(response.cancel());
        break;
      case v1::AttachResponse::kHeartbeat:
        break;
      case v1::AttachResponse::kTokenize:
      case v1::AttachResponse::kDetokenize:
      case v1::AttachResponse::kRenderChat:
        calls_->Push(std::move(response));
        break;
      default:
        return errors::RunnerProtocol("the server sent a message that this runner does not know");
    }
    response.Clear();
  }
  return absl::OkStatus();
}

absl::Status Attachment::TakeBatch(v1::RunBatch batch) {
  std::set<int64_t> sequence_ids;
  for (const v1::SequenceWork& work : batch.work()) {
    if (!sequence_ids.insert(work.sequence_id()).second) {
      return errors::RunnerProtocol("the server's batch names sequence " + std::to_string(work.sequence_id()) +
                                    " twice");
    }
  }
  auto work = std::make_shared<BatchWork>(std::move(batch));
  {
    std::lock_guard lock(open_batches_mutex_);
    open_batches_[work->batch.batch_id()] = work;
  }
  batches_.Push(std::move(work));
  return absl::OkStatus();
}

void Attachment::Cancel(const v1::CancelBatch& cancel) {
  calls_->Cancel(cancel.call_ids());
  std::lock_guard lock(open_batches_mutex_);
  // A batch that is not there has been answered meanwhile.
  if (const auto found = open_batches_.find(cancel.batch_id()); found != open_batches_.end()) {
    found->second->control.Cancel(cancel);
  }
}

void Attachment::EvaluateBatches() {
  UseExactFloats();  // records are computed here
  while (const auto work = batches_.Pop()) {
    Evaluate(**work);
    std::lock_guard lock(open_batches_mutex_);
    open_batches_.erase((*work)->batch.batch_id());
  }
}

std::set<int> Attachment::AppendChosen(v1::RunBatch& batch) {
  std::set<int> skipped;
  for (int i = 0; i < batch.work_size(); ++i) {
    v1::SequenceWork& work = *batch.mutable_work(i);
    if (!work.has_append_chosen_decoder_id()) continue;
    const std::optional<TokenId> chosen = decoders_.TakeChosen(work.append_chosen_decoder_id());
    work.clear_append_chosen_decoder_id();
    if (!chosen) {
      skipped.insert(i);
      continue;
    }
    auto& tokens = *work.mutable_append_token_ids();
    tokens.Add(*chosen);
    std::rotate(tokens.begin(), tokens.end() - 1, tokens.end());
  }
  // A decoder that chooses in this batch must not keep an earlier token, even if its entry fails.
  for (const v1::SequenceWork& work : batch.work()) {
    for (const v1::RowRequest& request : work.rows()) {
      if (request.has_choice()) decoders_.DropChosen(request.choice().decoder_id());
    }
  }
  return skipped;
}

void Attachment::Evaluate(BatchWork& work) {
  for (const int64_t id : work.batch.release_sequence_ids()) decoders_.Release(id);
  const std::set<int> skipped = AppendChosen(work.batch);
  const v1::RunBatch& batch = work.batch;
  BatchReply reply(batch, work.control, vocab_size_, row_width_, max_message_bytes_, *buffers_, decoders_,
                   [this](const v1::AttachRequest& message, RowBuffer payload) { Write(message, std::move(payload)); });
  // Entries that are illegal or no longer wanted are answered here. The model gets the others, and `places` holds their
  // indices in the batch.
  v1::RunBatch legal;
  legal.set_batch_id(batch.batch_id());
  *legal.mutable_release_sequence_ids() = batch.release_sequence_ids();
  std::vector<int> places;
  v1::RunBatch drops;
  for (int i = 0; i < batch.work_size(); ++i) {
    if (skipped.contains(i)) {
      reply.Skip(i);
      continue;
    }
    absl::Status status = CheckWork(batch.work(i), vocab_size_);
    if (status.ok()) status = work.control.Check(i);
    if (!status.ok()) {
      reply.Fail(i, status);
      drops.add_release_sequence_ids(batch.work(i).sequence_id());
      continue;
    }
    *legal.add_work() = batch.work(i);
    places.push_back(i);
  }

  class PlacedSink : public RowSink {
   public:
    PlacedSink(BatchReply& reply, const std::vector<int>& places) : reply_(reply), places_(places) {}
    void AddRow(int work_index, LogitsView row) override { reply_.AddRow(places_[work_index], row); }
    void Fail(int work_index, const absl::Status& error) override { reply_.Fail(places_[work_index], error); }
    absl::Status CheckWanted(int work_index) const override { return reply_.CheckWanted(places_[work_index]); }

   private:
    BatchReply& reply_;
    const std::vector<int>& places_;
  };
  PlacedSink sink(reply, places);
  model_.Evaluate(legal, sink);
  reply.Finish();

  for (int64_t sequence_id : reply.SequencesToDrop()) drops.add_release_sequence_ids(sequence_id);
  if (!drops.release_sequence_ids().empty()) model_.Evaluate(drops, sink);
}

void Attachment::LeaveWhenStopped(std::stop_token stop) {
  std::unique_lock lock(end_mutex_);
  ended_changed_.wait(lock, stop, [this] { return ended_; });
  if (ended_) return;
  lock.unlock();
  // A writer that is stuck, because the server does not read, must not hold up the end.
  if (std::unique_lock write_lock(write_mutex_, kGoodbye); write_lock.owns_lock()) {
    half_closed_ = true;
    stream_->WritesDone();
  }
  // Only after the half-close: output of an interrupted batch would count as the model's answer about its sequences,
  // which instead go on elsewhere.
  model_.Interrupt();
  lock.lock();
  if (!ended_changed_.wait_for(lock, kGoodbye, [this] { return ended_; })) context_.TryCancel();
}

void Attachment::SetEnded() {
  {
    std::lock_guard lock(end_mutex_);
    ended_ = true;
  }
  ended_changed_.notify_all();
}

void Attachment::Beat() {
  if (heartbeat_interval_.count() <= 0) return;
  v1::AttachRequest heartbeat;
  heartbeat.mutable_heartbeat();
  std::unique_lock lock(end_mutex_);
  while (!ended_changed_.wait_for(lock, heartbeat_interval_, [this] { return ended_; })) {
    lock.unlock();
    if (silence_limit_.count() > 0 && std::chrono::steady_clock::now() - last_heard_.load() > silence_limit_) {
      server_is_silent_ = true;
      context_.TryCancel();
    }
    // Any message that is being written is a sign of life too.
    if (std::unique_lock write_lock(write_mutex_, std::try_to_lock); write_lock.owns_lock() && !half_closed_) {
      stream_->Write(ToBytes(heartbeat, {}));
    }
    lock.lock();
  }
}

bool Attachment::Write(const v1::AttachRequest& message, RowBuffer payload) {
  const grpc::ByteBuffer bytes = ToBytes(message, std::move(payload));
  std::lock_guard lock(write_mutex_);
  return !half_closed_ && stream_->Write(bytes);
}

}  // namespace

absl::StatusOr<v1::RenderChatResult> Model::RenderChat(const v1::Chat& /*chat*/, const TextTask& /*task*/) {
  return errors::ChatTemplateUnavailable(Info().name());
}

absl::Status ServeModel(const RunnerOptions& options, Model& model, std::stop_token stop) {
  return Attachment(options, model).Run(stop);
}

std::string VocabFingerprint(const v1::Vocabulary& vocabulary) {
  const auto& lengths = vocabulary.token_lengths();
  const auto& controls = vocabulary.control_token_ids();
  const auto& unused = vocabulary.unused_token_ids();
  return host::VocabFingerprint(vocabulary.token_bytes(), wire::Ids(lengths), wire::Ids(controls), wire::Ids(unused));
}

}  // namespace logitd::runner

#include "server/services/health_service.h"

#include "base/status_macros.h"
#include "core/errors.h"
#include "server/services/call_record.h"
#include "server/services/request_reader.h"
#include "server/status.h"

namespace logitd::server {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

namespace {

// A watch keeps the name that it was given.
constexpr size_t kMaxNameBytes = 256;
// A name, and what a later version of the protocol may add: fields that are not known are ignored here. Small enough to
// be parsed whatever is in it.
constexpr int64_t kMaxRequestBytes = 1024;
// Names of models that runners have made up, and taken away again.
constexpr size_t kMaxServices = 1024;

HealthStatus ToProto(bool is_serving) {
  return is_serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

absl::StatusOr<std::string> NameIn(const grpc::ByteBuffer& bytes) {
  const auto size = static_cast<int64_t>(bytes.Length());
  if (size > kMaxRequestBytes) {
    return errors::OutOfRange("request", size, "a message of at most " + std::to_string(kMaxRequestBytes) + " bytes");
  }
  HealthCheckRequest request;
  grpc::ByteBuffer parsed = bytes;
  RETURN_IF_ERROR(ParseAndDrop(parsed, request));
  if (request.service().size() <= kMaxNameBytes) return request.service();
  return errors::OutOfRange("service", static_cast<int64_t>(request.service().size()),
                            "at most " + std::to_string(kMaxNameBytes) + " bytes");
}

}  // namespace

// Writes the status of one service whenever it changes. If changes are faster than the client reads, it writes the
// last.
class HealthWatch final : public grpc::ServerWriteReactor<grpc::ByteBuffer>, public OpenCall {
 public:
  HealthWatch(HealthService& service, grpc::CallbackServerContext* context, const absl::StatusOr<std::string>& name)
      : service_(service), name_(name.ok() ? *name : ""), record_("Watch", context) {
    absl::Status status = name.status();
    if (status.ok()) status = service_.connections_.Enter(*context, record_.place);
    if (status.ok()) status = service_.places_.Take();
    is_admitted_ = status.ok();
    is_open_ = is_admitted_ && service_.watches_.Add(this);
    if (is_admitted_ && !is_open_) status = errors::Draining();
    if (is_open_) {
      service_.Enrol(this);
    } else {
      End(status);
    }
  }

  const std::string& name() const { return name_; }

  void Tell(HealthStatus status) {
    std::lock_guard lock(mutex_);
    if (is_finished_) return;
    // Even if this status was written last: a different one may wait to be written.
    next_ = status;
    if (!is_writing_) WriteNext();
  }

  void End(const absl::Status& status) override {
    {
      std::lock_guard lock(mutex_);
      if (is_finished_) return;
      is_finished_ = true;
    }
    record_.Finish(*this, status);
  }
  bool EndsByItself() const override { return false; }
  void Abort(const absl::Status& status) override { record_.Abort(status); }

 private:
  // REQUIRES: mutex_ is held, nothing is being written, next_ is set.
  void WriteNext() {
    if (next_ == last_) {
      next_.reset();
      return;
    }
    last_ = std::exchange(next_, std::nullopt);
    HealthCheckResponse response;
    response.set_status(*last_);
    // The message has two bytes, so this does not fail.
    (void)WriteReply(response, response_);
    is_writing_ = true;
    StartWrite(&response_);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    is_writing_ = false;
    if (ok && !is_finished_ && next_ && next_ != last_) WriteNext();
  }
  void OnCancel() override { End(errors::Cancelled()); }
  void OnDone() override {
    record_.WriteLine();
    if (is_open_) {
      service_.Leave(this);
      service_.watches_.Remove(this);
    }
    if (is_admitted_) service_.places_.GiveBack();
    delete this;
  }

  HealthService& service_;
  const std::string name_;
  CallRecord record_;
  bool is_admitted_ = false;
  bool is_open_ = false;
  std::mutex mutex_;
  bool is_finished_ = false;
  bool is_writing_ = false;
  grpc::ByteBuffer response_;
  // The status that was written last, and the one to write next.
  std::optional<HealthStatus> last_;
  std::optional<HealthStatus> next_;
};

void HealthService::Set(const std::string& service, bool is_serving) {
  std::lock_guard lock(mutex_);
  if (is_stopped_) return;
  if (is_serving_.size() >= kMaxServices && !is_serving_.contains(service)) {
    std::erase_if(is_serving_, [](const auto& entry) { return !entry.second; });
  }
  is_serving_[service] = is_serving;
  Tell(service, ToProto(is_serving));
}

void HealthService::StopServing() {
  std::lock_guard lock(mutex_);
  is_stopped_ = true;
  for (auto& [service, is_serving] : is_serving_) {
    is_serving = false;
    Tell(service, HealthCheckResponse::NOT_SERVING);
  }
}

void HealthService::Tell(const std::string& service, HealthStatus status) {
  const auto watches = enrolled_.find(service);
  if (watches == enrolled_.end()) return;
  for (HealthWatch* watch : watches->second) watch->Tell(status);
}

void HealthService::Enrol(HealthWatch* watch) {
  std::lock_guard lock(mutex_);
  enrolled_[watch->name()].insert(watch);
  const auto known = is_serving_.find(watch->name());
  watch->Tell(known == is_serving_.end() ? HealthCheckResponse::SERVICE_UNKNOWN : ToProto(known->second));
}

void HealthService::Leave(HealthWatch* watch) {
  std::lock_guard lock(mutex_);
  const auto watches = enrolled_.find(watch->name());
  watches->second.erase(watch);
  if (watches->second.empty()) enrolled_.erase(watches);
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::StatusOr<std::string> name = NameIn(*request);
  if (!name.ok()) {
    reactor->Finish(ToGrpcStatus(name.status()));
    return reactor;
  }
  std::lock_guard lock(mutex_);
  const auto known = is_serving_.find(*name);
  if (known == is_serving_.end()) {
    reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND,
                                 "there is no such service: \"\" is the server, "
                                 "\"model/NAME\" a model that it has had"));
  } else {
    HealthCheckResponse message;
    message.set_status(ToProto(known->second));
    reactor->Finish(ToGrpcStatus(WriteReply(message, *response)));
  }
  return reactor;
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* HealthService::Watch(grpc::CallbackServerContext* context,
                                                                 const grpc::ByteBuffer* request) {
  return new HealthWatch(*this, context, NameIn(*request));
}

}  // namespace logitd::server

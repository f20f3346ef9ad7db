#include "server/server.h"

#include <grpc/health/v1/health.pb.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "core/errors.h"
#include "core/limits.h"
#include "core/status_macros.h"
#include "server/listen_address.h"
#include "server/services/services.h"
#include "server/version.h"

namespace logitd::server {
namespace {

// A connection whose peer has vanished is noticed after this long (gRPC's default is two hours).
constexpr int kKeepaliveTimeMs = 30'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
// What is left of a grace period for calls that are ended to finish in.
constexpr std::chrono::milliseconds kEndTime{1000};

std::string ModelHealthName(const std::string& model) { return "model/" + model; }

void SetCommonOptions(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(kMaxMessageBytes));
  builder.SetMaxSendMessageSize(static_cast<int>(kMaxMessageBytes));
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  // A compressed message's size is checked after it has grown: take none.
  builder.AddChannelArgument(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  // Two servers on one port would share its connections at random: refuse the second.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveTimeMs / 2);
}

// A directory that nobody else can look into, for the runners' socket. Removed with it.
class PrivateDirectory {
 public:
  static absl::StatusOr<PrivateDirectory> Make() {
    const char* runtime = ::getenv("XDG_RUNTIME_DIR");
    const char* temporary = ::getenv("TMPDIR");
    const std::string base = runtime != nullptr && *runtime != '\0'       ? runtime
                             : temporary != nullptr && *temporary != '\0' ? temporary
                                                                          : "/tmp";
    std::string path = base + "/logitd-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) {
      return absl::UnavailableError("cannot make a private directory in " + base +
                                    " for the runners' socket; give --runner-listen unix:PATH");
    }
    return PrivateDirectory(path);
  }

  explicit PrivateDirectory(std::string path) : path_(std::move(path)) {}
  PrivateDirectory(PrivateDirectory&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  PrivateDirectory& operator=(PrivateDirectory&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~PrivateDirectory() {
    if (path_.empty()) return;
    ::unlink(SocketPathIn().c_str());
    ::rmdir(path_.c_str());
  }

  std::string SocketPathIn() const { return path_ + "/runner.sock"; }

 private:
  std::string path_;
};

absl::Status CheckAddresses(const ServerOptions& options) {
  if (options.listen.empty()) return absl::InvalidArgumentError("--listen must name at least one address");
  for (const std::string& address : options.listen) {
    RETURN_IF_ERROR(CheckListenAddress("--listen", address));
    if (!IsLocal(address) && !options.allow_plaintext) {
      return absl::InvalidArgumentError("--listen " + address +
                                        " is not on loopback, and there is no TLS: whoever reaches it can use the "
                                        "server. Listen on 127.0.0.1, or give --allow-plaintext");
    }
  }
  if (!options.runner_listen.empty()) {
    RETURN_IF_ERROR(CheckListenAddress("--runner-listen", options.runner_listen));
    if (!IsLocal(options.runner_listen) && !options.allow_plaintext) {
      return absl::InvalidArgumentError("--runner-listen " + options.runner_listen +
                                        " is not on loopback, and there is no TLS: whoever may attach can read prompts "
                                        "and forge scores. Use unix:PATH, or give --allow-plaintext");
    }
  }
  return absl::OkStatus();
}

// Listens on `addresses` and returns them with their real ports.
absl::StatusOr<std::vector<std::string>> Listen(const std::string& flag, const std::vector<std::string>& addresses,
                                                grpc::ServerBuilder& builder, std::unique_ptr<grpc::Server>& server) {
  std::vector<int> ports(addresses.size(), 0);
  for (size_t i = 0; i < addresses.size(); ++i) {
    RETURN_IF_ERROR(ClearStaleSocket(flag, addresses[i]));
    builder.AddListeningPort(addresses[i], grpc::InsecureServerCredentials(), &ports[i]);
  }
  server = builder.BuildAndStart();
  std::vector<std::string> real;
  for (size_t i = 0; i < addresses.size(); ++i) {
    // Ports are bound in order: the first without a number is the one that failed.
    if (ports[i] == 0) {
      return absl::UnavailableError(flag + ": cannot listen on " + addresses[i] +
                                    ": the port is in use or the address is not this machine's; choose another, e.g. "
                                    "--listen 127.0.0.1:0");
    }
    real.push_back(WithPort(addresses[i], ports[i]));
  }
  if (server == nullptr) return absl::UnavailableError(flag + ": the server did not start");
  return real;
}

}  // namespace

struct Server::Parts {
  Parts() : models([this](const std::string& name) { OnModelChange(name); }) {}

  void OnModelChange(const std::string& name) {
    std::lock_guard lock(mutex);
    // As it is now: of two changes at once the later one may be told first.
    if (server != nullptr && !draining) {
      server->GetHealthCheckService()->SetServingStatus(ModelHealthName(name), models.Find(name).ok());
    }
    changed.notify_all();
  }

  std::mutex mutex;
  std::condition_variable changed;
  bool draining = false;

  ModelPool models;
  ServerEnv env{models, kVersion, "SCALAR"};
  Admission admission{kMaxCalls};
  OpenCalls open_calls;
  OpenCalls open_attachments;
  WorkerThreads workers;
  CallEnv call_env{env, admission, open_calls, workers};

  DecodingService decoding{call_env};
  GenerationService generation{call_env};
  ScoringService scoring{call_env};
  ModelService model_service{call_env};
  ServerService server_service{call_env};
  ModelRunnerService runner_service{models, open_attachments};

  std::optional<PrivateDirectory> private_directory;
  std::string runner_address;
  std::vector<std::string> addresses;
  std::unique_ptr<grpc::Server> runner_server;
  std::unique_ptr<grpc::Server> server;
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  RETURN_IF_ERROR(CheckAddresses(options));
  auto parts = std::make_unique<Parts>();

  std::string runner_listen = options.runner_listen;
  if (runner_listen.empty()) {
    ASSIGN_OR_RETURN(PrivateDirectory directory, PrivateDirectory::Make());
    runner_listen = "unix:" + directory.SocketPathIn();
    parts->private_directory.emplace(std::move(directory));
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder runner_builder;
  SetCommonOptions(runner_builder);
  runner_builder.RegisterService(&parts->runner_service);
  // Nobody but this user may connect, from the first moment on.
  const mode_t mask = ::umask(0177);
  auto runner_addresses = Listen("--runner-listen", {runner_listen}, runner_builder, parts->runner_server);
  ::umask(mask);
  RETURN_IF_ERROR(runner_addresses.status());
  parts->runner_address = runner_addresses->front();

  if (std::all_of(options.listen.begin(), options.listen.end(), IsLocal)) {
    // Once per process: plugins hold for every builder made later.
    static const bool reflection = [] {
      grpc::reflection::InitProtoReflectionServerBuilderPlugin();
      // The health service is gRPC's own: naming its messages links their descriptors in, for reflection.
      return grpc::health::v1::HealthCheckRequest::descriptor() != nullptr;
    }();
    (void)reflection;
  }
  grpc::ServerBuilder builder;
  SetCommonOptions(builder);
  for (grpc::Service* service : std::initializer_list<grpc::Service*>{
           &parts->decoding, &parts->generation, &parts->scoring, &parts->model_service, &parts->server_service}) {
    builder.RegisterService(service);
  }
  std::unique_ptr<grpc::Server> server;
  auto addresses = Listen("--listen", options.listen, builder, server);
  if (!addresses.ok()) {
    parts->runner_server->Shutdown(std::chrono::system_clock::now());
    return addresses.status();
  }
  parts->addresses = *std::move(addresses);
  {
    std::lock_guard lock(parts->mutex);
    parts->server = std::move(server);
    // A runner may have attached already.
    for (const ModelPool::Entry& entry : parts->models.List()) {
      parts->server->GetHealthCheckService()->SetServingStatus(ModelHealthName(entry.name), entry.model != nullptr);
    }
  }
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() { Drain(std::chrono::milliseconds(0)); }

const std::vector<std::string>& Server::addresses() const { return parts_->addresses; }

const std::string& Server::runner_address() const { return parts_->runner_address; }

void Server::ExpectModel(const std::string& name) {
  parts_->models.Expect(name);
  parts_->OnModelChange(name);
}

bool Server::WaitForModel(const std::string& name, const std::function<bool()>& give_up) {
  std::unique_lock lock(parts_->mutex);
  bool attached = false;
  parts_->changed.wait(lock, [&] {
    attached = parts_->models.Find(name).ok();
    return attached || give_up();
  });
  return attached;
}

void Server::Wake() {
  std::lock_guard lock(parts_->mutex);
  parts_->changed.notify_all();
}

void Server::Drain(std::chrono::milliseconds grace_period) {
  {
    std::lock_guard lock(parts_->mutex);
    if (parts_->draining) return;
    parts_->draining = true;
  }
  parts_->server->GetHealthCheckService()->SetServingStatus(false);
  parts_->open_calls.Drain(errors::Draining());
  parts_->open_calls.WaitUntilEmpty(std::max(grace_period - kEndTime, std::chrono::milliseconds(0)));
  parts_->open_calls.EndAll(errors::Draining());
  parts_->open_calls.WaitUntilEmpty(std::min(grace_period, kEndTime));
  // What still has not ended (a client that reads nothing) is cancelled now.
  parts_->server->Shutdown(std::chrono::system_clock::now());
  parts_->open_attachments.EndAll(errors::Draining());
  parts_->open_attachments.WaitUntilEmpty(std::min(grace_period, kEndTime));
  parts_->runner_server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace logitd::server

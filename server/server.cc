#include "server/server.h"

#include <grpc/health/v1/health.pb.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "server/head_tiles.h"
#include "server/limits.h"
#include "server/listen_address.h"
#include "server/listen_failure.h"
#include "server/logging.h"
#include "server/memory.h"
#include "server/services/health_service.h"
#include "server/services/services.h"
#include "server/version.h"

namespace logitd::server {
namespace {

// HTTP/2 streams of one connection. Calls above kMaxStreamsPerConnection are refused with a reason. Calls above this
// number wait in the client until some of those are refused.
constexpr int kMaxHttp2Streams = 4 * kMaxStreamsPerConnection;
// The server notices a vanished peer after this time (gRPC's default is two hours).
constexpr int kKeepaliveTimeMs = 30'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
// The least time between a client's pings while it has no call. Faster pings end its connection (too_many_pings).
constexpr int kMinPingIntervalMs = 15'000;
constexpr int kMaxPingStrikes = 2;
// A connection without calls is closed after this time. The client's next call opens another.
constexpr int kConnectionIdleMs = 30 * 60'000;
constexpr int kWriteBufferBytes = 64 << 10;
// Threads of gRPC for reflection, its only service with a thread for each call. Our calls use none of them.
constexpr int kReflectionThreads = 16;
// Messages up to this size are read, so that too large ones are refused with details. gRPC itself refuses larger ones.
constexpr int kReadableMessageBytes = static_cast<int>(2 * kMaxMessageBytes);
// The part of a grace period in which ended calls finish.
constexpr std::chrono::milliseconds kEndTime{1000};
// Time to read the last statuses, and for the last calls to arrive.
constexpr std::chrono::milliseconds kLingerTime{100};
// Upper bound on the time between two scans for overdue calls.
constexpr std::chrono::milliseconds kLookTime{1000};

std::string ModelHealthName(const std::string& model) { return "model/" + model; }

void SetCommonOptions(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kReadableMessageBytes);
  builder.SetMaxSendMessageSize(static_cast<int>(kMaxMessageBytes));
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  // Refuse compression: gRPC checks the size of a message only after it is decompressed.
  builder.AddChannelArgument(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  // Refuse a second server on the port: both would share its connections at random.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxHttp2Streams);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  // Notice a peer that vanishes between two calls, too.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, kMaxPingStrikes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, kWriteBufferBytes);
}

// The resources that gRPC itself may hold for clients.
void BoundResources(grpc::ServerBuilder& builder) {
  grpc::ResourceQuota quota("clients");
  quota.Resize(kMaxTransportBytes);
  quota.SetMaxThreads(kReflectionThreads);
  builder.SetResourceQuota(quota);
  // One queue, because each takes a thread of the quota. The default is one for each CPU.
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kConnectionIdleMs);
}

// A directory for sockets that no other user can open. The destructor removes it.
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
                                    " for a socket; set TMPDIR to a folder that this user can write");
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
    for (const std::string& socket : {RunnerSocket(), ClientSocket()}) ::unlink(socket.c_str());
    ::rmdir(path_.c_str());
  }

  std::string RunnerSocket() const { return path_ + "/runner.sock"; }
  std::string ClientSocket() const { return path_ + "/client.sock"; }

 private:
  std::string path_;
};

// "logitd-llama: warning: ...", or without the program's name.
bool IsWarning(std::string_view line) {
  constexpr std::string_view kBegin = "warning: ";
  if (line.starts_with(kBegin)) return true;
  const size_t name = line.find(": ");
  return name != std::string_view::npos && line.substr(0, name).find(' ') == std::string_view::npos &&
         line.substr(name + 2).starts_with(kBegin);
}

void LogExit(const ChildExit& exit) {
  Log(exit.end.kind == RunnerEnd::Kind::kLeft ? LogLevel::kInfo : LogLevel::kWarn, "runner ended",
      {{"name", exit.name},
       {"cause", exit.end.cause},
       {"last_line", exit.last_line},
       {"restart_in_ms", static_cast<int64_t>(exit.restart_in.count())}});
}

absl::Status CheckAddresses(const ServerOptions& options) {
  if (options.listen.empty()) return absl::InvalidArgumentError("--listen must name at least one address");
  for (const std::string& address : options.listen) {
    RETURN_IF_ERROR(CheckClientAddress("--listen", address, options.allow_plaintext));
  }
  if (options.runner_listen.empty()) return absl::OkStatus();
  return CheckRunnerAddress("--runner-listen", options.runner_listen, options.allow_plaintext);
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
    // gRPC binds in order: the first address without a port failed.
    if (ports[i] == 0) {
      return absl::UnavailableError(flag + ": cannot listen on " + addresses[i] + ": " + WhyNotListening(addresses[i]));
    }
    real.push_back(WithPort(addresses[i], ports[i]));
  }
  if (server == nullptr) return absl::UnavailableError(flag + ": the server did not start");
  return real;
}

}  // namespace

struct Server::Parts {
  Parts(const ServerOptions& options, Heads heads)
      : options(options),
        heads(std::move(heads)),
        models([this](const std::string& model, const std::string& runner,
                      bool is_attached) { OnRunnerChange(model, runner, is_attached); },
               this->heads, &runner_head),
        runner_service(models, open_attachments, options.heartbeats,
                       [this](const std::string& runner, std::function<void(const RunnerEnd&)> then) {
                         std::lock_guard lock(mutex);
                         return fleet == nullptr ? RunnerEnd() : fleet->AwaitEnd(runner, std::move(then));
                       }) {}

  void OnRunnerChange(const std::string& model, const std::string& runner, bool is_attached) {
    std::lock_guard lock(mutex);
    // Report the present state: of two changes at once the later may be reported first.
    health.Set(ModelHealthName(model), models.IsServed(model));
    if (fleet != nullptr) is_attached ? fleet->OnAttached(runner) : fleet->OnDetached(runner);
    changed.notify_all();
  }

  std::mutex mutex;
  std::condition_variable changed;
  bool draining = false;

  const ServerOptions options;
  const Heads heads;
  ConnectionCalls connections{kMaxStreamsPerConnection};
  HealthService health{options.max_watches, connections};
  StepWorkspaces workspaces;
  RunnerRows runner_head{workspaces};
  ModelPool models;
  RecordCache records{options.record_cache_bytes};
  FitSlots fits;
  ServerEnv env{models, records, workspaces, heads, fits, kVersion, options};
  Admission admission{options.max_calls, options.max_open_streams, options.max_bytes_in_work};
  OpenCalls open_calls;
  OpenCalls open_attachments;
  WorkerThreads workers;
  CallEnv call_env{env, admission, connections, open_calls, workers};

  DecodingService decoding{call_env};
  GenerationService generation{call_env};
  ScoringService scoring{call_env};
  FittingService fitting{call_env};
  ModelService model_service{call_env};
  ServerService server_service{call_env};
  ModelRunnerService runner_service;

  std::optional<PrivateDirectory> private_directory;
  std::string runner_address;
  std::string private_address;
  std::vector<std::string> addresses;
  std::unique_ptr<grpc::Server> runner_server;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<HttpChild> http;
  std::unique_ptr<RunnerFleet> fleet;
  // True until a runner of the fleet attaches for the first time.
  bool is_waiting_for_model = false;
  MemoryReturn memory_return{[this] { return admission.bytes(); }};
  // Ends calls whose clients keep them waiting for too long. The last member, so it stops first.
  std::jthread overdue;

  void EndOverdueCalls(std::stop_token stop) {
    using std::chrono::milliseconds;
    const milliseconds period =
        std::clamp<milliseconds>(std::min(options.max_idle, options.max_stall) / 4, milliseconds(10), kLookTime);
    std::mutex waiting;
    std::condition_variable_any stopped;
    std::unique_lock lock(waiting);
    while (!stopped.wait_for(lock, stop, period, [&] { return stop.stop_requested(); })) open_calls.EndOverdue();
  }
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Heads heads, bool private_listen) {
  RETURN_IF_ERROR(CheckAddresses(options));
  auto parts = std::make_unique<Parts>(options, std::move(heads));

  std::string runner_listen = options.runner_listen;
  if (runner_listen.empty() || private_listen) {
    ASSIGN_OR_RETURN(PrivateDirectory directory, PrivateDirectory::Make());
    parts->private_directory.emplace(std::move(directory));
  }
  if (runner_listen.empty()) runner_listen = "unix:" + parts->private_directory->RunnerSocket();
  grpc::ServerBuilder runner_builder;
  SetCommonOptions(runner_builder);
  runner_builder.RegisterService(&parts->runner_service);
  // From the first moment on only this user may connect.
  const mode_t mask = ::umask(0177);
  auto runner_addresses = Listen("--runner-listen", {runner_listen}, runner_builder, parts->runner_server);
  ::umask(mask);
  RETURN_IF_ERROR(runner_addresses.status());
  parts->runner_address = runner_addresses->front();

  if (std::all_of(options.listen.begin(), options.listen.end(), IsLocal)) {
    // Once in a process: a plugin applies to every later builder.
    static const bool reflection = (grpc::reflection::InitProtoReflectionServerBuilderPlugin(), true);
    (void)reflection;
  }
  grpc::ServerBuilder builder;
  SetCommonOptions(builder);
  BoundResources(builder);
  for (grpc::Service* service :
       std::initializer_list<grpc::Service*>{&parts->decoding, &parts->generation, &parts->scoring, &parts->fitting,
                                             &parts->model_service, &parts->server_service, &parts->health}) {
    builder.RegisterService(service);
  }
  std::unique_ptr<grpc::Server> server;
  std::vector<std::string> listen = options.listen;
  // One more address of the same server, so that it asks of its clients whatever the others ask.
  if (private_listen) listen.push_back("unix:" + parts->private_directory->ClientSocket());
  auto addresses = Listen("--listen", listen, builder, server);
  if (!addresses.ok()) {
    parts->runner_server->Shutdown(std::chrono::system_clock::now());
    return addresses.status();
  }
  if (private_listen) {
    parts->private_address = addresses->back();
    addresses->pop_back();
  }
  parts->addresses = *std::move(addresses);
  parts->server = std::move(server);
  parts->overdue = std::jthread([parts = parts.get()](std::stop_token stop) { parts->EndOverdueCalls(stop); });
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() { Drain(std::chrono::milliseconds(0)); }

const std::vector<std::string>& Server::addresses() const { return parts_->addresses; }

const std::string& Server::runner_address() const { return parts_->runner_address; }

const std::string& Server::private_address() const { return parts_->private_address; }

void Server::StartRunners(FleetOptions options) {
  const std::string name = options.model_name;
  std::lock_guard lock(parts_->mutex);
  // Under the lock, so that a runner that attaches at once finds the fleet.
  ChildEvents events;
  events.on_exit = [this](const ChildExit& exit) {
    // Otherwise the failed start reports it.
    if (!IsStartFailing()) LogExit(exit);
    Wake();
  };
  events.on_line = [](const std::string& runner, const std::string& line) {
    Log(IsWarning(line) ? LogLevel::kWarn : LogLevel::kInfo, "runner says", {{"name", runner}, {"line", line}});
  };
  parts_->is_waiting_for_model = true;
  parts_->fleet = std::make_unique<RunnerFleet>(std::move(options), parts_->models, std::move(events));
  parts_->health.Set(ModelHealthName(name), parts_->models.IsServed(name));
}

std::optional<std::string> Server::RunnersFailure() const {
  std::lock_guard lock(parts_->mutex);
  if (parts_->fleet == nullptr || !parts_->fleet->HasFailed()) return std::nullopt;
  return parts_->fleet->last_exit();
}

bool Server::IsStartFailing() const {
  std::lock_guard lock(parts_->mutex);
  return parts_->is_waiting_for_model && parts_->fleet != nullptr && parts_->fleet->HasFailed();
}

bool Server::WaitForModel(const std::string& name, const std::function<bool()>& give_up) {
  std::unique_lock lock(parts_->mutex);
  bool attached = false;
  parts_->changed.wait(lock, [&] {
    attached = parts_->models.IsServed(name);
    return attached || give_up() || (parts_->fleet != nullptr && parts_->fleet->HasFailed());
  });
  if (attached) parts_->is_waiting_for_model = false;
  return attached;
}

void Server::Wake() {
  std::lock_guard lock(parts_->mutex);
  parts_->changed.notify_all();
}

void Server::StartHttp(HttpChildOptions options) {
  std::lock_guard lock(parts_->mutex);
  parts_->http = std::make_unique<HttpChild>(std::move(options), [this] { Wake(); });
}

std::optional<std::string> Server::WaitForHttp(const std::function<bool()>& give_up) {
  std::unique_lock lock(parts_->mutex);
  std::optional<std::string> address;
  parts_->changed.wait(lock, [&] {
    if (parts_->http == nullptr) return true;
    address = parts_->http->address();
    return address.has_value() || give_up() || parts_->http->failure().has_value();
  });
  return address;
}

std::optional<std::string> Server::HttpFailure() const {
  std::lock_guard lock(parts_->mutex);
  return parts_->http == nullptr ? std::nullopt : parts_->http->failure();
}

void Server::Drain(std::chrono::milliseconds grace_period) {
  {
    std::lock_guard lock(parts_->mutex);
    if (parts_->draining) return;
    parts_->draining = true;
  }
  const auto end = std::chrono::steady_clock::now() + grace_period;
  parts_->health.StopServing();
  std::unique_ptr<HttpChild> http;
  {
    std::lock_guard lock(parts_->mutex);
    http = std::move(parts_->http);
  }
  // Waits for its end.
  http.reset();
  using std::chrono::milliseconds;
  grace_period =
      std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now()));
  const absl::Status status = errors::Draining();
  const milliseconds end_time = std::min(grace_period / 2, kEndTime);
  parts_->open_calls.Drain(status);
  parts_->open_calls.WaitUntilEmpty(grace_period - end_time);
  parts_->open_calls.EndAll(status);
  parts_->health.watches().EndAll(status);
  // End the calls, whether or not clients read the end. Each wait takes at most a quarter of the time.
  for (OpenCalls* calls : {&parts_->open_calls, &parts_->health.watches()}) {
    if (!calls->WaitUntilEmpty(end_time / 4)) calls->AbortAll(status);
  }
  std::unique_ptr<RunnerFleet> fleet;
  {
    std::lock_guard lock(parts_->mutex);
    fleet = std::move(parts_->fleet);
  }
  if (fleet != nullptr) fleet->RequestStop();
  parts_->open_attachments.EndAll(status);
  parts_->open_attachments.WaitUntilEmpty(end_time / 4);
  // Closing a connection while its client still sends resets it, and the client loses every unread status. Until gRPC
  // shuts down, new calls end with DRAINING; during the shutdown they would be CANCELLED.
  std::this_thread::sleep_for(std::min(end_time / 4, kLingerTime));
  parts_->server->Shutdown(std::chrono::system_clock::now());
  parts_->runner_server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace logitd::server

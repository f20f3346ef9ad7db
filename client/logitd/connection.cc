#include "client/logitd/connection.h"

#include "base/status_macros.h"
#include "client/logitd/address.h"
#include "grpc/compression.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace logitd::client {
namespace {

constexpr int kFirstBackoffMs = 100;
constexpr int kLongestBackoffMs = 2000;

grpc::ChannelArguments ChannelArgumentsOf(const Options& options, const Address& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  // Logits are close to incompressible: compression costs time and saves nothing.
  arguments.SetCompressionAlgorithm(GRPC_COMPRESS_NONE);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(options.keepalive_time.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(options.keepalive_timeout.count()));
  // The least time between two attempts is also gRPC's time limit for one attempt.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(options.connect_timeout.count()));
  // gRPC would wait for up to 2 minutes between two attempts: a server that is back should be found soon.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstBackoffMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestBackoffMs);
  // A proxy of http_proxy cannot reach a server on this machine.
  if (address.is_local) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

class GrpcConnection final : public Connection {
 public:
  explicit GrpcConnection(const std::shared_ptr<grpc::Channel>& channel)
      : decoding_(v1::DecodingService::NewStub(channel)),
        generation_(v1::GenerationService::NewStub(channel)),
        scoring_(v1::ScoringService::NewStub(channel)),
        fitting_(v1::FittingService::NewStub(channel)),
        models_(v1::ModelService::NewStub(channel)),
        server_(v1::ServerService::NewStub(channel)),
        health_(grpc::health::v1::Health::NewStub(channel)) {}

  v1::DecodingService::StubInterface& decoding() override { return *decoding_; }
  v1::GenerationService::StubInterface& generation() override { return *generation_; }
  v1::ScoringService::StubInterface& scoring() override { return *scoring_; }
  v1::FittingService::StubInterface& fitting() override { return *fitting_; }
  v1::ModelService::StubInterface& models() override { return *models_; }
  v1::ServerService::StubInterface& server() override { return *server_; }
  grpc::health::v1::Health::StubInterface& health() override { return *health_; }

 private:
  std::unique_ptr<v1::DecodingService::Stub> decoding_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::ScoringService::Stub> scoring_;
  std::unique_ptr<v1::FittingService::Stub> fitting_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<v1::ServerService::Stub> server_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> Dial(const Options& options) {
  ASSIGN_OR_RETURN(const Address address, ParseAddress(options.address));
  return std::make_unique<GrpcConnection>(grpc::CreateCustomChannel(address.target, grpc::InsecureChannelCredentials(),
                                                                    ChannelArgumentsOf(options, address)));
}

}  // namespace logitd::client

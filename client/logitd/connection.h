// One connection to one server: the stubs that Client calls. It is an interface, so that tests can put gRPC's generated
// mocks in the place of a server.
//
// Thread-safe: stubs may be used from many threads.
#ifndef LOGITD_CLIENT_LOGITD_CONNECTION_H_
#define LOGITD_CLIENT_LOGITD_CONNECTION_H_

#include <memory>

#include "absl/status/statusor.h"
#include "client/logitd/options.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "logitd/v1/decoding_service.grpc.pb.h"
#include "logitd/v1/fitting_service.grpc.pb.h"
#include "logitd/v1/generation_service.grpc.pb.h"
#include "logitd/v1/model_service.grpc.pb.h"
#include "logitd/v1/scoring_service.grpc.pb.h"
#include "logitd/v1/server_service.grpc.pb.h"

namespace logitd::client {

class Connection {
 public:
  virtual ~Connection() = default;
  // Stubs live as long as the connection.
  virtual v1::DecodingService::StubInterface& decoding() = 0;
  virtual v1::GenerationService::StubInterface& generation() = 0;
  virtual v1::ScoringService::StubInterface& scoring() = 0;
  virtual v1::FittingService::StubInterface& fitting() = 0;
  virtual v1::ModelService::StubInterface& models() = 0;
  virtual v1::ServerService::StubInterface& server() = 0;
  virtual grpc::health::v1::Health::StubInterface& health() = 0;
};

// A connection over gRPC, in plaintext. No I/O happens here: the first call connects, and fails with kUnavailable if
// nobody listens.
// Errors: kInvalidArgument (options.address).
absl::StatusOr<std::unique_ptr<Connection>> Dial(const Options& options);

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_CONNECTION_H_

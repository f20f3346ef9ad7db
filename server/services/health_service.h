// grpc.health.v1: whether the process takes calls (""), and whether a model has a runner ("model/NAME").
//
// gRPC's own service bounds no watches and cannot end them with a status of ours in a drain. Check never waits and is
// never refused, neither for load nor for the other calls of its connection: a busy server is not a dead one.
#ifndef LOGITD_SERVER_SERVICES_HEALTH_SERVICE_H_
#define LOGITD_SERVER_SERVICES_HEALTH_SERVICE_H_

#include <grpc/health/v1/health.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "server/limits.h"
#include "server/places.h"
#include "server/services/connection_calls.h"
#include "server/services/open_calls.h"

namespace logitd::server {

using HealthStatus = grpc::health::v1::HealthCheckResponse::ServingStatus;

class HealthWatch;

// Thread-safe.
class HealthService final
    : public grpc::health::v1::Health::WithRawCallbackMethod_Check<
          grpc::health::v1::Health::WithRawCallbackMethod_Watch<grpc::health::v1::Health::Service>> {
 public:
  HealthService(int32_t max_watches, ConnectionCalls& connections)
      : places_({kMaxWatches.name, max_watches}, "health watches are open"), connections_(connections) {
    Set("", true);
  }

  void Set(const std::string& service, bool is_serving);
  // From now on every status is NOT_SERVING, whatever Set is told later.
  void StopServing();
  // The open watches, to end them.
  OpenCalls& watches() { return watches_; }

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Watch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override;

 private:
  friend class HealthWatch;

  void Tell(const std::string& service, HealthStatus status);
  void Enrol(HealthWatch* watch);
  void Leave(HealthWatch* watch);

  Places places_;
  ConnectionCalls& connections_;
  OpenCalls watches_;
  std::mutex mutex_;
  bool is_stopped_ = false;
  std::map<std::string, bool> is_serving_;
  std::map<std::string, std::set<HealthWatch*>> enrolled_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_HEALTH_SERVICE_H_

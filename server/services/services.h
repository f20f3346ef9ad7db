// The gRPC services: one line per call, to its handler (server/handlers). All of them take raw bytes
// (server/services/request_reader.h).
#ifndef LOGITD_SERVER_SERVICES_SERVICES_H_
#define LOGITD_SERVER_SERVICES_SERVICES_H_

#include <grpcpp/grpcpp.h>

#include <atomic>

#include "logitd/v1/decoding_service.grpc.pb.h"
#include "logitd/v1/fitting_service.grpc.pb.h"
#include "logitd/v1/generation_service.grpc.pb.h"
#include "logitd/v1/model_runner_service.grpc.pb.h"
#include "logitd/v1/model_service.grpc.pb.h"
#include "logitd/v1/scoring_service.grpc.pb.h"
#include "logitd/v1/server_service.grpc.pb.h"
#include "server/handlers/decide.h"
#include "server/handlers/distribution.h"
#include "server/handlers/fit_calibration.h"
#include "server/handlers/fit_strengths.h"
#include "server/handlers/generate.h"
#include "server/handlers/get_server_info.h"
#include "server/handlers/get_vocabulary.h"
#include "server/handlers/list_models.h"
#include "server/handlers/rank.h"
#include "server/handlers/render_chat.h"
#include "server/handlers/score.h"
#include "server/handlers/tokenize.h"
#include "server/services/call_env.h"
#include "server/services/decode_stream.h"
#include "server/services/handler_call.h"
#include "server/services/quick_call.h"
#include "server/services/runner_monitor.h"
#include "server/services/runner_stream.h"
#include "server/services/score_logits_stream.h"

namespace logitd::server {

// Starts the call that runs `handler`, with the types of the handler. With `shared` it is a QuickCall.
template <typename Request, typename Response>
grpc::ServerUnaryReactor* Start(CallEnv env, grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                grpc::ByteBuffer* response,
                                absl::Status (*handler)(const Request&, const ServerEnv&, const RequestContext&,
                                                        Response&)) {
  return new UnaryCall<Request, Response>(env, context, request, response, handler);
}
template <typename Request, typename Response>
grpc::ServerUnaryReactor* Start(
    CallEnv env, grpc::CallbackServerContext* context, const grpc::ByteBuffer* request, grpc::ByteBuffer* response,
    absl::Status (*handler)(const Request&, const ServerEnv&, const RequestContext&, Response&), SharedBytes& shared) {
  return new QuickCall<Request, Response>(env, context, request, response, handler, shared);
}
template <typename Request, typename Response>
grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(
    CallEnv env, grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    absl::Status (*handler)(const Request&, const ServerEnv&, const RequestContext&, ReplyWriter<Response>&)) {
  return new ServerStreamCall<Request, Response>(env, context, request, handler);
}

class DecodingService final
    : public v1::DecodingService::WithRawCallbackMethod_Decode<
          v1::DecodingService::WithRawCallbackMethod_ComputeDistribution<v1::DecodingService::Service>> {
 public:
  explicit DecodingService(CallEnv env) : env_(env) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Decode(grpc::CallbackServerContext* context) override {
    return new DecodeStream(env_, context);
  }
  grpc::ServerUnaryReactor* ComputeDistribution(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                                grpc::ByteBuffer* response) override {
    return Start(env_, context, request, response, server::ComputeDistribution);
  }

 private:
  const CallEnv env_;
};

class GenerationService final
    : public v1::GenerationService::WithRawCallbackMethod_Generate<v1::GenerationService::Service> {
 public:
  explicit GenerationService(CallEnv env) : env_(env) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override {
    return Start(env_, context, request, server::Generate);
  }

 private:
  const CallEnv env_;
};

class ScoringService final
    : public v1::ScoringService::WithRawCallbackMethod_ScoreLogits<
          v1::ScoringService::WithRawCallbackMethod_Score<v1::ScoringService::WithRawCallbackMethod_Rank<
              v1::ScoringService::WithRawCallbackMethod_Decide<v1::ScoringService::Service>>>> {
 public:
  explicit ScoringService(CallEnv env) : env_(env) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Score(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override {
    return Start(env_, context, request, server::Score);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Rank(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request) override {
    return Start(env_, context, request, server::Rank);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Decide(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request) override {
    return Start(env_, context, request, server::Decide);
  }
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ScoreLogits(
      grpc::CallbackServerContext* context) override {
    return new ScoreLogitsStream(env_, context);
  }

 private:
  const CallEnv env_;
};

class FittingService final : public v1::FittingService::WithRawCallbackMethod_FitCalibration<
                                 v1::FittingService::WithRawCallbackMethod_FitStrengths<v1::FittingService::Service>> {
 public:
  explicit FittingService(CallEnv env) : env_(env) {}

  grpc::ServerUnaryReactor* FitCalibration(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) override {
    return Start(env_, context, request, response, server::FitCalibration);
  }

  grpc::ServerUnaryReactor* FitStrengths(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override {
    return Start(env_, context, request, response, server::FitStrengths);
  }

 private:
  const CallEnv env_;
};

class ModelService final
    : public v1::ModelService::WithRawCallbackMethod_GetVocabulary<v1::ModelService::WithRawCallbackMethod_ListModels<
          v1::ModelService::WithRawCallbackMethod_Tokenize<v1::ModelService::WithRawCallbackMethod_Detokenize<
              v1::ModelService::WithRawCallbackMethod_RenderChat<v1::ModelService::Service>>>>> {
 public:
  explicit ModelService(CallEnv env) : env_(env) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return Start(env_, context, request, response, server::ListModels, shared_);
  }
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return Start(env_, context, request, response, server::Tokenize);
  }
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return Start(env_, context, request, response, server::Detokenize);
  }
  grpc::ServerUnaryReactor* RenderChat(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return Start(env_, context, request, response, server::RenderChat);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* GetVocabulary(grpc::CallbackServerContext* context,
                                                            const grpc::ByteBuffer* request) override {
    return Start(env_, context, request, server::GetVocabulary);
  }

 private:
  const CallEnv env_;
  SharedBytes shared_;
};

class ServerService final : public v1::ServerService::WithRawCallbackMethod_GetServerInfo<v1::ServerService::Service> {
 public:
  explicit ServerService(CallEnv env) : env_(env) {}

  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override {
    return Start(env_, context, request, response, server::GetServerInfo, shared_);
  }

 private:
  const CallEnv env_;
  SharedBytes shared_;
};

// Served on --runner-listen only, because whoever may attach can read prompts and forge scores.
class ModelRunnerService final
    : public v1::ModelRunnerService::WithRawCallbackMethod_Attach<v1::ModelRunnerService::Service> {
 public:
  ModelRunnerService(ModelPool& models, OpenCalls& open_calls, HeartbeatTimes times, AwaitRunnerEnd await_end)
      : models_(models), open_calls_(open_calls), await_end_(std::move(await_end)), monitor_(times) {}

  RunnerOutbox::Stream* Attach(grpc::CallbackServerContext*) override {
    return new RunnerStream(models_, open_calls_, monitor_, await_end_, ++last_runner_id_);
  }

 private:
  ModelPool& models_;
  OpenCalls& open_calls_;
  const AwaitRunnerEnd await_end_;
  RunnerMonitor monitor_;
  std::atomic<int64_t> last_runner_id_{0};
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_SERVICES_H_

// The time of a small request by gRPC and by HTTP, in turns, each on a connection that stays open.
//
//   request_latency SERVER HTTP complete|echo PROMPT_TOKENS ROUNDS TOLERANCE
//
// SERVER is logitd's HOST:PORT, HTTP that of a logitd-http in front of it. complete: one token with its log-prob. echo:
// the log-probs of the prompt's tokens too, as lm-evaluation-harness asks for them. In each round both ask the same, of
// ids that differ from round to round and with cache salts of their own, so that neither finds what the other left.
//
// Prints one line of JSON: the median times (milliseconds), the median of the rounds' own differences, and the 99th
// percentile of both. It first checks that both replies have the same tokens and log-probs, in every round.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "logitd/v1/generation_service.grpc.pb.h"
#include "tests/bench/http_connection.h"

namespace logitd::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Rounds that are not counted.
constexpr int kWarmUp = 20;

struct Settings {
  std::string server;
  std::string http;
  bool echo = false;
  int prompt_tokens = 8;
  int rounds = 200;
  // More nats between two evaluations of the same tokens are a fault. Both are in a batch of their own, but not in the
  // same cells of the cache.
  double tolerance = 0;
};

struct Reply {
  double milliseconds = 0;
  std::vector<int> token_ids;
  // NaN: there is none.
  std::vector<double> log_probs;
};

double Milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

class GrpcClient {
 public:
  explicit GrpcClient(const Settings& settings)
      : settings_(settings),
        stub_(
            v1::GenerationService::NewStub(grpc::CreateChannel(settings.server, grpc::InsecureChannelCredentials()))) {}

  Reply Ask(const std::vector<int>& prompt, const std::string& salt) {
    v1::GenerateRequest request;
    request.mutable_prompt()->mutable_tokens()->mutable_token_ids()->Add(prompt.begin(), prompt.end());
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stop()->set_max_tokens(1);
    request.mutable_record()->set_top_n(1);
    if (settings_.echo) request.mutable_prompt_record()->set_top_n(1);
    request.mutable_evaluation()->set_cache_salt(salt);
    request.set_stream(false);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    Reply reply;
    const auto begin = Clock::now();
    const auto reader = stub_->Generate(&context, request);
    v1::GenerateResponse response;
    v1::GenerateFinal final;
    while (reader->Read(&response)) {
      if (response.has_final()) final.Swap(response.mutable_final());
    }
    const grpc::Status status = reader->Finish();
    reply.milliseconds = Milliseconds(Clock::now() - begin);
    if (!status.ok()) throw std::runtime_error("gRPC: " + status.error_message());
    const auto add = [&reply](const v1::TokenRecord& token) {
      reply.log_probs.push_back(token.has_model_log_prob() ? token.model_log_prob() : std::nan(""));
    };
    for (const v1::TokenRecord& token : final.prompt().tokens()) add(token);
    for (const v1::TokenRecord& token : final.completions(0).tokens()) {
      add(token);
      reply.token_ids.push_back(token.token_id());
    }
    return reply;
  }

 private:
  const Settings settings_;
  const std::unique_ptr<v1::GenerationService::Stub> stub_;
};

class HttpClient {
 public:
  explicit HttpClient(const Settings& settings) : settings_(settings), connection_(settings.http) {}

  Reply Ask(const std::vector<int>& prompt, const std::string& salt) {
    const nlohmann::json request = {{"prompt", prompt},        {"temperature", 0},       {"max_tokens", 1},
                                    {"logprobs", 1},           {"echo", settings_.echo}, {"cache_salt", salt},
                                    {"return_token_ids", true}};
    const std::string body = request.dump();
    Reply reply;
    const auto begin = Clock::now();
    connection_.Post("/v1/completions", body);
    const std::string text = connection_.TakeBody(connection_.TakeHead());
    reply.milliseconds = Milliseconds(Clock::now() - begin);
    const nlohmann::json choice = nlohmann::json::parse(text).at("choices").at(0);
    for (const nlohmann::json& id : choice.at("token_ids")) reply.token_ids.push_back(id.get<int>());
    for (const nlohmann::json& log_prob : choice.at("logprobs").at("token_logprobs")) {
      reply.log_probs.push_back(log_prob.is_null() ? std::nan("") : log_prob.get<double>());
    }
    return reply;
  }

 private:
  const Settings settings_;
  HttpConnection connection_;
};

void Check(const Settings& settings, const Reply& by_grpc, const Reply& by_http) {
  const size_t count = settings.echo ? static_cast<size_t>(settings.prompt_tokens) + 1 : 1;
  if (by_grpc.token_ids.size() != 1 || by_grpc.token_ids != by_http.token_ids) {
    throw std::runtime_error("the tokens of both differ");
  }
  if (by_grpc.log_probs.size() != count || by_http.log_probs.size() != count) {
    throw std::runtime_error("not " + std::to_string(count) +
                             " log-probs: " + std::to_string(by_grpc.log_probs.size()) + " and " +
                             std::to_string(by_http.log_probs.size()));
  }
  for (size_t i = 0; i < count; ++i) {
    const double a = by_grpc.log_probs[i];
    const double b = by_http.log_probs[i];
    const bool is_first = settings.echo && i == 0;
    if (is_first ? !std::isnan(a) || !std::isnan(b) : !(std::abs(a - b) <= settings.tolerance)) {
      throw std::runtime_error("the log-probs of both differ: " + std::to_string(a) + " and " + std::to_string(b));
    }
  }
}

double Quantile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1))];
}

int Run(const Settings& settings) {
  std::vector<double> grpc_ms;
  std::vector<double> http_ms;
  std::vector<double> more_ms;
  try {
    GrpcClient by_grpc(settings);
    HttpClient by_http(settings);
    for (int round = -kWarmUp; round < settings.rounds; ++round) {
      // Ids of words, not of control tokens.
      std::vector<int> prompt;
      for (int i = 0; i < settings.prompt_tokens; ++i) {
        prompt.push_back(1000 + ((round + kWarmUp) * 2711 + i * 31) % 40000);
      }
      const std::string salt = std::to_string(round + kWarmUp);
      Reply first;
      Reply second;
      const bool http_first = round % 2 == 0;
      if (http_first) second = by_http.Ask(prompt, "h" + salt);
      first = by_grpc.Ask(prompt, "g" + salt);
      if (!http_first) second = by_http.Ask(prompt, "h" + salt);
      Check(settings, first, second);
      if (round < 0) continue;
      grpc_ms.push_back(first.milliseconds);
      http_ms.push_back(second.milliseconds);
      more_ms.push_back(second.milliseconds - first.milliseconds);
    }
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "request_latency: %s\n", exception.what());
    return 1;
  }
  std::printf(
      "{\"grpc_ms\": %.3f, \"http_ms\": %.3f, \"more_ms\": %.3f, \"grpc_p99_ms\": %.3f, \"http_p99_ms\": %.3f}\n",
      Quantile(grpc_ms, 0.5), Quantile(http_ms, 0.5), Quantile(more_ms, 0.5), Quantile(grpc_ms, 0.99),
      Quantile(http_ms, 0.99));
  return 0;
}

}  // namespace
}  // namespace logitd::bench

int main(int argc, char** argv) {
  const std::string kind = argc > 3 ? argv[3] : "";
  if (argc != 7 || (kind != "complete" && kind != "echo") || std::atoi(argv[4]) < 1 || std::atoi(argv[5]) < 1) {
    std::fprintf(stderr, "usage: request_latency SERVER HTTP complete|echo PROMPT_TOKENS ROUNDS TOLERANCE\n");
    return 2;
  }
  return logitd::bench::Run({.server = argv[1],
                             .http = argv[2],
                             .echo = kind == "echo",
                             .prompt_tokens = std::atoi(argv[4]),
                             .rounds = std::atoi(argv[5]),
                             .tolerance = std::atof(argv[6])});
}

// Clients of generation in one process, for logitd, for logitd-http and for llama.cpp's own server alike: the same
// prompts, the same counts and the same checks; only the wire differs.
//
//   generation_load logitd|logitd-http|llama-server ADDRESS CLIENTS COMPLETIONS MAX_TOKENS PROMPT_TOKENS TOP_N
//
// ADDRESS is the path of a Unix socket, or HOST:PORT. Every client makes COMPLETIONS completions, one after the other,
// of its own prompts of ids, with TOP_N alternatives and their log-probs at every token. Prints one line of JSON:
// tokens, the seconds from the first request to the last token, and the median times of a first token and of a later
// one (milliseconds); for logitd and logitd-http also a digest of all token ids. It first checks that every completion
// has MAX_TOKENS tokens and some text, and that every log-prob that was asked for is there and finite.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "logitd/v1/generation_service.grpc.pb.h"
#include "tests/bench/http_connection.h"

namespace logitd::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Load {
  std::string kind;
  std::string address;
  int clients = 1;
  int completions = 1;
  int max_tokens = 64;
  int prompt_tokens = 32;
  int top_n = 0;
};

// What one completion gave.
struct Completion {
  // As the server counts them in the end.
  int tokens = 0;
  size_t text_bytes = 0;
  // Of logitd and logitd-http.
  std::vector<int> token_ids;
  // Tokens that came with all their log-probs, each finite.
  int records = 0;
  Clock::time_point begin;
  // When each message with text or a token came.
  std::vector<Clock::time_point> at;
};

// One client's connection to a server. Errors are std::runtime_error.
class Client {
 public:
  virtual ~Client() = default;
  virtual Completion Complete(const std::vector<int>& prompt, uint64_t seed) = 0;
};

class LogitdClient : public Client {
 public:
  LogitdClient(const Load& load, int client) : load_(load) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("logitd.channel", client);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const bool is_path = load.address.find(':') == std::string::npos;
    channel_ = grpc::CreateCustomChannel((is_path ? "unix:" : "") + load.address, grpc::InsecureChannelCredentials(),
                                         arguments);
    if (!channel_->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
      throw std::runtime_error("no connection to " + load.address);
    }
    stub_ = v1::GenerationService::NewStub(channel_);
  }

  Completion Complete(const std::vector<int>& prompt, uint64_t seed) override {
    v1::GenerateRequest request;
    for (const int token : prompt) request.mutable_prompt()->mutable_tokens()->add_token_ids(token);
    request.mutable_sampling()->set_temperature(0.8);
    request.mutable_sampling()->set_top_p(0.95);
    request.mutable_sampling()->set_seed(seed);
    request.mutable_stop()->set_max_tokens(load_.max_tokens);
    request.mutable_stop()->set_ignore_eos(true);
    if (load_.top_n > 0) request.mutable_record()->set_top_n(load_.top_n);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(5));
    Completion completion;
    completion.begin = Clock::now();
    const auto reader = stub_->Generate(&context, request);
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
      if (!response.has_delta()) continue;
      completion.at.push_back(Clock::now());
      completion.text_bytes += response.delta().text().size();
      for (const v1::TokenRecord& token : response.delta().tokens()) {
        ++completion.tokens;
        completion.token_ids.push_back(token.token_id());
        bool is_whole = load_.top_n > 0 && token.top().model_log_probs_size() == load_.top_n;
        for (const double log_prob : token.top().model_log_probs()) is_whole = is_whole && std::isfinite(log_prob);
        completion.records += is_whole;
      }
    }
    if (const grpc::Status status = reader->Finish(); !status.ok()) throw std::runtime_error(status.error_message());
    return completion;
  }

 private:
  const Load load_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::GenerationService::Stub> stub_;
};

// Reads a reply of chunked events, of one JSON object each.
template <typename OnEvent>
void TakeEvents(HttpConnection& connection, const OnEvent& on_event) {
  const std::string head = connection.TakeHead();
  if (head.find("chunked") == std::string::npos) throw std::runtime_error("not chunked: " + head);
  std::string events;
  for (std::string chunk = connection.TakeChunk(); !chunk.empty(); chunk = connection.TakeChunk()) {
    events += chunk;
    for (size_t end = events.find("\n\n"); end != std::string::npos; end = events.find("\n\n")) {
      constexpr char kData[] = "data: ";
      if (events.rfind(kData, 0) != 0) throw std::runtime_error("an event is: " + events.substr(0, end));
      on_event(events.substr(sizeof(kData) - 1, end - sizeof(kData) + 1));
      events.erase(0, end + 2);
    }
  }
}

class LogitdHttpClient : public Client {
 public:
  explicit LogitdHttpClient(const Load& load) : load_(load), connection_(load.address) {}

  Completion Complete(const std::vector<int>& prompt, uint64_t seed) override {
    nlohmann::json request = {
        {"prompt", prompt},   {"max_tokens", load_.max_tokens}, {"temperature", 0.8}, {"top_p", 0.95}, {"seed", seed},
        {"ignore_eos", true}, {"return_token_ids", true},       {"stream", true}};
    if (load_.top_n > 0) request["logprobs"] = load_.top_n;
    const std::string body = request.dump();
    Completion completion;
    completion.begin = Clock::now();
    connection_.Post("/v1/completions", body);
    TakeEvents(connection_, [&](const std::string& event) {
      if (event != "[DONE]") AddEvent(nlohmann::json::parse(event), completion);
    });
    return completion;
  }

 private:
  void AddEvent(const nlohmann::json& event, Completion& completion) const {
    if (event.contains("error")) throw std::runtime_error(event.dump());
    const nlohmann::json& choice = event.at("choices").at(0);
    // The first event has the prompt's ids alone.
    if (!choice.contains("token_ids")) return;
    completion.at.push_back(Clock::now());
    completion.text_bytes += choice.at("text").get_ref<const std::string&>().size();
    for (const nlohmann::json& id : choice.at("token_ids")) completion.token_ids.push_back(id.get<int>());
    completion.tokens = static_cast<int>(completion.token_ids.size());
    if (load_.top_n == 0) return;
    for (const nlohmann::json& top : choice.at("logprobs").at("top_logprobs")) {
      // The token itself may be one more.
      bool is_whole = static_cast<int>(top.size()) >= load_.top_n;
      for (const nlohmann::json& log_prob : top) is_whole = is_whole && std::isfinite(log_prob.get<double>());
      completion.records += is_whole;
    }
  }

  const Load load_;
  HttpConnection connection_;
};

// The server ends the connection after such a reply, whatever its head says; the next one is made before the clock of a
// completion starts.
class LlamaServerClient : public Client {
 public:
  explicit LlamaServerClient(const Load& load) : load_(load), connection_(load.address) {}

  Completion Complete(const std::vector<int>& prompt, uint64_t seed) override {
    // Its own samplers at their defaults, which take the 40 likeliest tokens first: its fastest.
    nlohmann::json request = {{"prompt", prompt},          {"n_predict", load_.max_tokens},
                              {"temperature", 0.8},        {"top_p", 0.95},
                              {"seed", seed & 0xffffffff}, {"ignore_eos", true},
                              {"cache_prompt", false},     {"stream", true},
                              {"return_tokens", true}};
    if (load_.top_n > 0) request["n_probs"] = load_.top_n;
    const std::string body = request.dump();
    if (is_used_) connection_.Connect();
    is_used_ = true;
    Completion completion;
    completion.begin = Clock::now();
    connection_.Post("/completion", body);
    TakeEvents(connection_, [&](const std::string& event) { AddEvent(nlohmann::json::parse(event), completion); });
    return completion;
  }

 private:
  void AddEvent(const nlohmann::json& data, Completion& completion) const {
    if (data.value("stop", false)) {
      completion.tokens = data.at("tokens_predicted").get<int>();
      return;
    }
    completion.at.push_back(Clock::now());
    completion.text_bytes += data.at("content").get_ref<const std::string&>().size();
    if (load_.top_n == 0) return;
    for (const nlohmann::json& token : data.at("completion_probabilities")) {
      const nlohmann::json& top = token.at("top_logprobs");
      bool is_whole = static_cast<int>(top.size()) == load_.top_n;
      for (const nlohmann::json& one : top) is_whole = is_whole && std::isfinite(one.at("logprob").get<double>());
      completion.records += is_whole;
    }
  }

  const Load load_;
  HttpConnection connection_;
  bool is_used_ = false;
};

double Milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void Check(const Load& load, const Completion& completion) {
  const auto fail = [](const std::string& what) { throw std::runtime_error("a completion of " + what); };
  if (completion.tokens != load.max_tokens) fail(std::to_string(completion.tokens) + " tokens");
  if (completion.at.empty()) fail("no events");
  // A model without a vocabulary has no text.
  if (completion.text_bytes == 0 && completion.token_ids.empty()) fail("no text");
  // llama-server says nothing of a token that ends within a character: the next message has its text, and no record.
  const int at_least = load.kind != "llama-server" ? load.max_tokens : load.max_tokens / 2;
  if (load.top_n > 0 && completion.records < at_least) {
    fail(std::to_string(completion.records) + " tokens with all of their log-probs");
  }
}

// Ids of words, not of control tokens, that differ from one completion to the next: nothing can be kept of the last.
std::vector<int> Prompt(const Load& load, int client, int completion) {
  std::vector<int> prompt;
  for (int i = 0; i < load.prompt_tokens; ++i)
    prompt.push_back(1000 + (client * 7919 + completion * 2711 + i * 31) % 40000);
  return prompt;
}

// FNV-1a over the token ids.
uint64_t DigestOf(int client, const std::vector<Completion>& completions) {
  uint64_t digest = 14695981039346656037u;
  const auto add = [&digest](int value) { digest = (digest ^ static_cast<uint64_t>(value)) * 1099511628211u; };
  add(client);
  for (const Completion& completion : completions) {
    for (const int id : completion.token_ids) add(id);
  }
  return digest;
}

int Run(const Load& load) {
  std::mutex mutex;
  std::string error;
  std::vector<double> first_ms;
  std::vector<double> step_ms;
  uint64_t digest = 0;
  std::latch connected(load.clients + 1);
  Clock::time_point begin;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < load.clients; ++i) {
      threads.emplace_back([&, i] {
        std::unique_ptr<Client> client;
        std::vector<Completion> completions;
        std::string failure;
        try {
          if (load.kind == "logitd") {
            client = std::make_unique<LogitdClient>(load, i);
          } else if (load.kind == "logitd-http") {
            client = std::make_unique<LogitdHttpClient>(load);
          } else {
            client = std::make_unique<LlamaServerClient>(load);
          }
        } catch (const std::exception& exception) {
          failure = exception.what();
        }
        connected.arrive_and_wait();
        try {
          for (int k = 0; k < load.completions && failure.empty(); ++k) {
            completions.push_back(client->Complete(Prompt(load, i, k), static_cast<uint64_t>(i * 1000 + k)));
            Check(load, completions.back());
          }
        } catch (const std::exception& exception) {
          failure = exception.what();
        }
        std::lock_guard lock(mutex);
        if (!failure.empty()) error = failure;
        // The sum of the clients' own: it does not depend on who ends first.
        digest += DigestOf(i, completions);
        for (const Completion& completion : completions) {
          first_ms.push_back(Milliseconds(completion.at.front() - completion.begin));
          for (size_t k = 1; k < completion.at.size(); ++k) {
            step_ms.push_back(Milliseconds(completion.at[k] - completion.at[k - 1]));
          }
        }
      });
    }
    connected.arrive_and_wait();
    begin = Clock::now();
  }
  const double seconds = Milliseconds(Clock::now() - begin) / 1000;
  if (!error.empty()) {
    std::fprintf(stderr, "generation_load: %s: %s\n", load.kind.c_str(), error.c_str());
    return 1;
  }
  std::printf("{\"tokens\": %d, \"seconds\": %.4f, \"first_ms\": %.3f, \"step_ms\": %.3f, \"digest\": \"%016lx\"}\n",
              load.clients * load.completions * load.max_tokens, seconds, Median(first_ms), Median(step_ms), digest);
  return 0;
}

}  // namespace
}  // namespace logitd::bench

int main(int argc, char** argv) {
  const std::string kind = argc > 1 ? argv[1] : "";
  if (argc != 8 || (kind != "logitd" && kind != "logitd-http" && kind != "llama-server")) {
    std::fprintf(stderr,
                 "usage: generation_load logitd|logitd-http|llama-server ADDRESS CLIENTS COMPLETIONS MAX_TOKENS "
                 "PROMPT_TOKENS TOP_N\n");
    return 2;
  }
  return logitd::bench::Run({.kind = kind,
                             .address = argv[2],
                             .clients = std::atoi(argv[3]),
                             .completions = std::atoi(argv[4]),
                             .max_tokens = std::atoi(argv[5]),
                             .prompt_tokens = std::atoi(argv[6]),
                             .top_n = std::atoi(argv[7])});
}

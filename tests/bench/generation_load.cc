// Clients of generation in one process, for logitd and for llama.cpp's own server alike: the same prompts, the same
// counts and the same checks; only the wire differs.
//
//   generation_load logitd|llama-server SOCKET CLIENTS COMPLETIONS MAX_TOKENS PROMPT_TOKENS TOP_N
//
// SOCKET is the path of a Unix socket. Every client makes COMPLETIONS completions, one after the other, of its own
// prompts of ids, with TOP_N alternatives and their log-probs at every token. Prints one line of JSON: tokens, the
// seconds from the first request to the last token, and the median times of a first token and of a later one
// (milliseconds). It first checks that every completion has MAX_TOKENS tokens and some text, and that every log-prob
// that was asked for is there and finite.
#include <grpcpp/grpcpp.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

namespace logitd::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Load {
  std::string kind;
  std::string socket;
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
    channel_ = grpc::CreateCustomChannel("unix:" + load.socket, grpc::InsecureChannelCredentials(), arguments);
    if (!channel_->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
      throw std::runtime_error("no connection to " + load.socket);
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

// HTTP/1.1; its replies are chunked events, of one JSON object each. The server ends the connection after such a reply,
// whatever its head says; the next one is made before the clock of a completion starts.
class LlamaServerClient : public Client {
 public:
  explicit LlamaServerClient(const Load& load) : load_(load) { Connect(); }
  ~LlamaServerClient() override {
    if (socket_ >= 0) ::close(socket_);
  }

  Completion Complete(const std::vector<int>& prompt, uint64_t seed) override {
    // Its own samplers at their defaults, which take the 40 likeliest tokens first: its fastest.
    nlohmann::json request = {{"prompt", prompt},          {"n_predict", load_.max_tokens},
                              {"temperature", 0.8},        {"top_p", 0.95},
                              {"seed", seed & 0xffffffff}, {"ignore_eos", true},
                              {"cache_prompt", false},     {"stream", true},
                              {"return_tokens", true}};
    if (load_.top_n > 0) request["n_probs"] = load_.top_n;
    const std::string body = request.dump();
    if (socket_ < 0) Connect();
    Completion completion;
    completion.begin = Clock::now();
    Send("POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body);
    const std::string head = Take("\r\n\r\n");
    if (head.rfind("HTTP/1.1 200", 0) != 0) throw std::runtime_error("llama-server: " + head);
    if (head.find("chunked") == std::string::npos) throw std::runtime_error("llama-server: not chunked: " + head);
    std::string events;
    for (size_t size = ChunkSize(); size > 0; size = ChunkSize()) {
      events += TakeBytes(size + 2).substr(0, size);
      for (size_t end = events.find("\n\n"); end != std::string::npos; end = events.find("\n\n")) {
        AddEvent(events.substr(0, end), completion);
        events.erase(0, end + 2);
      }
    }
    Take("\r\n");
    ::close(socket_);
    socket_ = -1;
    return completion;
  }

 private:
  void Connect() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (load_.socket.size() >= sizeof(address.sun_path)) throw std::runtime_error("the socket's path is too long");
    load_.socket.copy(address.sun_path, load_.socket.size());
    socket_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (socket_ < 0 || ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      throw std::runtime_error("no connection to " + load_.socket);
    }
  }

  void AddEvent(const std::string& event, Completion& completion) const {
    constexpr char kData[] = "data: ";
    if (event.rfind(kData, 0) != 0) throw std::runtime_error("llama-server: " + event);
    const nlohmann::json data = nlohmann::json::parse(event.substr(sizeof(kData) - 1));
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

  void Send(const std::string& bytes) const {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t count = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) throw std::runtime_error("llama-server: the connection has ended");
      sent += static_cast<size_t>(count);
    }
  }

  void Receive() {
    char bytes[16384];
    const ssize_t count = ::recv(socket_, bytes, sizeof(bytes), 0);
    if (count <= 0) throw std::runtime_error("llama-server: the connection has ended");
    received_.append(bytes, static_cast<size_t>(count));
  }

  // All before `end`, which is taken too.
  std::string Take(const std::string& end) {
    size_t at = received_.find(end);
    for (; at == std::string::npos; at = received_.find(end)) Receive();
    std::string taken = received_.substr(0, at);
    received_.erase(0, at + end.size());
    return taken;
  }

  std::string TakeBytes(size_t count) {
    while (received_.size() < count) Receive();
    std::string taken = received_.substr(0, count);
    received_.erase(0, count);
    return taken;
  }

  size_t ChunkSize() { return std::stoul(Take("\r\n"), nullptr, 16); }

  const Load load_;
  int socket_ = -1;
  std::string received_;
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
  if (completion.text_bytes == 0 || completion.at.empty()) fail("no text");
  // llama-server says nothing of a token that ends within a character: the next message has its text, and no record.
  const int at_least = load.kind == "logitd" ? load.max_tokens : load.max_tokens / 2;
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

int Run(const Load& load) {
  std::mutex mutex;
  std::string error;
  std::vector<double> first_ms;
  std::vector<double> step_ms;
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
  std::printf("{\"tokens\": %d, \"seconds\": %.4f, \"first_ms\": %.3f, \"step_ms\": %.3f}\n",
              load.clients * load.completions * load.max_tokens, seconds, Median(first_ms), Median(step_ms));
  return 0;
}

}  // namespace
}  // namespace logitd::bench

int main(int argc, char** argv) {
  const std::string kind = argc > 1 ? argv[1] : "";
  if (argc != 8 || (kind != "logitd" && kind != "llama-server")) {
    std::fprintf(stderr,
                 "usage: generation_load logitd|llama-server SOCKET CLIENTS COMPLETIONS MAX_TOKENS PROMPT_TOKENS "
                 "TOP_N\n");
    return 2;
  }
  return logitd::bench::Run({.kind = kind,
                             .socket = argv[2],
                             .clients = std::atoi(argv[3]),
                             .completions = std::atoi(argv[4]),
                             .max_tokens = std::atoi(argv[5]),
                             .prompt_tokens = std::atoi(argv[6]),
                             .top_n = std::atoi(argv[7])});
}

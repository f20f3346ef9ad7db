// Many clients of Generate in one process: each completes the same prompt of ids again and again, with a seed of its
// own.
//
//   generate_load ADDRESS CLIENTS SECONDS MAX_TOKENS [PROMPT_TOKENS [TEMPERATURE [TOP_N [SERVER_PID]]]]
//
// Runs for SECONDS, ends the calls that run then, and prints one line of JSON: tokens, seconds, the median time of a
// first token and of a step, the 95th percentile and the longest of a step (milliseconds), refusals, the CPU time of
// process SERVER_PID meanwhile, and a hash of the tokens of each client's first completion (equal servers have equal
// hashes: tests/bench/runner_bench.py compares them).
#include <grpcpp/grpcpp.h>

#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "logitd/v1/generation_service.grpc.pb.h"

namespace logitd::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Load {
  std::string address;
  int clients = 1;
  double seconds = 5;
  int max_tokens = 64;
  int prompt_tokens = 4;
  double temperature = 0.8;
  int top_n = 0;
  int server_pid = 0;
};

struct Totals {
  std::mutex mutex;
  int64_t tokens = 0;
  int64_t completions = 0;
  int64_t refused = 0;
  std::vector<double> first_ms;
  std::vector<double> step_ms;
  std::vector<uint64_t> hashes;
  std::string error;
};

// CPU time of a process, nanoseconds.
int64_t CpuOf(int pid) {
  clockid_t clock;
  timespec time{};
  if (pid == 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

double Milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

double Percentile(std::vector<double>& values, double part) {
  if (values.empty()) return 0;
  const auto at = static_cast<ptrdiff_t>(part * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

void RunClient(const Load& load, int client, const std::shared_ptr<grpc::Channel>& channel, Clock::time_point begin,
               Clock::time_point end, std::atomic<int>& started, Totals& totals) {
  const auto stub = v1::GenerationService::NewStub(channel);
  v1::GenerateRequest request;
  for (int i = 0; i < load.prompt_tokens; ++i) request.mutable_prompt()->mutable_tokens()->add_token_ids(i % 7 + 1);
  request.mutable_sampling()->set_temperature(load.temperature);
  if (load.temperature > 0) request.mutable_sampling()->set_top_p(0.95);
  request.mutable_sampling()->set_seed(static_cast<uint64_t>(client));
  request.mutable_stop()->set_max_tokens(load.max_tokens);
  request.mutable_stop()->set_ignore_eos(true);
  if (load.top_n > 0) request.mutable_record()->set_top_n(load.top_n);
  int64_t tokens = 0, completions = 0, refused = 0;
  std::vector<double> first_ms, step_ms;
  uint64_t hash = 14695981039346656037u;
  std::string error;
  for (bool is_first = true; Clock::now() < end && error.empty(); is_first = false) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(2));
    Clock::time_point last = Clock::now();
    const auto reader = stub->Generate(&context, request);
    v1::GenerateResponse response;
    int64_t here = 0;
    bool is_final = false;
    bool is_cut = false;
    while (reader->Read(&response)) {
      const Clock::time_point now = Clock::now();
      if (response.has_delta()) {
        (here == 0 ? first_ms : step_ms).push_back(Milliseconds(now - last));
        last = now;
        for (const v1::TokenRecord& token : response.delta().tokens()) {
          ++here;
          if (now >= begin && now < end) ++tokens;
          if (is_first) hash = (hash ^ static_cast<uint64_t>(token.token_id())) * 1099511628211u;
        }
      }
      is_final = is_final || response.has_final();
      if (!is_first && now >= end) {
        is_cut = true;
        context.TryCancel();
        break;
      }
    }
    const grpc::Status status = reader->Finish();
    if (is_cut) break;
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
      ++refused;
    } else if (!status.ok()) {
      error = status.error_message();
    } else if (!is_final || here != load.max_tokens) {
      error = "a completion of " + std::to_string(here) + " tokens";
    } else {
      ++completions;
    }
    if (is_first) ++started;
  }
  std::lock_guard lock(totals.mutex);
  totals.tokens += tokens;
  totals.completions += completions;
  totals.refused += refused;
  totals.first_ms.insert(totals.first_ms.end(), first_ms.begin(), first_ms.end());
  totals.step_ms.insert(totals.step_ms.end(), step_ms.begin(), step_ms.end());
  totals.hashes[static_cast<size_t>(client)] = hash;
  if (!error.empty()) totals.error = error;
}

int Run(const Load& load) {
  // Few connections: a client that is many is not many connections.
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < (load.clients + 199) / 200; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("logitd.channel", i);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    channels.push_back(grpc::CreateCustomChannel(load.address, grpc::InsecureChannelCredentials(), arguments));
  }
  Totals totals;
  totals.hashes.resize(static_cast<size_t>(load.clients));
  std::atomic<int> started = 0;
  const Clock::time_point begin = Clock::now() + std::chrono::milliseconds(500);
  const Clock::time_point end = begin + std::chrono::microseconds(static_cast<int64_t>(load.seconds * 1e6));
  int64_t cpu_ns = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < load.clients; ++i) {
      threads.emplace_back([&, i] {
        RunClient(load, i, channels[static_cast<size_t>(i) % channels.size()], begin, end, started, totals);
      });
    }
    std::this_thread::sleep_until(begin);
    cpu_ns = CpuOf(load.server_pid);
    std::this_thread::sleep_until(end);
    cpu_ns = CpuOf(load.server_pid) - cpu_ns;
  }
  if (!totals.error.empty()) {
    std::fprintf(stderr, "generate_load: %s\n", totals.error.c_str());
    return 1;
  }
  uint64_t hash = 0;
  for (const uint64_t one : totals.hashes) hash = hash * 31 + one;
  double longest = 0;
  for (const double ms : totals.step_ms) longest = std::max(longest, ms);
  std::printf(
      "{\"tokens\": %lld, \"seconds\": %.3f, \"completions\": %lld, \"refused\": %lld, \"first_ms\": %.3f, "
      "\"step_ms\": %.3f, \"step_p95_ms\": %.3f, \"step_max_ms\": %.3f, \"server_cpu_ns\": %lld, \"hash\": %llu}\n",
      static_cast<long long>(totals.tokens), load.seconds, static_cast<long long>(totals.completions),
      static_cast<long long>(totals.refused), Percentile(totals.first_ms, 0.5), Percentile(totals.step_ms, 0.5),
      Percentile(totals.step_ms, 0.95), longest, static_cast<long long>(cpu_ns), static_cast<unsigned long long>(hash));
  return 0;
}

}  // namespace
}  // namespace logitd::bench

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr,
                 "usage: generate_load ADDRESS CLIENTS SECONDS MAX_TOKENS [PROMPT_TOKENS [TEMPERATURE [TOP_N "
                 "[SERVER_PID]]]]\n");
    return 2;
  }
  logitd::bench::Load load{argv[1], std::atoi(argv[2]), std::atof(argv[3]), std::atoi(argv[4])};
  if (argc > 5) load.prompt_tokens = std::atoi(argv[5]);
  if (argc > 6) load.temperature = std::atof(argv[6]);
  if (argc > 7) load.top_n = std::atoi(argv[7]);
  if (argc > 8) load.server_pid = std::atoi(argv[8]);
  return logitd::bench::Run(load);
}

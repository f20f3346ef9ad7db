// logitd-llama: serves one GGUF model to a logitd server.
//
// Exit codes: 0 ended in order (SIGTERM, SIGINT, or the server let it go), 1 the model cannot be served, 2 usage, 3
// refused by the server, 4 the server cannot be reached, or was lost.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <stop_token>
#include <string>
#include <thread>

#include "base/address.h"
#include "base/model_name.h"
#include "client/runner/llama/head_writer.h"
#include "client/runner/llama/llama_log.h"
#include "client/runner/llama/llama_model.h"
#include "client/runner/llama/tokenizer_pipe.h"
#include "client/runner/llama/vocabulary_process.h"
#include "client/runner/model_runner.h"
#include "host/cache_dir.h"

namespace logitd::runner {
namespace {

constexpr int kExitCannotServe = 1;
constexpr int kExitUsage = 2;
constexpr int kExitRefused = 3;
constexpr int kExitNotReachable = 4;

// A second signal within this time of the first belongs to the same request.
constexpr std::chrono::milliseconds kSameRequest{1000};

// llama.cpp is built for these features, and dies of SIGILL without them.
std::string MissingCpuFeatures() {
  std::string missing;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) missing += " AVX2";
  if (!__builtin_cpu_supports("fma")) missing += " FMA";
  if (!__builtin_cpu_supports("f16c")) missing += " F16C";
  if (!__builtin_cpu_supports("bmi2")) missing += " BMI2";
  return missing;
}

// The signals that end the runner. A thread of its own takes them, so that nothing has to be done in a signal handler.
// SIGHUP is taken but does not end the runner, because it does not end the server either and a terminal sends it to
// both.
class Signals {
 public:
  // To be called before any other thread is started, so that all threads inherit the mask.
  Signals() {
    sigemptyset(&set_);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set_, signal);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    std::thread([this] { Wait(); }).detach();
  }

  std::stop_token token() const { return stop_.get_token(); }
  // From now on a signal only requests the stop. Before, there is nothing to end in order.
  void BeginServing() { serving_ = true; }

 private:
  int Next() {
    int signal = SIGHUP;
    while (signal == SIGHUP) sigwait(&set_, &signal);
    return signal;
  }

  void Wait() {
    Next();
    // An interrupted conversion leaves a temporary file, which the next start removes.
    if (!serving_) _exit(0);
    const auto requested_at = std::chrono::steady_clock::now();
    stop_.request_stop();
    // A second request ends the process at once. A signal soon after the first is the same request: GNU timeout sends
    // its signal twice.
    while (true) {
      Next();
      if (std::chrono::steady_clock::now() - requested_at > kSameRequest) _exit(0);
    }
  }

  sigset_t set_;
  std::stop_source stop_;
  std::atomic<bool> serving_ = false;
};

// Ends the process without destructors, which may take long: gRPC's own shutdown waits up to 10 s for threads that have
// polled for a server that read slowly. With a sanitizer it returns, because leaks are looked for in the order that
// `return` keeps.
int End(int exit_code) {
  std::fflush(nullptr);
#ifndef __SANITIZE_ADDRESS__
  _exit(exit_code);
#endif
  return exit_code;
}

int Run(int argc, char** argv) {
  LlamaOptions model_options;
  RunnerOptions runner_options;
  model_options.cache_dir = host::DefaultCacheDir();
  CLI::App app("Serves one GGUF model, with llama.cpp on the CPU, to a logitd server.", "logitd-llama");
  app.footer(
      "Examples:\n"
      "  logitd-llama --attach unix:/run/logitd/runner.sock --model SmolLM2-135M-Instruct.Q4_1.gguf\n"
      "  logitd-llama --attach 10.0.0.5:50052 --model m.gguf --model-name prod/m --precision native --threads 8\n"
      "\n"
      "Usually `logitd --model FILE` starts this program itself.\n"
      "Exit codes: 0 ended in order, 1 the model cannot be served, 2 usage, 3 refused by the server,\n"
      "4 the server cannot be reached.");
  app.set_version_flag("--version",
                       std::string("logitd-llama ") + LOGITD_VERSION + " (llama.cpp " + llama_version() + ")");
  app.add_option("--attach", runner_options.server_address,
                 "The server's --runner-listen address: HOST:PORT or unix:PATH")
      ->required()
      ->check([](const std::string& address) {
        const auto parsed = ParseHostAddress(address, PortUse::kConnect);
        return parsed.ok() ? std::string() : std::string(parsed.status().message());
      });
  app.add_option("--model", model_options.file, "The model, a GGUF file")->required();
  app.add_option("--model-name", model_options.name, "Name that clients use (default: the file's stem)")
      ->check([](const std::string& name) {
        return IsModelName(name) ? std::string() : std::string("must be ") + kModelNameRule + ", got '" + name + "'";
      });
  std::string precision = "auto";
  const std::map<std::string, Precision> precisions = {
      {"auto", Precision::kAuto}, {"f32", Precision::kF32}, {"f16", Precision::kF16}, {"native", Precision::kNative}};
  app.add_option("--precision", precision,
                 "f32: log-probs hardly depend on the batch (usually below 1e-4 nats; logit info shows the measured "
                 "value), and weights are converted once. f16: half the memory. native: the file as it is, where "
                 "log-probs may move by tenths of a nat. auto: f32 for the default model (scripts/fetch-model), native "
                 "for any other")
      ->check(CLI::IsMember({"auto", "native", "f16", "f32"}))
      ->capture_default_str();
  app.add_option("--runner-name", runner_options.runner_name,
                 "Name of this runner, for logs and for the program that supervises it (default: the host's name)");
  app.add_option("--cache-dir", model_options.cache_dir, "Folder of converted weights")->capture_default_str();
  app.add_option("--threads", model_options.threads,
                 "Fixed number of computing threads (default: one for each CPU that other programs leave free)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--cpu-sharers", model_options.cpu_sharers,
                 "Runners that share this machine's CPUs; by default each uses at most its part of them")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--memory", model_options.memory,
                 "Bytes of memory for all runners that share it (default: the available memory, within the "
                 "control group's limit)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 60));
  app.add_option("--memory-sharers", model_options.memory_sharers,
                 "Runners that share that memory; each uses its part of it for its cache")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--cache-tokens", model_options.cache_tokens,
                 "Tokens in all sequences' caches together (default: as many as the memory holds, at most twice the "
                 "context length)")
      ->check(CLI::Range(1, 1 << 30));
  app.add_option("--context-length", model_options.context_length,
                 "Longest sequence, in tokens (default: the length that the model was trained with)")
      ->check(CLI::Range(1, 1 << 30));
  app.add_option("--max-sequences", model_options.max_sequences,
                 "Sequences with a cache at once (default: " + std::to_string(kMaxSequences) + ")")
      ->check(CLI::Range(1, kMaxSequences));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  model_options.precision = precisions.at(precision);
  if (model_options.name.empty()) model_options.name = ModelNameOf(model_options.file);

  if (const std::string missing = MissingCpuFeatures(); !missing.empty()) {
    std::fprintf(
        stderr,
        "logitd-llama: this CPU lacks%s, for which logitd-llama is built; use a machine with AVX2, FMA, F16C and "
        "BMI2 (x86-64-v3)\n",
        missing.c_str());
    return kExitCannotServe;
  }
  // Static, because its thread waits as long as the process lives.
  static Signals signals;
  InstallLlamaLog();
  // Loaded on a thread that ends. Loading computes too, and a thread that has computed keeps its helper threads.
  // libgomp would count them and those of the evaluating thread, find more than CPUs, and hardly spin at all (measured:
  // 38 tokens/s, where llama-server has 97).
  absl::StatusOr<std::unique_ptr<LlamaModel>> model;
  std::thread([&] { model = LlamaModel::Load(model_options); }).join();
  if (!model.ok()) {
    std::fprintf(stderr, "logitd-llama: %s\n", std::string(model.status().message()).c_str());
    return kExitCannotServe;
  }
  runner_options.runner_version =
      std::string("logitd-llama ") + LOGITD_VERSION + " (llama.cpp " + llama_version() + ")";
  char host[256] = {};
  if (runner_options.runner_name.empty() && gethostname(host, sizeof(host) - 1) == 0) runner_options.runner_name = host;

  signals.BeginServing();
  SetServing();
  const absl::Status status = ServeModel(runner_options, **model, signals.token());
  if (status.ok()) return End(0);
  std::fprintf(stderr, "logitd-llama: %s\n", std::string(status.message()).c_str());
  return End(absl::IsUnavailable(status) ? kExitNotReachable : kExitRefused);
}

}  // namespace
}  // namespace logitd::runner

int main(int argc, char** argv) {
  // The runner's own child, which no user starts: not in the help.
  if (argc == 3 && std::strcmp(argv[1], logitd::runner::kVocabularyProcessFlag) == 0) {
    return logitd::runner::RunVocabularyProcess(argv[2]);
  }
  // What logitd starts for a head of a GGUF file.
  if (argc == 3 && std::strcmp(argv[1], logitd::runner::kWriteHeadFlag) == 0) {
    return logitd::runner::RunWriteHead(argv[2]);
  }
  return logitd::runner::Run(argc, argv);
}

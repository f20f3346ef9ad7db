// A model runner of fixed cost: it sleeps a fixed time for each batch, and hands out pointers to rows that were made
// beforehand. The rest of a step's time belongs to the server, the wire and the runner library.
//
//   fixed_runner ADDRESS --vocab-size N [--sleep-us N] [--slots N] [--cached-tokens N] [--batch-tokens N] [--rows-only]
//                        [--us-per-token N]
//
// It serves the model "fixed" until its standard input ends, and then prints one line of JSON: the rows that it gave,
// and the CPU time of the process since the first of them. --rows-only: it neither reduces rows nor chooses from them.
// --us-per-token: sleeps that much longer for each token beyond the first of each sequence, as for a prompt.
#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "client/runner/model_runner.h"
#include "core/limits.h"

namespace logitd::bench {
namespace {

constexpr int kRowCount = 64;

struct Settings {
  std::string address;
  int32_t vocab_size = 49152;
  int64_t sleep_us = 0;
  int64_t us_per_token = 0;
  int32_t slots = 64;
  int64_t cached_tokens = int64_t{1} << 20;
  int32_t batch_tokens = 512;
  bool rows_only = false;
};

int64_t CpuNanoseconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto ns = [](const timeval& time) { return (int64_t{time.tv_sec} * 1'000'000 + time.tv_usec) * 1000; };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

class FixedModel : public runner::Model {
 public:
  explicit FixedModel(const Settings& settings) : settings_(settings) {
    // As a language model's: N(0, 3), and never equal.
    std::mt19937_64 bits(7);
    rows_.resize(kRowCount, std::vector<float>(static_cast<size_t>(settings.vocab_size)));
    for (std::vector<float>& row : rows_) {
      for (float& logit : row) {
        const double u = (static_cast<double>(bits() >> 11) + 1) / 9007199254740993.0;
        const double v = static_cast<double>(bits() >> 11) / 9007199254740992.0;
        logit = static_cast<float>(3 * std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v));
      }
    }
  }

  v1::ModelInfo Info() const override {
    v1::ModelInfo info;
    info.set_name("fixed");
    info.set_model_fingerprint("fixed");
    info.set_vocab_fingerprint(std::string(32, 'f'));
    info.set_vocab_size(settings_.vocab_size);
    info.set_context_length(kMaxTokens);
    info.set_precision("f32");
    return info;
  }
  v1::RunnerCapabilities Capabilities() const override {
    v1::RunnerCapabilities capabilities;
    capabilities.set_fork(true);
    capabilities.set_trim(true);
    capabilities.add_dtypes(v1::LOGITS_DTYPE_F32);
    return capabilities;
  }
  v1::RunnerCapacity Capacity() const override {
    v1::RunnerCapacity capacity;
    capacity.set_max_sequences(settings_.slots);
    capacity.set_max_cached_tokens(settings_.cached_tokens);
    capacity.set_max_batch_tokens(settings_.batch_tokens);
    return capacity;
  }
  v1::Vocabulary Vocabulary() const override { return {}; }

  void Evaluate(const v1::RunBatch& batch, runner::RowSink& sink) override {
    for (const int64_t id : batch.release_sequence_ids()) lengths_.erase(id);
    int64_t more_tokens = 0;
    for (const v1::SequenceWork& work : batch.work()) {
      more_tokens += std::max(0, work.append_token_ids_size() - 1);
    }
    if (batch.work().empty()) return;
    if (first_cpu_ns_ == 0) first_cpu_ns_ = CpuNanoseconds();
    if (const int64_t us = settings_.sleep_us + more_tokens * settings_.us_per_token; us > 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(us));
    }
    for (int i = 0; i < batch.work_size(); ++i) {
      const v1::SequenceWork& work = batch.work(i);
      if (work.has_fork_from_sequence_id()) lengths_[work.sequence_id()] = lengths_[work.fork_from_sequence_id()];
      int64_t& length = lengths_[work.sequence_id()];
      for (int j = 0; j < work.append_token_ids_size(); ++j) {
        ++length;
        if (!runner::WantsRow(work, j)) continue;
        // Of the last token and the length alone: whatever else is in the batch, the same row.
        sink.AddRow(i, rows_[static_cast<size_t>(work.append_token_ids(j) + 31 * length) % kRowCount]);
        ++row_count_;
      }
    }
    ++batch_count_;
  }

  absl::StatusOr<std::vector<TokenId>> Tokenize(const std::string&, const runner::TokenizeOptions&) override {
    return absl::UnimplementedError("no tokenizer");
  }
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId>, bool) override {
    return absl::UnimplementedError("no tokenizer");
  }

  void Report() const {
    std::printf("{\"rows\": %lld, \"batches\": %lld, \"cpu_ns\": %lld}\n", static_cast<long long>(row_count_),
                static_cast<long long>(batch_count_), static_cast<long long>(CpuNanoseconds() - first_cpu_ns_));
  }

 private:
  const Settings settings_;
  std::vector<std::vector<float>> rows_;
  std::unordered_map<int64_t, int64_t> lengths_;
  int64_t row_count_ = 0;
  int64_t batch_count_ = 0;
  int64_t first_cpu_ns_ = 0;
};

int Usage() {
  std::fprintf(stderr,
               "usage: fixed_runner ADDRESS --vocab-size N [--sleep-us N] [--us-per-token N] [--slots N] "
               "[--cached-tokens N] [--batch-tokens N] [--rows-only]\n");
  return 2;
}

int Run(int argc, char** argv) {
  Settings settings;
  if (argc < 2) return Usage();
  settings.address = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--rows-only") {
      settings.rows_only = true;
      continue;
    }
    if (i + 1 == argc) return Usage();
    const int64_t value = std::atoll(argv[++i]);
    if (flag == "--vocab-size")
      settings.vocab_size = static_cast<int32_t>(value);
    else if (flag == "--sleep-us")
      settings.sleep_us = value;
    else if (flag == "--us-per-token")
      settings.us_per_token = value;
    else if (flag == "--slots")
      settings.slots = static_cast<int32_t>(value);
    else if (flag == "--cached-tokens")
      settings.cached_tokens = value;
    else if (flag == "--batch-tokens")
      settings.batch_tokens = static_cast<int32_t>(value);
    else
      return Usage();
  }
  FixedModel model(settings);
  std::stop_source stop;
  std::jthread reader([&stop] {
    while (std::cin.get() != std::char_traits<char>::eof()) {
    }
    stop.request_stop();
  });
  const absl::Status status = runner::ServeModel({.server_address = settings.address,
                                                  .runner_name = "fixed",
                                                  .records = !settings.rows_only,
                                                  .choice = !settings.rows_only},
                                                 model, stop.get_token());
  model.Report();
  std::fflush(stdout);
  if (!status.ok()) std::fprintf(stderr, "fixed_runner: %s\n", status.ToString().c_str());
  // The reader may still wait for input that nobody sends any more.
  std::_Exit(status.ok() ? 0 : 1);
}

}  // namespace
}  // namespace logitd::bench

int main(int argc, char** argv) { return logitd::bench::Run(argc, argv); }

// Measures how much several processors help one batch of Decode: pairs of the same batch, taken by its own thread alone
// and with the crew's help. A single step must cost the same either way. Without gRPC.
//
//   scripts/build --target decode_batch_bench && build/release/bin/decode_batch_bench
//
// Prints medians and the quartiles of the ratios of pairs. Both sessions' replies are compared, byte for byte.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "server/handlers/decode.h"

namespace logitd::server {
namespace {

struct Case {
  const char* name;
  int steps;
  int vocab_size;
  int rounds;
};

class Stream {
 public:
  Stream(int steps, int vocab_size, StepWorkspaces& workspaces) : steps_(steps), workspaces_(workspaces) {
    v1::DecodeRequest request;
    v1::DecodeConfig& config = *request.mutable_config();
    config.set_vocab_size(vocab_size);
    config.mutable_sampling()->set_temperature(0.8);
    config.mutable_sampling()->set_top_p(0.95);
    config.mutable_sampling()->set_seed(1);
    Send(request);
    request.Clear();
    request.mutable_batch()->set_batch_id(++batch_id_);
    for (int i = 1; i <= steps; ++i) request.mutable_batch()->add_opens()->set_sequence_id(i);
    Send(request);
  }

  // Microseconds.
  double Step(const std::string& payload, int vocab_size) {
    v1::DecodeRequest request;
    v1::StepBatch& batch = *request.mutable_batch();
    batch.set_batch_id(++batch_id_);
    v1::LogitsBlock& block = *batch.add_blocks();
    block.set_dtype(v1::LOGITS_DTYPE_F32);
    block.set_row_count(steps_);
    block.set_width(vocab_size);
    for (int i = 1; i <= steps_; ++i) {
      v1::SequenceStep& step = *batch.add_steps();
      step.set_sequence_id(i);
      step.set_position(position_);
    }
    request.set_payload(payload);
    ++position_;
    const auto begin = std::chrono::steady_clock::now();
    Send(request);
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
  }
  const std::string& reply() const { return reply_; }

 private:
  void Send(const v1::DecodeRequest& request) {
    v1::DecodeResponse response;
    const absl::Status status = session_.Handle(request, {}, workspaces_, response);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
      std::exit(1);
    }
    reply_ = response.SerializeAsString();
  }

  const int steps_;
  StepWorkspaces& workspaces_;
  DecodeSession session_;
  int64_t batch_id_ = 0;
  int position_ = 0;
  std::string reply_;
};

double At(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1))];
}

void Run(const Case& one, int helpers) {
  StepWorkspaces alone(2 * (helpers + 1), 0), crew(2 * (helpers + 1), helpers);
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 3);
  std::string payload(static_cast<size_t>(one.steps) * one.vocab_size * sizeof(float), '\0');
  std::vector<float> row(static_cast<size_t>(one.vocab_size));
  for (int i = 0; i < one.steps; ++i) {
    for (float& value : row) value = normal(random);
    std::memcpy(payload.data() + static_cast<size_t>(i) * row.size() * sizeof(float), row.data(),
                row.size() * sizeof(float));
  }
  Stream first(one.steps, one.vocab_size, alone), second(one.steps, one.vocab_size, crew);
  std::vector<double> without, with, ratios;
  for (int round = 0; round < one.rounds; ++round) {
    without.push_back(first.Step(payload, one.vocab_size));
    with.push_back(second.Step(payload, one.vocab_size));
    ratios.push_back(with.back() / without.back());
    if (first.reply() != second.reply()) {
      std::fprintf(stderr, "%s: the replies differ\n", one.name);
      std::exit(1);
    }
  }
  std::printf("%-28s alone %9.1f us   crew %9.1f us   ratio %.2f [%.2f, %.2f]   helpers made: %zu\n", one.name,
              At(without, 0.5), At(with, 0.5), At(ratios, 0.5), At(ratios, 0.25), At(ratios, 0.75),
              crew.crew().thread_count());
}

}  // namespace
}  // namespace logitd::server

int main() {
  const int helpers = std::max(1, static_cast<int>(std::thread::hardware_concurrency()) - 1);
  std::printf("%d helpers\n", helpers);
  for (const logitd::server::Case& one : {logitd::server::Case{"256 steps, V = 49,152", 256, 49'152, 31},
                                          {"16 steps, V = 49,152", 16, 49'152, 201},
                                          {"2 steps, V = 49,152", 2, 49'152, 501},
                                          {"1 step, V = 49,152", 1, 49'152, 501},
                                          {"1 step, V = 512", 1, 512, 2001},
                                          {"16 steps, V = 512", 16, 512, 1001}}) {
    logitd::server::Run(one, helpers);
  }
}

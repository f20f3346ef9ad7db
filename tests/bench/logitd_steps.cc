// logitd's contenders: a step through the Decoder, as the server takes it, a score through the Scorer, pass 1 alone,
// and the plain read.
#include <cstring>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "core/decoder.h"
#include "core/distribution.h"
#include "core/kernels/row_kernels.h"
#include "core/scorer.h"
#include "tests/bench/bench_step.h"

namespace logitd::bench {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

RecordOptions RecordOf(Content content) {
  RecordOptions record;
  record.token_bytes = false;
  record.model_log_prob = content == Content::kRecord;
  record.sampling_log_prob = content != Content::kToken;
  record.rank = content == Content::kRecord;
  record.entropy = content == Content::kRecord;
  record.records = content == Content::kRecord;
  return record;
}

class LogitdStep : public BenchStep {
 public:
  LogitdStep(const BenchSampler& sampler, Content content) : config_{.record = RecordOf(content), .seed = 1} {
    config_.sampling.temperature = sampler.temperature;
    config_.sampling.top_k = sampler.top_k;
    config_.sampling.top_p = sampler.top_p;
    config_.sampling.min_p = sampler.min_p;
    decoder_.emplace(config_);
  }

  void Run(LogitsView row, BenchResult& result) override {
    const absl::StatusOr<Step> step = decoder_->Advance(decoder_->position(), row, distribution_);
    if (!step.ok() || !step->token) return;
    result.token_id = step->token->token_id;
    result.sampling_log_prob = step->token->sampling_log_prob.value_or(kNan);
    result.model_log_prob = step->token->model_log_prob.value_or(kNan);
  }

  int32_t KeptCount() override { return distribution_.kept_count(); }

 private:
  DecoderConfig config_;
  std::optional<Decoder> decoder_;
  Distribution distribution_;
};

class LogitdScorer : public BenchStep {
 public:
  LogitdScorer() : scorer_(RecordOf(Content::kToken), std::nullopt) {
    RecordOptions record = RecordOf(Content::kToken);
    record.model_log_prob = true;
    scorer_ = Scorer(record, std::nullopt);
  }

  void Run(LogitsView row, BenchResult& result) override {
    result.token_id = 0;
    result.model_log_prob = Score(row, 0);
  }
  double Score(LogitsView row, TokenId target) override {
    const absl::StatusOr<TokenRecord> record = scorer_.Score(row, target, distribution_);
    return record.ok() ? record->model_log_prob.value_or(kNan) : kNan;
  }

 private:
  Scorer scorer_;
  Distribution distribution_;
};

class Scan : public BenchStep {
 public:
  void Run(LogitsView row, BenchResult& result) override {
    block_max_.resize(kernels::BlockCount(row.size()));
    result.token_id = kernels::ActiveKernels().scan_row(row.data(), row.size(), nullptr, block_max_.data()).argmax;
  }

 private:
  std::vector<float> block_max_;
};

// Every byte of the row comes into a register, and nothing is done with it.
class Read : public BenchStep {
 public:
  void Run(LogitsView row, BenchResult& result) override {
    using Vector = uint64_t __attribute__((vector_size(32)));
    constexpr size_t kVectors = 4;
    constexpr size_t kAhead = 1024;
    constexpr size_t kFloats = kVectors * sizeof(Vector) / sizeof(float);
    Vector sums[kVectors] = {};
    for (size_t i = 0; i + kFloats <= row.size(); i += kFloats) {
      // Plain loads alone keep fewer lines on their way than the memory can deliver.
      __builtin_prefetch(row.data() + i + kAhead);
      __builtin_prefetch(row.data() + i + kAhead + kFloats / 2);
      Vector values[kVectors];
      std::memcpy(values, row.data() + i, sizeof(values));
      for (size_t j = 0; j < kVectors; ++j) sums[j] |= values[j];
    }
    const Vector all = sums[0] | sums[1] | sums[2] | sums[3];
    // Not a token: so that the compiler cannot leave the reading out.
    result.model_log_prob = static_cast<double>(all[0] | all[1] | all[2] | all[3]);
  }
};

}  // namespace

std::unique_ptr<BenchStep> NewLogitdStep(const BenchSampler& sampler, Content content) {
  return std::make_unique<LogitdStep>(sampler, content);
}
std::unique_ptr<BenchStep> NewLogitdScorer() { return std::make_unique<LogitdScorer>(); }
std::unique_ptr<BenchStep> NewScan() { return std::make_unique<Scan>(); }
std::unique_ptr<BenchStep> NewRead() { return std::make_unique<Read>(); }

}  // namespace logitd::bench

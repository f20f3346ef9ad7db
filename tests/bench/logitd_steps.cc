// logitd's contenders: a step through the Decoder, as the server takes it, a score through the Scorer, pass 1 alone,
// and the plain read.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "core/decoder.h"
#include "core/distribution.h"
#include "core/kernels/row_kernels.h"
#include "core/logits_row.h"
#include "core/scorer.h"
#include "tests/bench/bench_step.h"

namespace logitd::bench {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

RecordOptions RecordOf(Content content) {
  RecordOptions record;
  record.token_bytes = false;
  record.model_log_prob = content == Content::kRecord || content == Content::kGenerated;
  record.sampling_log_prob = content != Content::kToken;
  record.rank = content == Content::kRecord;
  record.entropy = content == Content::kRecord;
  record.records = content == Content::kRecord || content == Content::kGenerated;
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

  void Run(LogitsView row, BenchResult& result) override { Advance(row, result); }

  void Advance(const LogitsRow& row, BenchResult& result) {
    const absl::StatusOr<Step> step = decoder_->Advance(decoder_->position(), row, distribution_);
    if (!step.ok() || !step->token) return;
    result.token_id = step->token->token_id;
    result.sampling_log_prob = step->token->sampling_log_prob.value_or(kNan);
    result.model_log_prob = step->token->model_log_prob.value_or(kNan);
  }

  int32_t KeptCount() override { return distribution_.CountKept(); }

 private:
  DecoderConfig config_;
  std::optional<Decoder> decoder_;
  Distribution distribution_;
};

class PartialStep : public LogitdStep {
 public:
  PartialStep(const BenchSampler& sampler, Content content, size_t slots, bool sparse)
      : LogitdStep(sampler, content), slots_(slots), is_sparse_(sparse) {}

  void Prepare(LogitsView row) override {
    vocab_size_ = static_cast<int32_t>(row.size());
    ids_.clear();
    logits_.assign(is_sparse_ ? 0 : row.size(), -std::numeric_limits<float>::infinity());
    const size_t stride = std::max<size_t>(1, row.size() / slots_);
    for (size_t i = 0; i < row.size() && ids_.size() < slots_; i += stride) {
      ids_.push_back(static_cast<TokenId>(i));
      if (is_sparse_) {
        logits_.push_back(row[i]);
      } else {
        logits_[i] = row[i];
      }
    }
  }

  void Run(LogitsView, BenchResult& result) override {
    Advance(is_sparse_ ? LogitsRow::Sparse(logits_, ids_, vocab_size_) : LogitsRow(logits_), result);
  }

 private:
  size_t slots_;
  bool is_sparse_;
  int32_t vocab_size_ = 0;
  std::vector<TokenId> ids_;
  std::vector<float> logits_;
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
    result.model_log_prob = Score(row, 0, {});
  }
  double Score(LogitsView row, TokenId target, LogitsView next) override {
    const absl::StatusOr<TokenRecord> record = scorer_.Score(row, target, distribution_, {}, next);
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

// Wide loads keep more lines on their way from the memory than narrow ones.
#if defined(__x86_64__)
#define LOGITD_WIDE_LOADS __attribute__((target_clones("avx2", "default")))
#else
#define LOGITD_WIDE_LOADS
#endif

// Every byte of the row comes into a register; returns their OR, so that the compiler cannot leave the reading out.
LOGITD_WIDE_LOADS uint64_t ReadAll(const float* data, size_t count) {
  using Vector = uint64_t __attribute__((vector_size(32), aligned(4), may_alias));
  constexpr size_t kFloats = sizeof(Vector) / sizeof(float);
  const auto* vectors = reinterpret_cast<const Vector*>(data);
  Vector a{}, b{}, c{}, d{};
  for (size_t i = 0; i + 4 <= count / kFloats; i += 4) {
    a |= vectors[i];
    b |= vectors[i + 1];
    c |= vectors[i + 2];
    d |= vectors[i + 3];
  }
  a |= b | c | d;
  return a[0] | a[1] | a[2] | a[3];
}

class Read : public BenchStep {
 public:
  void Run(LogitsView row, BenchResult& result) override {
    result.model_log_prob = static_cast<double>(ReadAll(row.data(), row.size()));
  }
};

}  // namespace

std::unique_ptr<BenchStep> NewLogitdStep(const BenchSampler& sampler, Content content) {
  return std::make_unique<LogitdStep>(sampler, content);
}
std::unique_ptr<BenchStep> NewPartialStep(const BenchSampler& sampler, Content content, size_t slots, bool sparse) {
  return std::make_unique<PartialStep>(sampler, content, slots, sparse);
}
std::unique_ptr<BenchStep> NewLogitdScorer() { return std::make_unique<LogitdScorer>(); }
std::unique_ptr<BenchStep> NewScan() { return std::make_unique<Scan>(); }
std::unique_ptr<BenchStep> NewRead() { return std::make_unique<Read>(); }

}  // namespace logitd::bench

// One contender of the benchmark, in C++: a step of logitd, of llama.cpp's sampler chain, or the reads that bound them.
// Its time is that of Run. One thread; nothing is checked: rows are finite, parameters in range.
#ifndef LOGITD_TESTS_BENCH_BENCH_STEP_H_
#define LOGITD_TESTS_BENCH_BENCH_STEP_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "core/types.h"

namespace logitd::bench {

// What a step does with the row; 0, 1 and 0 switch top_k, top_p and min_p off, temperature 0 is greedy.
struct BenchSampler {
  double temperature = 1;
  int32_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
};

// What a step gives besides the token.
enum class Content {
  kToken = 0,
  kLogProb = 1,    // sampling_log_prob
  kRecord = 2,     // both log-probs, rank, entropy
  kGenerated = 3,  // both log-probs: what a completion has of each token
};

// NaN, -1: this step does not give it.
struct BenchResult {
  TokenId token_id = -1;
  double sampling_log_prob = std::numeric_limits<double>::quiet_NaN();
  double model_log_prob = std::numeric_limits<double>::quiet_NaN();
};

class BenchStep {
 public:
  virtual ~BenchStep() = default;
  // Before Run, outside of its time: for steps that take the row in another form.
  virtual void Prepare(LogitsView row) {}
  virtual void Run(LogitsView row, BenchResult& result) = 0;
  // After Run, outside of its time: how many tokens could have been drawn; -1: it does not say.
  virtual int32_t KeptCount() { return -1; }
  // The model_log_prob of a given token; NaN if it is no scorer. `next`: the row that is scored after this one, or
  // empty.
  virtual double Score(LogitsView row, TokenId target, LogitsView next);
};

std::unique_ptr<BenchStep> NewLogitdStep(const BenchSampler& sampler, Content content);
// The same of a row that lists `slots` of the tokens, at equal distances; as a dense row with -inf elsewhere if not
// `sparse`.
std::unique_ptr<BenchStep> NewPartialStep(const BenchSampler& sampler, Content content, size_t slots, bool sparse);
std::unique_ptr<BenchStep> NewLogitdScorer();
// Pass 1 of logitd's step alone: maximum, argmax, finiteness, block maxima.
std::unique_ptr<BenchStep> NewScan();
// A plain read of the row: what the memory can do.
std::unique_ptr<BenchStep> NewRead();
// The chain that a user of llama.cpp would build.
std::unique_ptr<BenchStep> NewLlamaStep(const BenchSampler& sampler);

}  // namespace logitd::bench

#endif  // LOGITD_TESTS_BENCH_BENCH_STEP_H_

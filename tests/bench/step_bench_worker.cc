// Runs the contenders that are C++ for step_bench.py, which interleaves them with those that are Python.
//
//   step_bench_worker ROWS VOCAB_SIZE < COMMANDS     ROWS: a file of f32 rows, little endian, mapped into memory
//
// One command a line, answers at once, in order; numbers are C's. A process, not a library in Python's: libllama is
// built without -fPIC, and PyTorch brings an OpenMP of its own.
//
//   new KIND TEMPERATURE TOP_K TOP_P MIN_P CONTENT [SLOTS]
//                                                    KIND: logitd, llama, scan, read, score, sparse or excluded;
//                                                    CONTENT: 0 to 3 (bench_step.h); SLOTS: that are listed, of the
//                                                    last two -> its number, from 0
//   run NUMBER ROW [NUMBER ROW]...                   -> for each a line "NS TOKEN_ID KEPT_COUNT SAMPLING MODEL"
//   score NUMBER ROW COUNT TARGET...                 -> "NS LOG_PROB..." of COUNT targets of consecutive rows
//   use TARGET                                       a kernel target, "avx2" -> its name, "AVX2"
//   target                                           -> the name of the one in use, at first the best there is
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "core/kernel_target.h"
#include "tests/bench/bench_step.h"

namespace logitd::bench {

double BenchStep::Score(LogitsView, TokenId, LogitsView) { return std::numeric_limits<double>::quiet_NaN(); }

namespace {

int64_t NanosecondsOf(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count();
}

// The rows of a file, mapped and read in.
class Rows {
 public:
  Rows(const char* path, size_t vocab_size) : vocab_size_(vocab_size) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (file < 0 || fstat(file, &status) != 0) return;
    const auto bytes = static_cast<size_t>(status.st_size);
    void* data = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    close(file);
    if (data == MAP_FAILED) return;
    data_ = static_cast<const float*>(data);
    count_ = bytes / (vocab_size * sizeof(float));
  }
  size_t count() const { return count_; }
  LogitsView operator[](size_t row) const { return {data_ + row % count_ * vocab_size_, vocab_size_}; }

 private:
  size_t vocab_size_;
  size_t count_ = 0;
  const float* data_ = nullptr;
};

std::unique_ptr<BenchStep> NewStep(std::istream& words) {
  std::string kind;
  BenchSampler sampler;
  int content = 0;
  words >> kind >> sampler.temperature >> sampler.top_k >> sampler.top_p >> sampler.min_p >> content;
  if (kind == "logitd") return NewLogitdStep(sampler, static_cast<Content>(content));
  if (kind == "llama") return NewLlamaStep(sampler);
  size_t slots = 0;
  if ((kind == "sparse" || kind == "excluded") && words >> slots && slots > 0) {
    return NewPartialStep(sampler, static_cast<Content>(content), slots, kind == "sparse");
  }
  if (kind == "scan") return NewScan();
  if (kind == "read") return NewRead();
  if (kind == "score") return NewLogitdScorer();
  return nullptr;
}

class Worker {
 public:
  explicit Worker(const Rows& rows) : rows_(rows) {}

  // False: not a command.
  bool Do(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    words >> command;
    if (command == "new") {
      steps_.push_back(NewStep(words));
      std::printf("%zu\n", steps_.size() - 1);
      return steps_.back() != nullptr;
    }
    if (command == "run") return Run(words);
    if (command == "score") return Score(words);
    std::string target;
    if (command == "use" && words >> target && SelectKernelTarget(target).ok()) command = "target";
    return command == "target" && std::printf("%s\n", KernelTarget().c_str()) > 0;
  }

 private:
  bool Run(std::istream& words) {
    size_t number = 0;
    size_t row = 0;
    // All are run before anything is printed: the steps of one line follow each other as closely as they can.
    lines_.clear();
    while (words >> number >> row) {
      if (number >= steps_.size()) return false;
      BenchResult result;
      steps_[number]->Prepare(rows_[row]);
      const int64_t ns = NanosecondsOf([&] { steps_[number]->Run(rows_[row], result); });
      char buffer[128];
      std::snprintf(buffer, sizeof(buffer), "%lld %d %d %.17g %.17g\n", static_cast<long long>(ns), result.token_id,
                    steps_[number]->KeptCount(), result.sampling_log_prob, result.model_log_prob);
      lines_ += buffer;
    }
    std::fputs(lines_.c_str(), stdout);
    return true;
  }

  bool Score(std::istream& words) {
    size_t number = 0, row = 0, count = 0;
    words >> number >> row >> count;
    if (number >= steps_.size() || count > rows_.count()) return false;
    std::vector<TokenId> targets(count);
    for (TokenId& target : targets) words >> target;
    std::vector<double> log_probs(count);
    const int64_t ns = NanosecondsOf([&] {
      for (size_t t = 0; t < count; ++t) {
        const LogitsView next = t + 1 < count ? rows_[row + t + 1] : LogitsView();
        log_probs[t] = steps_[number]->Score(rows_[row + t], targets[t], next);
      }
    });
    std::printf("%lld", static_cast<long long>(ns));
    for (double log_prob : log_probs) std::printf(" %.17g", log_prob);
    std::printf("\n");
    return true;
  }

  const Rows& rows_;
  std::vector<std::unique_ptr<BenchStep>> steps_;
  std::string lines_;
};

}  // namespace
}  // namespace logitd::bench

int main(int argc, char** argv) {
  const long vocab_size = argc == 3 ? std::strtol(argv[2], nullptr, 10) : 0;
  if (vocab_size < 1) {
    std::fprintf(stderr, "usage: step_bench_worker ROWS VOCAB_SIZE < COMMANDS\n");
    return 2;
  }
  const logitd::bench::Rows rows(argv[1], static_cast<size_t>(vocab_size));
  if (rows.count() == 0) {
    std::fprintf(stderr, "step_bench_worker: %s has no row of %ld logits\n", argv[1], vocab_size);
    return 1;
  }
  logitd::bench::Worker worker(rows);
  for (std::string line; std::getline(std::cin, line);) {
    if (!worker.Do(line)) {
      std::fprintf(stderr, "step_bench_worker: cannot do: %.200s\n", line.c_str());
      return 1;
    }
    std::fflush(stdout);
  }
}

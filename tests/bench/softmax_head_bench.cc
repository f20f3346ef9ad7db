// Measures the softmax head on one thread.
//
//   scripts/build --target softmax_head_bench && build/release/bin/softmax_head_bench [--quick] [--kernel-target NAME]
//
// - score: log-probs of 256 targets from hidden states of 576, V = 49,152, against OpenBLAS's sgemm alone (the product,
//   no softmax); and the memory that they take beyond the packed weights. Without OpenBLAS (libopenblas-dev) the time
//   alone.
// - labels: 10 tokens of V = 128,256 from 256 hidden states of 4,096, packed once for each request. Takes 2.2 GB.
//
// Figures are medians of interleaved rounds, with the quartiles of the ratios of pairs. Times are of the thread, not of
// the wall, so that another program's turns on the processor do not count. Every result is checked against double.
//
//   softmax_head_bench --worker    for each line on stdin: runs `score` once and prints its milliseconds
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/kernel_target.h"
#include "core/row_statistics.h"
#include "core/softmax_head.h"

#ifdef LOGITD_HAVE_OPENBLAS
#include <cblas.h>
#endif

namespace logitd {
namespace {

[[noreturn]] void Fail(std::string_view what) {
  std::cerr << "softmax_head_bench: " << what << "\n";
  std::exit(1);
}

// Milliseconds of this thread.
double Now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

template <typename Work>
double TimeOf(const Work& work) {
  const double begin = Now();
  work();
  return Now() - begin;
}

double At(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1))];
}

// A field of /proc/self/status in MB: "VmRSS", or "VmHWM", its peak.
double Memory(std::string_view field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::strtod(line.c_str() + field.size() + 1, nullptr) * 1024 / 1e6;
  }
  return 0;
}

struct Problem {
  size_t row_count;
  size_t hidden_size;
  size_t vocab_size;
  std::vector<float> rows;  // [row_count, hidden_size]
  std::shared_ptr<const SoftmaxHead> head;
  std::vector<float> weights;  // [vocab_size, hidden_size], if kept

  std::span<const float> row(size_t i) const { return std::span(rows).subspan(i * hidden_size, hidden_size); }
};

// H ~ N(0, 1), W ~ N(0, 4 / d).
Problem MakeProblem(size_t row_count, size_t hidden_size, size_t vocab_size, bool keep_weights) {
  Problem problem{row_count, hidden_size, vocab_size, {}, nullptr, {}};
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  problem.rows.resize(row_count * hidden_size);
  for (float& value : problem.rows) value = normal(random);
  auto builder = SoftmaxHead::Builder::Make({static_cast<int32_t>(vocab_size), static_cast<int32_t>(hidden_size)});
  if (!builder.ok()) Fail(std::string(builder.status().message()));
  std::vector<float> token(hidden_size);
  const float deviation = 2 / std::sqrt(static_cast<float>(hidden_size));
  for (size_t i = 0; i < vocab_size; ++i) {
    for (float& weight : token) weight = normal(random) * deviation;
    if (!builder->AddTokens(token).ok()) Fail("weights");
    if (keep_weights) problem.weights.insert(problem.weights.end(), token.begin(), token.end());
  }
  problem.head = *std::move(*builder).Build();
  return problem;
}

// The log-probs of one target for each row: a tile at a time, each row read as any row is.
class Scoring {
 public:
  Scoring(const Problem& problem, std::span<const TokenId> targets)
      : problem_(problem), targets_(targets), log_probs(targets.size()), tile_(problem.head->hidden_size()) {}

  void Run() {
    const HeadColumns& columns = problem_.head->columns();
    const size_t width = problem_.vocab_size;
    for (size_t first = 0; first < problem_.row_count;) {
      const auto count =
          static_cast<size_t>(TileRows(columns.size(), static_cast<int64_t>(problem_.row_count - first)));
      tile_.Clear();
      for (size_t i = 0; i < count; ++i) {
        if (!tile_.Add(problem_.row(first + i)).ok()) Fail("hidden states");
      }
      logits_.resize(count * width);
      columns.ComputeLogits(tile_, logits_);
      for (size_t i = 0; i < count; ++i) {
        const std::span<const float> logits = std::span(logits_).subspan(i * width, width);
        const LogitsView next = i + 1 < count ? LogitsView(logits_).subspan((i + 1) * width, width) : LogitsView();
        const auto statistics = ReadRow(logits, false, next);
        if (!statistics.ok()) Fail(std::string(statistics.status().message()));
        log_probs[first + i] = statistics->LogProb(logits[static_cast<size_t>(targets_[first + i])]);
      }
      first += count;
    }
  }

 private:
  const Problem& problem_;
  const std::span<const TokenId> targets_;

 public:
  std::vector<double> log_probs;

 private:
  HiddenTile tile_;
  std::vector<float> logits_;
};

double Dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t k = 0; k < a.size(); ++k) sum += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return sum;
}

// Against double, for every 16th row.
void CheckScores(const Problem& problem, std::span<const TokenId> targets, std::span<const double> log_probs) {
  for (size_t i = 0; i < problem.row_count; i += 16) {
    std::vector<double> logits(problem.vocab_size);
    for (size_t token = 0; token < logits.size(); ++token) {
      logits[token] =
          Dot(problem.row(i), std::span(problem.weights).subspan(token * problem.hidden_size, problem.hidden_size));
    }
    const double max = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - max);
    const double expected = logits[static_cast<size_t>(targets[i])] - max - std::log(sum);
    if (!(std::fabs(log_probs[i] - expected) <= 1e-5)) Fail("a log-prob is off by more than 1e-5");
  }
}

std::vector<TokenId> MakeTargets(const Problem& problem) {
  std::mt19937 random(2);
  std::vector<TokenId> targets(problem.row_count);
  for (TokenId& target : targets) target = static_cast<TokenId>(random() % problem.vocab_size);
  return targets;
}

Problem MakeScoreProblem(bool quick) { return MakeProblem(quick ? 64 : 256, 576, quick ? 8192 : 49152, true); }

void BenchScore(int rounds, bool quick) {
  const Problem problem = MakeScoreProblem(quick);
  const std::vector<TokenId> targets = MakeTargets(problem);
  {
    // The peak begins anew ("5"), before the scoring has any memory.
    std::ofstream("/proc/self/clear_refs") << "5";
    const double before = Memory("VmRSS");
    Scoring first(problem, targets);
    first.Run();
    CheckScores(problem, targets, first.log_probs);
    std::printf("score: %zu x %zu x %zu, memory beyond the packed weights %.1f MB (<= 30)\n", problem.row_count,
                problem.hidden_size, problem.vocab_size, Memory("VmHWM") - before);
  }
  Scoring scoring(problem, targets);
  std::vector<double> own, product, ratios;
#ifdef LOGITD_HAVE_OPENBLAS
  openblas_set_num_threads(1);
  std::vector<float> logits(problem.row_count * problem.vocab_size);
#endif
  for (int round = 0; round < rounds; ++round) {
    own.push_back(TimeOf([&] { scoring.Run(); }));
    CheckScores(problem, targets, scoring.log_probs);
#ifdef LOGITD_HAVE_OPENBLAS
    const auto m = static_cast<blasint>(problem.row_count), n = static_cast<blasint>(problem.vocab_size),
               k = static_cast<blasint>(problem.hidden_size);
    product.push_back(TimeOf([&] {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, problem.rows.data(), k, problem.weights.data(),
                  k, 0, logits.data(), n);
    }));
    ratios.push_back(own.back() / product.back());
#endif
  }
  const double operations =
      2.0 * static_cast<double>(problem.row_count * problem.hidden_size) * static_cast<double>(problem.vocab_size);
  std::printf("score: log-probs of targets %.1f ms (%.1f GFLOP/s)\n", At(own, 0.5), operations / At(own, 0.5) / 1e6);
  if (ratios.empty()) {
    std::printf("score: OpenBLAS is absent (Debian's libopenblas-dev): no ratio\n");
    return;
  }
#ifdef LOGITD_HAVE_OPENBLAS
  std::printf("score: sgemm alone %.1f ms, %s; ratio %.3f of medians, %.3f [%.3f, %.3f] of pairs (<= 1.1)\n",
              At(product, 0.5), openblas_get_corename(), At(own, 0.5) / At(product, 0.5), At(ratios, 0.5),
              At(ratios, 0.25), At(ratios, 0.75));
#endif
}

void BenchLabels(int rounds, bool quick) {
  const Problem problem = MakeProblem(256, quick ? 512 : 4096, quick ? 8192 : 128256, false);
  std::mt19937 random(3);
  std::vector<double> per_row;
  for (int round = 0; round < rounds; ++round) {
    std::vector<TokenId> labels(10);
    for (TokenId& label : labels) label = static_cast<TokenId>(random() % problem.vocab_size);
    std::sort(labels.begin(), labels.end());
    labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
    std::vector<float> logits(problem.row_count * labels.size());
    std::vector<double> log_probs(problem.row_count);
    per_row.push_back(1e3 / static_cast<double>(problem.row_count) * TimeOf([&] {
                        const auto columns = problem.head->columns().Select(labels);
                        if (!columns.ok()) Fail(std::string(columns.status().message()));
                        HiddenTile tile(problem.head->hidden_size());
                        for (size_t i = 0; i < problem.row_count; ++i) {
                          if (!tile.Add(problem.row(i)).ok()) Fail("hidden states");
                        }
                        columns->ComputeLogits(tile, logits);
                        for (size_t i = 0; i < problem.row_count; ++i) {
                          const auto row = std::span<const float>(logits).subspan(i * labels.size(), labels.size());
                          const auto statistics =
                              ReadRow(LogitsRow::Sparse(row, labels, static_cast<int32_t>(problem.vocab_size)));
                          if (!statistics.ok()) Fail(std::string(statistics.status().message()));
                          log_probs[i] = statistics->LogProb(row[0]);
                        }
                      }));
    // Of the whole vocabulary, bit for bit, and a distribution.
    HiddenTile one(problem.head->hidden_size());
    if (!one.Add(problem.row(round % problem.row_count)).ok()) Fail("hidden states");
    std::vector<float> whole(problem.vocab_size);
    problem.head->columns().ComputeLogits(one, whole);
    for (size_t j = 0; j < labels.size(); ++j) {
      if (whole[static_cast<size_t>(labels[j])] != logits[round % problem.row_count * labels.size() + j]) {
        Fail("a label's logit is not that of the whole vocabulary");
      }
    }
    if (!(log_probs[0] <= 0)) Fail("a log-prob is above 0");
  }
  std::printf("labels: 10 of %zu, hidden size %zu, batch %zu: %.2f us a row [%.2f, %.2f] (<= 60)\n", problem.vocab_size,
              problem.hidden_size, problem.row_count, At(per_row, 0.5), At(per_row, 0.25), At(per_row, 0.75));
}

void Work() {
  const Problem problem = MakeScoreProblem(false);
  const std::vector<TokenId> targets = MakeTargets(problem);
  Scoring scoring(problem, targets);
  scoring.Run();
  CheckScores(problem, targets, scoring.log_probs);
  for (std::string line; std::getline(std::cin, line);) {
    std::printf("%.6f\n", TimeOf([&] { scoring.Run(); }));
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace logitd

int main(int argc, char** argv) {
  bool quick = false, worker = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      quick = true;
    } else if (argument == "--worker") {
      worker = true;
    } else if (argument == "--kernel-target" && i + 1 < argc) {
      const absl::Status status = logitd::SelectKernelTarget(argv[++i]);
      if (!status.ok()) logitd::Fail(std::string(status.message()));
    } else {
      logitd::Fail("usage: softmax_head_bench [--quick | --worker] [--kernel-target NAME]");
    }
  }
  if (worker) {
    logitd::Work();
    return 0;
  }
  std::printf("%s, one thread\n", logitd::KernelTarget().c_str());
  logitd::BenchScore(quick ? 3 : 15, quick);
  logitd::BenchLabels(quick ? 3 : 15, quick);
}

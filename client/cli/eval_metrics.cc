#include "client/cli/eval_metrics.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/numeric/int128.h"

namespace logitd::cli {
namespace {

// SplitMix64 (Steele, Lea and Flood 2014).
class Draws {
 public:
  explicit Draws(uint64_t seed) : state_(seed) {}

  // In [0, bound).
  size_t Below(size_t bound) {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return static_cast<size_t>(absl::Uint128High64(absl::uint128(z) * bound));
  }

 private:
  uint64_t state_;
};

size_t Best(const std::vector<double>& sums, const std::vector<int64_t>& lengths) {
  const auto value = [&](size_t i) { return lengths.empty() ? sums[i] : sums[i] / static_cast<double>(lengths[i]); };
  size_t best = 0;
  for (size_t i = 1; i < sums.size(); ++i) {
    if (value(i) > value(best)) best = i;
  }
  return best;
}

// Of the differences from the first value, so that equal values have none. REQUIRES: at least two values.
double DeviationOf(const std::vector<double>& values) {
  double mean = 0;
  for (const double value : values) mean += (value - values[0]) / static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - values[0] - mean) * (value - values[0] - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

std::vector<double> OfChoices(const std::vector<ChoiceOutcome>& items, const std::vector<size_t>& places) {
  int64_t acc = 0, acc_norm = 0, acc_bytes = 0;
  for (const size_t at : places) {
    acc += items[at].acc;
    acc_norm += items[at].acc_norm;
    acc_bytes += items[at].acc_bytes;
  }
  const auto count = static_cast<double>(places.size());
  return {static_cast<double>(acc) / count, static_cast<double>(acc_norm) / count,
          static_cast<double>(acc_bytes) / count};
}

std::vector<double> OfTexts(const std::vector<TextOutcome>& items, const std::vector<size_t>& places) {
  TextOutcome all;
  int64_t greedy = 0;
  for (const size_t at : places) {
    all.sum += items[at].sum;
    all.token_count += items[at].token_count;
    all.byte_count += items[at].byte_count;
    greedy += items[at].is_greedy;
  }
  return {static_cast<double>(greedy) / static_cast<double>(places.size()),
          std::exp(-all.sum / static_cast<double>(all.token_count)),
          -all.sum / (static_cast<double>(all.byte_count) * std::numbers::ln2)};
}

template <typename Item>
void AddMetrics(const std::vector<Item>& items, const std::vector<std::string>& names,
                std::vector<double> (*statistic)(const std::vector<Item>&, const std::vector<size_t>&), int resamples,
                uint64_t seed, std::vector<Metric>& metrics) {
  if (items.empty()) return;
  std::vector<size_t> places(items.size());
  for (size_t i = 0; i < places.size(); ++i) places[i] = i;
  const std::vector<double> values = statistic(items, places);
  std::vector<std::vector<double>> resampled(names.size());
  Draws draws(seed);
  for (int resample = 0; resample < resamples; ++resample) {
    for (size_t& place : places) place = draws.Below(items.size());
    const std::vector<double> drawn = statistic(items, places);
    for (size_t i = 0; i < names.size(); ++i) resampled[i].push_back(drawn[i]);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    metrics.push_back({.name = names[i], .value = values[i], .standard_error = DeviationOf(resampled[i])});
  }
}

}  // namespace

ChoiceOutcome Judge(const EvalItem& item, const std::vector<double>& sums) {
  const auto answer = static_cast<size_t>(*item.answer);
  return {.acc = Best(sums, {}) == answer,
          .acc_norm = Best(sums, item.character_counts) == answer,
          .acc_bytes = Best(sums, item.byte_counts) == answer};
}

std::vector<Metric> MetricsOf(const std::vector<ChoiceOutcome>& choices, const std::vector<TextOutcome>& texts,
                              int resamples, uint64_t seed) {
  std::vector<Metric> metrics;
  AddMetrics(choices, {"acc", "acc_norm", "acc_bytes"}, OfChoices, resamples, seed, metrics);
  AddMetrics(texts, {"greedy", "perplexity", "bits_per_byte"}, OfTexts, resamples, seed, metrics);
  return metrics;
}

}  // namespace logitd::cli

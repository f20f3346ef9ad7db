#include "core/calibration_metrics.h"

#include <algorithm>
#include <cmath>

#include "base/status_macros.h"
#include "core/compensated_sum.h"
#include "core/exact_math.h"
#include "core/random_stream.h"

namespace logitd {
namespace {

size_t BinOf(double confidence, int32_t bin_count) {
  const auto bin = static_cast<int32_t>(confidence * bin_count);
  return static_cast<size_t>(std::clamp(bin, 0, bin_count - 1));
}

// Sums over samples; the metrics of any of them in any order.
class Sums {
 public:
  explicit Sums(int32_t bin_count) : bin_count_(bin_count), bins_(static_cast<size_t>(bin_count)) {}

  void Add(const Prediction& prediction) {
    ++count_;
    nll_.Add(prediction.negative_log_prob);
    brier_.Add(prediction.brier);
    correct_ += prediction.is_correct ? 1 : 0;
    Bin& bin = bins_[BinOf(prediction.confidence, bin_count_)];
    ++bin.count;
    bin.correct += prediction.is_correct ? 1 : 0;
    bin.confidence.Add(prediction.confidence);
  }

  CalibrationMetrics Metrics() const {
    const auto n = static_cast<double>(count_);
    CalibrationMetrics metrics{nll_.value() / n, brier_.value() / n, 0, static_cast<double>(correct_) / n};
    CompensatedSum gap;
    for (const Bin& bin : bins_) gap.Add(std::abs(static_cast<double>(bin.correct) - bin.confidence.value()));
    metrics.ece = gap.value() / n;
    return metrics;
  }

  std::vector<ReliabilityBin> Bins() const {
    std::vector<ReliabilityBin> bins;
    for (size_t i = 0; i < bins_.size(); ++i) {
      ReliabilityBin& bin = bins.emplace_back();
      bin.lower = static_cast<double>(i) / bin_count_;
      bin.upper = static_cast<double>(i + 1) / bin_count_;
      bin.count = bins_[i].count;
      if (bin.count == 0) continue;
      bin.confidence = bins_[i].confidence.value() / static_cast<double>(bin.count);
      bin.accuracy = static_cast<double>(bins_[i].correct) / static_cast<double>(bin.count);
    }
    return bins;
  }

 private:
  struct Bin {
    int64_t count = 0;
    int64_t correct = 0;
    CompensatedSum confidence = {};
  };

  const int32_t bin_count_;
  int64_t count_ = 0;
  int64_t correct_ = 0;
  CompensatedSum nll_;
  CompensatedSum brier_;
  std::vector<Bin> bins_;
};

Sums SumsOf(std::span<const Prediction> predictions, int32_t bin_count) {
  Sums sums(bin_count);
  for (const Prediction& prediction : predictions) sums.Add(prediction);
  return sums;
}

constexpr double CalibrationMetrics::*kMetrics[] = {&CalibrationMetrics::nll, &CalibrationMetrics::brier,
                                                    &CalibrationMetrics::ece, &CalibrationMetrics::accuracy};
constexpr Interval MetricIntervals::*kIntervals[] = {&MetricIntervals::nll, &MetricIntervals::brier,
                                                     &MetricIntervals::ece, &MetricIntervals::accuracy};

double Quantile(const std::vector<double>& sorted, double part) {
  const double place = part * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  if (below + 1 >= sorted.size()) return sorted.back();
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[below + 1] - sorted[below]);
}

// `minus`: subtracted element by element; empty: nothing is.
MetricIntervals IntervalsOf(const std::vector<CalibrationMetrics>& values,
                            const std::vector<CalibrationMetrics>& minus) {
  MetricIntervals intervals;
  for (size_t m = 0; m < std::size(kMetrics); ++m) {
    std::vector<double> sorted;
    for (size_t i = 0; i < values.size(); ++i) {
      sorted.push_back(values[i].*kMetrics[m] - (minus.empty() ? 0 : minus[i].*kMetrics[m]));
    }
    std::sort(sorted.begin(), sorted.end());
    intervals.*kIntervals[m] = {Quantile(sorted, 0.025), Quantile(sorted, 0.975)};
  }
  return intervals;
}

}  // namespace

Prediction PredictionOf(std::span<const double> log_probs, int32_t label) {
  Prediction prediction;
  const auto target = static_cast<size_t>(label);
  prediction.negative_log_prob = std::min(-log_probs[target], 745.2) + 0.0;
  size_t best = 0;
  CompensatedSum brier;
  CompensatedSum others;
  for (size_t k = 0; k < log_probs.size(); ++k) {
    if (log_probs[k] > log_probs[best]) best = k;
    if (k == target) continue;
    const double p = Exp(log_probs[k]);
    brier.Add(p * p);
    others.Add(p);
  }
  brier.Add(others.value() * others.value());
  prediction.brier = brier.value();
  prediction.confidence = Exp(log_probs[best]);
  prediction.is_correct = best == target;
  return prediction;
}

std::vector<ReliabilityBin> ReliabilityBins(std::span<const Prediction> predictions, int32_t bin_count) {
  return SumsOf(predictions, bin_count).Bins();
}

CalibrationMetrics MetricsOf(std::span<const Prediction> predictions, int32_t bin_count) {
  return SumsOf(predictions, bin_count).Metrics();
}

absl::StatusOr<BootstrapResult> Bootstrap(std::span<const Prediction> before, std::span<const Prediction> after,
                                          int32_t bin_count, int32_t count, uint64_t seed, GoOn go_on) {
  std::vector<CalibrationMetrics> values_before;
  std::vector<CalibrationMetrics> values_after;
  for (int32_t b = 0; b < count; ++b) {
    RETURN_IF_ERROR(go_on());
    const RandomStream random(seed, 0, b, RandomPurpose::kBootstrap);
    Sums sums_before(bin_count);
    Sums sums_after(bin_count);
    uint64_t bits = 0;
    for (size_t i = 0; i < after.size(); ++i) {
      bits = i % 2 == 0 ? random.Uniform64(static_cast<uint32_t>(i / 2)) : bits >> 32;
      const size_t drawn = ((bits & 0xFFFFFFFF) * after.size()) >> 32;
      sums_after.Add(after[drawn]);
      if (!before.empty()) sums_before.Add(before[drawn]);
    }
    values_after.push_back(sums_after.Metrics());
    if (!before.empty()) values_before.push_back(sums_before.Metrics());
  }
  BootstrapResult result;
  result.after = IntervalsOf(values_after, {});
  if (!before.empty()) {
    result.before = IntervalsOf(values_before, {});
    result.difference = IntervalsOf(values_after, values_before);
  }
  return result;
}

PairedDifference NllDifference(std::span<const Prediction> before, std::span<const Prediction> after) {
  const auto n = static_cast<double>(after.size());
  CompensatedSum sum;
  for (size_t i = 0; i < after.size(); ++i) sum.Add(after[i].negative_log_prob - before[i].negative_log_prob);
  const double mean = sum.value() / n;
  CompensatedSum squares;
  for (size_t i = 0; i < after.size(); ++i) {
    const double off = after[i].negative_log_prob - before[i].negative_log_prob - mean;
    squares.Add(off * off);
  }
  const double error = after.size() > 1 ? std::sqrt(squares.value() / (n - 1) / n) : 0;
  return {mean, error};
}

}  // namespace logitd

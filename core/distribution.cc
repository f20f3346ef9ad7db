#include "core/distribution.h"

#include <cmath>

#include "core/errors.h"
#include "core/exact_math.h"
#include "core/float_environment.h"
#include "core/kernels/row_kernels.h"
#include "core/truncation.h"
#include "core/vocab_subset.h"

namespace logitd {
namespace {

constexpr uint64_t kUnitWeight = uint64_t{1} << kernels::kWeightBits;

double LogSumExp(float max, uint64_t total_weight) { return static_cast<double>(max) + LogOfWeight(total_weight); }

// ln(Z 2^-42) + (sum of the terms) / Z.
double EntropyOf(uint64_t terms, uint64_t total_weight, double log_total) {
  return log_total + static_cast<double>(terms) / static_cast<double>(total_weight);
}

}  // namespace

double RowStatistics::LogProb(float logit) const {
  return (static_cast<double>(logit) - static_cast<double>(max)) - LogOfWeight(total_weight);
}

absl::StatusOr<RowStatistics> ReadRow(LogitsView row) {
  UseExactFloats();
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  const kernels::RowScan scan = kernels.scan_row(row.data(), row.size(), nullptr, nullptr);
  if (scan.first_non_finite >= 0) {
    return errors::NonFiniteLogit(scan.first_non_finite, row[scan.first_non_finite]);
  }
  if (scan.argmax < 0) return errors::NoFiniteLogit();
  RowStatistics statistics;
  statistics.max = scan.max;
  statistics.argmax = scan.argmax;
  statistics.total_weight =
      kernels.sum_weights(row.data(), row.size(), nullptr, scan.max, kernels::ExpConstants(1), nullptr);
  statistics.log_sum_exp = LogSumExp(scan.max, statistics.total_weight);
  return statistics;
}

double ModelEntropy(LogitsView row, const RowStatistics& statistics) {
  const uint64_t terms = kernels::ActiveKernels().sum_entropy_terms(row.data(), row.size(), nullptr, statistics.max,
                                                                    kernels::ExpConstants(1));
  return EntropyOf(terms, statistics.total_weight, LogOfWeight(statistics.total_weight));
}

int32_t RankOf(LogitsView row, TokenId token_id) {
  return 1 + kernels::ActiveKernels().count_greater(row.data(), row.size(), row[token_id]);
}

absl::Status Distribution::Assign(LogitsView row, const SamplingParams& params, std::span<const TokenId> excluded) {
  UseExactFloats();
  row_ = row;
  temperature_ = params.temperature;
  has_mask_ = params.subset != nullptr || !excluded.empty();
  if (params.subset != nullptr) {
    mask_.assign(params.subset->words().begin(), params.subset->words().end());
  } else if (has_mask_) {
    mask_.assign((row.size() + 63) / 64, ~uint64_t{0});
  }
  for (TokenId token_id : excluded) mask_[token_id / 64] &= ~(uint64_t{1} << (token_id % 64));

  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  has_weights_ = false;
  block_max_.resize(kernels::BlockCount(row.size()));
  const kernels::RowScan scan = kernels.scan_row(row.data(), row.size(), mask_or_null(), block_max_.data());
  if (scan.first_non_finite >= 0) {
    return errors::NonFiniteLogit(scan.first_non_finite, row[scan.first_non_finite]);
  }
  if (scan.argmax < 0) {
    const bool row_is_empty = kernels.scan_row(row.data(), row.size(), nullptr, nullptr).argmax < 0;
    return row_is_empty ? errors::NoFiniteLogit() : errors::AllTokensExcluded();
  }
  max_ = scan.max;
  argmax_ = scan.argmax;

  if (params.greedy()) {
    weights_.assign(row.size(), 0);
    weights_[argmax_] = kUnitWeight;
    mask_.assign((row.size() + 63) / 64, 0);
    mask_[argmax_ / 64] = uint64_t{1} << (argmax_ % 64);
    has_mask_ = true;
    has_weights_ = true;
    kept_count_ = 1;
    total_weight_ = kUnitWeight;
    log_total_ = 0;
    return absl::OkStatus();
  }

  kept_count_ = scan.finite_count;
  if (params.top_k > 0) KeepTopK(params.top_k, *this);
  // The one place where the temperature meets the logits, with the maximum of the allowed ones subtracted.
  weights_.resize(row.size());
  total_weight_ = kernels.sum_weights(row.data(), row.size(), mask_or_null(), max_, kernels::ExpConstants(temperature_),
                                      weights_.data());
  log_total_ = LogOfWeight(total_weight_);
  has_weights_ = true;
  if (params.top_p < 1) KeepTopP(params.top_p, *this);
  if (params.min_p > 0) KeepMinP(params.min_p, *this);
  return absl::OkStatus();
}

void Distribution::Truncate(const Cut& cut) {
  if (!has_mask_) {
    mask_.assign((row_.size() + 63) / 64, ~uint64_t{0});
    has_mask_ = true;
  }
  const Cut first{max_, argmax_};
  const Cut& effective = cut.Keeps(max_, argmax_) ? cut : first;
  const kernels::Kept kept =
      kernels::ActiveKernels().apply_cut(row_.data(), row_.size(), block_max_.data(), effective.logit,
                                         effective.token_id, mask_.data(), has_weights_ ? weights_.data() : nullptr);
  kept_count_ = kept.count;
  if (!has_weights_) return;
  total_weight_ = kept.total_weight;
  log_total_ = LogOfWeight(total_weight_);
}

Cut Distribution::FindCut(Mass mass, uint64_t target) {
  PrefixTokens tokens{.row = row_,
                      .mask = mask(),
                      .block_max = block_max_,
                      .weights = {},
                      .count = kept_count_,
                      .total_mass = static_cast<uint64_t>(kept_count_)};
  if (mass == Mass::kWeights) {
    tokens.weights = weights_;
    tokens.total_mass = total_weight_;
  }
  return prefix_search_.Find(tokens, target);
}

bool Distribution::Keeps(TokenId token_id) const {
  if (has_mask_ && !((mask_[token_id / 64] >> (token_id % 64)) & 1)) return false;
  return row_[token_id] > -std::numeric_limits<float>::infinity();
}

double Distribution::LogProb(TokenId token_id) const {
  if (!Keeps(token_id)) return -std::numeric_limits<double>::infinity();
  if (temperature_ == 0) return 0;
  return (static_cast<double>(row_[token_id]) - static_cast<double>(max_)) / temperature_ - log_total_;
}

double Distribution::Entropy() const {
  if (temperature_ == 0) return 0;
  const uint64_t terms = kernels::ActiveKernels().sum_entropy_terms(row_.data(), row_.size(), mask_or_null(), max_,
                                                                    kernels::ExpConstants(temperature_));
  return EntropyOf(terms, total_weight_, log_total_);
}

RowStatistics Distribution::ModelStatistics() const {
  RowStatistics statistics;
  statistics.max = max_;
  statistics.argmax = argmax_;
  statistics.total_weight = total_weight_;
  statistics.log_sum_exp = LogSumExp(max_, total_weight_);
  return statistics;
}

}  // namespace logitd

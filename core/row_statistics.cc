#include "core/row_statistics.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <limits>
#include <numeric>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/float_environment.h"
#include "core/kernels/row_kernels.h"
#include "core/logit_order.h"

namespace logitd {
namespace {

// For each of `logits`, which are distinct and descending, how many of the row are strictly larger.
std::vector<int32_t> CountOneByOne(LogitsView row, std::span<const float> logits) {
  std::vector<int32_t> greater;
  greater.reserve(logits.size());
  for (float logit : logits) {
    greater.push_back(kernels::ActiveKernels().count_greater(row.data(), row.size(), nullptr, logit));
  }
  return greater;
}

// The same in one pass: each logit of the row is counted into the gap between two of `logits` in which it lies.
std::vector<int32_t> CountTogether(LogitsView row, std::span<const float> logits) {
  // Keys rise as logits fall. 2^k - 1 of them, so that each search is k halvings without a branch; the last ones are
  // above every logit's.
  std::vector<uint32_t> keys(std::bit_ceil(logits.size() + 1) - 1, std::numeric_limits<uint32_t>::max());
  std::ranges::transform(logits, keys.begin(), DescendingKey);
  // [j]: the row's logits that are larger than logits[j], but not than logits[j - 1].
  std::vector<int32_t> counts(keys.size() + 1);
  const auto first_half = static_cast<uint32_t>((keys.size() + 1) / 2);
  // Several searches at once: each is a chain of loads that wait for one another.
  constexpr size_t kLanes = 16;
  std::array<uint32_t, kLanes> values, found;
  for (size_t begin = 0; begin < row.size(); begin += kLanes) {
    const size_t count = std::min(kLanes, row.size() - begin);
    // Beyond the row's end: larger than none of `logits`, so that it counts nowhere.
    values.fill(std::numeric_limits<uint32_t>::max() - 1);
    for (size_t i = 0; i < count; ++i) values[i] = DescendingKey(row[begin + i]);
    found.fill(0);
    for (uint32_t half = first_half; half > 0; half /= 2) {
      for (size_t i = 0; i < kLanes; ++i) {
        found[i] += half & -static_cast<uint32_t>(keys[found[i] + half - 1] <= values[i]);
      }
    }
    for (uint32_t gap : found) ++counts[gap];
  }
  counts.resize(logits.size());
  std::partial_sum(counts.begin(), counts.end(), counts.begin());
  return counts;
}

}  // namespace

absl::StatusOr<RowMaximum> FindMaximum(const LogitsRow& row) {
  UseExactFloats();
  const LogitsView slots = row.slots();
  if (slots.empty()) return errors::NoFiniteLogit();
  const kernels::RowScan scan = kernels::ActiveKernels().scan_row(slots.data(), slots.size(), nullptr, nullptr);
  if (scan.first_non_finite >= 0) {
    return errors::NonFiniteLogit(row.IdOf(scan.first_non_finite), slots[static_cast<size_t>(scan.first_non_finite)]);
  }
  if (scan.argmax < 0) return errors::NoFiniteLogit();
  return RowMaximum{scan.max, row.IdOf(scan.argmax)};
}

RowStatistics StatisticsOf(const RowMaximum& maximum, uint64_t total_weight) {
  RowStatistics statistics;
  statistics.max = maximum.max;
  statistics.argmax = maximum.argmax;
  statistics.total_weight = total_weight;
  statistics.log_total = LogOfWeight(total_weight);
  statistics.log_sum_exp = static_cast<double>(maximum.max) + statistics.log_total;
  return statistics;
}

RowStatistics StatisticsOf(const LogitsRow& row, const RowMaximum& maximum, bool with_entropy) {
  const LogitsView slots = row.slots();
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  const kernels::ExpConstants constants(1);
  if (!with_entropy) {
    return StatisticsOf(maximum,
                        kernels.sum_weights(slots.data(), slots.size(), nullptr, maximum.max, constants, nullptr));
  }
  const kernels::EntropySums sums = kernels.sum_entropy(slots.data(), slots.size(), nullptr, maximum.max, constants);
  RowStatistics statistics = StatisticsOf(maximum, sums.weights);
  statistics.entropy = statistics.log_total + static_cast<double>(sums.terms) / static_cast<double>(sums.weights);
  return statistics;
}

absl::StatusOr<RowStatistics> ReadRow(const LogitsRow& row, bool with_entropy, LogitsView next) {
  ASSIGN_OR_RETURN(const RowMaximum maximum, FindMaximum(row));
  const LogitsView slots = row.slots();
  if (!with_entropy && next.size() == slots.size()) {
    return StatisticsOf(maximum, kernels::ActiveKernels().sum_weights_ahead(slots.data(), slots.size(), maximum.max,
                                                                            kernels::ExpConstants(1), next.data()));
  }
  return StatisticsOf(row, maximum, with_entropy);
}

int32_t RankOf(const LogitsRow& row, TokenId token_id) {
  const LogitsView slots = row.slots();
  return 1 + kernels::ActiveKernels().count_greater(slots.data(), slots.size(), nullptr, row[token_id]);
}

std::vector<int32_t> RanksOf(const LogitsRow& row, std::span<const TokenId> token_ids) {
  std::vector<float> logits;
  logits.reserve(token_ids.size());
  for (TokenId token_id : token_ids) logits.push_back(row[token_id]);
  std::ranges::sort(logits, std::ranges::greater());
  logits.erase(std::ranges::unique(logits).begin(), logits.end());

  const std::vector<int32_t> greater =
      logits.size() <= kMaxRankPasses ? CountOneByOne(row.slots(), logits) : CountTogether(row.slots(), logits);
  std::vector<int32_t> ranks;
  ranks.reserve(token_ids.size());
  for (TokenId token_id : token_ids) {
    const auto found = std::ranges::lower_bound(logits, row[token_id], std::ranges::greater());
    ranks.push_back(1 + greater[static_cast<size_t>(found - logits.begin())]);
  }
  return ranks;
}

}  // namespace logitd

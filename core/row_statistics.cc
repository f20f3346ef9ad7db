#include "core/row_statistics.h"

#include "core/errors.h"
#include "core/exact_math.h"
#include "core/float_environment.h"
#include "core/kernels/row_kernels.h"
#include "core/status_macros.h"

namespace logitd {

absl::StatusOr<RowMaximum> FindMaximum(LogitsView row) {
  UseExactFloats();
  const kernels::RowScan scan = kernels::ActiveKernels().scan_row(row.data(), row.size(), nullptr, nullptr);
  if (scan.first_non_finite >= 0) {
    return errors::NonFiniteLogit(scan.first_non_finite, row[static_cast<size_t>(scan.first_non_finite)]);
  }
  if (scan.argmax < 0) return errors::NoFiniteLogit();
  return RowMaximum{scan.max, scan.argmax};
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

RowStatistics StatisticsOf(LogitsView row, const RowMaximum& maximum, bool with_entropy) {
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  const kernels::ExpConstants constants(1);
  if (!with_entropy) {
    return StatisticsOf(maximum, kernels.sum_weights(row.data(), row.size(), nullptr, maximum.max, constants, nullptr));
  }
  const kernels::EntropySums sums = kernels.sum_entropy(row.data(), row.size(), nullptr, maximum.max, constants);
  RowStatistics statistics = StatisticsOf(maximum, sums.weights);
  statistics.entropy = statistics.log_total + static_cast<double>(sums.terms) / static_cast<double>(sums.weights);
  return statistics;
}

double ModelEntropy(LogitsView row, const RowStatistics& statistics) {
  return *StatisticsOf(row, RowMaximum{statistics.max, statistics.argmax}, /*with_entropy=*/true).entropy;
}

absl::StatusOr<RowStatistics> ReadRow(LogitsView row, bool with_entropy, LogitsView next) {
  ASSIGN_OR_RETURN(const RowMaximum maximum, FindMaximum(row));
  if (!with_entropy && next.size() == row.size()) {
    return StatisticsOf(maximum, kernels::ActiveKernels().sum_weights_ahead(row.data(), row.size(), maximum.max,
                                                                            kernels::ExpConstants(1), next.data()));
  }
  return StatisticsOf(row, maximum, with_entropy);
}

int32_t RankOf(LogitsView row, TokenId token_id) {
  return 1 +
         kernels::ActiveKernels().count_greater(row.data(), row.size(), nullptr, row[static_cast<size_t>(token_id)]);
}

}  // namespace logitd

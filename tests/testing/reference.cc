#include "tests/testing/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace logitd::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// ln of the sum of exp(x / temperature) over `tokens`.
double LogSumExp(LogitsView row, const std::vector<TokenId>& tokens, double temperature) {
  double max = -kInfinity;
  for (TokenId t : tokens) max = std::max(max, double{row[t]});
  long double sum = 0;
  for (TokenId t : tokens) sum += std::exp((row[t] - max) / temperature);
  return max / temperature + static_cast<double>(std::log(sum));
}

}  // namespace

std::vector<TokenId> SortedTokens(LogitsView row) {
  std::vector<TokenId> tokens(row.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  std::stable_sort(tokens.begin(), tokens.end(), [row](TokenId a, TokenId b) { return row[a] > row[b]; });
  return tokens;
}

ReferenceDistribution ReferenceOf(LogitsView row, const SamplingParams& params) {
  ReferenceDistribution result;
  for (TokenId t : SortedTokens(row)) {
    const bool allowed = params.subset == nullptr || params.subset->Contains(t);
    if (allowed && row[t] > -kInfinity) result.kept.push_back(t);
  }
  if (params.top_k > 0 && params.top_k < static_cast<int32_t>(result.kept.size())) result.kept.resize(params.top_k);
  if (params.top_p < 1) {
    const double lse = LogSumExp(row, result.kept, params.temperature);
    double mass = 0;
    size_t count = 0;
    while (count < result.kept.size() && (count == 0 || mass < params.top_p * (1 - 0x1p-40))) {
      mass += std::exp(row[result.kept[count++]] / params.temperature - lse);
    }
    result.kept.resize(count);
  }
  if (params.min_p > 0) {
    const double max = row[result.kept[0]];
    std::erase_if(result.kept, [&](TokenId t) { return std::exp((row[t] - max) / params.temperature) < params.min_p; });
  }
  const double lse = LogSumExp(row, result.kept, params.temperature);
  result.log_probs.assign(row.size(), -kInfinity);
  for (TokenId t : result.kept) {
    result.log_probs[t] = row[t] / params.temperature - lse;
    const double p = std::exp(result.log_probs[t]);
    if (p > 0) result.entropy -= p * result.log_probs[t];
  }
  return result;
}

std::vector<float> MakeRow(int32_t vocab_size, double scale, uint64_t seed) {
  // A sum of uniform integers, because std::normal_distribution differs between libraries.
  std::mt19937_64 random(seed);
  std::vector<float> row(vocab_size);
  for (float& logit : row) {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random() >> 11) * 0x1p-53;
    logit = static_cast<float>(std::round((sum - 6) * scale * 1024) / 1024);
  }
  return row;
}

}  // namespace logitd::testing

// A softmax head again, simple enough to be right by reading: W as [V, d], one logit at a time. For tests of the head.
#ifndef LOGITD_TESTS_CORE_HEAD_REFERENCE_H_
#define LOGITD_TESTS_CORE_HEAD_REFERENCE_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/softmax_head.h"
#include "gtest/gtest.h"

namespace logitd::testing {

struct HeadModel {
  int32_t vocab_size = 0;
  int32_t hidden_size = 0;
  std::vector<float> weights;  // [V, d]
  std::vector<float> bias;     // [V], or none
  float scale = 1;
  float soft_cap = 0;

  std::span<const float> column(int32_t token) const {
    return std::span(weights).subspan(static_cast<size_t>(token) * static_cast<size_t>(hidden_size),
                                      static_cast<size_t>(hidden_size));
  }
};

inline std::vector<float> NormalFloats(size_t count, double deviation, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(normal(random));
  return values;
}

// W ~ N(0, 4 / d), without bias.
inline HeadModel MakeHeadModel(int32_t vocab_size, int32_t hidden_size, uint64_t seed) {
  const size_t count = static_cast<size_t>(vocab_size) * static_cast<size_t>(hidden_size);
  return {vocab_size, hidden_size, NormalFloats(count, 2 / std::sqrt(hidden_size), seed), {}, 1, 0};
}

inline std::shared_ptr<const SoftmaxHead> BuildHead(const HeadModel& model) {
  auto builder = SoftmaxHead::Builder::Make({model.vocab_size, model.hidden_size});
  EXPECT_TRUE(builder.ok() && builder->AddTokens(model.weights).ok());
  if (!model.bias.empty()) {
    EXPECT_TRUE(builder->SetBias(model.bias).ok());
  }
  if (model.scale != 1) {
    EXPECT_TRUE(builder->SetLogitScale(model.scale).ok());
  }
  if (model.soft_cap != 0) {
    EXPECT_TRUE(builder->SetSoftCap(model.soft_cap).ok());
  }
  auto head = std::move(*builder).Build();
  EXPECT_TRUE(head.ok()) << head.status();
  return *std::move(head);
}

// Rows [n, d] as a tile.
inline HiddenTile MakeTile(std::span<const float> rows, int32_t hidden_size, const OutputNorm* norm = nullptr) {
  HiddenTile tile(hidden_size);
  const size_t width = static_cast<size_t>(hidden_size);
  for (size_t begin = 0; begin < rows.size(); begin += width) {
    EXPECT_TRUE(tile.Add(rows.subspan(begin, width), norm).ok());
  }
  return tile;
}

inline std::vector<float> LogitsOf(const HeadColumns& columns, const HiddenTile& tile) {
  std::vector<float> logits(static_cast<size_t>(tile.row_count()) * static_cast<size_t>(columns.size()), 77.0f);
  columns.ComputeLogits(tile, logits);
  return logits;
}

// docs/numerics.md, section 9, step by step, without the soft-cap.
inline float NormativeLogit(const HeadModel& model, std::span<const float> hidden, int32_t token) {
  const std::span<const float> column = model.column(token);
  float total = 0;
  for (size_t begin = 0; begin < hidden.size(); begin += 128) {
    float sum = 0;
    for (size_t k = begin; k < hidden.size() && k < begin + 128; ++k) sum = std::fma(hidden[k], column[k], sum);
    total = begin == 0 ? sum : total + sum;
  }
  if (!model.bias.empty()) total += model.bias[static_cast<size_t>(token)];
  total *= model.scale;
  return std::isfinite(total) ? total : std::numeric_limits<float>::quiet_NaN();
}

// In double: off by at most d 2^-53 of sum |h w|.
inline double DoubleLogit(const HeadModel& model, std::span<const float> hidden, int32_t token) {
  const std::span<const float> column = model.column(token);
  double sum = 0;
  for (size_t k = 0; k < hidden.size(); ++k) sum += static_cast<double>(hidden[k]) * static_cast<double>(column[k]);
  if (!model.bias.empty()) sum += static_cast<double>(model.bias[static_cast<size_t>(token)]);
  sum *= static_cast<double>(model.scale);
  const double cap = model.soft_cap;
  return cap == 0 ? sum : cap * std::tanh(sum / cap);
}

// sum |h w|.
inline double AbsoluteSum(const HeadModel& model, std::span<const float> hidden, int32_t token) {
  const std::span<const float> column = model.column(token);
  double sum = 0;
  for (size_t k = 0; k < hidden.size(); ++k) {
    sum += std::fabs(static_cast<double>(hidden[k]) * static_cast<double>(column[k]));
  }
  return sum;
}

// The same bits, NaN included.
inline ::testing::AssertionResult SameBits(std::span<const float> found, std::span<const float> expected) {
  if (found.size() != expected.size()) return ::testing::AssertionFailure() << found.size() << " values";
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::bit_cast<uint32_t>(found[i]) != std::bit_cast<uint32_t>(expected[i])) {
      return ::testing::AssertionFailure() << "value " << i << " is " << found[i] << ", not " << expected[i];
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_CORE_HEAD_REFERENCE_H_

// The head's numbers against exact ones: golden bits, log-probs in double, and the stated bound of an error.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <memory>
#include <random>
#include <vector>

#include "core/row_statistics.h"
#include "core/softmax_head.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/golden.h"
#include "tests/core/head_reference.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using testing::BuildHead;
using testing::HeadModel;
using testing::LogitsOf;
using testing::MakeTile;
using testing::NormalFloats;
using testing::Number;

class HeadGoldenTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(HeadGoldenTest);

// The arithmetic repeated in exact rationals (tests/golden/generate.py).
TEST_P(HeadGoldenTest, LogitsHaveTheNormativeBits) {
  const auto golden = testing::ReadGolden("head.json");
  for (const auto& c : golden["cases"]) {
    const int32_t d = c["hidden_size"];
    HeadModel model{
        3, d, testing::GeneratedRow(3 * d, 42, 1), {}, static_cast<float>(Number(c["scale"])), c["soft_cap"]};
    if (c["with_bias"]) model.bias = testing::GeneratedRow(3, 43, 4);
    OutputNorm norm{testing::GeneratedRow(d, 44, 4), 0};
    if (c.contains("epsilon")) norm.epsilon = Number(c["epsilon"]);
    const std::vector<float> rows = testing::GeneratedRow(2 * d, 41 + static_cast<uint64_t>(d), 8);
    const HiddenTile tile = MakeTile(rows, d, c.contains("epsilon") ? &norm : nullptr);
    std::vector<uint32_t> bits;
    for (const float logit : LogitsOf(BuildHead(model)->columns(), tile))
      bits.push_back(std::bit_cast<uint32_t>(logit));
    EXPECT_EQ(bits, c["logits"].get<std::vector<uint32_t>>()) << c.dump();
  }
}

// Sums of two draws from a large sample of N(0, 1): 537 million of them in a second or two.
class FastNormals {
 public:
  explicit FastNormals(uint64_t seed) : random_(seed) {
    std::normal_distribution<double> normal;
    for (float& value : sample_) value = static_cast<float>(normal(random_));
  }
  float Next(float deviation) {
    if (bits_ == 0) bits_ = random_() | (uint64_t{1} << 63);
    const float sum = sample_[bits_ & 0xffff] + sample_[(bits_ >> 16) & 0xffff];
    bits_ >>= 32;
    return sum * deviation * 0.70710678f;
  }

 private:
  std::mt19937_64 random_;
  uint64_t bits_ = 0;
  std::array<float, 65536> sample_;
};

double DotInDouble(std::span<const float> a, std::span<const float> b) {
  double sums[4] = {};
  for (size_t k = 0; k < a.size(); ++k) sums[k % 4] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

struct Shape {
  int32_t hidden_size;
  int32_t vocab_size;
  int32_t row_count;
};

class HeadLogProbTest : public ::testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, HeadLogProbTest,
                         ::testing::Values(Shape{64, 1000, 40}, Shape{576, 1000, 20}, Shape{4096, 1000, 20},
                                           Shape{64, 49152, 8}, Shape{576, 49152, 5}, Shape{4096, 49152, 2},
                                           Shape{64, 131072, 5}, Shape{576, 131072, 3}, Shape{4096, 131072, 2}),
                         [](const auto& info) {
                           return "d" + std::to_string(info.param.hidden_size) + "V" +
                                  std::to_string(info.param.vocab_size);
                         });

// H ~ N(0, 1), W ~ N(0, 4 / d): the log-probs of every token, through the code of any row. The vocabulary comes in
// parts with a head of its own, for a logit's bits do not depend on other columns (head_columns_test.cc).
TEST_P(HeadLogProbTest, IsWithin1e5OfDouble) {
  const auto [d, vocab_size, row_count] = GetParam();
  constexpr int32_t kPart = 2048;
  const size_t width = static_cast<size_t>(d);
  FastNormals normals(static_cast<uint64_t>(d) * 7 + static_cast<uint64_t>(vocab_size));
  std::vector<float> rows(static_cast<size_t>(row_count) * width);
  for (float& value : rows) value = normals.Next(1);
  const HiddenTile tile = MakeTile(rows, d);

  std::vector<std::vector<float>> logits(static_cast<size_t>(row_count));
  std::vector<std::vector<double>> exact(static_cast<size_t>(row_count));
  const float deviation = 2 / std::sqrt(static_cast<float>(d));
  for (int32_t begin = 0; begin < vocab_size; begin += kPart) {
    HeadModel part{std::min(kPart, vocab_size - begin), d, {}, {}, 1, 0};
    part.weights.resize(static_cast<size_t>(part.vocab_size) * width);
    for (float& weight : part.weights) weight = normals.Next(deviation);
    const std::vector<float> found = LogitsOf(BuildHead(part)->columns(), tile);
    for (int32_t i = 0; i < row_count; ++i) {
      const auto row = std::span(rows).subspan(static_cast<size_t>(i) * width, width);
      for (int32_t token = 0; token < part.vocab_size; ++token) {
        logits[i].push_back(found[static_cast<size_t>(i) * part.vocab_size + token]);
        exact[i].push_back(DotInDouble(row, part.column(token)));
      }
    }
  }

  double largest = 0;
  for (int32_t i = 0; i < row_count; ++i) {
    const double max = *std::ranges::max_element(exact[i]);
    double sum = 0;
    for (const double x : exact[i]) sum += std::exp(x - max);
    const double log_sum_exp = max + std::log(sum);
    ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(logits[i]));
    for (int32_t token = 0; token < vocab_size; ++token) {
      largest = std::max(largest, std::fabs(statistics.LogProb(logits[i][token]) - (exact[i][token] - log_sum_exp)));
    }
  }
  EXPECT_LT(largest, 1e-5);
  EXPECT_GT(largest, 1e-8) << "f32 cannot be so exact: is the reference a reference?";
  RecordProperty("largest_error", std::to_string(largest));
  std::cout << "d " << d << " V " << vocab_size << " rows " << row_count << ": largest error " << largest << "\n";
}

// docs/numerics.md, section 9: n u sum |h w|, n = min(d, 128) + ceil(d / 128) - 1.
TEST(HeadBoundTest, TheErrorOfALogitStaysBelowItsBound) {
  double largest_part = 0;
  for (const int32_t d : {1, 64, 128, 129, 1000, 4096}) {
    for (int kind = 0; kind < 4; ++kind) {
      HeadModel model = testing::MakeHeadModel(64, d, 20 + static_cast<uint64_t>(kind));
      std::vector<float> rows = NormalFloats(4 * static_cast<size_t>(d), 1, 30);
      for (size_t i = 0; i < model.weights.size(); ++i) {
        float& weight = model.weights[i];
        // Products of one sign; pairs that cancel nearly; terms of very different sizes.
        if (kind == 1) weight = 1 + std::fabs(weight) * 0x1p-12f;
        if (kind == 2 && i % 2 == 1) weight = -model.weights[i - 1] * (1 + 0x1p-20f);
        if (kind == 3) weight *= static_cast<float>(std::exp2(static_cast<double>(i % 41) - 20));
      }
      if (kind == 1) {
        for (float& value : rows) value = 1 + std::fabs(value) * 0x1p-10f;
      }
      if (kind == 2) {
        for (size_t k = 1; k < rows.size(); k += 2) rows[k] = rows[k - 1];
      }
      const std::vector<float> logits = LogitsOf(BuildHead(model)->columns(), MakeTile(rows, d));
      const double n = std::min(d, 128) + (d + 127) / 128 - 1;
      for (int32_t row = 0; row < 4; ++row) {
        const auto hidden =
            std::span(rows).subspan(static_cast<size_t>(row) * static_cast<size_t>(d), static_cast<size_t>(d));
        for (int32_t token = 0; token < 64; ++token) {
          const double unit = 0x1p-24 * AbsoluteSum(model, hidden, token);
          const double error =
              std::fabs(static_cast<double>(logits[static_cast<size_t>(row) * 64 + static_cast<size_t>(token)]) -
                        DoubleLogit(model, hidden, token));
          ASSERT_LE(error, n * unit * (1 + 1e-4)) << "d " << d << " kind " << kind;
          largest_part = std::max(largest_part, error / unit);
        }
      }
    }
  }
  // The rows are hard enough to be a test.
  EXPECT_GT(largest_part, 2);
}

}  // namespace
}  // namespace logitd

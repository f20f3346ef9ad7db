// The head's product of each target against the scalar one, bit for bit, at its edges.
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "core/kernels/row_kernels.h"
#include "gtest/gtest.h"
#include "tests/core/head_reference.h"
#include "tests/core/kernels/every_target.h"

namespace logitd::kernels {
namespace {

using ::logitd::testing::NormalFloats;
using ::logitd::testing::SameBits;

constexpr float kUntouched = -123;

class HeadKernelTest : public testing::EveryTarget {
 protected:
  // All of `out`, [rows][128], as this target leaves it.
  static std::vector<float> Run(const RowKernels& kernels, HeadProduct product) {
    std::vector<float> out(product.row_count * kProductColumns, kUntouched);
    product.out = out.data();
    kernels.compute_logits(product);
    return out;
  }
};
LOGITD_ON_EVERY_TARGET(HeadKernelTest);

// Arrays are as long as they must be, so that AddressSanitizer sees a read or write beyond them.
TEST_P(HeadKernelTest, EqualsScalarAtEveryEdge) {
  std::mt19937 random(3);
  for (const size_t hidden_size : {1, 63, 128, 129, 257}) {
    for (size_t panel_count = 1; panel_count <= kProductPanels; ++panel_count) {
      // All row counts, spread over the shapes.
      for (size_t row_count = 1 + random() % 8; row_count <= kProductRows; row_count += 1 + random() % 32) {
        const size_t group_count = (row_count + kGroupRows - 1) / kGroupRows;
        std::vector<float> groups = NormalFloats(group_count * hidden_size * kGroupRows, 1, random());
        const std::vector<float> panels = NormalFloats(panel_count * hidden_size * kPanelColumns, 1, random());
        const std::vector<float> bias = NormalFloats(panel_count * kPanelColumns, 1, random());
        const HeadProduct product = {groups.data(), row_count,   panels.data(),
                                     panel_count,   hidden_size, random() % 2 == 0 ? bias.data() : nullptr,
                                     0.8f,          nullptr};
        const std::vector<float> expected = Run(kScalarKernels, product);
        ASSERT_TRUE(SameBits(Run(target(), product), expected))
            << "d " << hidden_size << " panels " << panel_count << " rows " << row_count;
        for (size_t j = panel_count * kPanelColumns; j < kProductColumns; ++j) ASSERT_EQ(expected[j], kUntouched);
        // Lanes beyond the last row have no part in it.
        for (size_t i = row_count; i < group_count * kGroupRows; ++i) {
          float* group = groups.data() + i / kGroupRows * hidden_size * kGroupRows;
          for (size_t k = 0; k < hidden_size; ++k) {
            group[k * kGroupRows + i % kGroupRows] = std::numeric_limits<float>::quiet_NaN();
          }
        }
        ASSERT_TRUE(SameBits(Run(target(), product), expected));
      }
    }
  }
}

TEST_P(HeadKernelTest, StartsAtAnyFloat) {
  const std::vector<float> groups = NormalFloats(16 + 300 * kGroupRows, 1, 1);
  const std::vector<float> panels = NormalFloats(16 + 3 * 300 * kPanelColumns, 1, 2);
  for (size_t shift = 0; shift < 16; ++shift) {
    HeadProduct product = {groups.data() + shift, 12, panels.data() + 15 - shift, 3, 300, nullptr, 1, nullptr};
    std::vector<float> out(16 + 12 * kProductColumns);
    product.out = out.data() + shift;
    target().compute_logits(product);
    const std::vector<float> expected = Run(kScalarKernels, product);
    for (size_t i = 0; i < 12; ++i) {
      ASSERT_TRUE(SameBits(std::span(product.out + i * kProductColumns, 48),
                           std::span(expected).subspan(i * kProductColumns, 48)));
    }
  }
}

TEST_P(HeadKernelTest, SubnormalsAndExtremesAreNotLost) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const float most = std::numeric_limits<float>::max();
  const float values[] = {tiny, -tiny, 3e-39f, 0.0f, -0.0f, most, -most, 1, -1, 1e-20f, -1e20f, 2, 0.5f, 1e19f, -3, 7};
  std::mt19937 random(9);
  std::vector<float> groups(8 * 20 * kGroupRows), panels(2 * 20 * kPanelColumns);
  for (int round = 0; round < 50; ++round) {
    for (float& value : groups) value = values[random() % 16];
    for (float& value : panels) value = values[random() % (round % 2 == 0 ? 16 : 5)];
    const HeadProduct product = {groups.data(), 96, panels.data(), 2, 20, nullptr, 1, nullptr};
    ASSERT_TRUE(SameBits(Run(target(), product), Run(kScalarKernels, product)));
  }
}

}  // namespace
}  // namespace logitd::kernels

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/widening.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"

namespace logitd {
namespace {

class WidenTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(WidenTest);

// The value that IEEE 754 gives to a binary16 pattern, by its definition.
float ValueOfF16(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f;
  const int fraction = bits & 0x3ff;
  double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  if (exponent == 0x1f) {
    magnitude = fraction == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  return static_cast<float>(bits & 0x8000 ? -magnitude : magnitude);
}

float ValueOfBf16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

void ExpectSameOrBothNan(float found, float expected, uint32_t pattern) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(found)) << pattern;
  } else {
    ASSERT_EQ(std::bit_cast<uint32_t>(found), std::bit_cast<uint32_t>(expected)) << pattern;
  }
}

TEST_P(WidenTest, EveryPatternIsExact) {
  std::vector<uint16_t> values(1 << 16);
  for (uint32_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint16_t>(i);
  const char* bytes = reinterpret_cast<const char*>(values.data());
  std::vector<float> f16(values.size()), bf16(values.size());
  WidenF16(bytes, f16);
  WidenBf16(bytes, bf16);
  for (uint32_t i = 0; i < values.size(); ++i) {
    ASSERT_NO_FATAL_FAILURE(ExpectSameOrBothNan(f16[i], ValueOfF16(values[i]), i));
    ASSERT_NO_FATAL_FAILURE(ExpectSameOrBothNan(bf16[i], ValueOfBf16(values[i]), i));
  }
}

TEST_P(WidenTest, AnySizeAtAnyAddress) {
  for (size_t n = 0; n <= 70; ++n) {
    for (size_t start : {0, 1, 2, 3, 7}) {
      // Exactly as many bytes as are read, so that sanitizers see one too many.
      std::vector<char> bytes(start + 2 * n);
      for (size_t i = 0; i < n; ++i) {
        const uint16_t value = static_cast<uint16_t>(0x3c00 + 37 * i);
        std::memcpy(bytes.data() + start + 2 * i, &value, sizeof(value));
      }
      std::vector<float> row(n);
      WidenF16(bytes.data() + start, row);
      for (size_t i = 0; i < n; ++i) ASSERT_EQ(row[i], ValueOfF16(static_cast<uint16_t>(0x3c00 + 37 * i)));
      WidenBf16(bytes.data() + start, row);
      for (size_t i = 0; i < n; ++i) ASSERT_EQ(row[i], ValueOfBf16(static_cast<uint16_t>(0x3c00 + 37 * i)));
    }
  }
}

// max - q step, rounded once. Both products and differences are exact in a double for the scales below.
float ValueOfLin16(uint16_t q, float max, float step) {
  if (q == kLin16Excluded) return -std::numeric_limits<float>::infinity();
  return static_cast<float>(double{max} - double{step} * q);
}

TEST_P(WidenTest, EveryLin16CodeIsRoundedOnce) {
  std::vector<uint16_t> values(1 << 16);
  for (uint32_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint16_t>(i);
  struct Scale {
    float max, step;
  };
  std::vector<float> row(values.size());
  int twice_rounded_differs = 0;
  for (const Scale& scale : {Scale{17.1875f, 0x1.2c3d5ep-11f}, Scale{-3.5f, 0x1.fffffep-12f}, Scale{0.0f, 0.25f},
                             Scale{-0.0f, 0.0f}, Scale{42.0f, 0.0f}, Scale{1e4f, 0x1.000002p-3f}}) {
    target().widen_lin16(values.data(), values.size(), scale.max, scale.step, row.data());
    for (uint32_t i = 0; i < values.size(); ++i) {
      const float expected = ValueOfLin16(values[i], scale.max, scale.step);
      ASSERT_EQ(row[i], expected) << i << " at " << scale.max << ", " << scale.step;
      const float product = static_cast<float>(i) * scale.step;
      twice_rounded_differs += i < kLin16Excluded && scale.max - product != expected;
    }
  }
  EXPECT_GT(twice_rounded_differs, 100) << "the scales must be some on which the rule can be told from a - b * c";
}

TEST_P(WidenTest, Lin16OfAnySizeAtAnyAddress) {
  for (size_t n = 0; n <= 70; ++n) {
    for (size_t start : {0, 1, 2, 3, 7}) {
      std::vector<char> bytes(start + 2 * n);
      const auto code = [](size_t i) { return static_cast<uint16_t>(i % 5 == 3 ? 65535 : 65534 - 911 * i); };
      for (size_t i = 0; i < n; ++i) {
        const uint16_t value = code(i);
        std::memcpy(bytes.data() + start + 2 * i, &value, sizeof(value));
      }
      // What lies behind the row stays as it is.
      std::vector<float> row(n + 1, 7.0f);
      target().widen_lin16(bytes.data() + start, n, 9.5f, 0x1.2c3d5ep-11f, row.data());
      for (size_t i = 0; i < n; ++i) ASSERT_EQ(row[i], ValueOfLin16(code(i), 9.5f, 0x1.2c3d5ep-11f)) << i;
      ASSERT_EQ(row[n], 7.0f);
    }
  }
}

}  // namespace
}  // namespace logitd

#include "core/widening.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd {
namespace {

using ::testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();

std::string Bytes(std::initializer_list<uint16_t> codes) {
  std::string bytes;
  for (const uint16_t code : codes) bytes.append(reinterpret_cast<const char*>(&code), sizeof(code));
  return bytes;
}

TEST(WidenLin16Test, CodesCountStepsDownFromTheMaximum) {
  std::vector<float> out(5);
  WidenLin16(Bytes({0, 1, 12, 65534, 65535}).data(), 6, 0.25f, out);
  EXPECT_THAT(out, ElementsAre(6, 5.75f, 3, 6 - 16383.5f, -kInf));
}

TEST(WidenLin16Test, EveryCodeIsTheProductAndTheDifferenceRoundedOnce) {
  // 16 bits times 24 bits are exact in a double, and here so is the difference: rounding it to f32 is the one rounding.
  const float largest = 17.1875f;
  const float step = 0x1.2c3d5ep-11f;
  std::string bytes(2 * 65536, '\0');
  for (int code = 0; code < 65536; ++code) {
    bytes[2 * code] = static_cast<char>(code & 0xff);
    bytes[2 * code + 1] = static_cast<char>(code >> 8);
  }
  std::vector<float> out(65536);
  WidenLin16(bytes.data(), largest, step, out);
  int twice_rounded_differs = 0;
  for (int code = 0; code < 65535; ++code) {
    const auto expected = static_cast<float>(double{largest} - double{step} * code);
    ASSERT_EQ(std::bit_cast<uint32_t>(out[code]), std::bit_cast<uint32_t>(expected)) << code;
    const float product = step * static_cast<float>(code);
    if (largest - product != expected) ++twice_rounded_differs;
  }
  EXPECT_EQ(out[65535], -kInf);
  EXPECT_GT(twice_rounded_differs, 100) << "the scale must be one on which the rule can be told from a * b + c";
}

TEST(WidenLin16Test, BytesMayLieAnywhere) {
  const std::string codes = Bytes({3, 40000, 65535, 7});
  std::vector<float> aligned(4);
  WidenLin16(codes.data(), 1.5f, 0.01f, aligned);
  for (const size_t shift : {1, 2, 3}) {
    const std::string shifted = std::string(shift, 'x') + codes;
    std::vector<float> out(4);
    WidenLin16(shifted.data() + shift, 1.5f, 0.01f, out);
    EXPECT_EQ(out, aligned);
  }
}

TEST(WidenLin16Test, AStepOfZeroMakesAllButTheExcludedEqual) {
  std::vector<float> out(3);
  WidenLin16(Bytes({0, 65534, 65535}).data(), -2, 0, out);
  EXPECT_THAT(out, ElementsAre(-2, -2, -kInf));
}

TEST(WidenLin16Test, AScaleIsOneIfAllItsValuesAreFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float most = std::numeric_limits<float>::max();
  const struct {
    float linear_max;
    float linear_step;
    bool is_scale;
  } cases[] = {
      {6, 0.25f, true},         {0, 0, true},          {-most, 0, true},  {most, most / 65536, true},
      {nan, 1, false},          {kInf, 1, false},      {-kInf, 1, false}, {1, nan, false},
      {1, kInf, false},         {1, -0.25f, false},    {1, -0.0f, true},  {0, most / 65536, true},
      {0, most / 60000, false}, {-most, 1e30f, false},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(::testing::Message() << test.linear_max << ", " << test.linear_step);
    EXPECT_EQ(IsLin16Scale(test.linear_max, test.linear_step), test.is_scale);
  }
}

}  // namespace
}  // namespace logitd

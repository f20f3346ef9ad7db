#include "client/comparison/row_values.h"

#include <cmath>
#include <cstring>
#include <string>

#include "gmock/gmock.h"

namespace logitd::comparison {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

template <typename Value>
std::string Bytes(const std::vector<Value>& values) {
  std::string bytes(values.size() * sizeof(Value), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

TEST(RowValuesTest, EveryTypeIsReadExactly) {
  EXPECT_THAT(ReadValues(ValueType::kF64, Bytes<double>({1.0 / 3, -HUGE_VAL})), ElementsAre(1.0 / 3, -HUGE_VAL));
  EXPECT_THAT(ReadValues(ValueType::kF32, Bytes<float>({0.5f, 1.0f / 3})), ElementsAre(0.5, double{1.0f / 3}));
  EXPECT_THAT(ReadValues(ValueType::kF16, Bytes<uint16_t>({0x3c00, 0xc100, 0xfc00})), ElementsAre(1, -2.5, -HUGE_VAL));
  EXPECT_THAT(ReadValues(ValueType::kBf16, Bytes<uint16_t>({0x3f80, 0xc020})), ElementsAre(1, -2.5));
  EXPECT_THAT(ReadValues(ValueType::kF32, ""), IsEmpty());
}

}  // namespace
}  // namespace logitd::comparison

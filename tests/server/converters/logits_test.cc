#include "server/converters/logits.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::IsOk;
using ::testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();

google::protobuf::RepeatedPtrField<v1::LogitsBlock> OneBlock(v1::LogitsDtype dtype, int32_t rows, int32_t width) {
  google::protobuf::RepeatedPtrField<v1::LogitsBlock> blocks;
  v1::LogitsBlock& block = *blocks.Add();
  block.set_dtype(dtype);
  block.set_row_count(rows);
  block.set_width(width);
  return blocks;
}

template <typename T>
void Append(std::string& bytes, std::initializer_list<T> values) {
  for (T value : values) bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

TEST(WireRowsTest, SixteenBitRowsAreWidenedExactlyAtAnyAddress) {
  // 1, -2, the smallest subnormal, 65504, -inf, -0; and one row more.
  std::string f16, bf16;
  Append<uint16_t>(f16, {0x3c00, 0xc000, 0x0001, 0x7bff, 0xfc00, 0x8000, 0, 0, 0, 0, 0, 0x3555});
  Append<uint16_t>(bf16, {0x3f80, 0xc000, 0x0001, 0x7f7f, 0xff80, 0x8000, 0, 0, 0, 0, 0, 0x3eab});
  for (size_t shift : {0, 1, 2, 3}) {
    std::vector<float> buffer;
    const std::string f16_bytes = std::string(shift, 'x') + f16;
    const auto f16_rows =
        WireRows::Of(OneBlock(v1::LOGITS_DTYPE_F16, 2, 6), std::string_view(f16_bytes).substr(shift), 6);
    ASSERT_THAT(f16_rows.status(), IsOk());
    EXPECT_THAT(f16_rows->Row(0, buffer), ElementsAre(1, -2, 0x1p-24f, 65504, -kInf, 0));
    EXPECT_TRUE(std::signbit(f16_rows->Row(0, buffer)[5]));
    EXPECT_THAT(f16_rows->Row(1, buffer), ElementsAre(0, 0, 0, 0, 0, 0x1.554p-2f));
    const std::string bf16_bytes = std::string(shift, 'x') + bf16;
    const auto bf16_rows =
        WireRows::Of(OneBlock(v1::LOGITS_DTYPE_BF16, 2, 6), std::string_view(bf16_bytes).substr(shift), 6);
    ASSERT_THAT(bf16_rows.status(), IsOk());
    EXPECT_THAT(bf16_rows->Row(0, buffer), ElementsAre(1, -2, 0x1p-133f, 0x1.fep127f, -kInf, 0));
    EXPECT_THAT(bf16_rows->Row(1, buffer), ElementsAre(0, 0, 0, 0, 0, 0x1.56p-2f));
  }
}

TEST(WireRowsTest, F32RowsAreCopiedOnlyWhereTheyAreNotAligned) {
  std::vector<float> aligned = {0, 1.5f, -2, 3};  // the first one only makes room
  const char* bytes = reinterpret_cast<const char*>(aligned.data());
  std::vector<float> buffer;
  const auto rows = WireRows::Of(OneBlock(v1::LOGITS_DTYPE_F32, 1, 3), std::string_view(bytes + 4, 12), 3);
  ASSERT_THAT(rows.status(), IsOk());
  EXPECT_EQ(rows->Row(0, buffer).data(), aligned.data() + 1);
  EXPECT_TRUE(buffer.empty());

  std::vector<float> room(5);
  char* shifted = reinterpret_cast<char*>(room.data()) + 1;
  std::memcpy(shifted, bytes + 4, 12);
  const auto copied = WireRows::Of(OneBlock(v1::LOGITS_DTYPE_F32, 1, 3), std::string_view(shifted, 12), 3);
  ASSERT_THAT(copied.status(), IsOk());
  EXPECT_THAT(copied->Row(0, buffer), ElementsAre(1.5f, -2, 3));
  EXPECT_EQ(copied->Row(0, buffer).data(), buffer.data());
}

}  // namespace
}  // namespace logitd::server

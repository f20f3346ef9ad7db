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

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::IsOkAndHolds;
using ::logitd::testing::IsRow;
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
    RowBuffers buffers;
    const std::string f16_bytes = std::string(shift, 'x') + f16;
    const auto f16_blocks = OneBlock(v1::LOGITS_DTYPE_F16, 2, 6);
    const auto f16_rows = WireRows::Of(f16_blocks, std::string_view(f16_bytes).substr(shift), 6);
    ASSERT_THAT(f16_rows.status(), IsOk());
    EXPECT_THAT(f16_rows->Row(0, buffers), IsOkAndHolds(IsRow(ElementsAre(1, -2, 0x1p-24f, 65504, -kInf, 0))));
    EXPECT_TRUE(std::signbit((*f16_rows->Row(0, buffers))[5]));
    EXPECT_THAT(f16_rows->Row(1, buffers), IsOkAndHolds(IsRow(ElementsAre(0, 0, 0, 0, 0, 0x1.554p-2f))));
    const std::string bf16_bytes = std::string(shift, 'x') + bf16;
    const auto bf16_blocks = OneBlock(v1::LOGITS_DTYPE_BF16, 2, 6);
    const auto bf16_rows = WireRows::Of(bf16_blocks, std::string_view(bf16_bytes).substr(shift), 6);
    ASSERT_THAT(bf16_rows.status(), IsOk());
    EXPECT_THAT(bf16_rows->Row(0, buffers), IsOkAndHolds(IsRow(ElementsAre(1, -2, 0x1p-133f, 0x1.fep127f, -kInf, 0))));
    EXPECT_THAT(bf16_rows->Row(1, buffers), IsOkAndHolds(IsRow(ElementsAre(0, 0, 0, 0, 0, 0x1.56p-2f))));
  }
}

TEST(WireRowsTest, F32RowsAreCopiedOnlyWhereTheyAreNotAligned) {
  std::vector<float> aligned = {0, 1.5f, -2, 3};  // the first one only makes room
  const char* bytes = reinterpret_cast<const char*>(aligned.data());
  RowBuffers buffers;
  const auto blocks = OneBlock(v1::LOGITS_DTYPE_F32, 1, 3);
  const auto rows = WireRows::Of(blocks, std::string_view(bytes + 4, 12), 3);
  ASSERT_THAT(rows.status(), IsOk());
  EXPECT_EQ(rows->Row(0, buffers)->slots().data(), aligned.data() + 1);
  EXPECT_TRUE(buffers.values.empty());

  std::vector<float> room(5);
  char* shifted = reinterpret_cast<char*>(room.data()) + 1;
  std::memcpy(shifted, bytes + 4, 12);
  const auto copied = WireRows::Of(blocks, std::string_view(shifted, 12), 3);
  ASSERT_THAT(copied.status(), IsOk());
  EXPECT_THAT(copied->Row(0, buffers), IsOkAndHolds(IsRow(ElementsAre(1.5f, -2, 3))));
  EXPECT_EQ(copied->Row(0, buffers)->slots().data(), buffers.values.data());
}

TEST(WireRowsTest, EachRowOfLin16HasItsScale) {
  auto blocks = OneBlock(v1::LOGITS_DTYPE_F32, 1, 3);
  blocks.MergeFrom(OneBlock(v1::LOGITS_DTYPE_LIN16, 2, 3));
  for (const float value : {6.f, -1.f}) blocks[1].add_linear_max(value);
  for (const float value : {0.25f, 0.f}) blocks[1].add_linear_step(value);
  std::string payload;
  Append<float>(payload, {1, 2, 3});
  Append<uint16_t>(payload, {0, 12, 65535, 7, 65534, 65535});
  const auto rows = WireRows::Of(blocks, payload, 3);
  ASSERT_THAT(rows.status(), IsOk());
  ASSERT_EQ(rows->row_count(), 3);
  RowBuffers buffers;
  EXPECT_THAT(rows->Row(0, buffers), IsOkAndHolds(IsRow(ElementsAre(1, 2, 3))));
  EXPECT_THAT(rows->Row(1, buffers), IsOkAndHolds(IsRow(ElementsAre(6, 3, -kInf))));
  EXPECT_THAT(rows->Row(2, buffers), IsOkAndHolds(IsRow(ElementsAre(-1, -1, -kInf))));
}

TEST(WireRowsTest, AScaleThatIsNoneIsNamed) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const struct {
    v1::LogitsDtype dtype;
    std::vector<float> linear_max;
    std::vector<float> linear_step;
    ErrorReason reason;
    const char* field;
    const char* value;
  } cases[] = {
      {v1::LOGITS_DTYPE_LIN16, {1}, {1, 1}, ErrorReason::kRowLengthMismatch, "blocks[0].linear_max", "1"},
      {v1::LOGITS_DTYPE_LIN16, {1, 1}, {}, ErrorReason::kRowLengthMismatch, "blocks[0].linear_step", "0"},
      {v1::LOGITS_DTYPE_LIN16, {1, 1, 1}, {1, 1}, ErrorReason::kRowLengthMismatch, "blocks[0].linear_max", "3"},
      {v1::LOGITS_DTYPE_LIN16, {1, kNan}, {1, 1}, ErrorReason::kFieldOutOfRange, "blocks[0].linear_max[1]", "nan"},
      {v1::LOGITS_DTYPE_LIN16, {-kInf, 1}, {1, 1}, ErrorReason::kFieldOutOfRange, "blocks[0].linear_max[0]", "-inf"},
      {v1::LOGITS_DTYPE_LIN16, {1, 1}, {1, -1}, ErrorReason::kFieldOutOfRange, "blocks[0].linear_step[1]", "-1"},
      {v1::LOGITS_DTYPE_LIN16, {1, 1}, {kInf, 1}, ErrorReason::kFieldOutOfRange, "blocks[0].linear_step[0]", "inf"},
      {v1::LOGITS_DTYPE_LIN16,
       {1, 1},
       {1, 0x1p120f},
       ErrorReason::kFieldOutOfRange,
       "blocks[0].linear_step[1]",
       "1.329227995784916e+36"},
      {v1::LOGITS_DTYPE_F16, {1, 1}, {}, ErrorReason::kFieldOutOfRange, "blocks[0].linear_max", "2"},
      {v1::LOGITS_DTYPE_BF16, {}, {1}, ErrorReason::kFieldOutOfRange, "blocks[0].linear_step", "1"},
  };
  const std::string payload(2 * 3 * 2, '\0');
  for (const auto& test : cases) {
    SCOPED_TRACE(std::string(test.field) + " " + test.value);
    auto blocks = OneBlock(test.dtype, 2, 3);
    blocks[0].mutable_linear_max()->Add(test.linear_max.begin(), test.linear_max.end());
    blocks[0].mutable_linear_step()->Add(test.linear_step.begin(), test.linear_step.end());
    const absl::Status status = WireRows::Of(blocks, payload, 3).status();
    EXPECT_THAT(status, HasReason(test.reason));
    if (status.ok()) continue;
    EXPECT_EQ(DetailOf(status).field, test.field);
    EXPECT_EQ(DetailOf(status).value, test.value);
  }
}

TEST(WireRowsTest, BytesOfAnotherTypeAreAskedAbout) {
  const struct {
    const char* name;
    v1::LogitsDtype dtype;
    bool is_sparse;
    size_t payload_bytes;
    const char* question;
  } cases[] = {
      // Two rows of three values, and with ids where the row is sparse.
      {"f32, sent f64", v1::LOGITS_DTYPE_F32, false, 48, ": are the values float64? They are declared as f32"},
      {"f32, sent 16 bits", v1::LOGITS_DTYPE_F32, false, 12, ": are the values float16 or bfloat16? "},
      {"f16, sent f32", v1::LOGITS_DTYPE_F16, false, 24, ": are the values float32? They are declared as 16 bits each"},
      {"f16, sent f64", v1::LOGITS_DTYPE_F16, false, 48, ": are the values float64? "},
      {"bf16, sent f32", v1::LOGITS_DTYPE_BF16, false, 24, ": are the values float32? "},
      {"sparse f32, eight bytes more a slot", v1::LOGITS_DTYPE_F32, true, 72,
       ": are the values float64, or the ids int64? They are declared as f32, with ids of 32 bits"},
      {"sparse f16, sent f32", v1::LOGITS_DTYPE_F16, true, 48, ": are the values float32? "},
      {"sparse f16, ids int64", v1::LOGITS_DTYPE_F16, true, 60, ": are the ids int64? "},
      {"a value is missing", v1::LOGITS_DTYPE_F32, false, 20, nullptr},
      {"nothing", v1::LOGITS_DTYPE_F32, false, 0, nullptr},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    auto blocks = OneBlock(test.dtype, 2, 3);
    if (test.is_sparse) blocks[0].mutable_sparse()->set_rest(v1::SPARSE_REST_EXCLUDED);
    const absl::Status status = WireRows::Of(blocks, std::string(test.payload_bytes, '\0'), 3).status();
    ASSERT_THAT(status, HasReason(ErrorReason::kRowLengthMismatch));
    const ErrorDetail detail = DetailOf(status);
    EXPECT_EQ(detail.value, std::to_string(test.payload_bytes));
    EXPECT_THAT(detail.bound, ::testing::EndsWith(" bytes"));
    if (test.question == nullptr) {
      EXPECT_THAT(detail.message, ::testing::EndsWith("got " + detail.value));
    } else {
      EXPECT_THAT(detail.message, ::testing::HasSubstr("got " + detail.value + test.question));
    }
  }
  // The row of a unary call, of 4 values.
  v1::Logits logits;
  *logits.mutable_block() = OneBlock(v1::LOGITS_DTYPE_F32, 1, 4)[0];
  logits.set_values(std::string(32, '\0'));
  RowBuffers buffers;
  EXPECT_EQ(DetailOf(SingleRow(logits, buffers).status()).message,
            "logits.values must be 16 bytes, got 32: are the values float64? They are declared as f32");
}

}  // namespace
}  // namespace logitd::server

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/widening.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/converters/logits.h"
#include "server/converters/runner.h"
#include "tests/server/sparse_rows.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::IsOkAndHolds;
using ::logitd::testing::IsRow;
using ::testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();
using Blocks = google::protobuf::RepeatedPtrField<v1::LogitsBlock>;

// "dtype: ... row_count: ..." of each block.
Blocks BlocksOf(const std::vector<std::string>& texts) {
  Blocks blocks;
  for (const std::string& text : texts) {
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, blocks.Add())) << text;
  }
  return blocks;
}

// 6, 3, 0.5 in every type.
struct TypedRow {
  const char* dtype;
  std::string scales;
  std::string bytes;
};

std::vector<TypedRow> TypedRows() {
  std::string f32, f16, bf16, lin16;
  AppendBytes<float>(f32, {6, 3, 0.5});
  AppendBytes<uint16_t>(f16, {0x4600, 0x4200, 0x3800});
  AppendBytes<uint16_t>(bf16, {0x40c0, 0x4040, 0x3f00});
  AppendBytes<uint16_t>(lin16, {0, 12, 22});
  return {{"LOGITS_DTYPE_F32", "", f32},
          {"LOGITS_DTYPE_F16", "", f16},
          {"LOGITS_DTYPE_BF16", "", bf16},
          {"LOGITS_DTYPE_LIN16", " linear_max: [6, 6] linear_step: [0.25, 0.25]", lin16}};
}

TEST(SparseRowsTest, EveryTypeIsScatteredByIdAtAnyAddress) {
  for (const TypedRow& row : TypedRows()) {
    for (size_t shift : {0, 1, 2, 3}) {
      SCOPED_TRACE(std::string(row.dtype) + " at " + std::to_string(shift));
      const std::string block = std::string("dtype: ") + row.dtype + " row_count: 2 width: 3" + row.scales +
                                " sparse { rest: SPARSE_REST_EXCLUDED";
      std::string own(shift, 'x'), shared(shift, 'x');
      own += row.bytes + row.bytes;
      shared += row.bytes + row.bytes;
      AppendBytes<int32_t>(own, {1, 3, 4, 0, 2, -1});
      RowBuffers buffers;
      const Blocks own_blocks = BlocksOf({block + " }"});
      const auto own_rows = WireRows::Of(own_blocks, std::string_view(own).substr(shift), 5);
      ASSERT_THAT(own_rows, IsOk());
      ASSERT_EQ(own_rows->row_count(), 2);
      EXPECT_THAT(own_rows->Row(0, buffers), IsOkAndHolds(IsRow(ElementsAre(-kInf, 6, -kInf, 3, 0.5))));
      EXPECT_THAT(own_rows->Row(1, buffers), IsOkAndHolds(IsRow(ElementsAre(6, -kInf, 3, -kInf, -kInf))));
      const Blocks shared_blocks = BlocksOf({block + " shared_token_ids: [0, 3, -1] }"});
      const auto shared_rows = WireRows::Of(shared_blocks, std::string_view(shared).substr(shift), 5);
      ASSERT_THAT(shared_rows, IsOk());
      for (int32_t i : {1, 0}) {
        EXPECT_THAT(shared_rows->Row(i, buffers), IsOkAndHolds(IsRow(ElementsAre(6, -kInf, -kInf, 3, -kInf))));
      }
    }
  }
}

TEST(SparseRowsTest, SparseAndDenseBlocksFollowEachOther) {
  const char* kDense = "dtype: LOGITS_DTYPE_F32 row_count: 1 width: 3";
  const Blocks blocks = BlocksOf({kDense,
                                  "dtype: LOGITS_DTYPE_LIN16 row_count: 2 width: 1 linear_max: [1, -1] "
                                  "linear_step: [0.5, 2] sparse { rest: SPARSE_REST_EXCLUDED }",
                                  kDense});
  std::string payload;
  AppendBytes<float>(payload, {1, 2, 3});
  AppendBytes<uint16_t>(payload, {4, 1});
  AppendBytes<int32_t>(payload, {2, 0});
  AppendBytes<float>(payload, {4, 5, 6});
  const auto rows = WireRows::Of(blocks, payload, 3);
  ASSERT_THAT(rows, IsOk());
  ASSERT_EQ(rows->row_count(), 4);
  RowBuffers buffers;
  EXPECT_THAT(rows->Row(2, buffers), IsOkAndHolds(IsRow(ElementsAre(-3, -kInf, -kInf)))) << "its own scale";
  EXPECT_THAT(rows->Row(0, buffers), IsOkAndHolds(IsRow(ElementsAre(1, 2, 3))));
  EXPECT_THAT(rows->Row(1, buffers), IsOkAndHolds(IsRow(ElementsAre(-kInf, -kInf, -1))));
  EXPECT_THAT(rows->Row(3, buffers), IsOkAndHolds(IsRow(ElementsAre(4, 5, 6))));
}

TEST(SparseRowsTest, AWrongLayoutIsRefusedAsAWhole) {
  const struct {
    const char* name;
    const char* block;
    size_t payload_bytes;
    ErrorReason reason;
    const char* field;
    const char* value;
    const char* bound;
  } cases[] = {
      {"no rest", "row_count: 1 width: 2 sparse { }", 16, ErrorReason::kFieldRequired, "blocks[0].sparse.rest", "", ""},
      {"no slot", "row_count: 1 sparse { rest: SPARSE_REST_EXCLUDED }", 0, ErrorReason::kFieldOutOfRange,
       "blocks[0].width", "0", "[1, 4]"},
      {"more slots than tokens", "row_count: 1 width: 5 sparse { rest: SPARSE_REST_EXCLUDED }", 40,
       ErrorReason::kFieldOutOfRange, "blocks[0].width", "5", "[1, 4]"},
      {"fewer shared ids than slots",
       "row_count: 1 width: 3 sparse { rest: SPARSE_REST_EXCLUDED shared_token_ids: [0, 1] }", 12,
       ErrorReason::kRowLengthMismatch, "blocks[0].sparse.shared_token_ids", "2", "3 ids (width)"},
      {"a shared id out of range",
       "row_count: 1 width: 2 sparse { rest: SPARSE_REST_EXCLUDED shared_token_ids: [0, 4] }", 8,
       ErrorReason::kTokenIdOutOfRange, "blocks[0].sparse.shared_token_ids[1]", "4", "[0, 4)"},
      {"a shared id twice", "row_count: 1 width: 2 sparse { rest: SPARSE_REST_EXCLUDED shared_token_ids: [3, 3] }", 8,
       ErrorReason::kDuplicateTokenId, "blocks[0].sparse.shared_token_ids[1]", "3",
       "an id that the set does not have already"},
      {"shared ids descend", "row_count: 1 width: 2 sparse { rest: SPARSE_REST_EXCLUDED shared_token_ids: [3, 1] }", 8,
       ErrorReason::kFieldOutOfRange, "blocks[0].sparse.shared_token_ids[1]", "1", "> 3, the id before it"},
      {"without ids", "row_count: 2 width: 2 sparse { rest: SPARSE_REST_EXCLUDED }", 16,
       ErrorReason::kRowLengthMismatch, "payload", "16", "32 bytes"},
      {"a byte more", "row_count: 2 width: 2 sparse { rest: SPARSE_REST_EXCLUDED }", 33,
       ErrorReason::kRowLengthMismatch, "payload", "33", "32 bytes"},
      {"ids of their own beside shared ones",
       "row_count: 1 width: 2 sparse { rest: SPARSE_REST_EXCLUDED shared_token_ids: [1, 3] }", 16,
       ErrorReason::kRowLengthMismatch, "payload", "16", "8 bytes"},
      {"more rows than a message may have", "row_count: 1025 width: 1 sparse { rest: SPARSE_REST_EXCLUDED }", 8200,
       ErrorReason::kLimitExceeded, "blocks[0].row_count", "1025", "[1, 1024]"},
      {"scales that its type has not", "row_count: 1 width: 1 linear_max: 1 sparse { rest: SPARSE_REST_EXCLUDED }", 8,
       ErrorReason::kFieldOutOfRange, "blocks[0].linear_max", "1", "empty except for LOGITS_DTYPE_LIN16"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    const Blocks blocks = BlocksOf({std::string("dtype: LOGITS_DTYPE_F32 ") + test.block});
    const absl::Status status = WireRows::Of(blocks, std::string(test.payload_bytes, '\0'), 4).status();
    ASSERT_THAT(status, HasReason(test.reason));
    EXPECT_EQ(DetailOf(status).field, test.field);
    EXPECT_EQ(DetailOf(status).value, test.value);
    EXPECT_EQ(DetailOf(status).bound, test.bound);
  }
}

TEST(SparseRowsTest, AWrongIdOfOneRowLeavesTheOthers) {
  const Blocks blocks =
      BlocksOf({"dtype: LOGITS_DTYPE_F32 row_count: 4 width: 2 sparse { rest: SPARSE_REST_EXCLUDED }"});
  std::string payload;
  AppendBytes<float>(payload, {1, 2, 3, 4, 5, 6, 7, 8});
  AppendBytes<int32_t>(payload, {0, 4, 1, 1, 3, 2, 1, 3});
  const auto rows = WireRows::Of(blocks, payload, 4);
  ASSERT_THAT(rows, IsOk());
  RowBuffers buffers;
  const auto refused = [&](int32_t row, ErrorReason reason) {
    const absl::Status status = rows->Row(row, buffers).status();
    EXPECT_THAT(status, HasReason(reason));
    EXPECT_EQ(DetailOf(status).field, "logits.token_ids[1]");
  };
  refused(0, ErrorReason::kTokenIdOutOfRange);
  refused(1, ErrorReason::kDuplicateTokenId);
  EXPECT_THAT(rows->Row(3, buffers), IsOkAndHolds(IsRow(ElementsAre(-kInf, 7, -kInf, 8))));
  refused(2, ErrorReason::kFieldOutOfRange);
  EXPECT_THAT(rows->Row(3, buffers), IsOkAndHolds(IsRow(ElementsAre(-kInf, 7, -kInf, 8))));
}

TEST(SparseRowsTest, ASingleSparseRowSaysItsVocabulary) {
  const std::string sparse =
      "block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 2 sparse { rest: SPARSE_REST_EXCLUDED } }";
  std::string bytes;
  AppendBytes<float>(bytes, {6, 3});
  AppendBytes<int32_t>(bytes, {0, 2});
  const struct {
    const char* name;
    std::string logits;
    ErrorReason reason;
    const char* field;
    const char* value;
  } cases[] = {
      {"unset", sparse, ErrorReason::kFieldRequired, "logits.vocab_size", ""},
      {"negative", sparse + " vocab_size: -1", ErrorReason::kFieldOutOfRange, "logits.vocab_size", "-1"},
      {"too large", sparse + " vocab_size: 1048577", ErrorReason::kLimitExceeded, "logits.vocab_size", "1048577"},
      {"below width", sparse + " vocab_size: 1", ErrorReason::kFieldOutOfRange, "logits.block.width", "2"},
      {"below an id", sparse + " vocab_size: 2", ErrorReason::kTokenIdOutOfRange, "logits.token_ids[1]", "2"},
      {"of a dense row", "block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } vocab_size: 4",
       ErrorReason::kFieldOutOfRange, "logits.vocab_size", "4"},
      {"two rows",
       "block { dtype: LOGITS_DTYPE_F32 row_count: 2 width: 1 sparse { rest: SPARSE_REST_EXCLUDED } } vocab_size: 3",
       ErrorReason::kFieldOutOfRange, "logits.block.row_count", "2"},
      {"too few bytes",
       "block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 3 sparse { rest: SPARSE_REST_EXCLUDED } } vocab_size: 3",
       ErrorReason::kRowLengthMismatch, "logits.values", "16"},
  };
  RowBuffers buffers;
  v1::Logits logits;
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(test.logits, &logits));
    logits.set_values(bytes);
    const absl::Status status = SingleRow(logits, buffers).status();
    ASSERT_THAT(status, HasReason(test.reason));
    EXPECT_EQ(DetailOf(status).field, test.field);
    EXPECT_EQ(DetailOf(status).value, test.value);
  }
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString("float_values: [1, 2] vocab_size: 2", &logits));
  EXPECT_THAT(SingleRow(logits, buffers), HasReason(ErrorReason::kFieldOutOfRange));
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(sparse + " vocab_size: 4", &logits));
  logits.set_values(bytes);
  EXPECT_THAT(SingleRow(logits, buffers), IsOkAndHolds(IsRow(ElementsAre(6, -kInf, 3, -kInf))));
}

TEST(SparseRowsTest, ARunnerSendsDenseRowsAlone) {
  v1::BatchOutput output;
  *output.mutable_blocks() = BlocksOf(
      {"dtype: LOGITS_DTYPE_F32 row_count: 1 width: 1 sparse { rest: SPARSE_REST_EXCLUDED shared_token_ids: 2 }"});
  EXPECT_THAT(FromProto(output, std::string(4, '\0'), 4, 4, {}), HasReason(ErrorReason::kRunnerProtocol));
  output.mutable_blocks(0)->clear_sparse();
  EXPECT_THAT(FromProto(output, std::string(4, '\0'), 1, 1, {}), IsOk());
}

// What the contract says of one slot, read byte by byte.
float ValueAt(const v1::LogitsBlock& block, int32_t row, const char* bytes) {
  uint32_t bits = 0;
  std::memcpy(&bits, bytes, block.dtype() == v1::LOGITS_DTYPE_F32 ? 4 : 2);
  float value = 0;
  switch (block.dtype()) {
    case v1::LOGITS_DTYPE_F32:
      std::memcpy(&value, &bits, 4);
      return value;
    case v1::LOGITS_DTYPE_BF16:
      bits <<= 16;
      std::memcpy(&value, &bits, 4);
      return value;
    case v1::LOGITS_DTYPE_F16:
      WidenF16(bytes, {&value, 1});
      return value;
    default:
      return bits == 65535 ? -kInf : std::fma(-static_cast<float>(bits), block.linear_step(row), block.linear_max(row));
  }
}

// The dense row of `row`, or nothing where an id is wrong.
std::vector<float> Reference(const v1::LogitsBlock& block, int32_t row, const char* bytes, int32_t vocab_size) {
  const int32_t width = block.width();
  const int32_t value_bytes = block.dtype() == v1::LOGITS_DTYPE_F32 ? 4 : 2;
  std::vector<float> dense(vocab_size, -kInf);
  int32_t last = -1;
  bool ended = false;
  for (int32_t slot = 0; slot < width; ++slot) {
    int32_t id = slot;
    if (block.sparse().shared_token_ids_size() > 0) {
      id = block.sparse().shared_token_ids(slot);
    } else if (block.has_sparse()) {
      std::memcpy(&id, bytes + block.row_count() * width * value_bytes + (row * width + slot) * 4, 4);
    }
    ended = ended || id == -1;
    if (ended ? id != -1 : (id <= last || id >= vocab_size)) return {};
    if (ended) continue;
    dense[id] = ValueAt(block, row, bytes + (row * width + slot) * value_bytes);
    last = id;
  }
  return dense;
}

// Random layouts over random bytes, of which a few are made ids that fit, in memory of exactly their length: nothing is
// read beyond it (under AddressSanitizer), nothing aborts, every row is right or refused.
TEST(SparseRowsTest, RandomBytesGiveTheRowOrAnError) {
  std::mt19937 random(20261125);
  // The values of a row whose ids alone matter.
  constexpr char kZeros[64] = {};
  const auto below = [&](uint32_t end) { return static_cast<int32_t>(random() % end); };
  int right = 0, refused_rows = 0, refused_layouts = 0;
  RowBuffers buffers;
  for (int round = 0; round < 20'000; ++round) {
    const int32_t vocab_size = 1 + below(7);
    Blocks blocks;
    std::vector<size_t> starts;
    std::string bytes;
    bool known_wrong = false;
    for (int b = below(3); b >= 0; --b) {
      v1::LogitsBlock& block = *blocks.Add();
      block.set_dtype(static_cast<v1::LogitsDtype>(1 + below(4)));
      block.set_row_count(1 + below(3));
      block.set_width(below(3) == 0 ? vocab_size : 1 + below(vocab_size));
      if (block.width() < vocab_size || below(2) == 0) block.mutable_sparse()->set_rest(v1::SPARSE_REST_EXCLUDED);
      for (int32_t row = 0; block.dtype() == v1::LOGITS_DTYPE_LIN16 && row < block.row_count(); ++row) {
        block.add_linear_max(static_cast<float>(below(9)) - 4);
        block.add_linear_step(static_cast<float>(below(3)) / 4);
      }
      starts.push_back(bytes.size());
      const int32_t slots = block.row_count() * block.width();
      for (int32_t i = slots * (block.dtype() == v1::LOGITS_DTYPE_F32 ? 4 : 2); i > 0; --i) {
        bytes.push_back(static_cast<char>(random()));
      }
      if (!block.has_sparse()) continue;
      const bool shared = below(3) == 0;
      for (int32_t row = 0; row < (shared ? 1 : block.row_count()); ++row) {
        int32_t next = 0;
        for (int32_t slot = 0; slot < block.width(); ++slot) {
          int32_t id = next < vocab_size ? next + below(vocab_size - next) : -1;
          if (below(2) == 0) id = std::min(id, next);
          if (below(40) == 0) id = below(12) - 4;
          if (below(100) == 0) id = static_cast<int32_t>(random());
          next = id >= next && id < vocab_size ? id + 1 : vocab_size;
          if (shared) {
            block.mutable_sparse()->add_shared_token_ids(id);
          } else {
            AppendBytes<int32_t>(bytes, {id});
          }
        }
      }
    }
    if (below(10) == 0) bytes.resize(below(static_cast<uint32_t>(bytes.size() + 1)));
    // At an odd address as often as not; to the byte.
    const size_t shift = below(4);
    const std::unique_ptr<char[]> memory(new char[shift + bytes.size()]);
    std::memcpy(memory.get() + shift, bytes.data(), bytes.size());
    const char* payload = memory.get() + shift;
    const auto rows = WireRows::Of(blocks, {payload, bytes.size()}, vocab_size);
    for (const v1::LogitsBlock& block : blocks) {
      known_wrong |= block.sparse().shared_token_ids_size() > 0 && Reference(block, 0, kZeros, vocab_size).empty();
    }
    if (!rows.ok()) {
      ++refused_layouts;
      const ErrorReason reason = DetailOf(rows.status()).reason;
      EXPECT_TRUE(known_wrong || reason == ErrorReason::kRowLengthMismatch) << rows.status();
      continue;
    }
    ASSERT_FALSE(known_wrong);
    int32_t index = 0;
    for (int b = 0; b < blocks.size(); ++b) {
      for (int32_t row = 0; row < blocks[b].row_count(); ++row, ++index) {
        const std::vector<float> expected = Reference(blocks[b], row, payload + starts[b], vocab_size);
        const auto found = rows->Row(index, buffers);
        ASSERT_EQ(found.ok(), !expected.empty()) << found.status();
        if (!found.ok()) {
          ++refused_rows;
          EXPECT_TRUE(DetailOf(found.status()).field.starts_with("logits.token_ids[")) << found.status();
          continue;
        }
        ++right;
        ASSERT_EQ(found->vocab_size(), vocab_size);
        for (int32_t id = 0; id < vocab_size; ++id) {
          const float value = (*found)[id];
          // A NaN may lose its payload when it is widened.
          ASSERT_TRUE(std::isnan(expected[id]) ? std::isnan(value)
                                               : std::memcmp(&value, &expected[id], sizeof(value)) == 0)
              << round;
        }
      }
    }
    ASSERT_EQ(index, rows->row_count());
  }
  EXPECT_GT(right, 20'000);
  EXPECT_GT(refused_rows, 1'000);
  EXPECT_GT(refused_layouts, 1'000);
}

}  // namespace
}  // namespace logitd::server

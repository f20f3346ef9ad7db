#include "core/hidden_tile.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/head_reference.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using testing::BuildHead;
using testing::HasReason;
using testing::HeadModel;
using testing::IsOk;
using testing::LogitsOf;
using testing::MakeTile;
using testing::NormalFloats;
using testing::SameBits;

// What the head multiplies, for d tokens with the unit vectors as weights.
std::vector<float> Contents(const HiddenTile& tile) {
  const int32_t d = tile.hidden_size();
  HeadModel model{d, d, std::vector<float>(static_cast<size_t>(d) * d), {}, 1, 0};
  for (int32_t k = 0; k < d; ++k) model.weights[static_cast<size_t>(k) * d + k] = 1;
  return LogitsOf(BuildHead(model)->columns(), tile);
}

TEST(HiddenTileTest, HoldsItsRowsInOrderAndAgainAfterClear) {
  HiddenTile tile(33);
  for (const size_t row_count : {1, 11, 12, 13, 40, 7}) {
    const std::vector<float> rows = NormalFloats(row_count * 33, 1, row_count);
    tile.Clear();
    for (size_t i = 0; i < row_count; ++i) ASSERT_THAT(tile.Add(std::span(rows).subspan(i * 33, 33)), IsOk());
    EXPECT_EQ(tile.row_count(), static_cast<int32_t>(row_count));
    EXPECT_TRUE(SameBits(Contents(tile), rows));
  }
  tile.Clear(2);
  ASSERT_THAT(tile.Add(std::vector<float>{5, 6}), IsOk());
  EXPECT_TRUE(SameBits(Contents(tile), std::vector<float>{5, 6}));
}

TEST(HiddenTileTest, ValuesThatAreNotFiniteAreNamedAndChangeNothing) {
  HiddenTile tile(3);
  ASSERT_THAT(tile.Add(std::vector<float>{1, 2, 3}), IsOk());
  const float inf = std::numeric_limits<float>::infinity();
  for (const float bad : {inf, -inf, std::numeric_limits<float>::quiet_NaN()}) {
    const absl::Status status = tile.Add(std::vector<float>{1, bad, bad});
    EXPECT_THAT(status, HasReason(ErrorReason::kFieldOutOfRange));
    EXPECT_EQ(DetailOf(status).field, "hidden[1]");
  }
  EXPECT_EQ(tile.row_count(), 1);
  EXPECT_TRUE(SameBits(Contents(tile), std::vector<float>{1, 2, 3}));
}

TEST(HiddenTileTest, RmsNormAgreesWithDoubleToTheLastBit) {
  for (const int32_t d : {1, 2, 64, 576}) {
    for (const double epsilon : {0.0, 1e-6, 1e-5, 0.5}) {
      for (const double deviation : {1e-3, 1.0, 300.0}) {
        const std::vector<float> rows = NormalFloats(2 * static_cast<size_t>(d), deviation, 3);
        const OutputNorm norm{NormalFloats(static_cast<size_t>(d), 2, 4), epsilon};
        const std::vector<float> found = Contents(MakeTile(rows, d, &norm));
        for (int32_t row = 0; row < 2; ++row) {
          long double squares = 0;
          for (int32_t k = 0; k < d; ++k) squares += static_cast<long double>(rows[row * d + k]) * rows[row * d + k];
          const long double root = std::sqrt(squares / d + epsilon);
          for (int32_t k = 0; k < d; ++k) {
            const long double expected = rows[row * d + k] * static_cast<long double>(norm.weight[k]) / root;
            // Half an ulp, and what the order of the operations in double may change.
            const double bound = std::fabs(static_cast<double>(expected)) * (0x1p-24 + 0x1p-45);
            ASSERT_NEAR(found[row * d + k], static_cast<double>(expected), bound) << d << " " << epsilon;
          }
        }
      }
    }
  }
}

TEST(HiddenTileTest, TilesAreBoundedAndOfLikeSize) {
  EXPECT_EQ(TileRows(49152, 256), 72);
  EXPECT_EQ(TileRows(49152, 64), 64);
  EXPECT_EQ(TileRows(49152, 1), 1);
  EXPECT_EQ(TileRows(1 << 20, 100), 4);
  EXPECT_EQ(TileRows(10, 256), 256);
  for (const int32_t columns : {1, 10, 1000, 49152, 128256, 131072, 1 << 20}) {
    for (const int64_t rows : {1, 5, 12, 64, 100, 256, 1024, 100000}) {
      int64_t left = rows;
      int tiles = 0;
      for (; left > 0; ++tiles) {
        const int32_t now = TileRows(columns, left);
        ASSERT_GE(now, 1);
        ASSERT_LE(now, left);
        ASSERT_LE(int64_t{now} * columns * 4, int64_t{16} << 20);
        left -= now;
      }
      // No more tiles than needed.
      const int64_t most = (int64_t{16} << 20) / 4 / columns;
      ASSERT_EQ(tiles, (rows + most - 1) / most) << columns << " " << rows;
    }
  }
}

}  // namespace
}  // namespace logitd

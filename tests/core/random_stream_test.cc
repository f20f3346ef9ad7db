#include "core/random_stream.h"

#include <array>
#include <random>
#include <set>

#include "Random123/philox.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd {
namespace {

using ::testing::ElementsAre;

// The known answers that come with the paper's Random123 library.
TEST(PhiloxTest, GivesTheKnownAnswers) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_THAT(Philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(PhiloxTest, AgreesWithRandom123) {
  std::mt19937 random(1);
  for (int i = 0; i < 10000; ++i) {
    const std::array<uint32_t, 4> counter = {static_cast<uint32_t>(random()), static_cast<uint32_t>(random()),
                                             static_cast<uint32_t>(random()), static_cast<uint32_t>(random())};
    const std::array<uint32_t, 2> key = {static_cast<uint32_t>(random()), static_cast<uint32_t>(random())};
    const r123::Philox4x32::ctr_type expected =
        r123::Philox4x32()({{counter[0], counter[1], counter[2], counter[3]}}, {{key[0], key[1]}});
    EXPECT_THAT(Philox4x32(counter, key), ElementsAre(expected[0], expected[1], expected[2], expected[3]));
  }
}

TEST(RandomStreamTest, LaysOutKeyAndCounterAsDocumented) {
  const uint64_t seed = 0x0123456789abcdef;
  const uint64_t sequence_key = 0x00fedcba98765432;
  const auto block = Philox4x32({5, 77, 0x76543200, 0xfedcba98}, {0x89abcdef, 0x01234567});
  EXPECT_EQ(RandomStream(seed, sequence_key, 77, RandomPurpose::kTokenDraw).Uniform64(5),
            (uint64_t{block[1]} << 32) | block[0]);
}

TEST(RandomStreamTest, EveryPartOfTheStateCounts) {
  std::set<uint64_t> seen;
  for (uint64_t seed : {0ull, 1ull, 1ull << 32, 1ull << 63}) {
    for (uint64_t key : {0ull, 1ull, 1ull << 24, 1ull << 55}) {
      for (int32_t position : {0, 1, 0x7fffffff}) {
        for (uint32_t index : {0u, 1u}) {
          seen.insert(RandomStream(seed, key, position, RandomPurpose::kTokenDraw).Uniform64(index));
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), 4 * 4 * 3 * 2);
}

}  // namespace
}  // namespace logitd

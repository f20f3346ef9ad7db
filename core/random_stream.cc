#include "core/random_stream.h"

namespace logitd {
namespace {

// The constants of Philox4x32: multipliers, and what a round adds to the key (the golden ratio, sqrt(3) - 1).
constexpr uint32_t kMultiplier0 = 0xD2511F53;
constexpr uint32_t kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9;
constexpr uint32_t kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;

}  // namespace

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * counter[0];
    const uint64_t product1 = uint64_t{kMultiplier1} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

RandomStream::RandomStream(uint64_t seed, uint64_t sequence_key, int32_t position, RandomPurpose purpose)
    : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
      position_(static_cast<uint32_t>(position)),
      stream_((sequence_key << 8) | static_cast<uint8_t>(purpose)) {}

uint64_t RandomStream::Uniform64(uint32_t index) const {
  const std::array<uint32_t, 4> block =
      Philox4x32({index, position_, static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)}, key_);
  return (uint64_t{block[1]} << 32) | block[0];
}

}  // namespace logitd

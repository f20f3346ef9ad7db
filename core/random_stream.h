// The random bits of one choice: a pure function of (seed, sequence key, position, purpose).
//
//   uint64_t u = RandomStream(seed, sequence_key, position, RandomPurpose::kTokenDraw).Uniform64(0);
//
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11). Counter-based: no state, so a
// draw can be repeated on any machine, in any order. Normative: docs/numerics.md, section 4.
#ifndef LOGITD_CORE_RANDOM_STREAM_H_
#define LOGITD_CORE_RANDOM_STREAM_H_

#include <array>
#include <cstdint>

namespace logitd {

// The purpose of random bits. Purposes never share a counter.
enum class RandomPurpose : uint8_t {
  kTokenDraw = 0,
  kRestDraw = 3,
  kXtc = 5,
  kFolds = 8,
  kBootstrap = 9,
};

// One block of Philox4x32-10. Thread-safe.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Thread-compatible value.
class RandomStream {
 public:
  // sequence_key in [0, 2^56), position in [0, 2^31).
  RandomStream(uint64_t seed, uint64_t sequence_key, int32_t position, RandomPurpose purpose);

  // 64 uniform random bits; equal index, equal bits.
  uint64_t Uniform64(uint32_t index) const;

 private:
  std::array<uint32_t, 2> key_;
  uint32_t position_;
  uint64_t stream_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_RANDOM_STREAM_H_

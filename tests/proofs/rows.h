// The rows that proofs are run on: made from a seed, the same on every machine.
#ifndef LOGITD_TESTS_PROOFS_ROWS_H_
#define LOGITD_TESTS_PROOFS_ROWS_H_

#include <cstdint>
#include <vector>

namespace logitd::proofs {

// SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014): not core's generator, and
// the C++ library's distributions differ between hosts.
class RowRandom {
 public:
  explicit RowRandom(uint64_t seed) : state_(seed) {}
  uint64_t Bits();
  // [0, 1), a multiple of 2^-53.
  double Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }
  // Mean 0, standard deviation 1: a sum of four uniforms.
  double Bell();

 private:
  uint64_t state_;
};

enum class RowFamily {
  kNarrow,      // standard deviation 1
  kWide,        // 3
  kVeryWide,    // 30: most tokens weigh nothing
  kPeaked,      // 3, and one token of half the mass or so
  kEqual,       // all the same
  kRamp,        // evenly spaced over some range
  kWithHoles,   // a third is -inf
  kHuge,        // magnitudes up to 1e30
  kWorstError,  // each term's rounding errors point the same way: see MakeProofRow
};
inline constexpr int kRowFamilyCount = 9;

// What the errors of one row depend on.
struct ProofRow {
  std::vector<float> logits;
  double temperature = 1;
};

// Row number `index` of the family index % kRowFamilyCount, with a temperature of its own: 1, or drawn evenly in
// log scale from [1e-4, 1e6], or near 1.
// kWorstError: nearly all tokens lie at one distance d below the maximum, which f32 rounds by half a unit, with
// d / T = ln(vocab_size) - 2 or so, where their error and their mass are largest together.
ProofRow MakeProofRow(int32_t vocab_size, uint64_t index);

// Distinct logits, N(0, scale)-like, in random order: rows without ties. REQUIRES: vocab_size <= 2^20.
std::vector<float> MakeDistinctRow(int32_t vocab_size, double scale, uint64_t seed);

}  // namespace logitd::proofs

#endif  // LOGITD_TESTS_PROOFS_ROWS_H_

// The bytes of a fuzzer as numbers, and what a fuzz target says when something is wrong.
//
//   FuzzInput input(data, size);
//   const auto n = input.Below(3000) + 1;
//   LOGITD_FUZZ_CHECK(found == expected, "total_weight at " << n);
//
// One thread.
#ifndef LOGITD_TESTS_FUZZ_FUZZ_INPUT_H_
#define LOGITD_TESTS_FUZZ_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <vector>

namespace logitd::fuzz {

// Bytes first; when they are used up, a generator that is seeded with all of them goes on: a short input is a long row.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size);

  uint64_t Bits();
  // [0, bound). REQUIRES: bound >= 1.
  uint64_t Below(uint64_t bound) { return Bits() % bound; }
  // [0, 1).
  double Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  // A row of one kind or another: raw bits, ties, spreads from flat to wide, holes of -inf, magnitudes up to 1e38.
  // `finite`: no NaN, no +inf, and at least one value that is not -inf.
  std::vector<float> Row(size_t n, bool finite);
  // [(n + 63) / 64], of which the bits beyond n mean nothing.
  std::vector<uint64_t> Mask(size_t n);
  // In [1e-4, 1e6], often 1 or near it.
  double Temperature();
  // Around the sizes where loops change, up to about 3000.
  size_t RowSize();

 private:
  uint64_t Next();

  const uint8_t* data_;
  size_t left_;
  uint64_t state_ = 0;
};

}  // namespace logitd::fuzz

// Ends the program, as a fuzzer wants it, and says what was wrong.
#define LOGITD_FUZZ_CHECK(condition, what)                                                   \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::cerr << __FILE__ << ":" << __LINE__ << ": " #condition ": " << what << std::endl; \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)

#endif  // LOGITD_TESTS_FUZZ_FUZZ_INPUT_H_

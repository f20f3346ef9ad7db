#include "core/float_environment.h"

#include <cstdint>

namespace logitd {
namespace {

#if defined(__x86_64__)
// MXCSR: flush to zero (bit 15), rounding mode (14, 13), subnormals are zeros (6).
constexpr uint32_t kInexactBits = 0xE040;
uint32_t ReadMode() { return __builtin_ia32_stmxcsr(); }
void WriteMode(uint32_t mode) { __builtin_ia32_ldmxcsr(mode); }
#elif defined(__aarch64__)
// FPCR: flush to zero (bit 24), rounding mode (23, 22), flush of binary16 (19).
constexpr uint64_t kInexactBits = 0x1C80000;
uint64_t ReadMode() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void WriteMode(uint64_t mode) { asm volatile("msr fpcr, %0" ::"r"(mode)); }
#else
constexpr uint32_t kInexactBits = 0;
uint32_t ReadMode() { return 0; }
void WriteMode(uint32_t) {}
#endif

}  // namespace

void UseExactFloats() {
  const auto mode = ReadMode();
  if ((mode & kInexactBits) != 0) WriteMode(mode & ~kInexactBits);
}

bool FloatsAreExact() { return (ReadMode() & kInexactBits) == 0; }

}  // namespace logitd

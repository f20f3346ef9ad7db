// Sets how long ggml's threads spin at a barrier before they sleep.
//
// A token of a small model has hundreds of barriers. Most waits are shorter than the time to sleep and wake, so the
// threads spin. But a thread that shares its CPU with other work may be away for milliseconds, and the threads that
// spin meanwhile take the very CPU time that it needs. Measured beside two busy loops and compilers on two CPUs:
//
//   spins      tokens/s
//   300,000    3          libgomp's own default, 4 ms
//   10,000     11
//   1,000      19         free_cpus.h then takes fewer threads
//
// Without other work, 10,000 are as fast as 300,000, and 1,000 take 4 % longer.
//
// libgomp reads its environment once, before main, and has no function for this setting. It is linked statically, so
// that a constructor with a priority runs before its own. A value that the environment has already is left alone.
#include <stdlib.h>

namespace logitd::runner {
namespace {

// Rounds of one pause instruction each.
constexpr char kSpins[] = "10000";

// 101 is the first priority that is not reserved for the compiler.
__attribute__((constructor(101))) void SetSpins() {
  if (::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", kSpins, /*overwrite=*/0);
}

}  // namespace
}  // namespace logitd::runner

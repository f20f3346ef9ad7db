// How long ggml's threads spin at a barrier before they sleep.
//
// A token of a small model has hundreds of barriers, and most are waited for less than it takes to sleep and wake: so
// they spin. But a thread that shares its CPU with other work may be away for milliseconds, and who spins for it takes
// the very time that it waits for: with libgomp's own 300,000 rounds (4 ms) beside two busy loops and compilers on two
// CPUs, 3 tokens/s; with 10,000, 11; with 1,000, 19 (free_cpus.h then takes fewer threads). Where nobody else computes,
// 10,000 are as fast as 300,000, and 1,000 take 4 % longer.
//
// libgomp reads its environment once, before main, and has no function for it. It is linked statically, so that a
// constructor with a priority comes before its own. What the environment says already is left as it is.
#include <stdlib.h>

namespace logitd::runner {
namespace {

// Rounds of one pause instruction each.
constexpr char kSpins[] = "10000";

// 101: the first that is not the compiler's own.
__attribute__((constructor(101))) void SetSpins() {
  if (::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", kSpins, /*overwrite=*/0);
}

}  // namespace
}  // namespace logitd::runner

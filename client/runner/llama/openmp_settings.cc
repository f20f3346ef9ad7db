// How long ggml's threads spin at a barrier before they sleep.
//
// A token of a small model has hundreds of barriers, and most are waited for less than it takes to sleep and wake: so
// they spin. But a thread that shares its CPU with other work may be away for milliseconds, and who spins for it takes
// the very time that it waits for. libgomp's own 300,000 rounds are such milliseconds.
//
// libgomp reads its environment once, before main, and has no function for it. It is linked statically, so that a
// constructor with a priority comes before its own. What the environment says already is left as it is.
#include <stdlib.h>

namespace logitd::runner {
namespace {

// Rounds of one pause instruction each.
constexpr char kSpins[] = "1000";

// 101: the first that is not the compiler's own.
__attribute__((constructor(101))) void SetSpins() {
  if (::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", kSpins, /*overwrite=*/0);
}

}  // namespace
}  // namespace logitd::runner

// Sets the processor's floating-point mode, which each thread has: round to nearest, keep subnormal numbers. A library
// built with -ffast-math sets "flush to zero" in the thread that loads it, and threads inherit it. Subnormal logits
// would then tie with zero, and log-probs would change.
//
//   void Work() { UseExactFloats(); ... }   // a thread that computes calls it first
//
// Distribution::Assign and ReadRow call it too: a few cycles if nothing is to be done.
// Thread-safe: acts on the calling thread only, permanently.
#ifndef LOGITD_CORE_FLOAT_ENVIRONMENT_H_
#define LOGITD_CORE_FLOAT_ENVIRONMENT_H_

namespace logitd {

// Nearest rounding, no flushing of results to zero, no reading of subnormal operands as zero.
void UseExactFloats();
// Whether the calling thread has that mode.
bool FloatsAreExact();

}  // namespace logitd

#endif  // LOGITD_CORE_FLOAT_ENVIRONMENT_H_

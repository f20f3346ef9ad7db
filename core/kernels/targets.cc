#include <atomic>

#include "core/kernels/row_kernels.h"

namespace logitd::kernels {
namespace {

// Null until the first row or UseKernels. Relaxed: the tables are constants, and every choice gives the same bits.
std::atomic<const RowKernels*> active = nullptr;

}  // namespace

size_t AvailableKernels(const RowKernels** targets) {
  size_t count = VectorKernels(targets);
  targets[count++] = &kScalarKernels;
  return count;
}

const RowKernels& ActiveKernels() {
  if (const RowKernels* kernels = active.load(std::memory_order_relaxed)) return *kernels;
  const RowKernels* targets[kMaxTargets];
  AvailableKernels(targets);
  // Not a plain store: a choice that UseKernels made meanwhile stays.
  const RowKernels* expected = nullptr;
  active.compare_exchange_strong(expected, targets[0], std::memory_order_relaxed);
  return expected == nullptr ? *targets[0] : *expected;
}

void UseKernels(const RowKernels& kernels) { active.store(&kernels, std::memory_order_relaxed); }

}  // namespace logitd::kernels

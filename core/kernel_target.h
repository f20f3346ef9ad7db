// The instruction set that computes the rows. All give the same bits (docs/numerics.md) and differ only in speed.
//
//   RETURN_IF_ERROR(SelectKernelTarget("avx2"));  // once, before the first row; without it: the best there is
//   KernelTarget();                               // "AVX2"
//
// Thread-safe. Rows in work while the target changes are finished with either target, to the same bits.
#ifndef LOGITD_CORE_KERNEL_TARGET_H_
#define LOGITD_CORE_KERNEL_TARGET_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace logitd {

// The targets that this program has and this processor can run, the best first. The last is "SCALAR", which every
// processor can run.
// Names: "AVX512", "AVX2", "SCALAR". (On 64-bit Arm, for which logitd is not built so far: "NEON", "SCALAR".)
std::vector<std::string> AvailableKernelTargets();

// Uses `name`, in any case, from now on. Errors: FIELD_OUT_OF_RANGE (field "kernel_target") naming what this processor
// has.
absl::Status SelectKernelTarget(std::string_view name);

// The one in use.
std::string KernelTarget();

}  // namespace logitd

#endif  // LOGITD_CORE_KERNEL_TARGET_H_

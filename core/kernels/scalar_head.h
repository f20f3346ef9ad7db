// The product of a softmax head for kScalarKernels: the reference that every other target equals.
#ifndef LOGITD_CORE_KERNELS_SCALAR_HEAD_H_
#define LOGITD_CORE_KERNELS_SCALAR_HEAD_H_

#include "core/kernels/head_kernels.h"

namespace logitd::kernels {

void ComputeLogitsScalar(const HeadProduct& product);

}  // namespace logitd::kernels

#endif  // LOGITD_CORE_KERNELS_SCALAR_HEAD_H_

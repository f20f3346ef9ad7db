#include "core/logit_sample.h"

namespace logitd {

void LogitSample::Sort(float max, const kernels::ExpConstants* constants) {
  sorter_.SortDescending(logits_.data(), logits_.size());
  masses_.assign(logits_.size(), 1);
  if (constants != nullptr) {
    kernels::ActiveKernels().weigh(logits_.data(), logits_.size(), max, *constants, masses_.data());
  }
}

size_t LogitSample::PlaceBefore(double beyond, double each) const {
  size_t place = size();
  while (place > 0 && beyond > 0) beyond -= each * static_cast<double>(masses_[--place]);
  return place;
}

}  // namespace logitd

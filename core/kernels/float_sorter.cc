#include "core/kernels/float_sorter.h"

#include "hwy/contrib/sort/vqsort.h"

namespace logitd::kernels {

FloatSorter::FloatSorter() = default;
FloatSorter::~FloatSorter() = default;
FloatSorter::FloatSorter(FloatSorter&&) noexcept = default;
FloatSorter& FloatSorter::operator=(FloatSorter&&) noexcept = default;

void FloatSorter::SortDescending(float* values, size_t count) {
  if (sorter_ == nullptr) sorter_ = std::make_unique<hwy::Sorter>();
  (*sorter_)(values, count, hwy::SortDescending());
}

}  // namespace logitd::kernels

// A few logits, descending, and what each weighs. As a sample of a row, it says about where in the order a prefix ends.
//
//   sample.Clear();
//   for (...) sample.Add(logit);
//   sample.Sort(max, constants);
//   size_t place = sample.PlaceBefore(beyond);
//
// Holds buffers that only grow. Thread-compatible; can be moved, not copied.
#ifndef LOGITD_CORE_LOGIT_SAMPLE_H_
#define LOGITD_CORE_LOGIT_SAMPLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/kernels/float_sorter.h"
#include "core/kernels/row_kernels.h"

namespace logitd {

class LogitSample {
 public:
  void Clear() { logits_.clear(); }
  void Add(float logit) { logits_.push_back(logit); }
  // `constants` null: the mass of each is 1.
  void Sort(float max, const kernels::ExpConstants* constants);

  size_t size() const { return logits_.size(); }
  // The mass of the logit at a place. REQUIRES: place < size().
  uint64_t MassAt(size_t place) const { return masses_[place]; }
  // The logit at a place, the largest at 0; places beyond the last are the last.
  float At(size_t place) const { return logits_[place < size() ? place : size() - 1]; }
  // The place that has about `beyond` mass after it, each of the sample standing for `each` tokens. Added up from the
  // end, because what is beyond a cut are many tokens of small mass, which a sample estimates well.
  size_t PlaceBefore(double beyond, double each) const;

 private:
  std::vector<float> logits_;
  std::vector<uint64_t> masses_;
  kernels::FloatSorter sorter_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_LOGIT_SAMPLE_H_

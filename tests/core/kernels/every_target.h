// Runs a test once per kernel target of this processor:
//
//   class WidenTest : public EveryTarget {};
//   LOGITD_ON_EVERY_TARGET(WidenTest);
//   TEST_P(WidenTest, IsExact) { target().widen_f16(...); }
//
// While a test runs, its target is also the one that core uses.
#ifndef LOGITD_TESTS_CORE_KERNELS_EVERY_TARGET_H_
#define LOGITD_TESTS_CORE_KERNELS_EVERY_TARGET_H_

#include <string>
#include <vector>

#include "core/kernels/row_kernels.h"
#include "gtest/gtest.h"

namespace logitd::testing {

inline std::vector<const kernels::RowKernels*> Targets() {
  std::vector<const kernels::RowKernels*> targets(kernels::kMaxTargets);
  targets.resize(kernels::AvailableKernels(targets.data()));
  return targets;
}

class EveryTarget : public ::testing::TestWithParam<const kernels::RowKernels*> {
 protected:
  EveryTarget() { kernels::UseKernels(target()); }
  ~EveryTarget() override { kernels::UseKernels(before_); }
  const kernels::RowKernels& target() const { return *GetParam(); }

 private:
  const kernels::RowKernels& before_ = kernels::ActiveKernels();
};

inline std::string TargetName(const ::testing::TestParamInfo<const kernels::RowKernels*>& info) {
  return info.param->target;
}

}  // namespace logitd::testing

#define LOGITD_ON_EVERY_TARGET(suite)                                                         \
  INSTANTIATE_TEST_SUITE_P(Targets, suite, ::testing::ValuesIn(::logitd::testing::Targets()), \
                           ::logitd::testing::TargetName)

#endif  // LOGITD_TESTS_CORE_KERNELS_EVERY_TARGET_H_

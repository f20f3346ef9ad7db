#include "core/kernel_target.h"

#include <cstddef>
#include <span>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "core/errors.h"
#include "core/kernels/row_kernels.h"

namespace logitd {

std::vector<std::string> AvailableKernelTargets() {
  const kernels::RowKernels* targets[kernels::kMaxTargets];
  const size_t count = kernels::AvailableKernels(targets);
  std::vector<std::string> names;
  for (const kernels::RowKernels* target : std::span(targets, count)) names.emplace_back(target->target);
  return names;
}

absl::Status SelectKernelTarget(std::string_view name) {
  const kernels::RowKernels* targets[kernels::kMaxTargets];
  const size_t count = kernels::AvailableKernels(targets);
  std::string available;
  for (const kernels::RowKernels* target : std::span(targets, count)) {
    if (absl::EqualsIgnoreCase(absl::string_view(name.data(), name.size()), target->target)) {
      kernels::UseKernels(*target);
      return absl::OkStatus();
    }
    if (!available.empty()) available += target == targets[count - 1] ? " or " : ", ";
    available += target->target;
  }
  return errors::OutOfRange("kernel_target", name, available + " (what this processor has)");
}

std::string KernelTarget() { return kernels::ActiveKernels().target; }

}  // namespace logitd

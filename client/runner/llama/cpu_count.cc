#include "client/runner/llama/cpu_count.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

namespace logitd::runner {
namespace {

// CPUs of the quota; 0: none is set. Seen from inside a container, its own group is the root.
int QuotaCpuCount() {
  double quota = 0;
  double period = 0;
  std::string word;
  if (std::ifstream file("/sys/fs/cgroup/cpu.max"); file >> word >> period && word != "max") {
    quota = std::stod(word);
  } else {
    std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(quota_file >> quota) || !(period_file >> period)) return 0;
  }
  if (quota <= 0 || period <= 0) return 0;
  return std::max(1, static_cast<int>(quota / period));
}

}  // namespace

int UsableCpuCount() {
  int count = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (const int quota = QuotaCpuCount(); quota > 0) count = std::min(count, quota);
  return count;
}

}  // namespace logitd::runner

// The memory that is really there for this process: of the machine, and of the control groups that it lies in.
//
//   const AvailableMemory memory = MeasureAvailableMemory();
//   memory.bytes   // 1.6 GiB in a container that may use 2 GiB and uses 0.4
//
// Thread-safe: free functions without state.
#ifndef LOGITD_HOST_AVAILABLE_MEMORY_H_
#define LOGITD_HOST_AVAILABLE_MEMORY_H_

#include <cstdint>
#include <string>

namespace logitd::host {

struct AvailableMemory {
  // What can still be used without swapping. Pages of files that are only cached count as free: the kernel takes them.
  int64_t bytes = 0;
  // What bounds it, for people: "this machine", or "the control group's limit of 2.0 GiB".
  std::string bound;
};

// The least of MemAvailable, and of limit minus use of every control group from this process's own up to the root, in
// cgroup v1 and v2. `root` is "" but in tests, which lay out the files below a folder of their own.
AvailableMemory MeasureAvailableMemory(const std::string& root = "");

// "1.6 GiB", "640 MiB".
std::string ByteText(int64_t bytes);

}  // namespace logitd::host

#endif  // LOGITD_HOST_AVAILABLE_MEMORY_H_

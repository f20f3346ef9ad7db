// How many CPUs this process may keep busy.
//
// Thread-safe: a free function without state.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_CPU_COUNT_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_CPU_COUNT_H_

namespace logitd::runner {

// The number of CPUs in the affinity mask, but at most the whole CPUs of the control group's quota (a container's
// --cpus). >= 1.
int UsableCpuCount();

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_CPU_COUNT_H_

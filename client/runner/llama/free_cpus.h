// Chooses the number of computing threads: one for each CPU that other programs leave free.
//
//   FreeCpus cpus(/*limit=*/UsableCpuCount());
//   const int threads = cpus.Begin();  // before each batch
//   llama_set_n_threads(context, threads, threads);
//   llama_decode(context, batch);
//   cpus.End();
//
// The threads of one batch wait for each other at hundreds of barriers per token. If one of them has to share its CPU,
// all advance only as fast as that one, and fewer threads get more done. docs/adr/0016-threads-that-follow.md.
//
// Not thread-safe.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_FREE_CPUS_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_FREE_CPUS_H_

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace logitd::runner {

// CPU time in seconds, counted from a fixed moment.
struct CpuUse {
  // On the CPUs that this process may use, by all programs except those with a positive nice value, which give way to
  // this process. If this process itself has such a value, they count too.
  double all = 0;
  // By this process.
  double own = 0;
};

// Returns the seconds that these CPUs were busy; `with_nice`: including niced programs. `stat`: the text of /proc/stat.
// Nothing if the text does not cover one of the CPUs.
std::optional<double> BusySeconds(const std::string& stat, const std::vector<int>& cpus, bool with_nice);

// The number of threads on `cpus` CPUs of which other programs use `others`, in [1, limit]. A CPU of which others use
// less than 0.6 counts as free, because a server that hands out tokens takes a part of one.
int ThreadsBeside(int limit, int cpus, double others);

class FreeCpus {
 public:
  using Clock = std::chrono::steady_clock;

  // `limit`: the most threads that are wanted, >= 1.
  explicit FreeCpus(int limit);
  // For tests. If `use` returns nothing, because the system does not report CPU times, Begin always returns `limit`.
  FreeCpus(int limit, int cpus, std::function<std::optional<CpuUse>()> use, std::function<Clock::time_point()> now);

  // A batch begins. Returns its number of threads, in [1, limit], from the CPU time that others used since the last
  // look, up to a quarter of a second ago. After a pause the number is `limit` and the next look comes soon: the
  // activity of others during a pause says little, because this process may have been waiting for it.
  int Begin();
  // The batch has ended.
  void End() { ended_at_ = now_(); }

 private:
  const int limit_;
  const int cpus_;
  const std::function<std::optional<CpuUse>()> use_;
  const std::function<Clock::time_point()> now_;
  int threads_;
  // The last look.
  Clock::time_point looked_at_;
  std::optional<CpuUse> seen_;
  Clock::duration until_next_look_;
  Clock::time_point ended_at_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_FREE_CPUS_H_

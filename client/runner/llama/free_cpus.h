// How many threads should compute: as many as the CPUs that others leave free.
//
//   FreeCpus cpus(/*limit=*/UsableCpuCount());
//   const int threads = cpus.Begin();  // before each batch
//   llama_set_n_threads(context, threads, threads);
//   llama_decode(context, batch);
//   cpus.End();
//
// Threads that compute one batch wait for each other at hundreds of barriers a token. If one of them has to share its
// CPU, all advance no faster than that one, and fewer threads get more done.
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

// CPU time that was used, in seconds, since some moment that stays the same.
struct CpuUse {
  // Of the CPUs that this process may use, by everything but programs of a positive nice value, which give way to this
  // process; if it has such a value itself, they count.
  double all = 0;
  // By this process.
  double own = 0;
};

// `stat`: the text of /proc/stat. Seconds that these CPUs were busy, with those of niced programs if `with_nice`.
// Nothing if it does not say so of one of them.
std::optional<double> BusySeconds(const std::string& stat, const std::vector<int>& cpus, bool with_nice);

// Threads for `cpus` CPUs of which others use `others`, at least 1 and at most `limit`. A CPU of which others use less
// than 0.6 counts as free: a server that hands out tokens takes some of it.
int ThreadsBeside(int limit, int cpus, double others);

class FreeCpus {
 public:
  using Clock = std::chrono::steady_clock;

  // Most threads that are wanted, >= 1.
  explicit FreeCpus(int limit);
  // For tests. `use` gives nothing where the system does not say it: then it is always `limit`.
  FreeCpus(int limit, int cpus, std::function<std::optional<CpuUse>()> use, std::function<Clock::time_point()> now);

  // A batch begins: threads for it, in [1, limit], from what others have used since the last look, a quarter of a
  // second ago. After a pause it is `limit`, and the next look is soon: what others did meanwhile says little, as it
  // may be what this process waited for.
  int Begin();
  // It has ended.
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

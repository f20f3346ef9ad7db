#include "client/runner/llama/free_cpus.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

namespace logitd::runner {
namespace {

// Long enough for the hundredths of a second in which the system counts, short enough that no user has to wait for it.
constexpr std::chrono::milliseconds kBetweenLooks{250};
// After a pause nothing is known, and ten hundredths are better than nothing.
constexpr std::chrono::milliseconds kFirstLook{100};
// This time without a batch is a pause.
constexpr std::chrono::milliseconds kPause{250};
// The part of a CPU that others may use while it still counts as free.
constexpr double kFreeBelow = 0.6;

std::vector<int> AllowedCpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::optional<CpuUse> UseOfSystem(const std::vector<int>& cpus) {
  std::ifstream file("/proc/stat");
  const std::string stat(std::istreambuf_iterator<char>(file), {});
  const std::optional<double> all = BusySeconds(stat, cpus, ::getpriority(PRIO_PROCESS, 0) > 0);
  timespec own{};
  if (!all || ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own) != 0) return std::nullopt;
  return CpuUse{*all, static_cast<double>(own.tv_sec) + static_cast<double>(own.tv_nsec) * 1e-9};
}

}  // namespace

std::optional<double> BusySeconds(const std::string& stat, const std::vector<int>& cpus, bool with_nice) {
  double ticks = 0;
  size_t found = 0;
  std::istringstream lines(stat);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    int cpu = 0;
    words >> name;
    if (name.rfind("cpu", 0) != 0 || !(std::istringstream(name.substr(3)) >> cpu)) continue;
    if (std::find(cpus.begin(), cpus.end(), cpu) == cpus.end()) continue;
    // Time stolen from a virtual machine is other programs' work too.
    double user = 0, nice = 0, system = 0, idle = 0, io_wait = 0, irq = 0, soft_irq = 0, stolen = 0;
    if (!(words >> user >> nice >> system >> idle >> io_wait >> irq >> soft_irq >> stolen)) continue;
    ++found;
    ticks += user + (with_nice ? nice : 0) + system + irq + soft_irq + stolen;
  }
  if (found == 0 || found != cpus.size()) return std::nullopt;
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

int ThreadsBeside(int limit, int cpus, double others) {
  return std::clamp(static_cast<int>(cpus - std::max(others, 0.0) + kFreeBelow), 1, limit);
}

FreeCpus::FreeCpus(int limit)
    : FreeCpus(
          limit, static_cast<int>(AllowedCpus().size()), [cpus = AllowedCpus()] { return UseOfSystem(cpus); },
          &Clock::now) {}

FreeCpus::FreeCpus(int limit, int cpus, std::function<std::optional<CpuUse>()> use,
                   std::function<Clock::time_point()> now)
    : limit_(limit),
      cpus_(cpus),
      use_(std::move(use)),
      now_(std::move(now)),
      threads_(limit),
      looked_at_(now_()),
      seen_(use_()),
      until_next_look_(kFirstLook),
      ended_at_(looked_at_) {}

int FreeCpus::Begin() {
  const Clock::time_point now = now_();
  const bool is_after_pause = now - ended_at_ >= kPause;
  if (!seen_ || (!is_after_pause && now - looked_at_ < until_next_look_)) return threads_;
  const std::optional<CpuUse> use = use_();
  if (is_after_pause || !use) {
    threads_ = limit_;
  } else {
    const double seconds = std::chrono::duration<double>(now - looked_at_).count();
    threads_ = ThreadsBeside(limit_, cpus_, ((use->all - seen_->all) - (use->own - seen_->own)) / seconds);
  }
  until_next_look_ = is_after_pause ? kFirstLook : kBetweenLooks;
  looked_at_ = now;
  seen_ = use;
  return threads_;
}

}  // namespace logitd::runner

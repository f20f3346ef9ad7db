#include "server/step_crew.h"

#include <algorithm>
#include <exception>

#include "core/float_environment.h"

namespace logitd::server {

StepCrew::~StepCrew() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  has_job_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void StepCrew::WorkOn(Job& job) {
  for (size_t i = job.next.fetch_add(1); i < job.count; i = job.next.fetch_add(1)) job.work(i);
}

void StepCrew::Run(size_t count, size_t helpers, absl::FunctionRef<void(size_t)> work) {
  if (count > 0) helpers = std::min({helpers, count - 1, static_cast<size_t>(helper_count_)});
  if (count == 0 || helpers == 0) {
    for (size_t i = 0; i < count; ++i) work(i);
    return;
  }
  Job job{.work = work, .count = count, .next = 0, .wanted = helpers, .busy = 0, .done = {}};
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(&job);
    MakeThreads();
  }
  for (size_t i = 0; i < helpers; ++i) has_job_.notify_one();
  WorkOn(job);
  std::unique_lock lock(mutex_);
  std::erase(jobs_, &job);
  job.done.wait(lock, [&job] { return job.busy == 0; });
}

size_t StepCrew::thread_count() const {
  std::lock_guard lock(mutex_);
  return threads_.size();
}

void StepCrew::MakeThreads() {
  size_t wanted = 0;
  for (const Job* job : jobs_) wanted += job->wanted;
  try {
    for (size_t idle = static_cast<size_t>(idle_count_);
         idle < wanted && threads_.size() < static_cast<size_t>(helper_count_); ++idle) {
      threads_.emplace_back([this] { Help(); });
    }
  } catch (const std::exception&) {
    // The system gives no more threads: the existing ones do the work.
  }
}

void StepCrew::Help() {
  UseExactFloats();
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_count_;
    has_job_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    --idle_count_;
    if (jobs_.empty()) return;
    Job& job = *jobs_.front();
    jobs_.pop_front();
    ++job.busy;
    // Go behind the others, so that one large job does not take all helpers.
    if (--job.wanted > 0) jobs_.push_back(&job);
    lock.unlock();
    WorkOn(job);
    lock.lock();
    // Under the lock, because the caller destroys the condition variable.
    if (--job.busy == 0) job.done.notify_one();
  }
}

}  // namespace logitd::server

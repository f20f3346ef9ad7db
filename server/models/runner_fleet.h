// The runners of one model that this process starts and supervises.
#ifndef LOGITD_SERVER_MODELS_RUNNER_FLEET_H_
#define LOGITD_SERVER_MODELS_RUNNER_FLEET_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/models/child_runner.h"
#include "server/models/model_pool.h"
#include "server/models/runner_end.h"

namespace logitd::server {

struct FleetOptions {
  std::string model_name;
  // Runners, >= 1.
  int count = 1;
  // The program and its arguments for the runner of that name, which it has to say when it attaches.
  std::function<std::vector<std::string>(const std::string& runner_name)> command;
};

// Thread-safe.
class RunnerFleet {
 public:
  // Starts the runners and tells the pool to expect them.
  RunnerFleet(FleetOptions options, ModelPool& pool, ChildEvents events);
  // Stops them all.
  ~RunnerFleet();

  // Tells all runners to end, and starts none again.
  void RequestStop();

  // A runner of that name has attached, or has ended its attachment. Others' names are ignored.
  void OnAttached(const std::string& runner_name);
  void OnDetached(const std::string& runner_name);
  // As ChildRunner::AwaitEnd; kUnknown for others' names.
  std::optional<RunnerEnd> AwaitEnd(const std::string& runner_name, std::function<void(const RunnerEnd&)> then);

  // Whether every runner has ended before any had attached: the model cannot be served.
  bool HasFailed() const;
  // How the one that ended last did, for people, with the last line that it wrote.
  std::string last_exit() const;

 private:
  void OnExit(const RunnerExit& exit);

  const FleetOptions options_;
  ModelPool& pool_;
  const ChildEvents events_;
  mutable std::mutex mutex_;
  bool any_attached_ = false;
  std::set<std::string> exited_;
  std::string last_exit_;
  // Those that will not be back soon.
  std::set<std::string> away_;
  // Last: their threads use the rest. Constant once made.
  std::map<std::string, std::unique_ptr<ChildRunner>> runners_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_RUNNER_FLEET_H_

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

#include "server/models/child_process.h"
#include "server/models/model_pool.h"
#include "server/models/runner_end.h"

namespace logitd::server {

struct FleetOptions {
  std::string model_name;
  // Number of runners, >= 1.
  int count = 1;
  // The program and its arguments for the runner of that name. The runner must give this name when it attaches.
  std::function<std::vector<std::string>(const std::string& runner_name)> command;
};

// Thread-safe.
class RunnerFleet {
 public:
  // Starts the runners, and tells the pool to expect them.
  RunnerFleet(FleetOptions options, ModelPool& pool, ChildEvents events);
  // Stops all runners and waits for their ends.
  ~RunnerFleet();

  // Asks all runners to end. None is started again.
  void RequestStop();

  // A runner has attached, or its attachment has ended. Names of other runners are ignored.
  void OnAttached(const std::string& runner_name);
  void OnDetached(const std::string& runner_name);
  // As ChildProcess::AwaitEnd. kUnknown for the names of other runners.
  std::optional<RunnerEnd> AwaitEnd(const std::string& runner_name, std::function<void(const RunnerEnd&)> then);

  // Whether every runner has ended and none had attached before. The model cannot be served then.
  bool HasFailed() const;
  // How a runner last ended, with the last line that it wrote; for people.
  std::string last_exit() const;

 private:
  void OnExit(const ChildExit& exit);

  const FleetOptions options_;
  ModelPool& pool_;
  const ChildEvents events_;
  mutable std::mutex mutex_;
  bool any_attached_ = false;
  std::set<std::string> exited_;
  std::string last_exit_;
  // The runners that will not be back soon.
  std::set<std::string> away_;
  // Declared last, because the runners' threads use the other members. Constant after construction.
  std::map<std::string, std::unique_ptr<ChildProcess>> runners_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_RUNNER_FLEET_H_

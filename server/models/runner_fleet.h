// The runners of one model that this process starts and supervises.
#ifndef LOGITD_SERVER_MODELS_RUNNER_FLEET_H_
#define LOGITD_SERVER_MODELS_RUNNER_FLEET_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "server/models/child_runner.h"
#include "server/models/model_pool.h"

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
  // Starts the runners and tells the pool to expect them. `on_exit` is told of every end of one, on some thread.
  RunnerFleet(FleetOptions options, ModelPool& pool, std::function<void()> on_exit);
  // Stops them all.
  ~RunnerFleet();

  // Tells all runners to end, and starts none again.
  void RequestStop();

  // A runner of that name has attached, or has ended its attachment. Others' names are ignored.
  void OnAttached(const std::string& runner_name);
  void OnDetached(const std::string& runner_name);

  // Whether every runner has ended before any had attached: the model cannot be served.
  bool HasFailed() const;
  // How one that ended did, for people.
  std::string last_exit() const;

 private:
  void OnExit(const std::string& runner_name, std::chrono::milliseconds restart_in);

  const FleetOptions options_;
  ModelPool& pool_;
  const std::function<void()> on_exit_;
  mutable std::mutex mutex_;
  bool any_attached_ = false;
  std::set<std::string> exited_;
  // Those that will not be back soon.
  std::set<std::string> away_;
  // Last: their threads use the rest. Constant once made.
  std::map<std::string, std::unique_ptr<ChildRunner>> runners_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_RUNNER_FLEET_H_

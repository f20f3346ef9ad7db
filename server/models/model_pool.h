// The models that are served, by name. Free of gRPC and protobuf; thread-safe.
#ifndef LOGITD_SERVER_MODELS_MODEL_POOL_H_
#define LOGITD_SERVER_MODELS_MODEL_POOL_H_

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/served_model.h"

namespace logitd::server {

class ModelPool {
 public:
  // Told of every runner that comes or goes: its model's name, its own name, and which of the two.
  using Listener = std::function<void(const std::string& model, const std::string& runner, bool is_attached)>;
  explicit ModelPool(Listener on_change) : on_change_(std::move(on_change)) {}

  // The model of that name; "" is the only one there is. It has a runner, or one is on its way back: ServedModel::Pick
  // waits for it.
  // Errors: MODEL_NOT_FOUND, MODEL_AMBIGUOUS, MODEL_UNAVAILABLE (known, but its runners are away; or "" and none).
  absl::StatusOr<std::shared_ptr<ServedModel>> Find(std::string_view name) const;
  // Whether the model of that name has a runner now.
  bool IsServed(std::string_view name) const;

  // All known models, sorted by name; null where no runner has come yet. One without runners is waiting for them.
  struct Entry {
    std::string name;
    std::shared_ptr<ServedModel> model;
  };
  std::vector<Entry> List() const;

  // The vocabulary of a runner's model, if the model of its name has the same one; else null.
  std::shared_ptr<const Vocabulary> KnownVocabulary(const ModelDescription& runner) const;

  // A runner comes, for a model of its description; the model that it serves from now on.
  // Errors: MODEL_MISMATCH (the name's other runners serve something else, or the name had another vocabulary),
  // LIMIT_EXCEEDED.
  absl::StatusOr<std::shared_ptr<ServedModel>> Attach(const ModelDescription& description,
                                                      const RunnerCapabilities& capabilities,
                                                      std::shared_ptr<const Vocabulary> vocabulary,
                                                      const std::shared_ptr<AttachedRunner>& runner);
  // The runner is gone: it gets no more work. The model's name stays known only if it has other runners or is expected.
  // Whoever waits for the runner waits until it is told (AttachedRunner::OnLost).
  void Detach(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<AttachedRunner>& runner);

  // Runners of this name are being started, and started again: the name is known from now on, and requests wait for one
  // that is lost.
  void Expect(std::string_view name);
  // Whether a lost runner of an expected name is on its way back, so that it is worth to wait.
  void SetReturning(std::string_view name, bool is_returning);

 private:
  struct Known {
    std::shared_ptr<ServedModel> model;
    // Its runners are started by this server: calls while all are away are UNAVAILABLE.
    bool is_expected = false;
  };

  const Listener on_change_;
  mutable std::mutex mutex_;
  std::map<std::string, Known, std::less<>> models_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_MODEL_POOL_H_

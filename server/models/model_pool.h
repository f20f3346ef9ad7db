// The attached models, by name. Free of gRPC and protobuf; thread-safe.
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
#include "server/models/attached_model.h"

namespace logitd::server {

class ModelPool {
 public:
  // `on_change(name)` is told of every model that comes or goes.
  explicit ModelPool(std::function<void(const std::string& name)> on_change) : on_change_(std::move(on_change)) {}

  // The model of that name; "" is the only one there is.
  // Errors: MODEL_NOT_FOUND, MODEL_AMBIGUOUS, MODEL_UNAVAILABLE (known, but its runner is away; or "" and none).
  absl::StatusOr<std::shared_ptr<AttachedModel>> Find(std::string_view name) const;

  // All known models, sorted by name; null where the runner is away.
  struct Entry {
    std::string name;
    std::shared_ptr<AttachedModel> model;
  };
  std::vector<Entry> List() const;

  // Errors: MODEL_MISMATCH (the name had another vocabulary, or has a runner), LIMIT_EXCEEDED.
  absl::Status Attach(std::shared_ptr<AttachedModel> model);
  // The model's runner is gone. The name stays known only if it is expected.
  void Detach(const std::shared_ptr<AttachedModel>& model, const absl::Status& reason);

  // A model of this name will be served: its runner is being started.
  void Expect(std::string_view name);

 private:
  struct Known {
    std::shared_ptr<AttachedModel> model;
    // Its runner is started, and started again, by this server: calls while it is away are UNAVAILABLE.
    bool is_expected = false;
    // Of the runner that attached first; "" before.
    std::string vocab_fingerprint;
  };

  const std::function<void(const std::string&)> on_change_;
  mutable std::mutex mutex_;
  std::map<std::string, Known, std::less<>> models_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_MODEL_POOL_H_

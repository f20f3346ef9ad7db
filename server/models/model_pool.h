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
#include "server/models/heads.h"
#include "server/models/served_model.h"

namespace logitd::server {

class ModelPool {
 public:
  // Called for every runner that attaches or detaches, with the names of its model and of the runner.
  using Listener = std::function<void(const std::string& model, const std::string& runner, bool is_attached)>;
  // `heads`, `runner_head`: for runners whose rows are hidden states; they outlive the pool. Without them no such
  // runner may attach.
  explicit ModelPool(Listener on_change, const Heads& heads = Heads::None(), const RunnerHead* runner_head = nullptr)
      : on_change_(std::move(on_change)), heads_(heads), runner_head_(runner_head) {}

  // Returns the model `name`; "" names the only model. It has a runner, or one is on its way back, for which
  // ServedModel::Pick waits.
  // Errors: MODEL_NOT_FOUND; MODEL_AMBIGUOUS; MODEL_UNAVAILABLE: the model is known but its runners are away, or `name`
  // is "" and no model is known.
  absl::StatusOr<std::shared_ptr<ServedModel>> Find(std::string_view name) const;
  // Whether model `name` has a runner now.
  bool IsServed(std::string_view name) const;

  // All known models, sorted by name. `model` is null until its first runner attaches. A model without runners waits
  // for them.
  struct Entry {
    std::string name;
    std::shared_ptr<ServedModel> model;
  };
  std::vector<Entry> List() const;

  // The vocabulary of the model that has the runner's model name, if the fingerprints are equal; else null.
  std::shared_ptr<const Vocabulary> KnownVocabulary(const ModelDescription& runner) const;

  // Checks that the server has the head that the rows of such a runner are for, and that its shape is theirs.
  // Errors: HEAD_NOT_FOUND, HEAD_SHAPE_MISMATCH, FIELD_OUT_OF_RANGE, of the field "hello.hidden....".
  absl::Status CheckHidden(const ModelDescription& description) const;

  // Adds a runner to the model that it describes, and returns that model. REQUIRES: CheckHidden(description) is OK.
  // Errors: LIMIT_EXCEEDED; MODEL_MISMATCH: the other runners of this name serve something else, or the name had
  // another vocabulary.
  absl::StatusOr<std::shared_ptr<ServedModel>> Attach(const ModelDescription& description,
                                                      const RunnerCapabilities& capabilities,
                                                      std::shared_ptr<const Vocabulary> vocabulary,
                                                      const std::shared_ptr<AttachedRunner>& runner);
  // Removes a runner: it gets no more work. The model's name stays known only if it has other runners or is expected.
  // Callers that wait for the runner wait until AttachedRunner::OnLost tells them.
  void Detach(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<AttachedRunner>& runner);

  // This server starts runners for model `name`, and restarts them. From now on the name is known, and requests wait
  // for a lost runner.
  void Expect(std::string_view name);
  // Whether requests should wait for a lost runner of an expected model, because it will be back soon.
  void SetReturning(std::string_view name, bool is_returning);

 private:
  struct Known {
    std::shared_ptr<ServedModel> model;
    // This server starts the model's runners. While all of them are away, calls fail with UNAVAILABLE.
    bool is_expected = false;
  };

  const Listener on_change_;
  const Heads& heads_;
  const RunnerHead* const runner_head_;
  mutable std::mutex mutex_;
  std::map<std::string, Known, std::less<>> models_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_MODEL_POOL_H_

#include "server/models/model_pool.h"

#include <utility>

#include "core/errors.h"
#include "core/limits.h"

namespace logitd::server {

absl::StatusOr<std::shared_ptr<AttachedModel>> ModelPool::Find(std::string_view name) const {
  std::lock_guard lock(mutex_);
  auto found = models_.end();
  if (!name.empty()) {
    found = models_.find(name);
    if (found == models_.end()) return errors::ModelNotFound(name);
  } else {
    if (models_.empty()) return errors::ModelUnavailable("");
    if (models_.size() > 1) return errors::ModelAmbiguous(static_cast<int>(models_.size()));
    found = models_.begin();
  }
  if (found->second.model == nullptr) return errors::ModelUnavailable(found->first);
  return found->second.model;
}

std::vector<ModelPool::Entry> ModelPool::List() const {
  std::lock_guard lock(mutex_);
  std::vector<Entry> entries;
  for (const auto& [name, known] : models_) entries.push_back({name, known.model});
  return entries;
}

absl::Status ModelPool::Attach(std::shared_ptr<AttachedModel> model) {
  const ModelDescription& description = model->description();
  {
    std::lock_guard lock(mutex_);
    if (!models_.contains(description.name) && models_.size() >= kMaxRunners) {
      return errors::LimitExceeded("runners", static_cast<int64_t>(models_.size()) + 1,
                                   "[0, " + std::to_string(kMaxRunners) + "]", "max_runners");
    }
    Known& known = models_[description.name];
    if (known.model != nullptr) {
      return errors::ModelMismatch("model " + description.name + " has a runner; it can have one at a time");
    }
    if (!known.vocab_fingerprint.empty() && known.vocab_fingerprint != description.vocab_fingerprint) {
      return errors::ModelMismatch("model " + description.name + " was attached with another vocabulary");
    }
    known.vocab_fingerprint = description.vocab_fingerprint;
    known.model = model;
  }
  on_change_(description.name);
  return absl::OkStatus();
}

void ModelPool::Detach(const std::shared_ptr<AttachedModel>& model, const absl::Status& reason) {
  {
    std::lock_guard lock(mutex_);
    const auto found = models_.find(model->description().name);
    if (found == models_.end() || found->second.model != model) return;
    found->second.model = nullptr;
    // Names of strangers that have left must not fill the list, nor make "the only model" ambiguous.
    if (!found->second.is_expected) models_.erase(found);
  }
  on_change_(model->description().name);
  model->OnLost(reason);
}

void ModelPool::Expect(std::string_view name) {
  std::lock_guard lock(mutex_);
  models_[std::string(name)].is_expected = true;
}

}  // namespace logitd::server

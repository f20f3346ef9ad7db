#include "server/models/model_pool.h"

#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "server/limits.h"

namespace logitd::server {
namespace {

bool HasSameVocabulary(const ModelDescription& a, const ModelDescription& b) {
  return a.vocab_fingerprint == b.vocab_fingerprint && a.vocab_size == b.vocab_size;
}

// Runners of one name must be interchangeable.
absl::Status CheckSame(const ModelDescription& model, const RunnerCapabilities& capabilities,
                       const ModelDescription& runner, const RunnerCapabilities& runner_capabilities) {
  const auto differs = [&](const std::string& what) {
    return errors::ModelMismatch("model " + model.name + " has a runner with another " + what);
  };
  if (!HasSameVocabulary(model, runner)) return differs("vocabulary");
  if (runner.end_token_ids != model.end_token_ids || runner.eos_token_id != model.eos_token_id ||
      runner.bos_token_id != model.bos_token_id || runner.adds_bos != model.adds_bos) {
    return differs("eos or bos");
  }
  if (runner.model_fingerprint != model.model_fingerprint) return differs("model fingerprint");
  if (runner.precision != model.precision) return differs("precision (" + model.precision + ")");
  if (runner.context_length != model.context_length) {
    return differs("context length (" + std::to_string(model.context_length) + ")");
  }
  if (runner.hidden_width != model.hidden_width) return differs("hidden width");
  if (runner.hidden != model.hidden) return differs("head, or none");
  if (runner_capabilities != capabilities) return differs("set of capabilities");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<ServedModel>> ModelPool::Find(std::string_view name) const {
  std::lock_guard lock(mutex_);
  auto found = models_.end();
  if (!name.empty()) {
    found = models_.find(name);
    if (found == models_.end()) return errors::ModelNotFound(name);
  } else {
    if (models_.empty()) return errors::ModelUnavailable("");
    if (models_.size() > 1) {
      std::vector<std::string> names;
      for (const auto& [known, model] : models_) names.push_back(known);
      return errors::ModelAmbiguous(names);
    }
    found = models_.begin();
  }
  const auto& model = found->second.model;
  if (model == nullptr || !(model->runner_count() > 0 || model->is_expected())) {
    return errors::ModelUnavailable(found->first);
  }
  return model;
}

bool ModelPool::IsServed(std::string_view name) const {
  std::lock_guard lock(mutex_);
  const auto found = models_.find(name);
  return found != models_.end() && found->second.model != nullptr && found->second.model->runner_count() > 0;
}

std::vector<ModelPool::Entry> ModelPool::List() const {
  std::lock_guard lock(mutex_);
  std::vector<Entry> entries;
  for (const auto& [name, known] : models_) entries.push_back({name, known.model});
  return entries;
}

std::shared_ptr<const Vocabulary> ModelPool::KnownVocabulary(const ModelDescription& runner) const {
  std::lock_guard lock(mutex_);
  const auto found = models_.find(runner.name);
  if (found == models_.end() || found->second.model == nullptr || runner.vocab_fingerprint.empty()) return nullptr;
  const ServedModel& model = *found->second.model;
  const bool is_same = HasSameVocabulary(model.description(), runner) && !model.vocabulary().offsets.empty();
  return is_same ? model.shared_vocabulary() : nullptr;
}

absl::Status ModelPool::CheckHidden(const ModelDescription& description) const {
  if (!description.hidden) return absl::OkStatus();
  const HiddenOutput& hidden = *description.hidden;
  ASSIGN_OR_RETURN(const NamedHead* head, heads_.Find(hidden.head, "hello.hidden.head"));
  RETURN_IF_ERROR(
      server::CheckHidden(*head, "hello.hidden.hidden_size", hidden.hidden_size,
                          "rows [..., " + std::to_string(hidden.hidden_size) + "] of model " + description.name));
  RETURN_IF_ERROR(CheckHeadVocabulary(*head, "hello.hidden.head", description.vocab_size));
  return CheckNorm(*head, hidden.before_output_norm, "hello.hidden.before_output_norm");
}

absl::StatusOr<std::shared_ptr<ServedModel>> ModelPool::Attach(const ModelDescription& description,
                                                               const RunnerCapabilities& capabilities,
                                                               std::shared_ptr<const Vocabulary> vocabulary,
                                                               const std::shared_ptr<AttachedRunner>& runner) {
  std::shared_ptr<ServedModel> model;
  {
    std::lock_guard lock(mutex_);
    int64_t runners = 0;
    for (const auto& [name, known] : models_) runners += known.model == nullptr ? 0 : known.model->runner_count();
    if (runners >= kMaxRunners) {
      return errors::AboveLimit("runners", runners + 1, kMaxRunners);
    }
    const auto found = models_.find(description.name);
    model = found == models_.end() ? nullptr : found->second.model;
    if (model != nullptr) {
      const absl::Status same = CheckSame(model->description(), model->capabilities(), description, capabilities);
      // A file may be replaced while its runner is away, but token ids that clients hold must keep their meaning.
      if (!same.ok() && model->runner_count() > 0) return same;
      if (!HasSameVocabulary(model->description(), description)) {
        return errors::ModelMismatch("model " + description.name + " was attached with another vocabulary");
      }
      if (!same.ok()) {
        model->SetExpected(false);
        model = nullptr;
      }
    }
    Known& known = models_[description.name];
    if (model == nullptr) {
      ModelHead head;
      if (description.hidden) {
        ASSIGN_OR_RETURN(head.named, heads_.Find(description.hidden->head, "hello.hidden.head"));
        head.runner_head = runner_head_;
      }
      model = std::make_shared<ServedModel>(description, capabilities, std::move(vocabulary), head);
      known.model = model;
    }
    model->SetExpected(known.is_expected);
    model->Add(runner);
  }
  on_change_(description.name, runner->name(), true);
  return model;
}

void ModelPool::Detach(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<AttachedRunner>& runner) {
  runner->StopBatches();
  const std::string& name = model->description().name;
  {
    std::lock_guard lock(mutex_);
    if (!model->Remove(runner)) return;
    const auto found = models_.find(name);
    // Names of foreign runners that have left must not fill the list, nor make "the only model" ambiguous.
    if (found != models_.end() && found->second.model == model && model->runner_count() == 0 &&
        !found->second.is_expected) {
      models_.erase(found);
    }
  }
  on_change_(name, runner->name(), false);
}

void ModelPool::Expect(std::string_view name) {
  std::lock_guard lock(mutex_);
  models_[std::string(name)].is_expected = true;
}

void ModelPool::SetReturning(std::string_view name, bool is_returning) {
  std::lock_guard lock(mutex_);
  const auto found = models_.find(name);
  if (found != models_.end() && found->second.model != nullptr) {
    found->second.model->SetExpected(found->second.is_expected && is_returning);
  }
}

}  // namespace logitd::server

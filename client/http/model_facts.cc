#include "client/http/model_facts.h"

#include <utility>

#include "base/status_macros.h"
#include "client/http/request_error.h"
#include "client/logitd/client_error.h"

namespace logitd::http {

absl::StatusOr<v1::ModelInfo> ModelFacts::Find(const std::string& name, const Caller& caller) {
  ASSIGN_OR_RETURN(v1::ListModelsResponse models, upstream_.Models(caller));
  if (name.empty() && models.models_size() > 1) {
    return HttpError(400, "model_ambiguous", "model", "model is required: the server has several models");
  }
  for (v1::ModelStatus& status : *models.mutable_models()) {
    if (!name.empty() && status.model().name() != name) continue;
    // Without a fingerprint no runner has attached yet.
    if (status.model().model_fingerprint().empty()) return Overloaded("the model is still being loaded");
    return std::move(*status.mutable_model());
  }
  if (name.empty()) return HttpError(404, "model_not_found", "model", "the server has no model");
  return HttpError(404, "model_not_found", "model", "the server has no model of this name; GET /v1/models lists them");
}

absl::StatusOr<std::shared_ptr<const TokenNames>> ModelFacts::Names(const std::string& model,
                                                                    const std::string& model_fingerprint,
                                                                    const Caller& caller) {
  {
    std::lock_guard lock(mutex_);
    const auto found = known_.find(model);
    if (found != known_.end() && found->second.model_fingerprint == model_fingerprint) return found->second.names;
  }
  // Several requests may read it at once, the first time: each result is the same.
  auto names = std::make_shared<TokenNames>();
  v1::GetVocabularyRequest request;
  request.set_model(model);
  const absl::Status status = upstream_.Vocabulary(request, caller, [&names](const v1::GetVocabularyResponse& part) {
    for (const v1::VocabularyToken& token : part.tokens()) {
      if (!token.name().empty()) names->emplace(token.token_id(), token.name());
    }
  });
  const bool has_none = !status.ok() && client::ErrorOf(status).reason == "VOCABULARY_UNAVAILABLE";
  if (!status.ok() && !has_none) return status;
  std::lock_guard lock(mutex_);
  known_[model] = {model_fingerprint, names};
  return std::shared_ptr<const TokenNames>(std::move(names));
}

}  // namespace logitd::http

#include "server/handlers/list_models.h"

#include "base/status_macros.h"
#include "core/limits.h"
#include "server/converters/model.h"

namespace logitd::server {

absl::Status ListModels(const v1::ListModelsRequest& request, const ServerEnv& env, const RequestContext& context,
                        v1::ListModelsResponse& response) {
  for (const ModelPool::Entry& entry : env.models.List()) {
    v1::ModelStatus& status = *response.add_models();
    status.mutable_model()->set_name(entry.name);
    if (entry.model == nullptr) continue;
    status.set_runner_count(entry.model->runner_count());
    ToProto(entry.model->description(), *status.mutable_model());
    // The bound over all runners, as replies state it, not the first one's.
    status.mutable_model()->clear_batch_tolerance_nats();
    if (const auto nats = entry.model->batch_tolerance_nats()) status.mutable_model()->set_batch_tolerance_nats(*nats);
    ToProto(entry.model->capabilities(), *status.mutable_capabilities());
    if (entry.model->can_choose()) status.mutable_capabilities()->set_choice_numerics_version(kNumericsVersion);
    // That of reproducible replies, if there can be any.
    const auto isolating = entry.model->IsolatingPlatform();
    status.mutable_capabilities()->set_isolation(isolating.ok());
    const auto platform = isolating.ok() ? std::optional(*isolating) : entry.model->platform();
    if (platform) ToProto(*platform, *status.mutable_platform());
    ToProto(entry.model->total_capacity(), *status.mutable_capacity());
  }
  return absl::OkStatus();
}

}  // namespace logitd::server

#include "server/handlers/provenance.h"

#include "core/limits.h"
#include "server/converters/model.h"
#include "server/version.h"

namespace logitd::server {

v1::Provenance ProvenanceWithoutModel() {
  v1::Provenance provenance;
  provenance.set_numerics_version(kNumericsVersion);
  provenance.set_server_version(kVersion);
  return provenance;
}

v1::Provenance ProvenanceOf(const NamedHead* head) {
  v1::Provenance provenance = ProvenanceWithoutModel();
  if (head != nullptr) provenance.set_head(head->name);
  return provenance;
}

v1::Provenance ProvenanceOf(const ServedModel& model) {
  v1::Provenance provenance = ProvenanceWithoutModel();
  provenance.set_model(model.description().name);
  provenance.set_model_fingerprint(model.description().model_fingerprint);
  provenance.set_precision(model.description().precision);
  if (model.head() != nullptr) provenance.set_head(model.head()->name);
  if (const auto platform = model.platform()) ToProto(*platform, *provenance.mutable_runner());
  if (const auto nats = model.batch_tolerance_nats()) provenance.set_batch_tolerance_nats(*nats);
  return provenance;
}

v1::Provenance ProvenanceOf(const ServedModel& model, const CacheScope& scope) {
  v1::Provenance provenance = ProvenanceOf(model);
  if (!scope.isolated_on) return provenance;
  ToProto(*scope.isolated_on, *provenance.mutable_runner());
  // No batch moves them; and the tolerance is measured, so that it would be another one each time.
  provenance.clear_batch_tolerance_nats();
  provenance.set_reproducible(true);
  return provenance;
}

}  // namespace logitd::server

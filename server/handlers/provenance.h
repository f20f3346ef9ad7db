// States what the numbers of a reply depend on besides the request.
#ifndef LOGITD_SERVER_HANDLERS_PROVENANCE_H_
#define LOGITD_SERVER_HANDLERS_PROVENANCE_H_

#include "logitd/v1/completion.pb.h"
#include "server/models/heads.h"
#include "server/models/runner_session.h"
#include "server/models/served_model.h"

namespace logitd::server {

// For a reply whose logits came from the caller.
v1::Provenance ProvenanceWithoutModel();
// For a reply whose logits a head made of the caller's hidden states. Null: they came from the caller.
v1::Provenance ProvenanceOf(const NamedHead* head);
// For a reply whose logits came from the model.
v1::Provenance ProvenanceOf(const ServedModel& model);
// For a reply whose rows the model evaluated in that scope.
v1::Provenance ProvenanceOf(const ServedModel& model, const CacheScope& scope);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_PROVENANCE_H_

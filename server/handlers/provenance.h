// What the numbers of a reply depend on besides the request.
#ifndef LOGITD_SERVER_HANDLERS_PROVENANCE_H_
#define LOGITD_SERVER_HANDLERS_PROVENANCE_H_

#include "logitd/v1/completion.pb.h"
#include "server/models/served_model.h"

namespace logitd::server {

// Of a reply whose logits are the caller's.
v1::Provenance ProvenanceWithoutModel();
// Of a reply whose logits are the model's.
v1::Provenance ProvenanceOf(const ServedModel& model);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_PROVENANCE_H_

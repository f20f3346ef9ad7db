// The config.json that lies beside a model's safetensors file: what it says of the head that no tensor does.
#ifndef LOGITD_SERVER_HEAD_CONFIG_H_
#define LOGITD_SERVER_HEAD_CONFIG_H_

#include "absl/status/status.h"
#include "server/head_spec.h"

namespace logitd::server {

// That `spec` has the key for each thing that the file beside it says and that would change the logits: a soft-cap, and
// a factor under any of the names that models use. No file, or one that is no JSON of at most 1 MiB, says nothing.
// Errors: INVALID_ARGUMENT, which names the key to give.
absl::Status CheckModelConfig(const HeadSpec& spec);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HEAD_CONFIG_H_

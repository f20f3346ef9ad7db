// Facts about the server's models: what ListModels says, and the names of control tokens, which a vocabulary has to be
// read for. A vocabulary is read once and kept as long as the model's weights stay the same.
//
// Thread-safe.
#ifndef LOGITD_CLIENT_HTTP_MODEL_FACTS_H_
#define LOGITD_CLIENT_HTTP_MODEL_FACTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "client/http/upstream.h"
#include "logitd/v1/completion.pb.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::http {

// The names of a model's control tokens: {2, "<|im_end|>"}. Tokens without a name are not in it.
using TokenNames = std::unordered_map<int32_t, std::string>;

class ModelFacts {
 public:
  explicit ModelFacts(Upstream& upstream) : upstream_(upstream) {}

  // The model that a request means: `name`, or the only one if it is empty. Errors: model_not_found, model_ambiguous,
  // model_unavailable (no runner has ever attached).
  absl::StatusOr<v1::ModelInfo> Find(const std::string& name, const Caller& caller);

  // Of a model that has no vocabulary the names are empty.
  absl::StatusOr<std::shared_ptr<const TokenNames>> Names(const std::string& model,
                                                          const std::string& model_fingerprint, const Caller& caller);
  absl::StatusOr<std::shared_ptr<const TokenNames>> Names(const v1::Provenance& provenance, const Caller& caller) {
    return Names(provenance.model(), provenance.model_fingerprint(), caller);
  }

 private:
  struct Known {
    std::string model_fingerprint;
    std::shared_ptr<const TokenNames> names;
  };

  Upstream& upstream_;
  std::mutex mutex_;
  std::map<std::string, Known> known_;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_MODEL_FACTS_H_

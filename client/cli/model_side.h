// The two models that `logit compare` asks: of one server, or of two.
#ifndef LOGITD_CLIENT_CLI_MODEL_SIDE_H_
#define LOGITD_CLIENT_CLI_MODEL_SIDE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "client/cli/pair_flags.h"
#include "client/cli/session.h"
#include "client/logitd/client.h"
#include "client/logitd/model_path.h"
#include "logitd/v1/model_runner_service.pb.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// Limits.max_top_n and max_named_tokens: the longest top list that both models can be asked for.
inline constexpr int32_t kMostTopN = 1024;

struct ModelSide {
  // The model as the sentences call it: its name. If both have the same, also its precision; if that is the same too,
  // its server.
  std::string label;
  std::string address;
  // Set for a server of its own; else it is the session's client.
  std::unique_ptr<client::Client> own_client;
  client::Client* client = nullptr;
  Session* session = nullptr;
  v1::ModelInfo info;
  // Of the last reply.
  v1::Provenance provenance;
  // SetPaths fills it in.
  std::optional<client::ModelPath> path;

  // The client; an error of the next call names this side's server.
  client::Client& Ask() {
    session->address = address;
    return *client;
  }
};

using ModelSides = std::array<ModelSide, 2>;

// --context-tokens and --continuation-tokens.
std::vector<Flag> ComparePairFlags();
// --against-model, --against-server.
std::vector<Flag> AgainstFlags();

// The model of `request` on the session's server, and --against-model on it or on --against-server (default: the model
// of the same name there). `request`: its other fields are those of both. Errors: usage errors (two models are the
// same, no such model), those of ListModels.
absl::StatusOr<ModelSides> OpenSides(const Arguments& arguments, const v1::ScoreRequest& request, Session& session);

// The same number of tokens and the same fingerprint.
bool HaveEqualVocabularies(const ModelSides& sides);

// Finds the ids of the context after which `scored`, of the first model, scored its continuation, and sets the path of
// both. `request`: evaluation and model. Returns a remark: the second model would have cut the text into other tokens.
// Empty: none. REQUIRES: equal vocabularies; the rule is joint. Errors: those of Tokenize; kInternal.
absl::StatusOr<std::string> SetPaths(ModelSides& sides, const v1::ScoreRequest& request,
                                     const v1::ScoreResponse& scored, const Pair& pair);

// The alternatives that one reply of either server may hold (Limits.max_alternatives).
absl::StatusOr<int64_t> MaxAlternatives(ModelSides& sides);

// Every token of the model as it is shown. Empty: it has no vocabulary to show.
absl::StatusOr<std::vector<std::string>> TokenTexts(ModelSide& side);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_MODEL_SIDE_H_

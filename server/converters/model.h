// The description of a model and its runner: wire <-> model_description.h and tokenization.h in server/models.
#ifndef LOGITD_SERVER_CONVERTERS_MODEL_H_
#define LOGITD_SERVER_CONVERTERS_MODEL_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/vocabulary.h"
#include "logitd/v1/completion.pb.h"
#include "logitd/v1/logits.pb.h"
#include "logitd/v1/model_runner_service.pb.h"
#include "server/models/model_description.h"
#include "server/models/tokenization.h"

namespace logitd::server {

// A runner's own description, none of which is trusted. Errors (fields "hello.model...."): FIELD_REQUIRED,
// FIELD_OUT_OF_RANGE, LIMIT_EXCEEDED, TOKEN_ID_OUT_OF_RANGE.
absl::StatusOr<ModelDescription> FromProto(const v1::ModelInfo& info);
// Checks the name and version of the runner, which stand in log lines. Fields "hello....".
absl::Status CheckNames(const v1::RunnerHello& hello);
absl::StatusOr<RunnerCapacity> FromProto(const v1::RunnerCapacity& capacity);
// The hidden states that its rows are; unset: they are logits. Errors: FIELD_OUT_OF_RANGE, FIELDS_EXCLUSIVE.
absl::StatusOr<std::optional<HiddenOutput>> HiddenOf(const v1::RunnerHello& hello);
// Errors: FIELD_OUT_OF_RANGE, FIELD_REQUIRED.
absl::StatusOr<RunnerExtras> ExtrasOf(const v1::RunnerHello& hello);
RunnerCapabilities FromProto(const v1::RunnerCapabilities& capabilities);

// Errors: RUNNER_PROTOCOL if the lengths do not add up or the fingerprint differs.
absl::StatusOr<Vocabulary> FromProto(const v1::Vocabulary& vocabulary, const ModelDescription& model);

void ToProto(const ModelDescription& model, v1::ModelInfo& info);
void ToProto(const RunnerCapacity& capacity, v1::RunnerCapacity& message);
void ToProto(const RunnerCapabilities& capabilities, v1::RunnerCapabilities& message);

TokenizationOptions FromProto(const v1::TokenizationOptions& options);
void ToProto(const RunnerPlatform& platform, v1::RunnerPlatform& message);
void ToProto(const TokenizationOptions& options, v1::TokenizationOptions& message);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_MODEL_H_

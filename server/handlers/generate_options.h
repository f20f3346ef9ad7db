// The options of a Generate request, checked.
#ifndef LOGITD_SERVER_HANDLERS_GENERATE_OPTIONS_H_
#define LOGITD_SERVER_HANDLERS_GENERATE_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "core/decoder.h"
#include "core/stop_strings.h"
#include "logitd/v1/generation_service.pb.h"
#include "server/handlers/best_completions.h"
#include "server/models/served_model.h"

namespace logitd::server {

struct GenerateOptions {
  // The completions that are generated, and those of them that are returned.
  int32_t n = 1;
  int32_t returned_count = 1;
  // Set: the best are returned, best first.
  std::optional<BestBy> best_by;
  uint64_t first_sequence_key = 0;
  DecoderConfig decoder;
  // Null: none.
  std::shared_ptr<const StopStrings> stops;
  // Set: the completions end when it has passed.
  std::optional<std::chrono::milliseconds> time_limit;
  // Set: the prompt's own tokens are scored.
  std::optional<RecordOptions> prompt_record;
  bool stream = true;
};

// Everything but the prompt. It draws a seed where one is needed and the request has none.
// Errors: those of the fields.
absl::StatusOr<GenerateOptions> OptionsOf(const v1::GenerateRequest& request, const ServedModel& served);

// Whether the alternatives of a prompt of that many tokens fit into the reply, with those of the completions. Errors:
// LIMIT_EXCEEDED.
absl::Status CheckPromptAlternatives(const GenerateOptions& options, const ModelDescription& model,
                                     int64_t prompt_token_count);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_GENERATE_OPTIONS_H_

// Batches to a runner, rows and records from it: server/models/work.h <-> wire. A runner is never trusted.
#ifndef LOGITD_SERVER_CONVERTERS_RUNNER_H_
#define LOGITD_SERVER_CONVERTERS_RUNNER_H_

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "core/decoder.h"
#include "logitd/v1/model_runner_service.pb.h"
#include "server/models/work.h"

namespace logitd::server {

// The type to ask the runner's rows in: the first of its types whose values are all f32 values (F32, F16, BF16), so
// that no bit is lost. F32 if the runner names none.
v1::LogitsDtype RowDtype(const v1::RunnerCapabilities& capabilities);

// Asks for rows as `dtype`.
void ToProto(const Batch& batch, v1::LogitsDtype dtype, v1::RunBatch& message);

// The settings with which a runner chooses the tokens of a sequence, without the prompt and the tokens so far. `config`
// was made of `sampling` and `record`, those of the request.
v1::DecoderStart StartOf(const v1::SamplingParams& sampling, const v1::RecordOptions& record,
                         const DecoderConfig& config);

// The rows in one message. Those that are no records have `row_width` values (ModelDescription::row_width). `batch`
// holds the requested work by sequence_id. Errors: RUNNER_PROTOCOL, ROW_LENGTH_MISMATCH, and others for malformed
// messages.
absl::StatusOr<std::vector<PieceOutput>> FromProto(const v1::BatchOutput& output, std::string_view payload,
                                                   int32_t vocab_size, int32_t row_width,
                                                   const std::unordered_map<int64_t, SequenceWork>& batch);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_RUNNER_H_

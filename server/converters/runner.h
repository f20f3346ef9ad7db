// Batches to a runner, rows and records from it: server/models/work.h <-> wire. What a runner sends is never trusted.
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

// The type that the runner's rows are asked for: the first of its types that has an f32 for each of its values, so that
// no bit is lost on the way (F32, F16, BF16). F32 if it names none.
v1::LogitsDtype RowDtype(const v1::RunnerCapabilities& capabilities);

// Rows are asked for as `dtype`.
void ToProto(const Batch& batch, v1::LogitsDtype dtype, v1::RunBatch& message);

// What a runner needs to choose the tokens of a sequence, without those that it begins with and the prompt. `sampling`
// and `record` are the request's, of which `config` was made.
v1::DecoderStart StartOf(const v1::SamplingParams& sampling, const v1::RecordOptions& record,
                         const DecoderConfig& config);

// The rows in one message. `batch`: what was asked, by sequence_id.
// Errors: RUNNER_PROTOCOL, ROW_LENGTH_MISMATCH, and what else is malformed.
absl::StatusOr<std::vector<PieceOutput>> FromProto(const v1::BatchOutput& output, std::string_view payload,
                                                   int32_t vocab_size,
                                                   const std::unordered_map<int64_t, SequenceWork>& batch);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_RUNNER_H_

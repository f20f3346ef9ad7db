// What one entry of a RunBatch asks for: which rows, and whether it can be done at all.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_RUNNER_SEQUENCE_WORK_H_
#define LOGITD_CLIENT_RUNNER_SEQUENCE_WORK_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::runner {

// Whether the row after appended token `token_index` of `work` is wanted, by one request or several.
bool WantsRow(const v1::SequenceWork& work, int token_index);

// The appended tokens whose rows `work` wants, ascending; each once.
std::vector<int> WantedRows(const v1::SequenceWork& work);

// Number of rows that `request`, one of `work`, asks for.
int RowCountOf(const v1::SequenceWork& work, const v1::RowRequest& request);

// Whether `work` is legal for a model of this vocabulary, as far as can be seen without the caches. So that a model
// needs no checks of its own: token ids are in range, rows and targets exist.
// Errors: FIELD_OUT_OF_RANGE, FIELD_REQUIRED, UNKNOWN_ENUM_VALUE, TOKEN_ID_OUT_OF_RANGE; fields are named from the
// entry.
absl::Status CheckWork(const v1::SequenceWork& work, int32_t vocab_size);

// Which entries of `batch` cannot be set up at its beginning, because they copy what is evaluated in it. For each
// entry: -1, or the earlier entry whose tokens must be evaluated first. Those that wait for the same entry are set up
// in order, before any tokens of theirs are appended. `length_of`: of a sequence, before the batch; 0: not known.
std::vector<int> ForksThatWait(const v1::RunBatch& batch, const std::function<int64_t(int64_t)>& length_of);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_SEQUENCE_WORK_H_

// Reads and checks one entry of a RunBatch: which rows it asks for, and whether it is legal.
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

// Whether any request of `work` asks for the row after appended token `token_index`.
bool WantsRow(const v1::SequenceWork& work, int token_index);

// The indices of the appended tokens whose rows `work` asks for, ascending, each once.
std::vector<int> WantedRows(const v1::SequenceWork& work);

// The number of rows that `request`, one of `work`, asks for.
int RowCountOf(const v1::SequenceWork& work, const v1::RowRequest& request);

// Checks that `work` is legal for a model of this vocabulary, as far as that can be told without the caches: token ids
// are in range, and rows and targets exist. A model then needs no such checks of its own.
// Errors: FIELD_OUT_OF_RANGE, FIELD_REQUIRED, FIELDS_EXCLUSIVE, UNKNOWN_ENUM_VALUE, TOKEN_ID_OUT_OF_RANGE. Field names
// begin at the entry.
absl::Status CheckWork(const v1::SequenceWork& work, int32_t vocab_size);

// Finds the entries that cannot be set up when `batch` begins, because they copy tokens that the batch itself
// evaluates. Returns for each entry -1, or the index of the earlier entry whose tokens must be evaluated first. Entries
// that wait for the same entry are set up in order, before tokens are appended to any of them. `length_of`: the length
// of a sequence before the batch; 0: the sequence is not known.
std::vector<int> ForksThatWait(const v1::RunBatch& batch, const std::function<int64_t(int64_t)>& length_of);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_SEQUENCE_WORK_H_

// Scores given tokens under rows that are all there already.
//
//   absl::Status status = ScoreRows(client, config, rows, /*targets=*/{{5, 7}}, /*prompt=*/{},
//                                   [](const v1::ScoreLogitsResponse& response) { return Show(response.score()); });
#ifndef LOGITD_CLIENT_LOGITD_SCORE_ROWS_H_
#define LOGITD_CLIENT_LOGITD_SCORE_ROWS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "client/logitd/client.h"
#include "client/logitd/logits_rows.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::client {

// Sends the rows in pieces (Client::ScoreLogits), and hands each sequence's answer to `on_sequence` when the sequence
// ends, in order. `on_sequence` returns false to cancel the call. Row t of sequence i predicts targets[i][t]; each
// sequence begins after `prompt`.
// Shape: `targets` is [rows.sequence_count()][rows.row_count()]. REQUIRES: nothing was read from `rows`.
// Errors: InputError (of the rows), those of Client::ScoreLogits, kInternal if a sequence has no answer.
absl::Status ScoreRows(Client& client, const v1::ScoreLogitsConfig& config, LogitsRows& rows,
                       const std::vector<std::vector<int32_t>>& targets, const std::vector<int32_t>& prompt,
                       const std::function<bool(const v1::ScoreLogitsResponse&)>& on_sequence);

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_SCORE_ROWS_H_

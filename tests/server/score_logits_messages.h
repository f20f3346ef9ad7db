// Messages of ScoreLogits, for its tests.
#ifndef LOGITD_TESTS_SERVER_SCORE_LOGITS_MESSAGES_H_
#define LOGITD_TESTS_SERVER_SCORE_LOGITS_MESSAGES_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "logitd/v1/scoring_service.pb.h"
#include "tests/server/in_process.h"

namespace logitd::server {

using Rows = std::vector<std::vector<float>>;

inline v1::ScoreLogitsRequest Config(const std::string& config) {
  return logitd::testing::Parse<v1::ScoreLogitsRequest>("config { " + config + " }");
}

// Rows [begin, end) of a sequence with their targets, in one message of one f32 block.
inline v1::ScoreLogitsRequest RowsMessage(int32_t sequence_index, const Rows& rows, const std::vector<int32_t>& targets,
                                          size_t begin = 0, size_t end = std::numeric_limits<size_t>::max()) {
  v1::ScoreLogitsRequest request;
  v1::ScoreLogitsRows& message = *request.mutable_rows();
  message.set_sequence_index(sequence_index);
  end = std::min(end, rows.size());
  v1::LogitsBlock& block = *message.add_blocks();
  block.set_dtype(v1::LOGITS_DTYPE_F32);
  block.set_row_count(static_cast<int32_t>(end - begin));
  block.set_width(static_cast<int32_t>(rows[begin].size()));
  for (size_t i = begin; i < end; ++i) {
    request.mutable_payload()->append(logitd::testing::Bytes(rows[i]));
    message.add_target_token_ids(targets[i]);
  }
  return request;
}

// The same message, which ends its sequence.
inline v1::ScoreLogitsRequest Last(v1::ScoreLogitsRequest request) {
  request.mutable_rows()->set_last(true);
  return request;
}

}  // namespace logitd::server

#endif  // LOGITD_TESTS_SERVER_SCORE_LOGITS_MESSAGES_H_

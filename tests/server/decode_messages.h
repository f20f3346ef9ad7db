// Messages of Decode, for its tests.
#ifndef LOGITD_TESTS_SERVER_DECODE_MESSAGES_H_
#define LOGITD_TESTS_SERVER_DECODE_MESSAGES_H_

#include <string>
#include <vector>

#include "logitd/v1/decoding_service.pb.h"
#include "tests/server/in_process.h"

namespace logitd::server {

inline const std::vector<float> kRow = {6, 3, 0.5, 0.5};

// With `payload` as f32.
inline v1::DecodeRequest Request(const std::string& text, const std::vector<float>& payload = {}) {
  auto request = logitd::testing::Parse<v1::DecodeRequest>(text);
  request.set_payload(logitd::testing::Bytes(payload));
  return request;
}

// One step of sequence 1 at `position` with row `row`.
inline v1::DecodeRequest StepRequest(int batch_id, int position, const std::vector<float>& row,
                                     const std::string& opens = "") {
  return Request("batch { batch_id: " + std::to_string(batch_id) + opens +
                     " blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } steps { sequence_id: 1 position: " +
                     std::to_string(position) + " row: 0 } }",
                 row);
}

}  // namespace logitd::server

#endif  // LOGITD_TESTS_SERVER_DECODE_MESSAGES_H_

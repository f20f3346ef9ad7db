// Decodes sequences whose rows are all there already: sends them over a Decode stream, one sequence after the other.
//
//   RowDecoder decoder(rows, **stream, /*first_key=*/0, /*prompt=*/{});
//   while (rows.next_sequence() < rows.sequence_count()) {
//     absl::StatusOr<v1::Completion> completion = decoder.Next();
//     ...
//   }
//   absl::Status status = (*stream)->Finish();
//
// Row t is step t, whichever tokens were chosen before it. One thread.
#ifndef LOGITD_CLIENT_LOGITD_ROW_DECODER_H_
#define LOGITD_CLIENT_LOGITD_ROW_DECODER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/logitd/decode_stream.h"
#include "client/logitd/logits_rows.h"
#include "logitd/v1/completion.pb.h"

namespace logitd::client {

class RowDecoder {
 public:
  // `rows` and `stream` must outlive this. Sequence i has the key first_key + i; all of them begin after `prompt`.
  RowDecoder(LogitsRows& rows, DecodeStream& stream, uint64_t first_key, std::vector<int32_t> prompt)
      : rows_(rows), stream_(stream), first_key_(first_key), prompt_(std::move(prompt)) {}

  // Decodes the next sequence and skips the rows after its end. A sequence that fails has `error`; one with fewer rows
  // than tokens allowed ends with FINISH_REASON_CANCELLED. REQUIRES: there is a next sequence.
  // Errors: InputError (of the rows), or the error that ended the stream.
  absl::StatusOr<v1::Completion> Next();
  // The seed in use. REQUIRES: Next() was called.
  uint64_t seed() const { return seed_; }

 private:
  // Takes the results of a batch. Returns whether the sequence goes on.
  static bool Take(const v1::BatchResult& result, v1::Completion& completion);
  // Closes a sequence whose rows ended before it did, and takes how it ended.
  absl::Status Close(int64_t sequence_id, v1::Completion& completion);

  LogitsRows& rows_;
  DecodeStream& stream_;
  const uint64_t first_key_;
  const std::vector<int32_t> prompt_;
  int64_t batch_id_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_ROW_DECODER_H_

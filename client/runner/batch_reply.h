// The answer to one RunBatch: takes the model's rows, reduces them as each entry asks, and writes BatchOutput messages
// of bounded size, in the order of the work.
//
// One thread.
#ifndef LOGITD_CLIENT_RUNNER_BATCH_REPLY_H_
#define LOGITD_CLIENT_RUNNER_BATCH_REPLY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/runner/batch_control.h"
#include "client/runner/decoders.h"
#include "client/runner/model_runner.h"
#include "client/runner/row_buffers.h"
#include "core/row_statistics.h"
#include "core/top_tokens.h"
#include "core/types.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::runner {

class BatchReply : public RowSink {
 public:
  // Sends one message and its payload; what it returns is not asked for: a broken stream is noticed by whoever reads
  // it.
  using Writer = std::function<void(const v1::AttachRequest&, RowBuffer payload)>;

  // `batch`, `control` and `decoders` must outlive this object. No message is larger than `max_message_bytes`, nor has
  // more rows than a buffer of `buffers` takes. REQUIRES: CheckWork is OK for every entry that is not failed at once.
  BatchReply(const v1::RunBatch& batch, const BatchControl& control, int32_t vocab_size, int64_t max_message_bytes,
             RowBuffers& buffers, Decoders& decoders, Writer write);

  // A row with NaN, +inf or no finite value fails its entry: MODEL_OUTPUT_INVALID.
  void AddRow(int work_index, LogitsView row) override;
  void Fail(int work_index, const absl::Status& error) override;
  // The entry has no token to append (append_chosen_decoder_id): it is not the model's to do.
  void Skip(int work_index);
  absl::Status CheckWanted(int work_index) const override { return control_.Check(work_index); }

  // Writes what is left, the last message with final = true. An entry that has not got all of its rows has failed.
  void Finish();

  // Entries whose caches the model may still hold although they have failed.
  std::vector<int64_t> SequencesToDrop() const;

 private:
  struct Request {
    const v1::RowRequest* request = nullptr;
    int row_count = 0;
    int written = 0;
    int next_target = 0;
  };
  struct Entry {
    const v1::SequenceWork* work = nullptr;
    // The appended tokens whose rows are wanted.
    std::vector<int> wanted;
    // Rows written, or waiting in `early`.
    size_t taken = 0;
    size_t written = 0;
    std::vector<Request> requests;
    // Or skipped.
    bool failed = false;
    bool skipped = false;
    // Found bad here, not by the model.
    bool drop = false;
    absl::Status error;
    // Rows that came before it was this entry's turn, one after the other.
    std::vector<float> early;
  };

  // A batch that the server has sent already may go on from what the entry chose, but its sequence is gone.
  void DropChosenOf(const Entry& entry);
  void FailHere(int work_index, const absl::Status& error);
  // Writes what can be written now of entries from `head_` on.
  void Advance();
  // The entry's next row, for all requests that ask for it.
  void AppendRow(Entry& entry, LogitsView row);
  absl::Status AppendFor(Entry& entry, int request_index, LogitsView row);
  // Into the payload. Errors: MODEL_OUTPUT_INVALID, and nothing is copied.
  absl::Status CopyRow(LogitsView row);
  // The message has one row more.
  void CountRow();
  void AppendRecords(Request& request, LogitsView row, const RowStatistics& statistics, v1::RowRecords& records);
  void AppendError(const Entry& entry);
  // The output of the request in the message that is being built.
  v1::SequenceOutput& OutputOf(const Entry& entry, int request_index);
  int64_t RowBytes(const Request& request) const;
  // Errors: LIMIT_EXCEEDED if so much fits no message.
  absl::Status MakeRoom(int64_t bytes);
  void StartMessage();
  void Send();

  const v1::RunBatch& batch_;
  const BatchControl& control_;
  const int32_t vocab_size_;
  const int64_t max_message_bytes_;
  RowBuffers& buffers_;
  Decoders& decoders_;
  const Writer write_;
  std::vector<Entry> entries_;
  // The entry whose turn it is: earlier ones are complete.
  size_t head_ = 0;

  v1::AttachRequest message_;
  // The bytes of its rows.
  RowBuffer payload_;
  int64_t message_bytes_ = 0;
  int32_t message_rows_ = 0;
  TopTokens top_tokens_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_BATCH_REPLY_H_

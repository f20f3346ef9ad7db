// The answer to one RunBatch. It takes the model's rows, reduces them as each entry asks, and writes BatchOutput
// messages of bounded size in the order of the work.
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
  // Sends one message and its payload. It returns nothing: the thread that reads the stream notices when it breaks.
  using Writer = std::function<void(const v1::AttachRequest&, RowBuffer payload)>;

  // `batch`, `control` and `decoders` must outlive this object. No message exceeds `max_message_bytes`, nor the rows
  // that fit a buffer of `buffers`. REQUIRES: CheckWork is OK for every entry that the caller does not fail at once.
  BatchReply(const v1::RunBatch& batch, const BatchControl& control, int32_t vocab_size, int32_t row_width,
             int64_t max_message_bytes, RowBuffers& buffers, Decoders& decoders, Writer write);

  // A row with NaN, +inf or no finite value fails its entry with MODEL_OUTPUT_INVALID.
  void AddRow(int work_index, LogitsView row) override;
  void Fail(int work_index, const absl::Status& error) override;
  // The entry has no token to append (append_chosen_decoder_id), so the model does not get it.
  void Skip(int work_index);
  absl::Status CheckWanted(int work_index) const override { return control_.Check(work_index); }

  // Writes the rest; the last message has final = true. Entries that miss rows fail.
  void Finish();

  // Failed entries whose caches the model may still hold.
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
    // Indices of the appended tokens whose rows are wanted.
    std::vector<int> wanted;
    // Rows written, or waiting in `early`.
    size_t taken = 0;
    size_t written = 0;
    std::vector<Request> requests;
    // Also true for a skipped entry.
    bool failed = false;
    bool skipped = false;
    // The failure was found here, so the model does not know of it.
    bool drop = false;
    absl::Status error;
    // Rows that came before the entry's turn, one after the other.
    std::vector<float> early;
  };

  // The server may have sent a batch already that appends the token chosen for this entry, but the sequence is gone.
  void DropChosenOf(const Entry& entry);
  void FailHere(int work_index, const absl::Status& error);
  // Writes all that can be written now of the entries from `head_` on.
  void Advance();
  // Writes the entry's next row for all requests that ask for it.
  void AppendRow(Entry& entry, LogitsView row);
  absl::Status AppendFor(Entry& entry, int request_index, LogitsView row);
  // Copies the row into the payload. Errors: MODEL_OUTPUT_INVALID; nothing is copied then.
  absl::Status CopyRow(LogitsView row);
  // Counts one more row in the message.
  void CountRow();
  void AppendRecords(Request& request, LogitsView row, const RowStatistics& statistics, v1::RowRecords& records);
  void AppendError(const Entry& entry);
  // The output of this request in the message that is being built.
  v1::SequenceOutput& OutputOf(const Entry& entry, int request_index);
  int64_t RowBytes(const Request& request) const;
  // Starts a new message if `bytes` do not fit the present one. Errors: LIMIT_EXCEEDED if they fit no message.
  absl::Status MakeRoom(int64_t bytes);
  void StartMessage();
  void Send();

  const v1::RunBatch& batch_;
  const BatchControl& control_;
  const int32_t row_width_;
  const int64_t max_message_bytes_;
  RowBuffers& buffers_;
  Decoders& decoders_;
  const Writer write_;
  std::vector<Entry> entries_;
  // The first entry that is not complete.
  size_t head_ = 0;

  v1::AttachRequest message_;
  // The bytes of the message's rows.
  RowBuffer payload_;
  int64_t message_bytes_ = 0;
  int32_t message_rows_ = 0;
  TopTokens top_tokens_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_BATCH_REPLY_H_

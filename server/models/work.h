// What the server asks of a model and what it gets: plain data, free of gRPC and protobuf.
#ifndef LOGITD_SERVER_MODELS_WORK_H_
#define LOGITD_SERVER_MODELS_WORK_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "core/token_record.h"
#include "core/types.h"

namespace logitd::server {

// Rows as logits.
struct LogitsWanted {};

// Rows reduced by the runner: no logits cross the process border.
struct RecordsWanted {
  // The token that each row is to be scored for; one per row, or none.
  std::vector<TokenId> targets;
  int32_t top_n = 0;
  std::vector<TokenId> named_token_ids;
  bool ranks = false;
  bool entropy = false;
};

// A decoder as a runner is told of it.
struct DecoderStart {
  // A logitd.v1.DecoderStart without output_token_ids, serialised.
  std::shared_ptr<const std::string> settings;
  // The tokens chosen so far.
  std::vector<TokenId> output_token_ids;
};

// Of all decoders that a session tells a runner of at once, and of those in a batch but for the first of its entries,
// serialised: what a runner gets in one message is bounded.
inline constexpr int64_t kMaxStartBytes = int64_t{8} << 20;

// Whoever has a token chosen can tell a runner all that the choice depends on, on whatever runner the sequence is then.
class DecoderSource {
 public:
  virtual ~DecoderSource() = default;
  virtual DecoderStart Start() const = 0;
};

// A token chosen by the runner, with the server's own code, instead of the row.
struct ChoiceWanted {
  // ModelSession::NewSequence(), of no sequence.
  int64_t decoder_id = 0;
  // Outlives the evaluation.
  const DecoderSource* source = nullptr;
  // Set by the session where the runner does not know the decoder.
  std::optional<DecoderStart> start = std::nullopt;
};

// Some consecutive rows of the appended tokens, and what comes back for each.
struct RowRequest {
  // Row i is the output after append_token_ids[i].
  int32_t first_row = 0;
  int32_t row_count = 1;
  // ChoiceWanted: of one row.
  std::variant<LogitsWanted, RecordsWanted, ChoiceWanted> form;
};

// Work on one sequence: copy, append, return rows.
struct SequenceWork {
  // ModelSession::NewSequence().
  int64_t sequence_id = 0;
  // Set: the sequence is new, and begins as a copy of this one.
  std::optional<int64_t> fork_from_sequence_id = std::nullopt;
  // May be empty for a mere copy; then there are no rows.
  std::vector<TokenId> append_token_ids = {};
  // Set: what is appended is the token that this decoder chooses in the work before, which is on its way; and
  // append_token_ids is empty. Only in work that runs ahead (ModelSession::Evaluate).
  std::optional<int64_t> append_chosen = std::nullopt;
  // Any number of requests, also several of the same row.
  std::vector<RowRequest> rows = {};
  // The next token of a sequence that is running: somebody waits for one after the other. One token.
  bool is_step = false;

  size_t token_count() const { return append_token_ids.size() + (append_chosen ? 1 : 0); }

  // Asks for all rows, or the last.
  void AskForAll(std::variant<LogitsWanted, RecordsWanted, ChoiceWanted> form = LogitsWanted()) {
    rows.push_back({0, static_cast<int32_t>(token_count()), std::move(form)});
  }
  void AskForLast(std::variant<LogitsWanted, RecordsWanted, ChoiceWanted> form = LogitsWanted()) {
    rows.push_back({static_cast<int32_t>(token_count()) - 1, 1, std::move(form)});
  }
};

// One reduced row. Log-probs in nats, -inf: probability zero.
struct RowRecord {
  double log_sum_exp = 0;
  TokenId argmax = 0;
  std::optional<double> entropy;
  double target_log_prob = 0;
  std::optional<int32_t> target_rank;
  std::vector<TokenAlternative> top;
  std::vector<TokenAlternative> named;
};

// What a runner chose.
struct Choice {
  // Unset: sets, bans and biases exclude every token.
  std::optional<TokenRecord> token;
};

// What came of one RowRequest: the one of these that it asked for.
struct RequestRows {
  // [row_count, vocab_size]. Shared: several requests may be of the same row. Null: none was asked for.
  std::shared_ptr<std::vector<float>> logits;
  std::vector<RowRecord> records;
  std::optional<Choice> choice;
};

// What came of one SequenceWork.
struct SequenceRows {
  // Not OK: the sequence is lost (its cache is dropped).
  absl::Status status = absl::OkStatus();
  // It ran ahead, and there was no token to append: there are no rows.
  bool skipped = false;
  // One for each of the work's requests.
  std::vector<RequestRows> requests = {};

  // Of the first request. REQUIRES: it asked for logits.
  const std::vector<float>& logits() const { return *requests.front().logits; }
};

// What goes to a runner at once.
struct Batch {
  int64_t batch_id = 0;
  // How long the runner may work on it.
  std::chrono::milliseconds time_limit{0};
  std::vector<int64_t> release_sequence_ids;
  // Parts of what sessions asked for, of at most one sequence each.
  std::vector<SequenceWork> work;
};

// Rows of one of a piece's requests, or a part of them; `status` not OK: no more rows of the piece will come.
struct PieceOutput {
  int64_t sequence_id = 0;
  // Which of the piece's `rows`.
  int32_t request_index = 0;
  // Index of the first row here among the request's rows.
  int32_t first_row = 0;
  int32_t row_count = 0;
  absl::Status status = absl::OkStatus();
  // The piece was not done, and no rows will come.
  bool skipped = false;
  RequestRows rows = {};
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_WORK_H_

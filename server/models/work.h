// The work that the server asks of a model, and its results. Plain data, free of gRPC and protobuf.
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

// The tokens of one batch of an isolated sequence.
inline constexpr int32_t kIsolatedTokens = 64;

// Asks for rows as logits.
struct LogitsWanted {};

// Asks for rows that the runner reduces, so that no logits cross the process border.
struct RecordsWanted {
  // The token to score in each row: one per row, or no tokens at all.
  std::vector<TokenId> targets;
  int32_t top_n = 0;
  std::vector<TokenId> named_token_ids;
  bool ranks = false;
  bool entropy = false;
};

// A decoder, as described to a runner.
struct DecoderStart {
  // A serialised logitd.v1.DecoderStart without output_token_ids.
  std::shared_ptr<const std::string> settings;
  // The tokens chosen so far.
  std::vector<TokenId> output_token_ids;
};

// Bounds the serialised DecoderStarts in one message to a runner. It holds for all decoders that a session describes at
// once, and for those of a batch; the first entry of a batch may exceed it.
inline constexpr int64_t kMaxStartBytes = int64_t{8} << 20;

// Describes the decoder of a sequence. Any runner that takes over the sequence can then choose its tokens.
class DecoderSource {
 public:
  virtual ~DecoderSource() = default;
  virtual DecoderStart Start() const = 0;
};

// Asks for a token that the runner chooses from the row, with the server's own code.
struct ChoiceWanted {
  // From ModelSession::NewSequence(); not the number of a sequence.
  int64_t decoder_id = 0;
  // Must outlive the evaluation.
  const DecoderSource* source = nullptr;
  // Filled in by the session if the runner does not know the decoder.
  std::optional<DecoderStart> start = std::nullopt;
};

// Asks for some consecutive rows of the appended tokens, in one form.
struct RowRequest {
  // Row i is the output after append_token_ids[i].
  int32_t first_row = 0;
  int32_t row_count = 1;
  // ChoiceWanted: row_count must be 1.
  std::variant<LogitsWanted, RecordsWanted, ChoiceWanted> form;
};

// Work on one sequence: copy another sequence, append tokens, return rows. A part of such work that fits into one batch
// (a piece) has the same type.
struct SequenceWork {
  // From ModelSession::NewSequence().
  int64_t sequence_id = 0;
  // Set: the sequence is new and begins as a copy of this one.
  std::optional<int64_t> fork_from_sequence_id = std::nullopt;
  // Of the copy: drop all tokens after that many. Unset: keep all. The scheduler's; see from_cache.
  std::optional<int64_t> keep_prefix_length = std::nullopt;
  // May be empty for a mere copy, which then has no rows.
  std::vector<TokenId> append_token_ids = {};
  // The sequence is new, and append_token_ids are all of its tokens. It may begin as a copy of what the runner's cache
  // holds of them, up to the first row that is wanted. Work that begins with the same tokens, and is on its way, is
  // waited for.
  bool from_cache = false;
  // The session will not change the sequence after this work, so that others may copy it. Needs from_cache.
  bool is_final = false;
  // Set: appends the token that this decoder chooses in the preceding work, which is still on its way; append_token_ids
  // is then empty. Only for work that runs ahead (ModelSession::Evaluate).
  std::optional<int64_t> append_chosen = std::nullopt;
  // Any number of requests. Several may ask for the same row.
  std::vector<RowRequest> rows = {};
  // The sequence is evaluated by itself, as logitd.v1.SequenceWork.isolated says. It neither copies nor is copied, and
  // does not count for the runner's capacity. Every work on it but the last has a multiple of kIsolatedTokens tokens.
  bool is_isolated = false;
  // This is the next token of a running sequence, which asks for one token after the other. It has exactly one token.
  bool is_step = false;

  size_t token_count() const { return append_token_ids.size() + (append_chosen ? 1 : 0); }

  // Ask for all rows, or for the last.
  void AskForAll(std::variant<LogitsWanted, RecordsWanted, ChoiceWanted> form = LogitsWanted()) {
    rows.push_back({0, static_cast<int32_t>(token_count()), std::move(form)});
  }
  void AskForLast(std::variant<LogitsWanted, RecordsWanted, ChoiceWanted> form = LogitsWanted()) {
    rows.push_back({static_cast<int32_t>(token_count()) - 1, 1, std::move(form)});
  }
};

// One reduced row. Log-probs in nats; -inf means probability zero.
struct RowRecord {
  double log_sum_exp = 0;
  TokenId argmax = 0;
  std::optional<double> entropy;
  double target_log_prob = 0;
  std::optional<int32_t> target_rank;
  std::vector<TokenAlternative> top;
  std::vector<TokenAlternative> named;
};

// The runner's choice.
struct Choice {
  // Unset: sets, bans and biases exclude every token.
  std::optional<TokenRecord> token;
};

// The results of one RowRequest. Only the member that it asked for is filled in.
struct RequestRows {
  // Shape [row_count, vocab_size]. Shared, because several requests may ask for the same row. Null: not asked for.
  std::shared_ptr<std::vector<float>> logits;
  std::vector<RowRecord> records;
  std::optional<Choice> choice;
};

// The results of one SequenceWork.
struct SequenceRows {
  // Not OK: the sequence is lost, and its cache has been dropped.
  absl::Status status = absl::OkStatus();
  // The work ran ahead and had no token to append. There are no rows.
  bool skipped = false;
  // Number of the work's tokens that were in the cache and were not evaluated (SequenceWork::from_cache).
  int64_t cached_count = 0;
  // One for each of the work's requests.
  std::vector<RequestRows> requests = {};

  // The logits of the first request. REQUIRES: it asked for logits.
  const std::vector<float>& logits() const { return *requests.front().logits; }
};

// The work that goes to a runner in one message.
struct Batch {
  int64_t batch_id = 0;
  // How long the runner may work on the batch.
  std::chrono::milliseconds time_limit{0};
  std::vector<int64_t> release_sequence_ids;
  // Pieces; at most one per sequence.
  std::vector<SequenceWork> work;
};

// Rows of one request of a piece, in whole or in part. `status` not OK: no more rows of the piece will come.
struct PieceOutput {
  int64_t sequence_id = 0;
  // Index in the piece's `rows`.
  int32_t request_index = 0;
  // Index of the first of these rows among the request's rows.
  int32_t first_row = 0;
  int32_t row_count = 0;
  absl::Status status = absl::OkStatus();
  // The piece was not evaluated, and no rows will come.
  bool skipped = false;
  RequestRows rows = {};
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_WORK_H_

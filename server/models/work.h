// What the server asks of a model and what it gets: plain data, free of gRPC and protobuf.
#ifndef LOGITD_SERVER_MODELS_WORK_H_
#define LOGITD_SERVER_MODELS_WORK_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/token_record.h"
#include "core/types.h"

namespace logitd::server {

// Which rows of the appended tokens come back. Numbers as logitd.v1.RowsWanted.
enum class RowsWanted { kNone = 1, kLast = 2, kAll = 3 };

// Rows reduced by the runner: no logits cross the process border.
struct RecordsWanted {
  // The token that each row is to be scored for; one per row (so only with kAll).
  std::vector<TokenId> targets;
  int32_t top_n = 0;
  std::vector<TokenId> named_token_ids;
  bool ranks = false;
  bool entropy = false;
};

// Work on one sequence: copy, append, return rows.
struct SequenceWork {
  // ModelSession::NewSequence().
  int64_t sequence_id = 0;
  // Set: the sequence is new, and begins as a copy of this one.
  std::optional<int64_t> fork_from_sequence_id;
  // May be empty for a mere copy; then `want` is kNone.
  std::vector<TokenId> append_token_ids;
  RowsWanted want = RowsWanted::kNone;
  // Unset: rows as logits.
  std::optional<RecordsWanted> records;

  int32_t row_count() const {
    if (want == RowsWanted::kNone) return 0;
    return want == RowsWanted::kLast ? 1 : static_cast<int32_t>(append_token_ids.size());
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

// What came of one SequenceWork.
struct SequenceRows {
  // Not OK: the sequence is lost (its cache is dropped).
  absl::Status status;
  // [row_count, vocab_size]; empty if records were asked for.
  std::vector<float> logits;
  std::vector<RowRecord> records;
};

// A part of a SequenceWork, small enough for one batch.
struct WorkPiece {
  int64_t sequence_id = 0;
  std::optional<int64_t> fork_from_sequence_id;
  std::vector<TokenId> append_token_ids;
  RowsWanted want = RowsWanted::kNone;
  std::optional<RecordsWanted> records;
};

// What goes to a runner at once.
struct Batch {
  int64_t batch_id = 0;
  // How long the runner may work on it.
  std::chrono::milliseconds time_limit{0};
  std::vector<int64_t> release_sequence_ids;
  std::vector<WorkPiece> work;
};

// Rows of one piece, or a part of them; `status` not OK: no more rows will come.
struct PieceOutput {
  int64_t sequence_id = 0;
  // Index of the first row here among the piece's rows.
  int32_t first_row = 0;
  SequenceRows rows;
};

// What a model is, as its runner said when it attached.
struct ModelDescription {
  std::string name;
  std::string model_fingerprint;
  std::string vocab_fingerprint;
  int32_t vocab_size = 0;
  // Ascending.
  std::vector<TokenId> end_token_ids;
  // One of end_token_ids.
  std::optional<TokenId> eos_token_id;
  std::optional<TokenId> bos_token_id;
  bool adds_bos = false;
  int32_t context_length = 0;
  std::string precision;
  std::optional<int64_t> parameter_count;
  std::string chat_template;
  // How far a log-prob may move with the batch, nats, >= 0, as this runner says. Runners of one model may differ.
  std::optional<double> batch_tolerance_nats;
  std::optional<int32_t> hidden_width;
  // For people, printable.
  std::vector<std::string> warnings;
};

// How much a runner takes.
struct RunnerCapacity {
  int32_t max_sequences = 1;
  int64_t max_cached_tokens = 1;
  int32_t max_batch_tokens = 1;
  // For people, printable: how max_cached_tokens was chosen. Empty: nothing to say.
  std::string cache_choice = {};
};

// What a runner can do.
struct RunnerCapabilities {
  bool fork = false;
  bool trim = false;
  bool records = false;
  bool tokenizer = false;
  bool vocabulary = false;
  // See logitd.v1.RunnerCapabilities: what token_bound.h needs.
  bool tokens_spell_text = false;

  bool operator==(const RunnerCapabilities&) const = default;
};

// How a context and its continuation become tokens. Numbers as logitd.v1.Boundary.
enum class Boundary { kJoint = 1, kSeparate = 2, kLmEval = 3 };

// How text becomes tokens. See logitd.v1.TokenizationOptions.
struct TokenizationOptions {
  std::optional<bool> add_special_tokens;
  bool parse_special_tokens = false;
  Boundary boundary = Boundary::kJoint;
  // The text goes on after other text: nothing is put before it.
  bool continues_text = false;
};

// What a token is. Numbers as logitd.v1.TokenKind.
enum class TokenKind : uint8_t { kText = 1, kControl = 2, kUnused = 3 };

// The bytes of a model's tokens, and what each is.
struct Vocabulary {
  // Of a control token: its name.
  std::string bytes;
  // [vocab_size + 1]: token i has bytes [offsets[i], offsets[i + 1]). Empty: the runner does not tell its vocabulary.
  std::vector<int64_t> offsets;
  // Bytes of the longest token that has any in a text.
  int64_t longest_token_bytes = 0;
  // [vocab_size]. Empty: all stand for text.
  std::vector<TokenKind> kinds = {};

  // REQUIRES: id >= 0, as in all of them.
  TokenKind Kind(TokenId id) const {
    return static_cast<size_t>(id) < kinds.size() ? kinds[static_cast<size_t>(id)] : TokenKind::kText;
  }
  // Its bytes in a text.
  std::string_view TokenBytes(TokenId id) const {
    return id >= 0 && Kind(id) != TokenKind::kControl ? Slice(id) : std::string_view();
  }
  // The text that stands for a control token; empty: none, or it is another token.
  std::string_view Name(TokenId id) const {
    return id >= 0 && Kind(id) == TokenKind::kControl ? Slice(id) : std::string_view();
  }

 private:
  std::string_view Slice(TokenId id) const {
    if (static_cast<size_t>(id) + 1 >= offsets.size()) return {};
    return std::string_view(bytes).substr(offsets[id], offsets[id + 1] - offsets[id]);
  }
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_WORK_H_

// A model whose row depends on the last token alone: the row after token t is row t of a matrix of logits. So every
// log-prob of any text is known by hand, whatever its length, its batch and its caches.
//
//   TransitionModel model(TransitionModelOptions{.tables = RandomTables(/*seed=*/1)});
//   runner::ServeModel({.server_address = address}, model, stop_token);
//
// The tokenizer takes the longest token that fits, again and again. Control tokens are never found in a text, except by
// their names if the request asks for that.
#ifndef LOGITD_TESTS_TESTING_TRANSITION_MODEL_H_
#define LOGITD_TESTS_TESTING_TRANSITION_MODEL_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/runner/model_runner.h"
#include "core/types.h"
#include "tests/testing/token_path.h"

namespace logitd::testing {

// A vocabulary and its matrix.
struct TransitionTables {
  // The bytes of each token; the name of a control token.
  std::vector<std::string> tokens;
  std::vector<TokenId> control_token_ids;
  std::optional<TokenId> bos_token_id;
  std::optional<TokenId> eos_token_id;
  // Shape: [tokens][tokens]; -inf: never. Row t is the row after token t.
  std::vector<std::vector<float>> logits;
};

// 320 tokens: BOS "<s>" is 0, EOS "</s>" is 1, byte b is 2 + b, and 62 words and parts of words follow. So every text
// has tokens, and many have several tokenisations. Logits are in [-8, 8), multiples of 2^-20, all different in a row:
//
//   logit(t, i) = ((Mix(Mix(Mix(seed) ^ t) ^ i) >> 49) * 512 + i - 2^23) * 2^-20,   Mix: splitmix64
TransitionTables RandomTables(uint64_t seed);
// Reads tables from JSON: {"tokens": ["<s>", "a", ...], "logits": [[0, -1.5, null], ...], "control_token_ids": [0],
// "bos_token_id": 0, "eos_token_id": 1}. A logit null is -inf. A token may also be a list of bytes. The last three may
// be left out. Errors: kInvalidArgument.
absl::StatusOr<TransitionTables> TablesFromJson(const std::string& json);

struct TransitionModelOptions {
  TransitionTables tables;
  std::string name = "transition";
  int32_t context_length = 131072;
  bool adds_bos = false;
  bool fork = true;
  bool trim = true;
  bool tokenizer = true;
  int32_t max_sequences = 1024;
  int64_t max_cached_tokens = int64_t{1} << 22;
  int32_t max_batch_tokens = 2048;
  // Evaluation sleeps this long for each batch with work, and for each token, microseconds.
  int64_t us_per_batch = 0;
  int64_t us_per_token = 0;
};

// Counters may be read from any thread.
class TransitionModel : public runner::Model {
 public:
  // REQUIRES: the tables are those of a function above, or as consistent.
  explicit TransitionModel(TransitionModelOptions options);

  v1::ModelInfo Info() const override;
  v1::RunnerCapabilities Capabilities() const override;
  v1::RunnerCapacity Capacity() const override;
  std::optional<v1::RunnerPlatform> Platform() const override;
  v1::Vocabulary Vocabulary() const override;
  void Evaluate(const v1::RunBatch& batch, runner::RowSink& sink) override;
  absl::StatusOr<std::vector<TokenId>> Tokenize(const std::string& text,
                                                const runner::TokenizeOptions& options) override;
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId> token_ids, bool render_special_tokens) override;

  // Batches with work, tokens evaluated, and rows given, so far.
  int64_t batch_count() const { return batch_count_; }
  int64_t token_count() const { return token_count_; }
  int64_t row_count() const { return row_count_; }
  // Of them, those that went to the server as logits.
  int64_t logits_row_count() const { return logits_row_count_; }
  // The largest number of sequences that had a cache at once.
  int64_t largest_sequence_count() const { return largest_sequence_count_; }

 private:
  absl::Status SetUp(const v1::SequenceWork& work);
  void Append(int work_index, const v1::SequenceWork& work, runner::RowSink& sink);
  bool IsControl(TokenId token_id) const { return controls_.contains(token_id); }
  absl::Status TokenizePlain(std::string_view text, std::vector<TokenId>& token_ids) const;

  const TransitionModelOptions options_;
  // Of the tables: models of other tables never share what was evaluated.
  std::string fingerprint_;
  std::unordered_set<TokenId> controls_;
  // Tokens that stand for text; of equal ones the lowest.
  std::unordered_map<std::string, TokenId> token_of_;
  size_t longest_token_ = 0;
  // Only the evaluating thread uses them.
  std::unordered_map<int64_t, TokenPath> sequences_;
  std::atomic<int64_t> batch_count_ = 0;
  std::atomic<int64_t> token_count_ = 0;
  std::atomic<int64_t> row_count_ = 0;
  std::atomic<int64_t> logits_row_count_ = 0;
  std::atomic<int64_t> largest_sequence_count_ = 0;
};

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_TRANSITION_MODEL_H_

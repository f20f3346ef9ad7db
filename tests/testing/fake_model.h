// A small deterministic model for tests: 64 tokens, rows that a test can compute itself.
//
//   AttachedFakeModel fake(server.runner_address(), {.context_length = 32});
//   ASSERT_TRUE(fake.WaitUntilAccepted());
//   ... use the server ...
//   EXPECT_EQ(fake.model().batch_count(), 3);
//
// Its rows depend on the last two tokens and the length of the sequence, so that a token fed twice, left out or fed to
// the wrong sequence shows.
#ifndef LOGITD_TESTS_TESTING_FAKE_MODEL_H_
#define LOGITD_TESTS_TESTING_FAKE_MODEL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/runner/cache_ledger.h"
#include "client/runner/model_runner.h"
#include "core/types.h"

namespace logitd::testing {

inline constexpr int32_t kFakeVocabSize = 64;
// Control tokens, "<s>" and "</s>".
inline constexpr TokenId kFakeBos = 0;
inline constexpr TokenId kFakeEos = 1;

// The row after `tokens`, [kFakeVocabSize]: finite, all different, in [-8, 8). `tokens` may be empty.
std::vector<float> FakeRow(std::span<const TokenId> tokens);
// The token's bytes: a letter, " ", ".", "\n", one of the two bytes of "é", or several letters ("the", " c", "at",
// ...); empty for a control token. REQUIRES: token_id in [0, kFakeVocabSize).
std::string_view FakeTokenBytes(TokenId token_id);
// The longest token that fits, again and again. So "a" and "t" apart are two tokens, "at" is one.
// Errors: kInvalidArgument for a byte that no token has (capitals, digits, ...).
absl::StatusOr<std::vector<TokenId>> FakeTokenize(std::string_view text);
// The token ids of `text`. REQUIRES: every byte has a token.
std::vector<TokenId> FakeTokens(std::string_view text);

// What becomes of a row that was asked for.
enum class FakeOutcome { kRow, kNan, kInfinity, kNoFiniteLogit, kFail };

struct FakeModelOptions {
  std::string name = "fake";
  // Model fingerprint, any bytes.
  std::string model_fingerprint = "fake-weights";
  int32_t context_length = 64;
  // ModelInfo.batch_tolerance_nats. Unset: not known.
  std::optional<double> batch_tolerance_nats = std::nullopt;
  bool adds_bos = false;
  bool has_bos = true;
  // The tokenizer puts EOS behind a text, wherever it puts BOS before one.
  bool adds_eos = false;
  bool tokenizer = true;
  // It renders conversations: "role content." for each message, then "assistant ". An empty content is refused.
  bool chat_template = false;
  // The tokenizer puts a space before a text and after a control token, as SentencePiece does.
  bool space_prefix = false;
  // The tokenizer turns capitals into small letters, and takes <s> for what it has no token for.
  bool changes_text = false;
  // The runner promises that tokens spell the text.
  bool tokens_spell_text = false;
  // A text that holds this ends the tokenizer. Empty: none does.
  std::string fatal_text;
  // Called with each text that is tokenised. Null: nothing.
  std::function<void(const std::string& text)> on_text = nullptr;
  // The vocabulary has the names of control tokens.
  bool names_control_tokens = false;
  // The runner tells its vocabulary.
  bool vocabulary = true;
  // These tokens are unused.
  std::vector<TokenId> unused_token_ids = {};
  std::vector<TokenId> end_token_ids = {kFakeEos};
  std::optional<TokenId> eos_token_id = kFakeEos;
  // ModelInfo's.
  std::optional<int32_t> hidden_width = std::nullopt;
  std::vector<std::string> warnings = {};
  // Rows are the first hidden_size values of FakeRow, as hidden states.
  std::optional<v1::HiddenOutput> hidden = std::nullopt;
  bool records = true;
  bool choice = true;
  bool fork = true;
  bool trim = true;
  // Unset: the runner does not isolate sequences. Set: on that many threads.
  std::optional<int32_t> isolation_threads = std::nullopt;
  int32_t max_sequences = 64;
  int64_t max_cached_tokens = 4096;
  int32_t max_batch_tokens = 512;
  std::optional<int32_t> max_batches_in_flight = std::nullopt;
  // Called for every row wanted, with all tokens of the sequence up to there. Null: always kRow. On the thread that
  // evaluates.
  std::function<FakeOutcome(std::span<const TokenId> tokens)> outcome = nullptr;
  // Called before each batch is evaluated; may block. On the thread that evaluates.
  std::function<void(const v1::RunBatch& batch)> before_batch = nullptr;
};

// The model alone. Counters may be read from any thread.
class FakeModel : public runner::Model {
 public:
  explicit FakeModel(FakeModelOptions options = {});

  v1::ModelInfo Info() const override;
  v1::RunnerCapabilities Capabilities() const override;
  v1::RunnerCapacity Capacity() const override;
  std::optional<v1::RunnerPlatform> Platform() const override;
  std::optional<v1::HiddenOutput> Hidden() const override { return options_.hidden; }
  v1::Vocabulary Vocabulary() const override;
  void Evaluate(const v1::RunBatch& batch, runner::RowSink& sink) override;
  absl::StatusOr<std::vector<TokenId>> Tokenize(const std::string& text,
                                                const runner::TokenizeOptions& options) override;
  absl::StatusOr<std::vector<TokenId>> TokenizeInLane(const std::string& text, const runner::TokenizeOptions& options,
                                                      const runner::TextTask& task) override;
  absl::StatusOr<v1::RenderChatResult> RenderChat(const v1::Chat& chat, const runner::TextTask& task) override;
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId> token_ids, bool render_special_tokens) override;

  // Batches with work, so far.
  int batch_count() const { return batch_count_; }
  // Tokens evaluated, so far: prefixes shared by forks count once.
  int64_t token_count() const { return token_count_; }
  // Rows given, so far.
  int64_t row_count() const { return row_count_; }
  // The largest number of entries in one batch, so far.
  int largest_batch() const { return largest_batch_; }
  // Sequences that have a cache now.
  int open_sequence_count() const { return open_sequence_count_; }
  // Calls of Detokenize, so far.
  int detokenize_count() const { return detokenize_count_; }

 private:
  absl::Status SetUp(const v1::SequenceWork& work);
  void Append(int work_index, const v1::SequenceWork& work, runner::RowSink& sink);
  void Drop(int64_t sequence_id);

  const FakeModelOptions options_;
  runner::CacheLedger ledger_;
  std::map<int64_t, std::vector<TokenId>> sequences_;
  std::atomic<int> batch_count_ = 0;
  std::atomic<int64_t> token_count_ = 0;
  std::atomic<int64_t> row_count_ = 0;
  std::atomic<int> largest_batch_ = 0;
  std::atomic<int> open_sequence_count_ = 0;
  std::atomic<int> detokenize_count_ = 0;
};

// A FakeModel that is attached to a server for as long as this object lives. Thread-safe.
class AttachedFakeModel {
 public:
  // `server_address`: the server's runner address, HOST:PORT or unix:PATH.
  explicit AttachedFakeModel(const std::string& server_address, FakeModelOptions options = {});
  // Detaches in order.
  ~AttachedFakeModel();

  // True once the server has accepted it; false if it has not within 10 s, or has refused it.
  bool WaitUntilAccepted();
  // Detaches in order, waits for the end, and says how it ended.
  absl::Status Stop();
  // Waits until the server ends the attachment.
  absl::Status WaitUntilEnded();

  FakeModel& model() { return model_; }

 private:
  FakeModel model_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool accepted_ = false;
  std::optional<absl::Status> status_;
  std::jthread thread_;
};

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_FAKE_MODEL_H_

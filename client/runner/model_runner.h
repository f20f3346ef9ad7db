// A model runner's side of ModelRunnerService.Attach: it dials the server, describes the model and answers work.
//
//   class MyModel : public Model { ... };
//   MyModel model;
//   absl::Status status = ServeModel({.server_address = "unix:/run/logitd/runner.sock"}, model, stop_token);
//
// A model only has to turn tokens into rows. This code does the rest: the protocol, messages of bounded size, and
// reducing rows to records with the same core code that the server uses.
#ifndef LOGITD_CLIENT_RUNNER_MODEL_RUNNER_H_
#define LOGITD_CLIENT_RUNNER_MODEL_RUNNER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/runner/sequence_work.h"  // IWYU pragma: export
#include "core/types.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::runner {

// Receives the rows of one batch while the model computes them.
class RowSink {
 public:
  virtual ~RowSink() = default;
  // Adds the next row of entry `work_index`, in the order of its appended tokens. Only rows that the entry wants may be
  // added (see WantsRow). Entries may come in any order; rows that come before their entry's turn are kept until then.
  // Shape: row [vocab_size], or [hidden_size] of a model with Hidden. The row is copied or reduced before the call
  // returns.
  virtual void AddRow(int work_index, LogitsView row) = 0;
  // The entry has failed and its cache has been dropped. No more rows of it may follow. Other entries are not affected.
  virtual void Fail(int work_index, const absl::Status& error) = 0;
  // OK while the server waits for the entry's rows; else CANCELLED or DEADLINE_EXCEEDED, and the model should soon fail
  // the entry with that error. Cheap; may be called from any thread.
  virtual absl::Status CheckWanted(int work_index) const = 0;
};

// The context in which a model tokenises one text.
struct TextTask {
  // Index of the lane, as in Model::TextLanes.
  int lane = 0;
  // The name of the text in errors.
  std::string field = "texts";
  // OK while the server waits for the tokens; else the error with which the model should soon give up the text. Cheap;
  // thread-safe.
  std::function<absl::Status()> check_wanted = [] { return absl::OkStatus(); };
};

// How a text becomes tokens. See logitd.v1.TokenizationOptions and logitd.v1.TokenizeCall.
struct TokenizeOptions {
  // Unset: as ModelInfo.adds_bos says.
  std::optional<bool> add_special_tokens;
  bool parse_special_tokens = false;
  // The text continues other text: neither special tokens nor the space that some tokenizers put before a text are
  // added. Names of control tokens in the text still become those tokens if parse_special_tokens is set.
  bool continues_text = false;
};

// A model. Threads: Evaluate may run at the same time as Tokenize or Detokenize, because one thread evaluates and
// another one tokenises; no function runs in two threads at once. A model with TextLanes gets one tokenising thread per
// lane; these threads call TokenizeInLane and Detokenize, and never Tokenize.
class Model {
 public:
  virtual ~Model() = default;

  // The model's description and its capabilities. Constant. ServeModel sets `records_numerics_version`,
  // `choice_numerics_version` and `dtypes`.
  virtual v1::ModelInfo Info() const = 0;
  virtual v1::RunnerCapabilities Capabilities() const = 0;
  virtual v1::RunnerCapacity Capacity() const = 0;
  // Set: the rows are hidden states, which this head of the server turns into logits; ServeModel then offers neither
  // records nor choices, which need logits. Constant. Unset: rows are logits.
  virtual std::optional<v1::HiddenOutput> Hidden() const { return std::nullopt; }
  // Required by capability `isolation`; ServeModel sets the version. Unset: not known.
  virtual std::optional<v1::RunnerPlatform> Platform() const { return std::nullopt; }
  // The bytes and the kind of every token. Info().vocab_fingerprint must be its VocabFingerprint.
  virtual v1::Vocabulary Vocabulary() const = 0;

  // Frees batch.release_sequence_ids, then evaluates all of batch.work together and gives every wanted row to `sink`.
  // Never throws; reports failures with sink.Fail.
  //
  // - Every entry has passed CheckWork (client/runner/sequence_work.h), and no sequence occurs twice.
  // - append_chosen_decoder_id is never set: a token that this runner chose is among the entry's append_token_ids.
  // - An isolated entry (SequenceWork.isolated) is the only one. Nothing else comes to such a model's Evaluate until it
  //   is done; see logitd.v1.SequenceWork.
  // - All entries are set up, in order, before any is extended, except forks of tokens that this batch evaluates: see
  //   ForksThatWait.
  virtual void Evaluate(const v1::RunBatch& batch, RowSink& sink) = 0;

  // The server no longer waits for any results. A running Evaluate should return soon, however incomplete. Called once
  // at the end, from any thread.
  virtual void Interrupt() {}

  virtual absl::StatusOr<std::vector<TokenId>> Tokenize(const std::string& text, const TokenizeOptions& options) = 0;
  // Lanes let short texts pass long ones. Returns, for each lane except the last, the bytes of text of the largest call
  // that it takes; ascending and constant. A model with lanes overrides TokenizeInLane, which may return ABORTED when a
  // text takes longer than its lane should allow: the next lane then takes the text.
  virtual std::vector<int64_t> TextLanes() const { return {}; }
  virtual absl::StatusOr<std::vector<TokenId>> TokenizeInLane(const std::string& text, const TokenizeOptions& options,
                                                              const TextTask& /*task*/) {
    return Tokenize(text, options);
  }
  // Renders a conversation by the rules of logitd.v1.ModelService.RenderChat; `call_id` stays unset. Required by
  // capability `chat_template`. Threads and lanes: as TokenizeInLane; with lanes, it may return ABORTED too.
  // Errors: CHAT_TEMPLATE_FAILED.
  virtual absl::StatusOr<v1::RenderChatResult> RenderChat(const v1::Chat& chat, const TextTask& task);
  // Returns the bytes of the text, which are not always UTF-8.
  virtual absl::StatusOr<std::string> Detokenize(std::span<const TokenId> token_ids, bool render_special_tokens) = 0;
};

struct RunnerOptions {
  // The server's --runner-listen address: HOST:PORT or unix:PATH.
  std::string server_address;
  // For example "logitd-llama 0.1.0 (llama.cpp ...)".
  std::string runner_version = "";
  std::string runner_name = "";
  // Offer to reduce rows to records. Otherwise the server scores from logits.
  bool records = true;
  // Offer to choose tokens. Otherwise the server chooses them from logits.
  bool choice = true;
  // Called once, when the server has accepted the runner.
  std::function<void()> on_accepted = nullptr;
};

// Serves `model`. Blocks until `stop` is requested (returns OK), the server ends the stream (returns its status) or the
// server cannot be reached (returns kUnavailable). Rows go out as f32, as records, or as the tokens that the core code
// of kNumericsVersion chooses from them.
absl::Status ServeModel(const RunnerOptions& options, Model& model, std::stop_token stop);

// The SHA-256 that logitd.v1.Vocabulary documents, 32 bytes.
std::string VocabFingerprint(const v1::Vocabulary& vocabulary);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_MODEL_RUNNER_H_

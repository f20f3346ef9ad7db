// A model runner's side of ModelRunnerService.Attach: dials the server, describes the model, answers work.
//
//   class MyModel : public Model { ... };
//   MyModel model;
//   absl::Status status = ServeModel({.server_address = "unix:/run/logitd/runner.sock"}, model, stop_token);
//
// What a model has to do is to turn tokens into rows. Everything else (the protocol, messages of bounded size, reducing
// rows to records with the same core code that the server uses) happens here.
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

// Takes the rows of one batch as the model computes them.
class RowSink {
 public:
  virtual ~RowSink() = default;
  // The next row of entry `work_index` of the batch, in order of its appended tokens; only rows that the entry wants
  // (see WantsRow). Entries may come in any order, but rows that come before their turn are kept until then.
  // Shape: row [vocab_size]; copied or reduced before the call returns.
  virtual void AddRow(int work_index, LogitsView row) = 0;
  // The entry failed, and its cache is dropped: no more rows of it. Other entries are not affected.
  virtual void Fail(int work_index, const absl::Status& error) = 0;
  // OK while somebody waits for the entry's rows; else CANCELLED or DEADLINE_EXCEEDED, which the entry should be failed
  // with, soon. Cheap; may be called from any thread.
  virtual absl::Status CheckWanted(int work_index) const = 0;
};

// Whom a model makes tokens for.
struct TextTask {
  // Of Model::TextLanes.
  int lane = 0;
  // The text's name in errors.
  std::string field = "texts";
  // OK while somebody waits for the tokens; else what the text should be given up with, soon. Cheap, thread-safe.
  std::function<absl::Status()> check_wanted = [] { return absl::OkStatus(); };
};

// How a text becomes tokens. See logitd.v1.TokenizationOptions and logitd.v1.TokenizeCall.
struct TokenizeOptions {
  // Unset: as ModelInfo.adds_bos says.
  std::optional<bool> add_special_tokens;
  bool parse_special_tokens = false;
  // The text goes on after other text: neither special tokens nor the space that some tokenizers put before a text are
  // added. The model's own tokens for names (parse_special_tokens) are found all the same.
  bool continues_text = false;
};

// A model. Evaluate, Tokenize and Detokenize may be called at the same time from two threads (one evaluates, one
// tokenises); no function is called from two threads at once. With TextLanes, TokenizeInLane and Detokenize are called
// from one more thread for each lane, Tokenize never.
class Model {
 public:
  virtual ~Model() = default;

  // What the model is and can do: constant. `records_numerics_version`, `choice_numerics_version` and `dtypes` are
  // ServeModel's to set.
  virtual v1::ModelInfo Info() const = 0;
  virtual v1::RunnerCapabilities Capabilities() const = 0;
  virtual v1::RunnerCapacity Capacity() const = 0;
  // The bytes and the kind of every token; Info().vocab_fingerprint is VocabFingerprint of it.
  virtual v1::Vocabulary Vocabulary() const = 0;

  // What the runner itself has chosen is among an entry's append_token_ids: append_chosen_decoder_id is never set.
  // Frees batch.release_sequence_ids, then evaluates all of batch.work together and gives every wanted row to `sink`.
  // Never throws; what fails is said with sink.Fail. Every entry has passed CheckWork (client/runner/sequence_work.h),
  // and no sequence occurs twice. Entries are set up in order before any is extended, but for forks of what is
  // evaluated here: see ForksThatWait.
  virtual void Evaluate(const v1::RunBatch& batch, RowSink& sink) = 0;

  // Nobody waits for any results any more: an Evaluate that runs should return soon, however incomplete. Called once at
  // the end, from any thread.
  virtual void Interrupt() {}

  virtual absl::StatusOr<std::vector<TokenId>> Tokenize(const std::string& text, const TokenizeOptions& options) = 0;
  // Lanes let short texts pass long ones: bytes of text of the largest call of each lane but the last, ascending. A
  // model that has any overrides TokenizeInLane, which may end with ABORTED if a text takes longer than its lane
  // should: the next lane then takes it. Constant.
  virtual std::vector<int64_t> TextLanes() const { return {}; }
  virtual absl::StatusOr<std::vector<TokenId>> TokenizeInLane(const std::string& text, const TokenizeOptions& options,
                                                              const TextTask& /*task*/) {
    return Tokenize(text, options);
  }
  // The bytes of the text; not always UTF-8.
  virtual absl::StatusOr<std::string> Detokenize(std::span<const TokenId> token_ids, bool render_special_tokens) = 0;
};

struct RunnerOptions {
  // The server's --runner-listen: HOST:PORT or unix:PATH.
  std::string server_address;
  // "logitd-llama 0.1.0 (llama.cpp ...)".
  std::string runner_version = "";
  std::string runner_name = "";
  // Offer records; without it the server scores from logits.
  bool records = true;
  // Offer to choose tokens; without it the server chooses them from logits.
  bool choice = true;
  // Called once, when the server has accepted the runner.
  std::function<void()> on_accepted = nullptr;
};

// Serves `model` until `stop` is requested (OK), the server ends the stream (its status) or cannot be reached
// (kUnavailable). Blocks. Rows go out as f32, reduced to records, or as the tokens that are chosen from them, by the
// core code of kNumericsVersion.
absl::Status ServeModel(const RunnerOptions& options, Model& model, std::stop_token stop);

// SHA-256 as documented at logitd.v1.Vocabulary, 32 bytes.
std::string VocabFingerprint(const v1::Vocabulary& vocabulary);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_MODEL_RUNNER_H_

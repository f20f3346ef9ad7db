// Facts that a runner states when it attaches: what its model is, how much it takes and what it can do. Plain data.
#ifndef LOGITD_SERVER_MODELS_MODEL_DESCRIPTION_H_
#define LOGITD_SERVER_MODELS_MODEL_DESCRIPTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/types.h"

namespace logitd::server {

// Rows that are hidden states of a head: logitd.v1.HiddenOutput.
struct HiddenOutput {
  // "": the only head of the server.
  std::string head;
  int32_t hidden_size = 0;
  bool before_output_norm = false;

  bool operator==(const HiddenOutput&) const = default;
};

// The model, as its runner describes it.
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
  // How far a log-prob may move with the batch, nats, >= 0, according to this runner. Runners of one model may differ.
  std::optional<double> batch_tolerance_nats;
  std::optional<int32_t> hidden_width;
  // For people, printable.
  std::vector<std::string> warnings;
  // Unset: rows are logits.
  std::optional<HiddenOutput> hidden;

  // Values of a row that a runner sends.
  int32_t row_width() const { return hidden ? hidden->hidden_size : vocab_size; }
};

// The sizes of a runner.
struct RunnerCapacity {
  int32_t max_sequences = 1;
  int64_t max_cached_tokens = 1;
  int32_t max_batch_tokens = 1;
  // How max_cached_tokens was chosen; for people, printable. Empty: the runner does not say.
  std::string cache_choice = {};
  // Batches that the runner accepts before it answers the first, >= 1.
  int32_t max_batches_in_flight = 2;
};

// The facts on which a runner's numbers depend, besides weights and batches: logitd.v1.RunnerPlatform.
struct RunnerPlatform {
  std::string version;
  int32_t threads = 0;
  std::string cpu_target;

  bool operator==(const RunnerPlatform&) const = default;
};

// Abilities of a runner that other runners of its model may lack.
struct RunnerExtras {
  // It takes ChoiceWanted.
  bool can_choose = false;
  // It takes SequenceWork::is_isolated.
  bool can_isolate = false;
  std::optional<RunnerPlatform> platform = std::nullopt;
};

// A runner's abilities with the sequences in its cache.
struct CacheSharing {
  // Copy one.
  bool fork = false;
  // Drop tokens from the end of a copy.
  bool trim = false;
};

// The abilities of a runner.
struct RunnerCapabilities {
  bool fork = false;
  bool trim = false;
  bool records = false;
  bool tokenizer = false;
  bool vocabulary = false;
  // As in logitd.v1.RunnerCapabilities. token_bound.h needs it.
  bool tokens_spell_text = false;
  bool chat_template = false;

  bool operator==(const RunnerCapabilities&) const = default;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_MODEL_DESCRIPTION_H_

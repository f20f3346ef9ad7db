#include "server/converters/model.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/model_name.h"
#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/shown_text.h"
#include "host/vocab_fingerprint.h"
#include "server/converters/wire.h"
#include "server/models/work.h"

namespace logitd::server {
namespace {

constexpr size_t kMaxPrecisionBytes = 128;
constexpr size_t kMaxCacheChoiceBytes = 256;
// Room for a model's name and a suffix of its supervisor.
constexpr size_t kMaxRunnerNameBytes = 256;
constexpr size_t kMaxChatTemplateBytes = size_t{1} << 20;
constexpr size_t kMaxFingerprintBytes = 64;
constexpr size_t kVocabFingerprintBytes = 32;
constexpr size_t kMaxCpuTargetBytes = 64;
constexpr int kMaxWarnings = 16;
constexpr size_t kMaxWarningBytes = 256;
// Longer than the tokens of any trained tokenizer. Every token fits a message of GetVocabulary.
constexpr int32_t kMaxTokenBytes = 1 << 16;

// Whether `text` is printable ASCII, which may stand in a log line.
bool IsPlain(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= ' ' && c < 0x7f; });
}

absl::Status CheckWarnings(const v1::ModelInfo& info) {
  if (info.warnings_size() > kMaxWarnings) {
    return errors::OutOfRange("hello.model.warnings", int64_t{info.warnings_size()},
                              "at most " + std::to_string(kMaxWarnings));
  }
  for (int i = 0; i < info.warnings_size(); ++i) {
    const std::string& text = info.warnings(i);
    if (!text.empty() && text.size() <= kMaxWarningBytes && IsPlain(text)) continue;
    return errors::OutOfRange(Element("hello.model.warnings", i), static_cast<int64_t>(text.size()),
                              "1 to 256 printable characters");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelDescription> FromProto(const v1::ModelInfo& info) {
  ModelDescription model;
  if (!IsModelName(info.name())) {
    return errors::OutOfRange("hello.model.name", static_cast<int64_t>(info.name().size()), kModelNameRule);
  }
  if (info.model_fingerprint().empty() || info.model_fingerprint().size() > kMaxFingerprintBytes) {
    return errors::OutOfRange("hello.model.model_fingerprint", static_cast<int64_t>(info.model_fingerprint().size()),
                              "1 to 64 bytes");
  }
  if (info.vocab_fingerprint().size() != kVocabFingerprintBytes) {
    return errors::OutOfRange("hello.model.vocab_fingerprint", static_cast<int64_t>(info.vocab_fingerprint().size()),
                              "32 bytes");
  }
  if (info.vocab_size() < 1 || info.vocab_size() > kMaxVocabSize) {
    return errors::OutOfRange("hello.model.vocab_size", int64_t{info.vocab_size()},
                              "in [1, " + std::to_string(kMaxVocabSize) + "]");
  }
  if (info.context_length() < 1) {
    return errors::OutOfRange("hello.model.context_length", int64_t{info.context_length()}, ">= 1");
  }
  // Every reply has it.
  if (info.precision().size() > kMaxPrecisionBytes || !IsPlain(info.precision())) {
    return errors::OutOfRange("hello.model.precision", static_cast<int64_t>(info.precision().size()),
                              "at most 128 printable characters");
  }
  if (info.chat_template().size() > kMaxChatTemplateBytes) {
    return errors::OutOfRange("hello.model.chat_template", static_cast<int64_t>(info.chat_template().size()),
                              "at most 1 MiB");
  }
  const auto& eos = info.end_token_ids();
  RETURN_IF_ERROR(CheckTokenIds(eos, "hello.model.end_token_ids", info.vocab_size()));
  if (info.has_eos_token_id()) {
    if (std::find(eos.begin(), eos.end(), info.eos_token_id()) == eos.end()) {
      return errors::OutOfRange("hello.model.eos_token_id", int64_t{info.eos_token_id()}, "one of end_token_ids");
    }
    model.eos_token_id = info.eos_token_id();
  }
  if (info.has_hidden_width()) {
    if (info.hidden_width() < 1) {
      return errors::OutOfRange("hello.model.hidden_width", int64_t{info.hidden_width()}, ">= 1");
    }
    model.hidden_width = info.hidden_width();
  }
  RETURN_IF_ERROR(CheckWarnings(info));
  model.warnings.assign(info.warnings().begin(), info.warnings().end());
  if (info.has_bos_token_id()) {
    const TokenId bos = info.bos_token_id();
    RETURN_IF_ERROR(CheckTokenIds({&bos, 1}, "hello.model.bos_token_id", info.vocab_size()));
    model.bos_token_id = bos;
  }
  model.name = info.name();
  model.model_fingerprint = info.model_fingerprint();
  model.vocab_fingerprint = info.vocab_fingerprint();
  model.vocab_size = info.vocab_size();
  model.end_token_ids.assign(eos.begin(), eos.end());
  std::sort(model.end_token_ids.begin(), model.end_token_ids.end());
  // Replies list them, so each stands once, however often the runner names it.
  model.end_token_ids.erase(std::unique(model.end_token_ids.begin(), model.end_token_ids.end()),
                            model.end_token_ids.end());
  model.adds_bos = info.adds_bos();
  model.context_length = info.context_length();
  model.precision = info.precision();
  if (info.has_parameter_count()) model.parameter_count = info.parameter_count();
  model.chat_template = info.chat_template();
  if (info.has_batch_tolerance_nats()) {
    const double nats = info.batch_tolerance_nats();
    if (!std::isfinite(nats) || nats < 0) {
      return errors::OutOfRange("hello.model.batch_tolerance_nats", nats, "finite and >= 0");
    }
    model.batch_tolerance_nats = nats;
  }
  return model;
}

absl::Status CheckNames(const v1::RunnerHello& hello) {
  for (const auto& [field, text] :
       {std::pair<const char*, const std::string&>{"hello.runner_name", hello.runner_name()},
        {"hello.runner_version", hello.runner_version()}}) {
    // Any language, but no characters that hide or break a line: the log shows the text as it was sent.
    if (text.size() <= kMaxRunnerNameBytes && OnOneLine(text, kMaxRunnerNameBytes) == text) continue;
    return errors::OutOfRange(field, static_cast<int64_t>(text.size()), "at most 256 bytes of printable characters");
  }
  return absl::OkStatus();
}

absl::StatusOr<RunnerCapacity> FromProto(const v1::RunnerCapacity& message) {
  RunnerCapacity capacity;
  capacity.max_sequences = message.max_sequences();
  capacity.max_cached_tokens = message.max_cached_tokens();
  capacity.max_batch_tokens = message.max_batch_tokens();
  for (const auto& [name, value] : {std::pair<const char*, int64_t>{"max_sequences", capacity.max_sequences},
                                    {"max_cached_tokens", capacity.max_cached_tokens},
                                    {"max_batch_tokens", capacity.max_batch_tokens}}) {
    if (value < 1) return errors::OutOfRange(std::string("hello.capacity.") + name, value, ">= 1");
  }
  if (message.has_max_batches_in_flight()) {
    if (message.max_batches_in_flight() < 1) {
      return errors::OutOfRange("hello.capacity.max_batches_in_flight", int64_t{message.max_batches_in_flight()},
                                ">= 1");
    }
    capacity.max_batches_in_flight = message.max_batches_in_flight();
  }
  // It stands in a log line and in replies.
  if (message.cache_choice().size() > kMaxCacheChoiceBytes || !IsPlain(message.cache_choice())) {
    return errors::OutOfRange("hello.capacity.cache_choice", static_cast<int64_t>(message.cache_choice().size()),
                              "at most 256 printable characters");
  }
  capacity.cache_choice = message.cache_choice();
  // Caps above any real runner, so that sums over runners fit their types.
  capacity.max_sequences = std::min(capacity.max_sequences, 1 << 20);
  capacity.max_cached_tokens = std::min(capacity.max_cached_tokens, int64_t{1} << 40);
  capacity.max_batch_tokens = std::min(capacity.max_batch_tokens, 1 << 20);
  return capacity;
}

absl::StatusOr<std::optional<HiddenOutput>> HiddenOf(const v1::RunnerHello& hello) {
  if (!hello.has_hidden()) return std::nullopt;
  const v1::HiddenOutput& message = hello.hidden();
  if (message.hidden_size() < 1) {
    return errors::OutOfRange("hello.hidden.hidden_size", int64_t{message.hidden_size()}, ">= 1");
  }
  if (message.hidden_size() > kMaxHiddenSize) {
    return errors::AboveLimit("hello.hidden.hidden_size", message.hidden_size(), kMaxHiddenSize, 1);
  }
  // It has no logits to reduce or to choose from.
  const v1::RunnerCapabilities& capabilities = hello.capabilities();
  if (capabilities.has_records_numerics_version()) {
    return errors::Exclusive("hello.hidden", "hello.capabilities.records_numerics_version");
  }
  if (capabilities.has_choice_numerics_version()) {
    return errors::Exclusive("hello.hidden", "hello.capabilities.choice_numerics_version");
  }
  return HiddenOutput{message.head(), message.hidden_size(), message.before_output_norm()};
}

absl::StatusOr<RunnerExtras> ExtrasOf(const v1::RunnerHello& hello) {
  const v1::RunnerCapabilities& capabilities = hello.capabilities();
  RunnerExtras extras;
  extras.can_choose =
      capabilities.has_choice_numerics_version() && capabilities.choice_numerics_version() == kNumericsVersion;
  extras.can_isolate = capabilities.isolation();
  if (extras.can_isolate && !hello.has_platform()) return errors::Required("hello.platform", "capability isolation");
  if (extras.can_isolate && hello.capacity().max_batch_tokens() < kIsolatedTokens) {
    return errors::OutOfRange("hello.capacity.max_batch_tokens", int64_t{hello.capacity().max_batch_tokens()},
                              "at least " + std::to_string(kIsolatedTokens) + " with capability isolation");
  }
  if (!hello.has_platform()) return extras;
  const v1::RunnerPlatform& platform = hello.platform();
  if (platform.threads() < 1) {
    return errors::OutOfRange("hello.platform.threads", int64_t{platform.threads()}, ">= 1");
  }
  const std::string& target = platform.cpu_target();
  if (target.empty() || target.size() > kMaxCpuTargetBytes || !IsPlain(target)) {
    return errors::OutOfRange("hello.platform.cpu_target", static_cast<int64_t>(target.size()),
                              "1 to 64 printable characters");
  }
  if (!platform.version().empty() && platform.version() != hello.runner_version()) {
    return errors::OutOfRange("hello.platform.version", OnOneLine(platform.version(), kMaxRunnerNameBytes),
                              "empty, or runner_version");
  }
  extras.platform = {hello.runner_version(), platform.threads(), target};
  return extras;
}

RunnerCapabilities FromProto(const v1::RunnerCapabilities& message) {
  RunnerCapabilities capabilities;
  capabilities.fork = message.fork();
  capabilities.trim = message.trim();
  capabilities.records =
      message.has_records_numerics_version() && message.records_numerics_version() == kNumericsVersion;
  capabilities.tokenizer = message.tokenizer();
  capabilities.vocabulary = message.vocabulary();
  capabilities.tokens_spell_text = message.tokens_spell_text();
  // Without a tokenizer there is nothing to render for.
  capabilities.chat_template = message.chat_template() && message.tokenizer();
  return capabilities;
}

absl::StatusOr<Vocabulary> FromProto(const v1::Vocabulary& message, const ModelDescription& model) {
  if (message.token_lengths_size() != model.vocab_size) {
    return errors::RunnerProtocol("vocabulary.token_lengths must have one entry per token");
  }
  Vocabulary vocabulary;
  vocabulary.kinds.assign(static_cast<size_t>(model.vocab_size), TokenKind::kText);
  const auto& controls = message.control_token_ids();
  RETURN_IF_ERROR(CheckTokenIds(controls, "vocabulary.control_token_ids", model.vocab_size));
  for (const TokenId id : controls) vocabulary.kinds[static_cast<size_t>(id)] = TokenKind::kControl;
  const auto& unused = message.unused_token_ids();
  RETURN_IF_ERROR(CheckTokenIds(unused, "vocabulary.unused_token_ids", model.vocab_size));
  for (const TokenId id : unused) {
    if (vocabulary.Kind(id) == TokenKind::kControl) {
      return errors::RunnerProtocol("token " + std::to_string(id) +
                                    " is in both vocabulary.control_token_ids and vocabulary.unused_token_ids");
    }
    vocabulary.kinds[static_cast<size_t>(id)] = TokenKind::kUnused;
  }

  const std::string& bytes = message.token_bytes();
  vocabulary.offsets.reserve(static_cast<size_t>(model.vocab_size) + 1);
  vocabulary.offsets.push_back(0);
  size_t begin = 0;
  for (TokenId id = 0; id < model.vocab_size; ++id) {
    const int32_t length = message.token_lengths(id);
    if (length < 0 || length > kMaxTokenBytes || static_cast<size_t>(length) > bytes.size() - begin) {
      return errors::RunnerProtocol("vocabulary.token_lengths must be in [0, " + std::to_string(kMaxTokenBytes) +
                                    "] and add up to the size of token_bytes");
    }
    if (vocabulary.Kind(id) != TokenKind::kControl) {
      vocabulary.longest_token_bytes = std::max(vocabulary.longest_token_bytes, int64_t{length});
    }
    begin += static_cast<size_t>(length);
    vocabulary.offsets.push_back(static_cast<int64_t>(begin));
  }
  if (begin != bytes.size()) {
    return errors::RunnerProtocol("vocabulary.token_lengths must add up to the size of token_bytes");
  }
  const auto& lengths = message.token_lengths();
  if (host::VocabFingerprint(bytes, Ids(lengths), Ids(controls), Ids(unused)) != model.vocab_fingerprint) {
    return errors::RunnerProtocol("vocabulary is not the one of hello.model.vocab_fingerprint");
  }
  vocabulary.bytes = bytes;
  return vocabulary;
}

void ToProto(const RunnerPlatform& platform, v1::RunnerPlatform& message) {
  message.set_version(platform.version);
  message.set_threads(platform.threads);
  message.set_cpu_target(platform.cpu_target);
}

void ToProto(const ModelDescription& model, v1::ModelInfo& info) {
  info.set_name(model.name);
  info.set_model_fingerprint(model.model_fingerprint);
  info.set_vocab_fingerprint(model.vocab_fingerprint);
  info.set_vocab_size(model.vocab_size);
  for (const TokenId id : model.end_token_ids) info.add_end_token_ids(id);
  if (model.eos_token_id) info.set_eos_token_id(*model.eos_token_id);
  if (model.bos_token_id) info.set_bos_token_id(*model.bos_token_id);
  info.set_adds_bos(model.adds_bos);
  info.set_context_length(model.context_length);
  info.set_precision(model.precision);
  if (model.parameter_count) info.set_parameter_count(*model.parameter_count);
  info.set_chat_template(model.chat_template);
  if (model.batch_tolerance_nats) info.set_batch_tolerance_nats(*model.batch_tolerance_nats);
  if (model.hidden_width) info.set_hidden_width(*model.hidden_width);
  for (const std::string& warning : model.warnings) info.add_warnings(warning);
}

void ToProto(const RunnerCapacity& capacity, v1::RunnerCapacity& message) {
  message.set_max_sequences(capacity.max_sequences);
  message.set_max_cached_tokens(capacity.max_cached_tokens);
  message.set_max_batch_tokens(capacity.max_batch_tokens);
  message.set_cache_choice(capacity.cache_choice);
}

void ToProto(const RunnerCapabilities& capabilities, v1::RunnerCapabilities& message) {
  message.set_fork(capabilities.fork);
  message.set_trim(capabilities.trim);
  if (capabilities.records) message.set_records_numerics_version(kNumericsVersion);
  message.set_tokenizer(capabilities.tokenizer);
  message.set_vocabulary(capabilities.vocabulary);
  message.set_tokens_spell_text(capabilities.tokens_spell_text);
  message.set_chat_template(capabilities.chat_template);
}

TokenizationOptions FromProto(const v1::TokenizationOptions& message) {
  TokenizationOptions options;
  if (message.has_add_special_tokens()) options.add_special_tokens = message.add_special_tokens();
  options.parse_special_tokens = message.parse_special_tokens();
  if (message.boundary() != v1::BOUNDARY_UNSPECIFIED) options.boundary = static_cast<Boundary>(message.boundary());
  options.truncates_context = message.truncation() == v1::TRUNCATION_CONTEXT_LEFT;
  return options;
}

void ToProto(const TokenizationOptions& options, v1::TokenizationOptions& message) {
  if (options.add_special_tokens) message.set_add_special_tokens(*options.add_special_tokens);
  message.set_parse_special_tokens(options.parse_special_tokens);
}

}  // namespace logitd::server

#include "tests/testing/fake_model.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"

namespace logitd::testing {
namespace {

constexpr std::array<std::string_view, kFakeVocabSize> kTokens = {
    "",     "",    "a",    "b",   "c",  "d",    "e",    "f",   "g",    "h",   "i",    "j",    "k",
    "l",    "m",   "n",    "o",   "p",  "q",    "r",    "s",   "t",    "u",   "v",    "w",    "x",
    "y",    "z",   " ",    ".",   "\n", "\xC3", "\xA9", "the", " c",   "at",  " the", "cat",  " cat",
    " sat", " on", " mat", "ing", "er", "an",   " a",   "th",  "he",   "in",  " dog", " ran", " s",
    "on",   ". ",  "!",    "?",   ",",  "ll",   "re",   "nd",  " and", " is", " of",  " to"};

constexpr std::string_view kControlNames[] = {"<s>", "</s>"};

// splitmix64's finaliser.
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

std::vector<float> FakeRow(std::span<const TokenId> tokens) {
  const size_t n = tokens.size();
  uint64_t state = Mix(n);
  state = Mix(state ^ (n > 0 ? static_cast<uint64_t>(tokens[n - 1]) + 1 : 0));
  state = Mix(state ^ (n > 1 ? (static_cast<uint64_t>(tokens[n - 2]) + 1) << 8 : 0));
  std::vector<float> row(kFakeVocabSize);
  for (TokenId i = 0; i < kFakeVocabSize; ++i) {
    // 24 bits, the low 6 of which are the id: exact in f32, and never equal.
    const int64_t bits = static_cast<int64_t>(Mix(state ^ (static_cast<uint64_t>(i) << 32)) >> 46) * 64 + i;
    row[i] = static_cast<float>(bits - (1 << 23)) / (1 << 20);
  }
  return row;
}

std::string_view FakeTokenBytes(TokenId token_id) { return kTokens.at(token_id); }

absl::StatusOr<std::vector<TokenId>> FakeTokenize(std::string_view text) {
  std::vector<TokenId> token_ids;
  for (size_t begin = 0; begin < text.size();) {
    TokenId best = -1;
    for (TokenId i = 0; i < kFakeVocabSize; ++i) {
      const std::string_view bytes = kTokens[i];
      if (bytes.empty() || text.substr(begin, bytes.size()) != bytes) continue;
      if (best < 0 || bytes.size() > kTokens[best].size()) best = i;
    }
    if (best < 0) {
      return errors::MalformedMessage("texts", "byte " + std::to_string(static_cast<unsigned char>(text[begin])) +
                                                   " has no token in the fake vocabulary");
    }
    token_ids.push_back(best);
    begin += kTokens[best].size();
  }
  return token_ids;
}

std::vector<TokenId> FakeTokens(std::string_view text) { return FakeTokenize(text).value(); }

FakeModel::FakeModel(FakeModelOptions options)
    : options_(std::move(options)), ledger_(options_.max_sequences, options_.max_cached_tokens) {}

v1::ModelInfo FakeModel::Info() const {
  v1::ModelInfo info;
  info.set_name(options_.name);
  info.set_model_fingerprint(options_.model_fingerprint);
  info.set_vocab_fingerprint(runner::VocabFingerprint(Vocabulary()));
  info.set_vocab_size(kFakeVocabSize);
  info.mutable_end_token_ids()->Add(options_.end_token_ids.begin(), options_.end_token_ids.end());
  if (options_.eos_token_id) info.set_eos_token_id(*options_.eos_token_id);
  if (options_.has_bos) info.set_bos_token_id(kFakeBos);
  info.set_adds_bos(options_.adds_bos);
  info.set_context_length(options_.context_length);
  info.set_precision("f32");
  info.set_parameter_count(1);
  if (options_.hidden_width) info.set_hidden_width(*options_.hidden_width);
  for (const std::string& warning : options_.warnings) info.add_warnings(warning);
  if (options_.batch_tolerance_nats) info.set_batch_tolerance_nats(*options_.batch_tolerance_nats);
  return info;
}

v1::RunnerCapabilities FakeModel::Capabilities() const {
  v1::RunnerCapabilities capabilities;
  capabilities.set_fork(options_.fork);
  capabilities.set_trim(options_.trim);
  capabilities.set_isolation(options_.isolation_threads.has_value());
  capabilities.set_tokenizer(options_.tokenizer);
  capabilities.set_vocabulary(options_.vocabulary);
  capabilities.set_tokens_spell_text(options_.tokens_spell_text);
  capabilities.set_chat_template(options_.chat_template);
  capabilities.add_dtypes(v1::LOGITS_DTYPE_F32);
  return capabilities;
}

std::optional<v1::RunnerPlatform> FakeModel::Platform() const {
  if (!options_.isolation_threads) return std::nullopt;
  v1::RunnerPlatform platform;
  platform.set_threads(*options_.isolation_threads);
  platform.set_cpu_target("any");
  return platform;
}

v1::RunnerCapacity FakeModel::Capacity() const {
  v1::RunnerCapacity capacity;
  capacity.set_max_sequences(options_.max_sequences);
  capacity.set_max_cached_tokens(options_.max_cached_tokens);
  capacity.set_max_batch_tokens(options_.max_batch_tokens);
  if (options_.max_batches_in_flight) capacity.set_max_batches_in_flight(*options_.max_batches_in_flight);
  return capacity;
}

v1::Vocabulary FakeModel::Vocabulary() const {
  v1::Vocabulary vocabulary;
  for (std::string_view bytes : kTokens) {
    const int32_t id = vocabulary.token_lengths_size();
    if (options_.names_control_tokens && id == kFakeBos) bytes = "<s>";
    if (options_.names_control_tokens && id == kFakeEos) bytes = "</s>";
    vocabulary.mutable_token_bytes()->append(bytes);
    vocabulary.add_token_lengths(static_cast<int32_t>(bytes.size()));
  }
  vocabulary.add_control_token_ids(kFakeBos);
  vocabulary.add_control_token_ids(kFakeEos);
  for (const TokenId id : options_.unused_token_ids) vocabulary.add_unused_token_ids(id);
  return vocabulary;
}

void FakeModel::Evaluate(const v1::RunBatch& batch, runner::RowSink& sink) {
  for (int64_t sequence_id : batch.release_sequence_ids()) Drop(sequence_id);
  if (batch.work().empty()) return;
  if (options_.before_batch) options_.before_batch(batch);
  ++batch_count_;
  largest_batch_ = std::max(largest_batch_.load(), batch.work_size());
  const std::vector<int> waits_for = runner::ForksThatWait(batch, [this](int64_t id) {
    const auto found = sequences_.find(id);
    return found == sequences_.end() ? int64_t{0} : static_cast<int64_t>(found->second.size());
  });
  std::vector<std::optional<absl::Status>> all_set_up(waits_for.size());
  const auto set_up_after = [&](int source) {
    for (size_t i = 0; i < waits_for.size(); ++i) {
      if (waits_for[i] == source) all_set_up[i] = SetUp(batch.work(static_cast<int>(i)));
    }
  };
  set_up_after(-1);
  for (int i = 0; i < batch.work_size(); ++i) {
    if (!all_set_up[i]) set_up_after(waits_for[i]);
    if (const absl::Status& set_up = *all_set_up[i]; set_up.ok()) {
      Append(i, batch.work(i), sink);
    } else {
      sink.Fail(i, set_up);
      Drop(batch.work(i).sequence_id());
    }
  }
}

absl::Status FakeModel::SetUp(const v1::SequenceWork& work) {
  const int64_t id = work.sequence_id();
  const bool is_new = !sequences_.contains(id);
  if (work.has_fork_from_sequence_id()) {
    if (!is_new) return errors::SequenceAlreadyOpen(id);
    if (!sequences_.contains(work.fork_from_sequence_id())) {
      return errors::SequenceNotOpen("fork_from_sequence_id", work.fork_from_sequence_id());
    }
  }
  if (is_new) {
    if (!ledger_.Open(id))
      return errors::Overloaded("sequences have a cache", options_.max_sequences,
                                {"capacity.max_sequences", options_.max_sequences}, /*retry_after_ms=*/10);
    sequences_[id];
    ++open_sequence_count_;
  }
  if (work.has_fork_from_sequence_id()) {
    sequences_[id] = sequences_[work.fork_from_sequence_id()];
    ledger_.Share(work.fork_from_sequence_id(), id, static_cast<int64_t>(sequences_[id].size()));
  }
  if (work.has_keep_prefix_length()) {
    const int64_t length = static_cast<int64_t>(sequences_[id].size());
    if (work.keep_prefix_length() > length) {
      return errors::OutOfRange("keep_prefix_length", int64_t{work.keep_prefix_length()},
                                "[0, " + std::to_string(length) + "]");
    }
    sequences_[id].resize(work.keep_prefix_length());
    ledger_.Trim(id, work.keep_prefix_length());
  }
  return absl::OkStatus();
}

void FakeModel::Append(int work_index, const v1::SequenceWork& work, runner::RowSink& sink) {
  const int64_t id = work.sequence_id();
  std::vector<TokenId>& tokens = sequences_[id];
  const auto fail = [&](const absl::Status& status) {
    sink.Fail(work_index, status);
    Drop(id);
  };
  const int64_t length = static_cast<int64_t>(tokens.size()) + work.append_token_ids_size();
  if (length > options_.context_length) {
    return fail(errors::ContextLengthExceeded("append_token_ids", length, options_.context_length));
  }
  if (!ledger_.Append(id, work.append_token_ids_size())) {
    return fail(errors::KvCacheFull(ledger_.used_cells(), ledger_.max_cells()));
  }
  for (int i = 0; i < work.append_token_ids_size(); ++i) {
    tokens.push_back(work.append_token_ids(i));
    ++token_count_;
    if (!runner::WantsRow(work, i)) continue;
    std::vector<float> row = FakeRow(tokens);
    switch (options_.outcome ? options_.outcome(tokens) : FakeOutcome::kRow) {
      case FakeOutcome::kRow:
        break;
      case FakeOutcome::kNan:
        row[7] = std::numeric_limits<float>::quiet_NaN();
        break;
      case FakeOutcome::kInfinity:
        row[7] = std::numeric_limits<float>::infinity();
        break;
      case FakeOutcome::kNoFiniteLogit:
        std::fill(row.begin(), row.end(), -std::numeric_limits<float>::infinity());
        break;
      case FakeOutcome::kFail:
        return fail(errors::Internal("the fake model was told to fail"));
    }
    ++row_count_;
    if (options_.hidden) row.resize(static_cast<size_t>(options_.hidden->hidden_size()));
    sink.AddRow(work_index, row);
  }
}

void FakeModel::Drop(int64_t sequence_id) {
  if (sequences_.erase(sequence_id) == 0) return;
  ledger_.Close(sequence_id);
  --open_sequence_count_;
}

absl::StatusOr<v1::RenderChatResult> FakeModel::RenderChat(const v1::Chat& chat, const runner::TextTask& /*task*/) {
  v1::RenderChatResult result;
  for (const v1::ChatMessage& message : chat.messages()) {
    if (message.content().empty()) return errors::ChatTemplateFailed("chat", "an empty message");
    *result.mutable_text() += message.role() + " " + message.content() + ".";
  }
  if (!chat.has_add_generation_prompt() || chat.add_generation_prompt()) *result.mutable_text() += "assistant ";
  ASSIGN_OR_RETURN(const std::vector<TokenId> ids, FakeTokenize(result.text()));
  result.mutable_token_ids()->Add(ids.begin(), ids.end());
  return result;
}

absl::StatusOr<std::vector<TokenId>> FakeModel::Tokenize(const std::string& text,
                                                         const runner::TokenizeOptions& options) {
  std::vector<TokenId> token_ids;
  const bool add_bos = !options.continues_text && options.add_special_tokens.value_or(options_.adds_bos);
  if (add_bos && options_.has_bos) token_ids.push_back(kFakeBos);
  bool begins_text = !options.continues_text;
  std::string_view rest = text;
  while (!rest.empty()) {
    size_t end = rest.size();
    TokenId control = -1;
    for (TokenId i = 0; options.parse_special_tokens && i < 2; ++i) {
      if (const size_t at = rest.find(kControlNames[i]); at < end) {
        end = at;
        control = i;
      }
    }
    std::string part(rest.substr(0, end));
    if (begins_text && end > 0 && options_.space_prefix) part.insert(0, " ");
    if (options_.changes_text) {
      std::transform(part.begin(), part.end(), part.begin(), [](unsigned char c) { return std::tolower(c); });
    }
    absl::StatusOr<std::vector<TokenId>> plain = FakeTokenize(part);
    if (!plain.ok() && options_.changes_text) plain = std::vector<TokenId>{kFakeBos};
    RETURN_IF_ERROR(plain.status());
    token_ids.insert(token_ids.end(), plain->begin(), plain->end());
    begins_text = true;
    rest.remove_prefix(end);
    if (control >= 0) {
      token_ids.push_back(control);
      rest.remove_prefix(kControlNames[control].size());
    }
  }
  if (options_.adds_eos && !options.continues_text && options.add_special_tokens.value_or(true)) {
    token_ids.push_back(kFakeEos);
  }
  return token_ids;
}

absl::StatusOr<std::vector<TokenId>> FakeModel::TokenizeInLane(const std::string& text,
                                                               const runner::TokenizeOptions& options,
                                                               const runner::TextTask& task) {
  if (options_.on_text) options_.on_text(text);
  if (!options_.fatal_text.empty() && text.find(options_.fatal_text) != std::string::npos) {
    return errors::TokenizerFailed(task.field, static_cast<int64_t>(text.size()));
  }
  return Tokenize(text, options);
}

absl::StatusOr<std::string> FakeModel::Detokenize(std::span<const TokenId> token_ids, bool render_special_tokens) {
  ++detokenize_count_;
  std::string text;
  for (TokenId token_id : token_ids) {
    text += token_id <= kFakeEos && render_special_tokens ? kControlNames[token_id] : FakeTokenBytes(token_id);
  }
  return text;
}

AttachedFakeModel::AttachedFakeModel(const std::string& server_address, FakeModelOptions options) : model_(options) {
  thread_ =
      std::jthread([this, server_address, records = options.records, choice = options.choice](std::stop_token stop) {
        absl::Status status = runner::ServeModel({.server_address = server_address,
                                                  .runner_version = "fake 1",
                                                  .runner_name = "test",
                                                  .records = records,
                                                  .choice = choice,
                                                  .on_accepted =
                                                      [this] {
                                                        std::lock_guard lock(mutex_);
                                                        accepted_ = true;
                                                        changed_.notify_all();
                                                      }},
                                                 model_, stop);
        std::lock_guard lock(mutex_);
        status_ = std::move(status);
        changed_.notify_all();
      });
}

AttachedFakeModel::~AttachedFakeModel() { Stop().IgnoreError(); }

bool AttachedFakeModel::WaitUntilAccepted() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::seconds(10), [this] { return accepted_ || status_.has_value(); });
  return accepted_;
}

absl::Status AttachedFakeModel::Stop() {
  thread_.request_stop();
  return WaitUntilEnded();
}

absl::Status AttachedFakeModel::WaitUntilEnded() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return status_.has_value(); });
  return *status_;
}

}  // namespace logitd::testing

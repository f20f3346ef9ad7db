#include "tests/testing/transition_model.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <string_view>
#include <thread>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"

namespace logitd::testing {
namespace {

// FNV-1a of all tokens and logits, in hexadecimal.
std::string FingerprintOf(const TransitionTables& tables) {
  uint64_t hash = 0xCBF29CE484222325u;
  const auto add = [&hash](uint64_t value) { hash = (hash ^ value) * 0x100000001B3u; };
  for (const std::string& token : tables.tokens) {
    add(token.size());
    for (const char byte : token) add(static_cast<unsigned char>(byte));
  }
  for (const std::vector<float>& row : tables.logits) {
    for (const float logit : row) add(std::bit_cast<uint32_t>(logit));
  }
  std::string digits;
  for (int shift = 60; shift >= 0; shift -= 4) digits += "0123456789abcdef"[(hash >> shift) & 15];
  return digits;
}

}  // namespace

TransitionModel::TransitionModel(TransitionModelOptions options)
    : options_(std::move(options)), fingerprint_(FingerprintOf(options_.tables)) {
  const TransitionTables& tables = options_.tables;
  controls_.insert(tables.control_token_ids.begin(), tables.control_token_ids.end());
  for (TokenId id = 0; id < std::ssize(tables.tokens); ++id) {
    const std::string& bytes = tables.tokens[static_cast<size_t>(id)];
    if (bytes.empty() || IsControl(id)) continue;
    token_of_.emplace(bytes, id);
    longest_token_ = std::max(longest_token_, bytes.size());
  }
}

v1::ModelInfo TransitionModel::Info() const {
  v1::ModelInfo info;
  info.set_name(options_.name);
  info.set_model_fingerprint(fingerprint_);
  info.set_vocab_fingerprint(runner::VocabFingerprint(Vocabulary()));
  info.set_vocab_size(static_cast<int32_t>(options_.tables.tokens.size()));
  if (options_.tables.bos_token_id) info.set_bos_token_id(*options_.tables.bos_token_id);
  if (options_.tables.eos_token_id) {
    info.set_eos_token_id(*options_.tables.eos_token_id);
    info.add_end_token_ids(*options_.tables.eos_token_id);
  }
  info.set_adds_bos(options_.adds_bos);
  info.set_context_length(options_.context_length);
  info.set_precision("f32");
  info.set_batch_tolerance_nats(0);
  return info;
}

v1::RunnerCapabilities TransitionModel::Capabilities() const {
  v1::RunnerCapabilities capabilities;
  capabilities.set_fork(options_.fork);
  capabilities.set_trim(options_.trim);
  // Rows depend on the last token alone.
  capabilities.set_isolation(true);
  capabilities.set_tokenizer(options_.tokenizer);
  capabilities.set_vocabulary(true);
  capabilities.set_tokens_spell_text(true);
  capabilities.add_dtypes(v1::LOGITS_DTYPE_F32);
  return capabilities;
}

std::optional<v1::RunnerPlatform> TransitionModel::Platform() const {
  v1::RunnerPlatform platform;
  platform.set_threads(1);
  platform.set_cpu_target("any");
  return platform;
}

v1::RunnerCapacity TransitionModel::Capacity() const {
  v1::RunnerCapacity capacity;
  capacity.set_max_sequences(options_.max_sequences);
  capacity.set_max_cached_tokens(options_.max_cached_tokens);
  capacity.set_max_batch_tokens(options_.max_batch_tokens);
  return capacity;
}

v1::Vocabulary TransitionModel::Vocabulary() const {
  v1::Vocabulary vocabulary;
  for (const std::string& bytes : options_.tables.tokens) {
    vocabulary.mutable_token_bytes()->append(bytes);
    vocabulary.add_token_lengths(static_cast<int32_t>(bytes.size()));
  }
  for (const TokenId id : options_.tables.control_token_ids) vocabulary.add_control_token_ids(id);
  return vocabulary;
}

void TransitionModel::Evaluate(const v1::RunBatch& batch, runner::RowSink& sink) {
  for (const int64_t id : batch.release_sequence_ids()) sequences_.erase(id);
  if (batch.work().empty()) return;
  ++batch_count_;
  int64_t tokens = 0;
  for (const v1::SequenceWork& work : batch.work()) tokens += work.append_token_ids_size();
  if (const int64_t us = options_.us_per_batch + tokens * options_.us_per_token; us > 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(us));
  }
  const std::vector<int> waits_for = runner::ForksThatWait(batch, [this](int64_t id) {
    const auto found = sequences_.find(id);
    return found == sequences_.end() ? int64_t{0} : found->second.size();
  });
  std::vector<std::optional<absl::Status>> set_up(waits_for.size());
  const auto set_up_after = [&](int source) {
    for (size_t i = 0; i < waits_for.size(); ++i) {
      if (waits_for[i] == source) set_up[i] = SetUp(batch.work(static_cast<int>(i)));
    }
  };
  set_up_after(-1);
  for (int i = 0; i < batch.work_size(); ++i) {
    const auto index = static_cast<size_t>(i);
    if (!set_up[index]) set_up_after(waits_for[index]);
    if (set_up[index]->ok()) {
      Append(i, batch.work(i), sink);
    } else {
      sink.Fail(i, *set_up[index]);
      sequences_.erase(batch.work(i).sequence_id());
    }
  }
  largest_sequence_count_ = std::max(largest_sequence_count_.load(), std::ssize(sequences_));
}

absl::Status TransitionModel::SetUp(const v1::SequenceWork& work) {
  TokenPath* path = nullptr;
  if (work.has_fork_from_sequence_id()) {
    const auto source = sequences_.find(work.fork_from_sequence_id());
    if (source == sequences_.end()) {
      return errors::SequenceNotOpen("fork_from_sequence_id", work.fork_from_sequence_id());
    }
    TokenPath fork = source->second.Fork(source->second.size());
    const auto [entry, is_new] = sequences_.emplace(work.sequence_id(), std::move(fork));
    if (!is_new) return errors::SequenceAlreadyOpen(work.sequence_id());
    path = &entry->second;
  } else {
    path = &sequences_[work.sequence_id()];
  }
  if (!work.has_keep_prefix_length()) return absl::OkStatus();
  if (work.keep_prefix_length() < 0 || work.keep_prefix_length() > path->size()) {
    return errors::OutOfRange("keep_prefix_length", int64_t{work.keep_prefix_length()},
                              "[0, " + std::to_string(path->size()) + "]");
  }
  path->Trim(work.keep_prefix_length());
  return absl::OkStatus();
}

void TransitionModel::Append(int work_index, const v1::SequenceWork& work, runner::RowSink& sink) {
  TokenPath& path = sequences_[work.sequence_id()];
  if (const int64_t length = path.size() + work.append_token_ids_size(); length > options_.context_length) {
    sink.Fail(work_index, errors::ContextLengthExceeded("append_token_ids", length, options_.context_length));
    sequences_.erase(work.sequence_id());
    return;
  }
  for (int i = 0; i < work.append_token_ids_size(); ++i) {
    path.Append(work.append_token_ids(i));
    ++token_count_;
    if (!runner::WantsRow(work, i)) continue;
    ++row_count_;
    for (const v1::RowRequest& request : work.rows()) {
      const bool holds = i >= request.first_row() && i - request.first_row() < runner::RowCountOf(work, request);
      if (holds && request.has_logits()) ++logits_row_count_;
    }
    sink.AddRow(work_index, options_.tables.logits[static_cast<size_t>(path.last())]);
  }
}

absl::Status TransitionModel::TokenizePlain(std::string_view text, std::vector<TokenId>& token_ids) const {
  for (size_t begin = 0; begin < text.size();) {
    size_t length = std::min(longest_token_, text.size() - begin);
    auto found = token_of_.end();
    for (; length > 0; --length) {
      found = token_of_.find(std::string(text.substr(begin, length)));
      if (found != token_of_.end()) break;
    }
    if (length == 0) {
      return errors::MalformedMessage(
          "texts", "byte " + std::to_string(static_cast<unsigned char>(text[begin])) + " has no token in this model");
    }
    token_ids.push_back(found->second);
    begin += length;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenId>> TransitionModel::Tokenize(const std::string& text,
                                                               const runner::TokenizeOptions& options) {
  std::vector<TokenId> token_ids;
  const std::optional<TokenId> bos = options_.tables.bos_token_id;
  if (bos && !options.continues_text && options.add_special_tokens.value_or(options_.adds_bos)) {
    token_ids.push_back(*bos);
  }
  std::string_view rest = text;
  while (!rest.empty()) {
    size_t end = rest.size();
    std::optional<TokenId> control;
    for (const TokenId id : options_.tables.control_token_ids) {
      const std::string& name = options_.tables.tokens[static_cast<size_t>(id)];
      if (!options.parse_special_tokens || name.empty()) continue;
      if (const size_t at = rest.find(name); at < end) {
        end = at;
        control = id;
      }
    }
    RETURN_IF_ERROR(TokenizePlain(rest.substr(0, end), token_ids));
    rest.remove_prefix(end);
    if (!control) break;
    token_ids.push_back(*control);
    rest.remove_prefix(options_.tables.tokens[static_cast<size_t>(*control)].size());
  }
  return token_ids;
}

absl::StatusOr<std::string> TransitionModel::Detokenize(std::span<const TokenId> token_ids,
                                                        bool render_special_tokens) {
  std::string text;
  for (const TokenId id : token_ids) {
    if (!IsControl(id) || render_special_tokens) text += options_.tables.tokens.at(static_cast<size_t>(id));
  }
  return text;
}

}  // namespace logitd::testing

#include "server/handlers/score_logits.h"

#include <algorithm>
#include <utility>

#include "core/errors.h"
#include "core/limits.h"
#include "core/status_macros.h"
#include "server/converters/completion.h"
#include "server/converters/logits.h"
#include "server/converters/sampling.h"
#include "server/handlers/numerics_version.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

// The allocator's and the map's part of a sequence.
constexpr int64_t kNodeBytes = 64;
// The target of a position that is not scored: what PyTorch's and transformers' losses leave out.
constexpr TokenId kNotScored = -100;

int64_t BytesOf(const std::vector<TokenId>& tokens) {
  return static_cast<int64_t>(tokens.capacity() * sizeof(TokenId));
}

}  // namespace

absl::Status ScoreLogitsSession::Take(const v1::ScoreLogitsRequest& request, const RequestContext& context,
                                      StepWorkspaces& workspaces) {
  switch (request.kind_case()) {
    case v1::ScoreLogitsRequest::kConfig:
      if (started_)
        return errors::UnexpectedMessage("config must be the first message of the stream, got a second one");
      if (!request.payload().empty()) return errors::UnexpectedMessage("config must come without a payload");
      return WithFieldPrefix(Start(request.config()), "config.");
    case v1::ScoreLogitsRequest::kRows:
      if (!started_) return errors::UnexpectedMessage("the first message of the stream must be config, got rows");
      return WithFieldPrefix(Score(request.rows(), request.payload(), context, workspaces), "rows.");
    case v1::ScoreLogitsRequest::KIND_NOT_SET:
      break;
  }
  return errors::UnexpectedMessage("config or rows must be set");
}

absl::Status ScoreLogitsSession::Start(const v1::ScoreLogitsConfig& config) {
  if (config.vocab_size() < 1 || config.vocab_size() > kMaxVocabSize) {
    return errors::OutOfRange("vocab_size", int64_t{config.vocab_size()},
                              "in [1, " + std::to_string(kMaxVocabSize) + "]");
  }
  RETURN_IF_ERROR(CheckNumericsVersion(config));
  vocab_size_ = config.vocab_size();
  if (config.has_sampling()) {
    auto sampling = ScoringParamsFromProto(config.sampling(), vocab_size_);
    if (!sampling.ok()) return WithFieldPrefix(sampling.status(), "sampling.");
    options_.sampling = *std::move(sampling);
  }
  auto record = FromProto(config.record(), vocab_size_, /*default_sampling_log_prob=*/options_.sampling.has_value(),
                          v1::RECORD_LAYOUT_RECORDS);
  if (!record.ok()) return WithFieldPrefix(record.status(), "record.");
  options_.record = *std::move(record);
  if (options_.sampling) held_bytes_ = HeldBytes(*options_.sampling);
  started_ = true;
  return absl::OkStatus();
}

absl::Status ScoreLogitsSession::Score(const v1::ScoreLogitsRows& message, std::string_view payload,
                                       const RequestContext& context, StepWorkspaces& workspaces) {
  const int32_t index = message.sequence_index();
  if (index < 0) {
    return errors::OutOfRange("sequence_index", int64_t{index}, "[0, " + std::to_string(kMaxScoreSequences) + ")");
  }
  if (index >= kMaxScoreSequences) {
    return errors::LimitExceeded("sequence_index", index, "[0, " + std::to_string(kMaxScoreSequences) + ")",
                                 "max_score_sequences");
  }
  if (message.blocks().empty()) return errors::Required("blocks");
  ASSIGN_OR_RETURN(const WireRows rows, WireRows::Of(message.blocks(), payload, vocab_size_));
  const auto& targets = message.target_token_ids();
  if (targets.size() != rows.row_count()) {
    return errors::TargetCountMismatch("target_token_ids", targets.size(), rows.row_count());
  }
  const auto found = sequences_.find(index);
  const int32_t position = found == sequences_.end() ? 0 : found->second.scorer.position();
  const auto skipped_count = static_cast<int32_t>(std::count(targets.begin(), targets.end(), kNotScored));
  RETURN_IF_ERROR(CheckLimits(position, rows.row_count(), rows.row_count() - skipped_count));
  RETURN_IF_ERROR(CheckPrompt(message, position));
  RETURN_IF_ERROR(CheckTargets(message, found == sequences_.end() ? nullptr : &found->second, position));

  const auto [entry, is_new] =
      sequences_.try_emplace(index, Sequence{Scorer(options_.record, options_.sampling), "", {}, {}, false});
  Sequence& sequence = entry->second;
  const bool needs_history = options_.sampling && options_.sampling->needs_history();
  if (is_new) {
    const auto& prompt = message.prompt_token_ids();
    if (options_.sampling && options_.sampling->needs_prompt()) sequence.prompt.assign(prompt.begin(), prompt.end());
    held_bytes_ += kNodeBytes + static_cast<int64_t>(sizeof(Sequence)) + BytesOf(sequence.prompt) +
                   std::ssize(options_.record.named_token_ids) * static_cast<int64_t>(sizeof(TokenId));
  }
  const int64_t bytes_before = static_cast<int64_t>(sequence.tokens.capacity()) + BytesOf(sequence.targets);
  for (int32_t i = 0; i < rows.row_count(); ++i) {
    ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, workspaces.Lend(context));
    StepContext step;
    step.prompt = sequence.prompt;
    step.output = sequence.targets;
    step.position = position + i;
    const auto row = rows.Row(i, workspace->row);
    if (!row.ok()) return WithPosition(row.status(), i, index, position + i);
    const LogitsView next = i + 1 < rows.row_count() ? rows.RowInPlace(i + 1) : LogitsView();
    if (targets[i] == kNotScored) {
      const absl::Status skipped = sequence.scorer.Skip(*row, next);
      if (!skipped.ok()) return WithPosition(skipped, i, index, position + i);
      sequence.has_gap = true;
      continue;
    }
    auto record = sequence.scorer.Score(*row, targets[i], workspace->distribution, step, next);
    if (!record.ok()) return WithPosition(record.status(), i, index, position + i);
    if (needs_history) sequence.targets.push_back(targets[i]);
    if (!options_.record.records) continue;
    v1::ScoredSequence one;
    ToProto(*record, options_.record, /*vocabulary=*/nullptr, *one.add_tokens());
    // Repeated fields of messages that follow each other are one list.
    if (!one.AppendToString(&sequence.tokens)) return errors::Internal("a record cannot be serialised");
    ++record_count_;
  }
  held_bytes_ += static_cast<int64_t>(sequence.tokens.capacity()) + BytesOf(sequence.targets) - bytes_before;
  return absl::OkStatus();
}

absl::Status ScoreLogitsSession::CheckTargets(const v1::ScoreLogitsRows& message, const Sequence* sequence,
                                              int32_t position) const {
  const auto& targets = message.target_token_ids();
  const bool needs_history = options_.sampling && options_.sampling->needs_history();
  bool has_gap = sequence != nullptr && sequence->has_gap;
  for (int32_t i = 0; i < targets.size(); ++i) {
    if (targets[i] == kNotScored) {
      has_gap = true;
      continue;
    }
    const bool is_in_range = targets[i] >= 0 && targets[i] < vocab_size_;
    if (is_in_range && !(has_gap && needs_history)) continue;
    const std::string field = "target_token_ids[" + std::to_string(i) + "]";
    const absl::Status error =
        is_in_range ? errors::OutOfRange(field, int64_t{targets[i]},
                                         "-100 after another -100, for a stage of config.sampling looks at the targets "
                                         "before it, and a target of -100 does not name the token that stands there")
                    : errors::TokenIdOutOfRange(field, targets[i], vocab_size_);
    return WithPosition(error, i, message.sequence_index(), position + i);
  }
  return absl::OkStatus();
}

absl::Status ScoreLogitsSession::CheckPrompt(const v1::ScoreLogitsRows& message, int32_t position) const {
  const auto& prompt = message.prompt_token_ids();
  if (prompt.empty()) return absl::OkStatus();
  if (position > 0) {
    return errors::UnexpectedMessage(
        "rows.prompt_token_ids must come with the first rows of a sequence, got it after " + std::to_string(position) +
        " rows");
  }
  if (prompt.size() > kMaxPromptTokens) {
    return errors::LimitExceeded("prompt_token_ids", prompt.size(), "[0, " + std::to_string(kMaxPromptTokens) + "]",
                                 "max_prompt_tokens");
  }
  return CheckTokenIds({prompt.data(), static_cast<size_t>(prompt.size())}, "prompt_token_ids", vocab_size_);
}

absl::Status ScoreLogitsSession::CheckLimits(int32_t position, int32_t row_count, int32_t scored_count) const {
  const auto check = [](int64_t count, int64_t limit, const char* what, const char* name) -> absl::Status {
    if (count <= limit) return absl::OkStatus();
    return errors::LimitExceeded("target_token_ids", count, "[0, " + std::to_string(limit) + "] " + what, name);
  };
  RETURN_IF_ERROR(check(int64_t{position} + row_count, kMaxTokens, "rows of one sequence", "max_tokens"));
  if (!options_.record.records) return absl::OkStatus();
  const int64_t records = record_count_ + scored_count;
  RETURN_IF_ERROR(check(records, kMaxScoreTokens, "records of one call (with RECORD_LAYOUT_NONE there is no limit)",
                        "max_score_tokens"));
  const int64_t per_token = options_.record.top_n + std::ssize(options_.record.named_token_ids);
  return check(records * per_token, kMaxAlternatives, "alternatives (records * (top_n + named)) of one call",
               "max_alternatives");
}

absl::Status ScoreLogitsSession::Finish(v1::ScoreLogitsResponse& response) {
  if (sequences_.empty()) return errors::UnexpectedMessage("the client half-closed without having sent rows");
  *response.mutable_provenance() = ProvenanceWithoutModel();
  for (auto& [index, sequence] : sequences_) {
    // What got no row in between.
    while (response.sequences_size() < index) response.add_sequences()->mutable_totals()->set_token_count(0);
    v1::ScoredSequence& message = *response.add_sequences();
    if (!message.ParseFromString(std::exchange(sequence.tokens, ""))) {
      return errors::Internal("the records of a sequence cannot be read back");
    }
    if (sequence.scorer.token_count() == 0) {
      // As of one that got no row: a sum of nothing is no log-prob.
      message.mutable_totals()->set_token_count(0);
      continue;
    }
    ToProto(sequence.scorer.token_count(), sequence.scorer.sums(), *message.mutable_totals());
    message.set_is_greedy(sequence.scorer.is_greedy());
  }
  sequences_.clear();
  held_bytes_ = 0;
  return absl::OkStatus();
}

}  // namespace logitd::server

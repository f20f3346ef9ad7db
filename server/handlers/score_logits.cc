#include "server/handlers/score_logits.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "base/status_macros.h"
#include "core/cross_entropy.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/stages.h"
#include "server/converters/completion.h"
#include "server/converters/logits.h"
#include "server/converters/wire.h"
#include "server/handlers/hidden_rows.h"
#include "server/handlers/numerics_version.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

// The allocator's and the map's part of a sequence.
constexpr int64_t kNodeBytes = 64;
// The target of a position that is not scored: what PyTorch's and transformers' losses leave out.
constexpr TokenId kNotScored = -100;

int64_t ListBytes(const std::vector<TokenId>& tokens) {
  return static_cast<int64_t>(tokens.capacity() * sizeof(TokenId));
}

}  // namespace

absl::StatusOr<ScoreLogitsSession::Reply> ScoreLogitsSession::Take(const v1::ScoreLogitsRequest& request,
                                                                   const RequestContext& context,
                                                                   StepWorkspaces& workspaces) {
  switch (request.kind_case()) {
    case v1::ScoreLogitsRequest::kConfig:
      if (started_)
        return errors::UnexpectedMessage("config must be the first message of the stream, got a second one");
      if (!request.payload().empty()) return errors::UnexpectedMessage("config must come without a payload");
      RETURN_IF_ERROR(In("config.", Start(request.config())));
      return std::nullopt;
    case v1::ScoreLogitsRequest::kRows: {
      if (!started_) return errors::UnexpectedMessage("the first message of the stream must be config, got rows");
      return In("rows.", Score(request.rows(), request.payload(), context, workspaces));
    }
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
    ASSIGN_OR_RETURN(options_.sampling, In("sampling.", ScoringParamsFromProto(config.sampling(), vocab_size_)));
  }
  ASSIGN_OR_RETURN(options_.record, In("record.", FromProto(config.record(), vocab_size_,
                                                            /*default_sampling_log_prob=*/options_.sampling.has_value(),
                                                            v1::RECORD_LAYOUT_RECORDS)));
  has_gradient_ = config.gradient();
  if (has_gradient_ && options_.sampling) RETURN_IF_ERROR(CheckGradientStages(*options_.sampling));
  if (options_.sampling) config_bytes_ = HeldBytes(*options_.sampling);
  started_ = true;
  return absl::OkStatus();
}

absl::StatusOr<ScoreLogitsSession::Reply> ScoreLogitsSession::Score(const v1::ScoreLogitsRows& message,
                                                                    std::string_view payload,
                                                                    const RequestContext& context,
                                                                    StepWorkspaces& workspaces) {
  const int32_t index = message.sequence_index();
  if (index < 0) {
    return errors::OutOfRange("sequence_index", int64_t{index}, "[0, " + std::to_string(kMaxScoreSequences) + ")");
  }
  if (index >= kMaxScoreSequences) {
    return errors::LimitExceeded("sequence_index", index, "[0, " + std::to_string(kMaxScoreSequences) + ")",
                                 kMaxScoreSequences.name);
  }
  if (message.blocks().empty() && !message.last()) return errors::Required("blocks");
  ASSIGN_OR_RETURN(const WireRows rows, WireRows::Of(message.blocks(), payload, vocab_size_, {.heads = *heads_}));
  has_rows_ = true;
  const auto [entry, is_new] = sequences_.try_emplace(index, Sequence{Scorer(options_.record, options_.sampling)});
  Sequence& sequence = entry->second;
  if (is_new) sequence_bytes_ += BytesOf(sequence);
  Reply reply;
  if (!sequence.has_failed) {
    const int64_t bytes_before = BytesOf(sequence);
    const absl::StatusOr<NamedByPosition> named = Check(message, rows.row_count(), sequence);
    absl::Status failure = named.status();
    if (named.ok()) RETURN_IF_ERROR(AddRows(message, rows, *named, sequence, context, workspaces, failure));
    sequence_bytes_ += BytesOf(sequence) - bytes_before;
    if (!failure.ok()) {
      reply = Fail(index, sequence, In("rows.", failure));
    } else if (message.last()) {
      ASSIGN_OR_RETURN(reply, ReplyOf(index, sequence));
    }
  }
  if (message.last()) {
    sequence_bytes_ -= BytesOf(sequence);
    sequences_.erase(entry);
  }
  return reply;
}

absl::StatusOr<NamedByPosition> ScoreLogitsSession::Check(const v1::ScoreLogitsRows& message, int32_t row_count,
                                                          const Sequence& sequence) const {
  const auto& targets = message.target_token_ids();
  if (targets.size() != row_count) return errors::TargetCountMismatch("target_token_ids", targets.size(), row_count);
  const auto skipped_count = static_cast<int32_t>(std::count(targets.begin(), targets.end(), kNotScored));
  ASSIGN_OR_RETURN(NamedByPosition named, NamedFromProto(message.named_by_position(), row_count, vocab_size_));
  if (!named.empty() && !options_.record.records) {
    return errors::Exclusive("named_by_position", "config.record.layout = RECORD_LAYOUT_NONE");
  }
  for (size_t i = 0; i < named.size(); ++i) {
    if (targets[static_cast<int>(i)] == kNotScored) named[i].clear();
  }
  RETURN_IF_ERROR(CheckLimits(sequence, row_count, row_count - skipped_count, CountOf(named)));
  RETURN_IF_ERROR(CheckPrompt(message, sequence.scorer.position()));
  RETURN_IF_ERROR(CheckTargets(message, sequence));
  return named;
}

absl::Status ScoreLogitsSession::AddRows(const v1::ScoreLogitsRows& message, const WireRows& rows,
                                         const NamedByPosition& named, Sequence& sequence,
                                         const RequestContext& context, StepWorkspaces& workspaces,
                                         absl::Status& failure) {
  const int32_t index = message.sequence_index();
  const int32_t position = sequence.scorer.position();
  const auto& targets = message.target_token_ids();
  const bool needs_history = options_.sampling && NeedsHistory(*options_.sampling);
  const auto& prompt = message.prompt_token_ids();
  if (options_.sampling && NeedsPrompt(*options_.sampling) && !prompt.empty()) {
    sequence.prompt.assign(prompt.begin(), prompt.end());
  }
  HiddenRows hidden(rows, workspaces, context);
  std::vector<int32_t> indices(static_cast<size_t>(rows.row_count()));
  std::iota(indices.begin(), indices.end(), 0);
  size_t ready = 0;
  for (int32_t i = 0; i < rows.row_count(); ++i) {
    if (static_cast<size_t>(i) == ready) {
      ASSIGN_OR_RETURN(const size_t count, hidden.Prepare(std::span(indices).subspan(ready)));
      ready += count;
    }
    if (const HiddenBlock* block = rows.Hidden(i)) sequence.head = block->head;
    ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, workspaces.Lend(context));
    StepContext step;
    step.prompt = sequence.prompt;
    step.output = sequence.targets;
    step.position = position + i;
    const auto fail = [&](const absl::Status& status) {
      failure = WithPosition(status, i, index, position + i);
      return absl::OkStatus();
    };
    const auto row = hidden.Row(i, workspace->row);
    if (!row.ok()) return fail(row.status());
    const LogitsView next = i + 1 < rows.row_count() ? rows.RowInPlace(i + 1) : LogitsView();
    if (targets[i] == kNotScored) {
      const absl::Status skipped = sequence.scorer.Skip(*row, next);
      if (!skipped.ok()) return fail(skipped);
      sequence.has_gap = true;
      continue;
    }
    const std::span<const TokenId> own_named =
        named.empty() ? std::span<const TokenId>() : std::span(named[static_cast<size_t>(i)]);
    auto record = sequence.scorer.Score(*row, targets[i], workspace->distribution, step, next, own_named);
    if (!record.ok()) return fail(record.status());
    if (has_gradient_) {
      const absl::Status added = AddGradient(*row, targets[i], workspace->distribution, sequence);
      if (!added.ok()) return fail(WithField(added, Element("target_token_ids", i)));
    }
    if (needs_history) sequence.targets.push_back(targets[i]);
    if (!options_.record.records) continue;
    v1::ScoredSequence one;
    ToProto(*record, options_.record, /*vocabulary=*/nullptr, *one.add_tokens());
    // Repeated fields of messages that follow each other are one list.
    if (!one.AppendToString(&sequence.tokens)) return errors::Internal("a record cannot be serialised");
    ++sequence.record_count;
    ++record_count_;
    const int64_t alternatives = AlternativesPerRecord() + std::ssize(own_named);
    sequence.alternative_count += alternatives;
    alternative_count_ += alternatives;
  }
  return absl::OkStatus();
}

absl::Status ScoreLogitsSession::AddGradient(const LogitsRow& row, TokenId target, const Distribution& distribution,
                                             Sequence& sequence) {
  const auto width = static_cast<size_t>(vocab_size_);
  std::vector<float> gradient(width);
  const bool is_processed = options_.sampling.has_value();
  const auto keeps = [&](int32_t slot) { return !is_processed || distribution.KeepsSlot(slot); };
  const double temperature = is_processed ? TemperatureOf(*options_.sampling) : 1;
  RETURN_IF_ERROR(CrossEntropyGradient(row, keeps, temperature, target, gradient));
  static_assert(std::endian::native == std::endian::little);
  const auto bytes = static_cast<int64_t>(width * sizeof(float));
  sequence.gradient.append(reinterpret_cast<const char*>(gradient.data()), static_cast<size_t>(bytes));
  ++sequence.gradient_rows;
  gradient_bytes_ += bytes;
  return absl::OkStatus();
}

absl::Status ScoreLogitsSession::CheckTargets(const v1::ScoreLogitsRows& message, const Sequence& sequence) const {
  const auto& targets = message.target_token_ids();
  const bool needs_history = options_.sampling && NeedsHistory(*options_.sampling);
  bool has_gap = sequence.has_gap;
  for (int32_t i = 0; i < targets.size(); ++i) {
    if (targets[i] == kNotScored) {
      has_gap = true;
      continue;
    }
    const bool is_in_range = targets[i] >= 0 && targets[i] < vocab_size_;
    if (is_in_range && !(has_gap && needs_history)) continue;
    const std::string field = Element("target_token_ids", i);
    const absl::Status error =
        is_in_range ? errors::OutOfRange(field, int64_t{targets[i]},
                                         "-100 after another -100, for a stage of config.sampling looks at the targets "
                                         "before it, and a target of -100 does not name the token that stands there")
                    : errors::TokenIdOutOfRange(field, targets[i], vocab_size_);
    return WithPosition(error, i, message.sequence_index(), sequence.scorer.position() + i);
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
    return errors::AboveLimit("prompt_token_ids", prompt.size(), kMaxPromptTokens);
  }
  return CheckTokenIds(prompt, "prompt_token_ids", vocab_size_);
}

int64_t ScoreLogitsSession::AlternativesPerRecord() const {
  return options_.record.top_n + std::ssize(options_.record.named_token_ids);
}

absl::Status ScoreLogitsSession::CheckLimits(const Sequence& sequence, int32_t row_count, int32_t scored_count,
                                             int64_t named_count) const {
  const auto check = [](int64_t count, const Limit& limit, const char* unit) -> absl::Status {
    if (count <= limit) return absl::OkStatus();
    return errors::AboveLimit("target_token_ids", count, limit, 0, unit);
  };
  RETURN_IF_ERROR(check(int64_t{sequence.scorer.position()} + row_count, kMaxTokens, "rows of one sequence"));
  if (has_gradient_) {
    const int64_t bytes = int64_t{scored_count} * vocab_size_ * static_cast<int64_t>(sizeof(float));
    RETURN_IF_ERROR(check(gradient_bytes_ + bytes, kMaxGradientBytes,
                          "bytes of gradients of a call's open sequences, 4 V for each scored row (split the sequence, "
                          "or end others first)"));
  }
  if (!options_.record.records) return absl::OkStatus();
  const int64_t records = record_count_ + scored_count;
  RETURN_IF_ERROR(check(records, kMaxScoreTokens,
                        "records of a call's open sequences (with RECORD_LAYOUT_NONE there is no limit)"));
  return check(alternative_count_ + scored_count * AlternativesPerRecord() + named_count, kMaxAlternatives,
               "alternatives (records * (top_n + named)) of a call's open sequences");
}

int64_t ScoreLogitsSession::BytesOf(const Sequence& sequence) const {
  return kNodeBytes + static_cast<int64_t>(sizeof(Sequence)) + static_cast<int64_t>(sequence.tokens.capacity()) +
         static_cast<int64_t>(sequence.gradient.capacity()) + ListBytes(sequence.prompt) + ListBytes(sequence.targets) +
         std::ssize(options_.record.named_token_ids) * static_cast<int64_t>(sizeof(TokenId));
}

void ScoreLogitsSession::Free(Sequence& sequence) {
  sequence_bytes_ -= BytesOf(sequence);
  record_count_ -= std::exchange(sequence.record_count, 0);
  alternative_count_ -= std::exchange(sequence.alternative_count, 0);
  gradient_bytes_ -= std::ssize(sequence.gradient);
  std::string().swap(sequence.tokens);
  std::string().swap(sequence.gradient);
  std::vector<TokenId>().swap(sequence.prompt);
  std::vector<TokenId>().swap(sequence.targets);
  sequence_bytes_ += BytesOf(sequence);
}

ScoreLogitsSession::Reply ScoreLogitsSession::Fail(int32_t index, Sequence& sequence, const absl::Status& failure) {
  Free(sequence);
  sequence.has_failed = true;
  v1::ScoreLogitsResponse response;
  response.set_sequence_index(index);
  *response.mutable_error() = ToProto(failure);
  *response.mutable_provenance() = ProvenanceOf(sequence.head);
  return response;
}

absl::StatusOr<ScoreLogitsSession::Reply> ScoreLogitsSession::ReplyOf(int32_t index, Sequence& sequence) {
  v1::ScoreLogitsResponse response;
  response.set_sequence_index(index);
  *response.mutable_provenance() = ProvenanceOf(sequence.head);
  v1::ScoredSequence& score = *response.mutable_score();
  if (!score.ParseFromString(sequence.tokens)) {
    return errors::Internal("the records of a sequence cannot be read back");
  }
  if (has_gradient_) {
    v1::LossGradient& gradient = *response.mutable_gradient();
    gradient.set_row_count(sequence.gradient_rows);
    gradient.set_width(vocab_size_);
    gradient.set_values(sequence.gradient);
  }
  Free(sequence);
  if (sequence.scorer.token_count() == 0) {
    // A sum of nothing is no log-prob.
    score.mutable_totals()->set_token_count(0);
    return response;
  }
  ToProto(sequence.scorer.token_count(), sequence.scorer.sums(), *score.mutable_totals());
  score.set_is_greedy(sequence.scorer.is_greedy());
  return response;
}

absl::StatusOr<ScoreLogitsSession::Reply> ScoreLogitsSession::TakeNext() {
  if (!has_rows_) return errors::UnexpectedMessage("the client half-closed without having sent rows");
  while (!sequences_.empty()) {
    const auto first = sequences_.begin();
    Reply reply;
    if (!first->second.has_failed) {
      ASSIGN_OR_RETURN(reply, ReplyOf(first->first, first->second));
    }
    sequence_bytes_ -= BytesOf(first->second);
    sequences_.erase(first);
    if (reply) return reply;
  }
  return std::nullopt;
}

}  // namespace logitd::server

#include "server/handlers/decode.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/stages.h"
#include "server/converters/completion.h"
#include "server/converters/wire.h"
#include "server/handlers/numerics_version.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

// The fixed cost of an open sequence, including the allocator's and the map's part.
constexpr int64_t kSequenceBytes = sizeof(Decoder) + 128;

// The allocated bytes of a vector, and the bytes of a span.
int64_t BytesOf(const std::vector<TokenId>& tokens) {
  return static_cast<int64_t>(tokens.capacity() * sizeof(TokenId));
}
int64_t BytesOf(std::span<const TokenId> tokens) { return static_cast<int64_t>(tokens.size_bytes()); }

// Errors: LIMIT_EXCEEDED, TOKEN_ID_OUT_OF_RANGE.
absl::Status CheckPrompt(std::span<const TokenId> prompt, const std::string& field, int32_t vocab_size) {
  if (std::ssize(prompt) > kMaxPromptTokens) {
    return errors::AboveLimit(field, std::ssize(prompt), kMaxPromptTokens);
  }
  return CheckTokenIds(prompt, field, vocab_size);
}

}  // namespace

absl::Status DecodeSession::Handle(const v1::DecodeRequest& request, const RequestContext& context,
                                   StepWorkspaces& workspaces, v1::DecodeResponse& response) {
  switch (request.kind_case()) {
    case v1::DecodeRequest::kConfig:
      if (started_)
        return errors::UnexpectedMessage("config must be the first message of the stream, got a second one");
      if (!request.payload().empty()) return errors::UnexpectedMessage("config must come without a payload");
      return In("config.", Start(request.config(), *response.mutable_started()));
    case v1::DecodeRequest::kBatch:
      if (!started_) return errors::UnexpectedMessage("the first message of the stream must be config, got a batch");
      return Step(request.batch(), request.payload(), context, workspaces, *response.mutable_result());
    case v1::DecodeRequest::KIND_NOT_SET:
      break;
  }
  return errors::UnexpectedMessage("config or batch must be set");
}

absl::Status DecodeSession::Start(const v1::DecodeConfig& config, v1::DecodeStarted& started) {
  if (config.vocab_size() < 1 || config.vocab_size() > kMaxVocabSize) {
    return errors::OutOfRange("vocab_size", int64_t{config.vocab_size()},
                              "in [1, " + std::to_string(kMaxVocabSize) + "]");
  }
  RETURN_IF_ERROR(CheckNumericsVersion(config));
  const auto& end = config.end_token_ids();
  if (end.size() > kMaxStops) {
    return errors::AboveLimit("end_token_ids", end.size(), kMaxStops);
  }
  RETURN_IF_ERROR(CheckTokenIds(end, "end_token_ids", config.vocab_size()));
  vocab_size_ = config.vocab_size();
  end_token_ids_.assign(end.begin(), end.end());
  std::sort(end_token_ids_.begin(), end_token_ids_.end());
  const auto twice = std::adjacent_find(end_token_ids_.begin(), end_token_ids_.end());
  if (twice != end_token_ids_.end()) return errors::DuplicateTokenId("end_token_ids", *twice);

  ASSIGN_OR_RETURN(sampling_, In("sampling.", FromProto(config.sampling(), vocab_size_)));
  RETURN_IF_ERROR(In("stop.", ReadStop(config.stop(), stop_, time_limit_)));
  ASSIGN_OR_RETURN(record_, In("record.", FromProto(config.record(), vocab_size_, /*default_sampling_log_prob=*/true,
                                                    v1::RECORD_LAYOUT_RECORDS)));
  seed_ = config.sampling().has_seed() ? config.sampling().seed() : DrawSeed();
  held_bytes_ = HeldBytes(sampling_);
  started_ = true;

  started.set_seed(seed_);
  *started.mutable_provenance() = ProvenanceWithoutModel();
  return absl::OkStatus();
}

absl::Status DecodeSession::Step(const v1::StepBatch& batch, std::string_view payload, const RequestContext& context,
                                 StepWorkspaces& workspaces, v1::BatchResult& result) {
  // The errors up to here end the stream: a batch begins only if all of it can be read.
  if (batch.batch_id() <= last_batch_id_) {
    return errors::OutOfRange("batch.batch_id", batch.batch_id(), "> " + std::to_string(last_batch_id_));
  }
  for (const auto& [field, count] : {std::pair<const char*, int>{"batch.opens", batch.opens_size()},
                                     {"batch.close_sequence_ids", batch.close_sequence_ids_size()},
                                     {"batch.steps", batch.steps_size()},
                                     {"batch.shared_prompts", batch.shared_prompts_size()}}) {
    if (count > kMaxRowsPerMessage) {
      return errors::AboveLimit(field, count, kMaxRowsPerMessage);
    }
  }
  ASSIGN_OR_RETURN(auto rows,
                   In("batch.", WireRows::Of(batch.blocks(), payload, vocab_size_, {.tails = true, .heads = *heads_})));
  RETURN_IF_ERROR(In("batch.", CheckSharedPrompts(batch.shared_prompts())));
  last_batch_id_ = batch.batch_id();
  now_ = std::chrono::steady_clock::now();
  result.set_batch_id(batch.batch_id());

  for (int i = 0; i < batch.opens_size(); ++i) {
    // An open may bring a thousand lists, and prompts.
    RETURN_IF_ERROR(context.Check());
    v1::OpenResult& opened = *result.add_opens();
    opened.set_sequence_id(batch.opens(i).sequence_id());
    const absl::Status status =
        In(Element("batch.opens", i, "."), Open(batch.opens(i), batch.shared_prompts(), opened));
    if (!status.ok()) *opened.mutable_error() = ToProto(status);
  }
  for (int i = 0; i < batch.close_sequence_ids_size(); ++i) {
    v1::CloseResult& closed = *result.add_closes();
    closed.set_sequence_id(batch.close_sequence_ids(i));
    const absl::Status status = Close(batch.close_sequence_ids(i), Element("batch.close_sequence_ids", i), closed);
    if (!status.ok()) *closed.mutable_error() = ToProto(status);
  }
  return TakeSteps(batch, rows, context, workspaces, result);
}

absl::Status DecodeSession::CheckSharedPrompts(const Prompts& prompts) const {
  for (int i = 0; i < prompts.size(); ++i) {
    RETURN_IF_ERROR(CheckPrompt(Ids(prompts[i].token_ids()), Element("shared_prompts", i, ".token_ids"), vocab_size_));
  }
  return absl::OkStatus();
}

absl::Status DecodeSession::ReadStop(const v1::StopCriteria& message, StopRules& rules,
                                     std::optional<std::chrono::milliseconds>& time_limit) const {
  if (!message.stop_strings().empty()) {
    return errors::OutOfRange("stop_strings", int64_t{message.stop_strings_size()},
                              "empty: Decode knows no text, and its caller ends the sequence");
  }
  ASSIGN_OR_RETURN(rules, FromProto(message, end_token_ids_, vocab_size_, kMaxTokens));
  ASSIGN_OR_RETURN(time_limit, TimeLimitFromProto(message));
  return absl::OkStatus();
}

absl::StatusOr<DecodeSession::SequenceConfig> DecodeSession::ConfigOf(const v1::OpenSequence& open,
                                                                      SequenceConfig base) const {
  DecoderConfig& config = base.decoder;
  config.sequence_key = static_cast<uint64_t>(open.sequence_id());
  if (open.has_sampling()) {
    ASSIGN_OR_RETURN(config.sampling, In("sampling.", FromProto(open.sampling(), vocab_size_)));
    config.seed = open.sampling().has_seed() ? open.sampling().seed() : seed_;
  }
  if (open.has_stop()) RETURN_IF_ERROR(In("stop.", ReadStop(open.stop(), config.stop, base.time_limit)));
  if (open.has_record()) {
    ASSIGN_OR_RETURN(config.record,
                     In("record.", FromProto(open.record(), vocab_size_, /*default_sampling_log_prob=*/true,
                                             v1::RECORD_LAYOUT_RECORDS)));
  }
  if (open.has_sequence_key()) {
    if (open.sequence_key() > static_cast<uint64_t>(kMaxSequenceKey)) {
      return errors::OutOfRange("sequence_key", std::to_string(open.sequence_key()), "in [0, 2^56)");
    }
    config.sequence_key = open.sequence_key();
  }
  return base;
}

absl::StatusOr<std::span<const TokenId>> DecodeSession::PromptOf(const v1::SequenceStart& fresh,
                                                                 const Prompts& shared_prompts,
                                                                 const DecoderConfig& config) const {
  std::span<const TokenId> prompt = Ids(fresh.prompt_token_ids());
  if (fresh.has_shared_prompt()) {
    if (!prompt.empty()) return errors::Exclusive("shared_prompt", "prompt_token_ids");
    if (fresh.shared_prompt() < 0 || fresh.shared_prompt() >= shared_prompts.size()) {
      return errors::OutOfRange("shared_prompt", int64_t{fresh.shared_prompt()},
                                "in [0, " + std::to_string(shared_prompts.size()) + "), a place in shared_prompts");
    }
    prompt = Ids(shared_prompts[fresh.shared_prompt()].token_ids());
  } else {
    RETURN_IF_ERROR(CheckPrompt(prompt, "prompt_token_ids", vocab_size_));
  }
  return NeedsPrompt(config.sampling) ? prompt : std::span<const TokenId>();
}

absl::StatusOr<SequenceSums> DecodeSession::SumsOf(const v1::SequenceState& state, const DecoderConfig& config) const {
  const std::span<const TokenId> tokens = Ids(state.tokens().token_ids());
  const int64_t token_count = state.has_tokens() ? std::ssize(tokens) : state.token_count();
  if (token_count < 0 || token_count >= config.stop.max_tokens) {
    return errors::OutOfRange(state.has_tokens() ? "tokens.token_ids" : "token_count", token_count,
                              "in [0, " + std::to_string(config.stop.max_tokens) + "), fewer than max_tokens");
  }
  RETURN_IF_ERROR(CheckTokenIds(tokens, "tokens.token_ids", vocab_size_));
  const std::optional<Stage> looks = HistoryStage(config.sampling);
  if (!state.has_tokens() && token_count > 0 && looks) {
    return errors::Required("tokens", "stage " + std::string(StageName(*looks)) + " looks at them");
  }
  if (state.has_resume_state()) {
    ASSIGN_OR_RETURN(auto carried, In("resume_state.", FromProto(state.resume_state(), token_count)));
    return carried;
  }
  // Never show a part of a sum as the whole.
  return token_count == 0 ? SequenceSums{} : SequenceSums{std::nullopt, std::nullopt};
}

absl::StatusOr<DecodeSession::Past> DecodeSession::PastOf(const v1::SequenceStart& fresh, const Prompts& shared_prompts,
                                                          const DecoderConfig& config) const {
  Past past{.prompt_field = fresh.has_shared_prompt() ? "fresh.shared_prompt" : "fresh.prompt_token_ids",
            .tokens_field = "fresh.state.tokens.token_ids"};
  ASSIGN_OR_RETURN(past.prompt, In("fresh.", PromptOf(fresh, shared_prompts, config)));
  ASSIGN_OR_RETURN(past.sums, In("fresh.state.", SumsOf(fresh.state(), config)));
  past.tokens = Ids(fresh.state().tokens().token_ids());
  if (!fresh.state().has_tokens() && fresh.state().token_count() > 0) past.token_count = fresh.state().token_count();
  return past;
}

absl::StatusOr<DecodeSession::Past> DecodeSession::PastOf(const v1::SequenceFork& fork, const OpenedSequence& source,
                                                          const DecoderConfig& config) const {
  const Decoder& decoder = *source.decoder;
  const int32_t next = decoder.position();
  const int32_t latest = decoder.sums_before_latest() ? next - 1 : next;
  const int32_t position = fork.has_position() ? fork.position() : next;
  if (position > next) return In("fork.", errors::PositionGap(position, latest, next));
  if (position < latest) return In("fork.", errors::PositionTooOld(position, latest, next));
  if (position >= config.stop.max_tokens) {
    return errors::OutOfRange("fork.position", int64_t{position},
                              "in [0, " + std::to_string(config.stop.max_tokens) + "), fewer than max_tokens");
  }
  Past past{.prompt_field = "fork", .tokens_field = "fork"};
  if (NeedsPrompt(config.sampling)) {
    if (!NeedsPrompt(decoder.config().sampling)) {
      return errors::Required("fresh", "a stage looks at the prompt, which the fork's source has not kept");
    }
    past.prompt = decoder.prompt();
  }
  if (decoder.sequence().keeps_tokens()) {
    past.tokens = std::span<const TokenId>(decoder.sequence().token_ids()).first(static_cast<size_t>(position));
  } else if (position > 0) {
    if (const std::optional<Stage> looks = HistoryStage(config.sampling)) {
      return errors::Required("fresh", "stage " + std::string(StageName(*looks)) +
                                           " looks at the tokens so far, which the fork's source has not kept");
    }
    past.token_count = position;
  }
  // Of no tokens the sums are known, whatever the source records.
  past.sums = position == 0      ? SequenceSums{}
              : position == next ? decoder.sequence().sums()
                                 : *decoder.sums_before_latest();
  return past;
}

absl::Status DecodeSession::Open(const v1::OpenSequence& open, const Prompts& shared_prompts, v1::OpenResult& result) {
  const int64_t sequence_id = open.sequence_id();
  if (sequence_id < 1 || sequence_id > kMaxSequenceKey) {
    return errors::OutOfRange("sequence_id", sequence_id, "in [1, 2^56)");
  }
  if (sequences_.contains(sequence_id)) return errors::SequenceAlreadyOpen(sequence_id);
  if (std::ssize(sequences_) >= kMaxSequencesPerStream) {
    return errors::AboveLimit("sequence_id", std::ssize(sequences_) + 1, kMaxSequencesPerStream, 0, "open sequences");
  }
  // The caller keeps its tokens.
  SequenceConfig base{{sampling_, stop_, record_, seed_, /*sequence_key=*/0, /*keeps_all_tokens=*/false}, time_limit_};
  const OpenedSequence* source = nullptr;
  if (open.has_fork()) {
    const auto found = sequences_.find(open.fork().source_sequence_id());
    if (found == sequences_.end()) {
      return errors::SequenceNotOpen("fork.source_sequence_id", open.fork().source_sequence_id());
    }
    source = &found->second;
    base = {source->decoder->config(), source->time_limit};
  }
  ASSIGN_OR_RETURN(SequenceConfig config, ConfigOf(open, std::move(base)));
  result.set_seed(config.decoder.seed);
  result.set_sequence_key(config.decoder.sequence_key);
  ASSIGN_OR_RETURN(const Past past, source != nullptr ? PastOf(open.fork(), *source, config.decoder)
                                                      : PastOf(open.fresh(), shared_prompts, config.decoder));

  OpenedSequence opened;
  // Sequences share the stream's own sets and lists, which count once. So do equal prompts. A fork counts like the
  // sequence that is opened in its place.
  const int64_t set_bytes = HeldBytes(config.decoder.sampling, &sampling_);
  const int64_t prompt_bytes = past.prompt.empty() || prompts_.Has(past.prompt) ? 0 : BytesOf(past.prompt);
  const int64_t token_bytes = NeedsHistory(config.decoder.sampling) ? BytesOf(past.tokens) : 0;
  const int64_t stream_bytes = state_bytes_ + set_bytes + prompt_bytes + token_bytes;
  if (stream_bytes > kMaxStreamStateBytes) {
    // Name the largest of the new parts.
    const char* field = past.prompt_field;
    if (std::max(set_bytes, token_bytes) > prompt_bytes)
      field = set_bytes > token_bytes ? "sampling" : past.tokens_field;
    return errors::AboveLimit(field, stream_bytes, kMaxStreamStateBytes, 0, kStreamState);
  }
  if (!past.prompt.empty()) opened.prompt = prompts_.Keep(past.prompt);
  opened.time_limit = config.time_limit;
  if (config.time_limit) opened.end_time = now_ + *config.time_limit;
  opened.decoder = past.token_count ? std::make_unique<Decoder>(std::move(config.decoder), *past.token_count, past.sums)
                                    : std::make_unique<Decoder>(
                                          std::move(config.decoder), opened.prompt,
                                          std::vector<TokenId>(past.tokens.begin(), past.tokens.end()), past.sums);
  result.set_next_position(opened.decoder->position());
  const DecoderConfig& kept = opened.decoder->config();
  opened.state_bytes = set_bytes;
  opened.held_bytes =
      kSequenceBytes + set_bytes + BytesOf(kept.stop.stop_token_ids) + BytesOf(kept.record.named_token_ids);
  state_bytes_ += opened.state_bytes + prompt_bytes;
  held_bytes_ += opened.held_bytes + prompt_bytes;
  CountTokens(sequences_.emplace(sequence_id, std::move(opened)).first->second);
  return absl::OkStatus();
}

void DecodeSession::CountTokens(OpenedSequence& sequence) {
  const std::vector<TokenId>& tokens = sequence.decoder->sequence().token_ids();
  const auto count = [](int64_t now, int64_t& counted, int64_t& own, int64_t& sum) {
    own += now - counted;
    sum += now - counted;
    counted = now;
  };
  count(BytesOf(std::span<const TokenId>(tokens)), sequence.token_state_bytes, sequence.state_bytes, state_bytes_);
  count(BytesOf(tokens), sequence.token_held_bytes, sequence.held_bytes, held_bytes_);
}

absl::Status DecodeSession::Close(int64_t sequence_id, const std::string& field, v1::CloseResult& result) {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) return errors::SequenceNotOpen(field, sequence_id);
  const Decoder& decoder = *found->second.decoder;
  ToProto(decoder.position(), decoder.sequence().sums(), *result.mutable_totals());
  ToProto(Finish{FinishReason::kCancelled, std::nullopt}, *result.mutable_finish());
  Erase(sequence_id);
  return absl::OkStatus();
}

void DecodeSession::Erase(int64_t sequence_id) {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) return;
  state_bytes_ -= found->second.state_bytes;
  held_bytes_ -= found->second.held_bytes;
  SharedTokens prompt = std::move(found->second.prompt);
  sequences_.erase(found);
  if (prompt == nullptr) return;
  const int64_t prompt_bytes = BytesOf(std::span<const TokenId>(*prompt));
  if (!prompts_.Release(std::move(prompt))) return;
  state_bytes_ -= prompt_bytes;
  held_bytes_ -= prompt_bytes;
}

}  // namespace logitd::server

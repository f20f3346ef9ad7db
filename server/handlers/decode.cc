#include "server/handlers/decode.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "core/errors.h"
#include "core/limits.h"
#include "core/status_macros.h"
#include "server/converters/completion.h"
#include "server/converters/error.h"
#include "server/converters/sampling.h"
#include "server/handlers/numerics_version.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

constexpr size_t kVocabFingerprintBytes = 32;

// What an open sequence costs besides what its caller chooses, the allocator's and the map's part included.
constexpr int64_t kSequenceBytes = sizeof(Decoder) + 128;

int64_t BytesOf(const std::vector<TokenId>& tokens) {
  return static_cast<int64_t>(tokens.capacity() * sizeof(TokenId));
}
int64_t BytesOf(std::span<const TokenId> tokens) { return static_cast<int64_t>(tokens.size_bytes()); }

std::string Indexed(const char* list, int index) { return std::string(list) + "[" + std::to_string(index) + "]."; }

}  // namespace

absl::Status DecodeSession::Handle(const v1::DecodeRequest& request, const RequestContext& context,
                                   StepWorkspaces& workspaces, v1::DecodeResponse& response) {
  switch (request.kind_case()) {
    case v1::DecodeRequest::kConfig:
      if (started_)
        return errors::UnexpectedMessage("config must be the first message of the stream, got a second one");
      if (!request.payload().empty()) return errors::UnexpectedMessage("config must come without a payload");
      return WithFieldPrefix(Start(request.config(), *response.mutable_started()), "config.");
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
    return errors::LimitExceeded("end_token_ids", end.size(), "[0, " + std::to_string(kMaxStops) + "]", "max_stops");
  }
  RETURN_IF_ERROR(CheckTokenIds({end.data(), static_cast<size_t>(end.size())}, "end_token_ids", config.vocab_size()));
  vocab_size_ = config.vocab_size();
  end_token_ids_.assign(end.begin(), end.end());
  std::sort(end_token_ids_.begin(), end_token_ids_.end());
  const auto twice = std::adjacent_find(end_token_ids_.begin(), end_token_ids_.end());
  if (twice != end_token_ids_.end()) return errors::DuplicateTokenId("end_token_ids", *twice);

  auto sampling = FromProto(config.sampling(), vocab_size_);
  if (!sampling.ok()) return WithFieldPrefix(sampling.status(), "sampling.");
  sampling_ = *std::move(sampling);
  auto stop = FromProto(config.stop(), end_token_ids_, vocab_size_, kMaxTokens);
  if (!stop.ok()) return WithFieldPrefix(stop.status(), "stop.");
  stop_ = *std::move(stop);
  auto record = FromProto(config.record(), vocab_size_, /*default_sampling_log_prob=*/true, v1::RECORD_LAYOUT_RECORDS);
  if (!record.ok()) return WithFieldPrefix(record.status(), "record.");
  record_ = *std::move(record);
  seed_ = config.sampling().has_seed() ? config.sampling().seed() : DrawSeed();
  held_bytes_ = HeldBytes(sampling_);
  started_ = true;

  started.set_seed(seed_);
  *started.mutable_provenance() = ProvenanceWithoutModel();
  return absl::OkStatus();
}

absl::Status DecodeSession::Step(const v1::StepBatch& batch, std::string_view payload, const RequestContext& context,
                                 StepWorkspaces& workspaces, v1::BatchResult& result) {
  // Only a batch that can be taken apart as a whole is begun: the errors up to here end the stream.
  if (batch.batch_id() <= last_batch_id_) {
    return errors::OutOfRange("batch.batch_id", batch.batch_id(), "> " + std::to_string(last_batch_id_));
  }
  for (const int count : {batch.opens_size(), batch.close_sequence_ids_size(), batch.steps_size()}) {
    if (count > kMaxRowsPerMessage) {
      return errors::LimitExceeded("batch", count, "[0, " + std::to_string(kMaxRowsPerMessage) + "] of each list",
                                   "max_rows_per_message");
    }
  }
  auto rows = WireRows::Of(batch.blocks(), payload, vocab_size_);
  if (!rows.ok()) return WithFieldPrefix(rows.status(), "batch.");
  last_batch_id_ = batch.batch_id();
  alternatives_ = 0;
  result.set_batch_id(batch.batch_id());

  for (int i = 0; i < batch.opens_size(); ++i) {
    // Up to a thousand lists and prompts.
    RETURN_IF_ERROR(context.Check());
    v1::OpenResult& opened = *result.add_opens();
    opened.set_sequence_id(batch.opens(i).sequence_id());
    const absl::Status status = WithFieldPrefix(Open(batch.opens(i), opened), Indexed("batch.opens", i));
    if (!status.ok()) *opened.mutable_error() = ToProto(status);
  }
  for (int i = 0; i < batch.close_sequence_ids_size(); ++i) {
    v1::CloseResult& closed = *result.add_closes();
    closed.set_sequence_id(batch.close_sequence_ids(i));
    const absl::Status status =
        Close(batch.close_sequence_ids(i), "batch.close_sequence_ids[" + std::to_string(i) + "]", closed);
    if (!status.ok()) *closed.mutable_error() = ToProto(status);
  }
  for (int i = 0; i < batch.steps_size(); ++i) {
    const v1::SequenceStep& step = batch.steps(i);
    ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, workspaces.Lend(context));
    v1::StepResult& stepped = *result.add_steps();
    stepped.set_sequence_id(step.sequence_id());
    stepped.set_position(step.position());
    const absl::Status status = WithFieldPrefix(
        StepSequence(step, step.has_row() ? step.row() : i, *rows, *workspace, *stepped.mutable_chosen()),
        Indexed("batch.steps", i));
    if (!status.ok()) {
      // An error ends its sequence, and no other.
      Erase(step.sequence_id());
      *stepped.mutable_error() = ToProto(status);
    } else if (stepped.chosen().has_finish()) {
      Erase(step.sequence_id());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<DecoderConfig> DecodeSession::ConfigOf(const v1::OpenSequence& open) const {
  DecoderConfig config{sampling_, stop_, record_, seed_, static_cast<uint64_t>(open.sequence_id())};
  if (open.has_sampling()) {
    auto sampling = FromProto(open.sampling(), vocab_size_);
    if (!sampling.ok()) return WithFieldPrefix(sampling.status(), "sampling.");
    config.sampling = *std::move(sampling);
    if (open.sampling().has_seed()) config.seed = open.sampling().seed();
  }
  if (open.has_stop()) {
    auto stop = FromProto(open.stop(), end_token_ids_, vocab_size_, kMaxTokens);
    if (!stop.ok()) return WithFieldPrefix(stop.status(), "stop.");
    config.stop = *std::move(stop);
  }
  if (open.has_record()) {
    auto record = FromProto(open.record(), vocab_size_, /*default_sampling_log_prob=*/true, v1::RECORD_LAYOUT_RECORDS);
    if (!record.ok()) return WithFieldPrefix(record.status(), "record.");
    config.record = *std::move(record);
  }
  if (open.has_sequence_key()) {
    if (open.sequence_key() > static_cast<uint64_t>(kMaxSequenceKey)) {
      return errors::OutOfRange("sequence_key", std::to_string(open.sequence_key()), "in [0, 2^56)");
    }
    config.sequence_key = open.sequence_key();
  }
  return config;
}

absl::Status DecodeSession::Open(const v1::OpenSequence& open, v1::OpenResult& result) {
  const int64_t sequence_id = open.sequence_id();
  if (sequence_id < 1 || sequence_id > kMaxSequenceKey) {
    return errors::OutOfRange("sequence_id", sequence_id, "in [1, 2^56)");
  }
  if (sequences_.contains(sequence_id)) return errors::SequenceAlreadyOpen(sequence_id);
  if (sequences_.size() >= kMaxSequencesPerStream) {
    return errors::LimitExceeded("sequence_id", static_cast<int64_t>(sequences_.size()) + 1,
                                 "[0, " + std::to_string(kMaxSequencesPerStream) + "] open sequences",
                                 "max_sequences_per_stream");
  }
  ASSIGN_OR_RETURN(DecoderConfig config, ConfigOf(open));
  result.set_seed(config.seed);
  result.set_sequence_key(config.sequence_key);

  const auto& prompt = open.fresh().prompt_token_ids();
  if (prompt.size() > kMaxPromptTokens) {
    return errors::LimitExceeded("fresh.prompt_token_ids", prompt.size(),
                                 "[0, " + std::to_string(kMaxPromptTokens) + "]", "max_prompt_tokens");
  }
  RETURN_IF_ERROR(
      CheckTokenIds({prompt.data(), static_cast<size_t>(prompt.size())}, "fresh.prompt_token_ids", vocab_size_));
  const v1::SequenceState& state = open.fresh().state();
  const auto& so_far = state.token_ids();
  if (so_far.size() >= config.stop.max_tokens) {
    return errors::OutOfRange("fresh.state.token_ids", int64_t{so_far.size()},
                              "fewer than max_tokens (" + std::to_string(config.stop.max_tokens) + ")");
  }
  RETURN_IF_ERROR(
      CheckTokenIds({so_far.data(), static_cast<size_t>(so_far.size())}, "fresh.state.token_ids", vocab_size_));
  SequenceSums sums;
  if (state.has_resume_state()) {
    auto carried = FromProto(state.resume_state(), so_far.size());
    if (!carried.ok()) return WithFieldPrefix(carried.status(), "fresh.state.resume_state.");
    sums = *carried;
  } else if (!so_far.empty()) {
    // A part of a sum is never shown as the whole.
    sums = {std::nullopt, std::nullopt};
  }
  OpenedSequence opened;
  // Sets and lists that are the stream's own are shared, and count once.
  const int64_t set_bytes = HeldBytes(config.sampling, &sampling_);
  // A prompt that no stage looks at is not kept.
  SharedTokens kept_prompt;
  if (config.sampling.needs_prompt()) {
    kept_prompt = std::make_shared<const std::vector<TokenId>>(prompt.begin(), prompt.end());
  }
  const int64_t prompt_bytes = kept_prompt == nullptr ? 0 : BytesOf(*kept_prompt);
  opened.state_bytes = set_bytes + prompt_bytes + BytesOf({so_far.data(), static_cast<size_t>(so_far.size())});
  if (state_bytes_ + opened.state_bytes > kMaxStreamStateBytes) {
    return errors::LimitExceeded("", state_bytes_ + opened.state_bytes,
                                 "[0, " + std::to_string(kMaxStreamStateBytes) + "] bytes of sets, lists and tokens",
                                 "max_stream_state_bytes");
  }
  opened.decoder = std::make_unique<Decoder>(std::move(config), std::move(kept_prompt),
                                             std::vector<TokenId>(so_far.begin(), so_far.end()), sums);
  result.set_next_position(opened.decoder->position());
  const DecoderConfig& kept = opened.decoder->config();
  opened.held_bytes = kSequenceBytes + set_bytes + prompt_bytes + BytesOf(opened.decoder->sequence().token_ids()) +
                      BytesOf(kept.stop.stop_token_ids) + BytesOf(kept.record.named_token_ids);
  state_bytes_ += opened.state_bytes;
  held_bytes_ += opened.held_bytes;
  sequences_.emplace(sequence_id, std::move(opened));
  return absl::OkStatus();
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
  sequences_.erase(found);
}

absl::Status DecodeSession::StepSequence(const v1::SequenceStep& step, int32_t row_index, const WireRows& rows,
                                         StepWorkspace& workspace, v1::StepChosen& chosen) {
  const auto found = sequences_.find(step.sequence_id());
  if (found == sequences_.end()) return errors::SequenceNotOpen("sequence_id", step.sequence_id());
  if (row_index < 0 || row_index >= rows.row_count()) {
    return errors::RowIndexOutOfRange("row", row_index, rows.row_count());
  }
  Decoder& decoder = *found->second.decoder;
  const RecordOptions& record = decoder.config().record;
  if (record.records) alternatives_ += record.top_n + std::ssize(record.named_token_ids);
  if (alternatives_ > kMaxAlternatives) {
    return errors::LimitExceeded("sequence_id", alternatives_,
                                 "[0, " + std::to_string(kMaxAlternatives) + "] alternatives in one reply",
                                 "max_alternatives");
  }
  const int64_t bytes_before = BytesOf(decoder.sequence().token_ids());
  const auto row = rows.Row(row_index, workspace.row);
  if (!row.ok()) return WithRow(row.status(), row_index);
  auto advanced = decoder.Advance(step.position(), *row, workspace.distribution);
  if (!advanced.ok()) return WithRow(advanced.status(), row_index);
  const int64_t grown = BytesOf(decoder.sequence().token_ids()) - bytes_before;
  found->second.held_bytes += grown;
  held_bytes_ += grown;
  if (advanced->token) ToProto(*advanced->token, record, nullptr, *chosen.add_tokens());
  ToProto(advanced->token_count, advanced->sums, *chosen.mutable_totals());
  ToProto(advanced->sums, *chosen.mutable_resume_state());
  if (advanced->finish) ToProto(*advanced->finish, *chosen.mutable_finish());
  return absl::OkStatus();
}

}  // namespace logitd::server

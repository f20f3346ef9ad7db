#include "server/converters/runner.h"

#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <variant>

#include "base/status_macros.h"
#include "core/errors.h"
#include "server/converters/logits.h"
#include "server/converters/wire.h"
#include "wire/token_record.h"

namespace logitd::server {
namespace {

template <typename T>
T ReadPacked(const std::string& bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

// False for NaN. Rounding may leave the log-prob of a probability of 1 a little above 0.
bool IsLogProb(double value) { return value <= 1e-6; }

// Whether each value of the type is an f32 value.
bool IsExact(int dtype) {
  return dtype == v1::LOGITS_DTYPE_F32 || dtype == v1::LOGITS_DTYPE_F16 || dtype == v1::LOGITS_DTYPE_BF16;
}

bool IsRank(int32_t rank, int32_t vocab_size) { return rank >= 1 && rank <= vocab_size; }

// The reduced rows [first_row, first_row + row_count) of a request.
absl::StatusOr<std::vector<RowRecord>> ReadRecords(const v1::SequenceOutput& output, const RecordsWanted& wanted,
                                                   int32_t vocab_size) {
  const v1::RowRecords& message = output.records();
  const auto rows = static_cast<size_t>(output.row_count());
  const auto top_n = static_cast<size_t>(wanted.top_n);
  const size_t named = wanted.named_token_ids.size();
  const bool has_targets = !wanted.targets.empty();
  if (static_cast<size_t>(message.log_sum_exps_size()) != rows ||
      static_cast<size_t>(message.argmax_token_ids_size()) != rows ||
      static_cast<size_t>(message.entropies_size()) != (wanted.entropy ? rows : 0) ||
      static_cast<size_t>(message.target_log_probs_size()) != (has_targets ? rows : 0) ||
      static_cast<size_t>(message.target_ranks_size()) != (has_targets && wanted.ranks ? rows : 0) ||
      message.top_token_ids().size() != rows * top_n * sizeof(int32_t) ||
      message.top_log_probs().size() != rows * top_n * sizeof(double) ||
      message.named_log_probs().size() != rows * named * sizeof(double) ||
      message.named_ranks().size() != (wanted.ranks ? rows * named * sizeof(int32_t) : 0)) {
    return errors::RunnerProtocol("records of another size than asked for");
  }
  std::vector<RowRecord> records(rows);
  for (size_t row = 0; row < rows; ++row) {
    RowRecord& record = records[row];
    record.log_sum_exp = message.log_sum_exps(static_cast<int>(row));
    record.argmax = message.argmax_token_ids(static_cast<int>(row));
    if (!std::isfinite(record.log_sum_exp)) return errors::ModelOutputInvalid("log_sum_exp is not finite");
    if (record.argmax < 0 || record.argmax >= vocab_size) return errors::RunnerProtocol("argmax out of range");
    if (wanted.entropy) {
      record.entropy = message.entropies(static_cast<int>(row));
      if (!(*record.entropy >= -1e-6 && *record.entropy <= 20)) {
        return errors::ModelOutputInvalid("an entropy is not in [0, ln vocab_size]");
      }
    }
    if (has_targets) record.target_log_prob = message.target_log_probs(static_cast<int>(row));
    if (has_targets && wanted.ranks) record.target_rank = message.target_ranks(static_cast<int>(row));
    if (!IsLogProb(record.target_log_prob)) return errors::ModelOutputInvalid("a log-prob is NaN or above 0");
    if (record.target_rank && !IsRank(*record.target_rank, vocab_size)) {
      return errors::ModelOutputInvalid("a rank is not in [1, vocab_size]");
    }
    for (size_t i = 0; i < top_n; ++i) {
      TokenAlternative& alternative = record.top.emplace_back();
      alternative.token_id = ReadPacked<int32_t>(message.top_token_ids(), row * top_n + i);
      alternative.model_log_prob = ReadPacked<double>(message.top_log_probs(), row * top_n + i);
      if (alternative.token_id < 0 || alternative.token_id >= vocab_size) {
        return errors::RunnerProtocol("top token id out of range");
      }
      if (!IsLogProb(*alternative.model_log_prob)) return errors::ModelOutputInvalid("a log-prob is NaN or above 0");
      if (i == 0) continue;
      const TokenAlternative& before = record.top[i - 1];
      const bool in_order =
          *before.model_log_prob > *alternative.model_log_prob ||
          (*before.model_log_prob == *alternative.model_log_prob && before.token_id < alternative.token_id);
      if (!in_order) return errors::ModelOutputInvalid("the top tokens are not in order");
    }
    // `top` is sorted and ties share the best rank, so the rank follows.
    for (size_t i = 0; wanted.ranks && i < top_n; ++i) {
      const bool tied = i > 0 && record.top[i].model_log_prob == record.top[i - 1].model_log_prob;
      record.top[i].rank = tied ? record.top[i - 1].rank : static_cast<int32_t>(i + 1);
    }
    for (size_t i = 0; i < named; ++i) {
      TokenAlternative& alternative = record.named.emplace_back();
      alternative.token_id = wanted.named_token_ids[i];
      alternative.model_log_prob = ReadPacked<double>(message.named_log_probs(), row * named + i);
      if (wanted.ranks) alternative.rank = ReadPacked<int32_t>(message.named_ranks(), row * named + i);
      if (!IsLogProb(*alternative.model_log_prob)) return errors::ModelOutputInvalid("a log-prob is NaN or above 0");
      if (alternative.rank && !IsRank(*alternative.rank, vocab_size)) {
        return errors::ModelOutputInvalid("a rank is not in [1, vocab_size]");
      }
    }
  }
  return records;
}

void SetForm(const LogitsWanted&, v1::RowRequest& message) { message.mutable_logits(); }

void SetForm(const RecordsWanted& wanted, v1::RowRequest& message) {
  v1::RecordsOutput& records = *message.mutable_records();
  for (size_t row = 0; row < wanted.targets.size(); ++row) {
    records.add_target_rows(static_cast<int32_t>(row));
    records.add_target_token_ids(wanted.targets[row]);
  }
  records.set_top_n(wanted.top_n);
  records.mutable_named_token_ids()->Add(wanted.named_token_ids.begin(), wanted.named_token_ids.end());
  records.set_ranks(wanted.ranks);
  records.set_entropy(wanted.entropy);
}

void SetForm(const ChoiceWanted& wanted, v1::RowRequest& message) {
  v1::ChoiceOutput& choice = *message.mutable_choice();
  choice.set_decoder_id(wanted.decoder_id);
  if (!wanted.start) return;
  v1::DecoderStart& start = *choice.mutable_start();
  // StartOf serialised it.
  start.ParseFromString(*wanted.start->settings);
  start.mutable_output_token_ids()->Add(wanted.start->output_token_ids.begin(), wanted.start->output_token_ids.end());
}

}  // namespace

v1::DecoderStart StartOf(const v1::SamplingParams& sampling, const v1::RecordOptions& record,
                         const DecoderConfig& config) {
  v1::DecoderStart start;
  *start.mutable_sampling() = sampling;
  start.mutable_sampling()->set_seed(config.seed);
  start.set_sequence_key(config.sequence_key);
  start.mutable_end_token_ids()->Add(config.stop.stop_token_ids.begin(), config.stop.stop_token_ids.end());
  start.set_min_tokens(config.stop.min_tokens);
  if (config.record.records) {
    *start.mutable_record() = record;
  } else {
    // Only the parts of the sums.
    start.mutable_record()->set_model_log_prob(config.record.model_log_prob);
    start.mutable_record()->set_sampling_log_prob(config.record.sampling_log_prob);
  }
  start.mutable_record()->set_layout(v1::RECORD_LAYOUT_RECORDS);
  return start;
}

v1::LogitsDtype RowDtype(const v1::RunnerCapabilities& capabilities) {
  for (const int dtype : capabilities.dtypes()) {
    if (IsExact(dtype)) return static_cast<v1::LogitsDtype>(dtype);
  }
  return v1::LOGITS_DTYPE_F32;
}

void ToProto(const Batch& batch, v1::LogitsDtype dtype, v1::RunBatch& message) {
  message.set_batch_id(batch.batch_id);
  message.set_deadline_ms(static_cast<int32_t>(batch.time_limit.count()));
  for (const int64_t id : batch.release_sequence_ids) message.add_release_sequence_ids(id);
  for (const SequenceWork& piece : batch.work) {
    v1::SequenceWork& work = *message.add_work();
    work.set_sequence_id(piece.sequence_id);
    if (piece.fork_from_sequence_id) work.set_fork_from_sequence_id(*piece.fork_from_sequence_id);
    if (piece.keep_prefix_length) work.set_keep_prefix_length(static_cast<int32_t>(*piece.keep_prefix_length));
    work.mutable_append_token_ids()->Add(piece.append_token_ids.begin(), piece.append_token_ids.end());
    if (piece.is_isolated) work.set_isolated(true);
    if (piece.append_chosen) work.set_append_chosen_decoder_id(*piece.append_chosen);
    for (const RowRequest& request : piece.rows) {
      v1::RowRequest& rows = *work.add_rows();
      rows.set_first_row(request.first_row);
      rows.set_row_count(request.row_count);
      std::visit([&rows](const auto& form) { SetForm(form, rows); }, request.form);
      if (rows.has_logits()) rows.mutable_logits()->set_dtype(dtype);
    }
  }
}

absl::StatusOr<std::vector<PieceOutput>> FromProto(const v1::BatchOutput& output, std::string_view payload,
                                                   int32_t vocab_size, int32_t row_width,
                                                   const std::unordered_map<int64_t, SequenceWork>& batch) {
  for (const v1::LogitsBlock& block : output.blocks()) {
    // Nobody asked for a row, and the copies below would be larger than the message.
    if (block.has_sparse()) return errors::RunnerProtocol("a sparse block");
    if (block.has_hidden()) return errors::RunnerProtocol("a block with `hidden`, which only the hello may say");
    if (!IsExact(block.dtype())) return errors::RunnerProtocol("rows of a type that is not asked for");
  }
  ASSIGN_OR_RETURN(const WireRows rows, WireRows::Of(output.blocks(), payload, row_width));
  std::vector<PieceOutput> pieces;
  RowBuffers buffers;
  // Each row once, so the copies are never larger than the message.
  int32_t next_block_row = 0;
  for (const v1::SequenceOutput& message : output.outputs()) {
    const auto found = batch.find(message.sequence_id());
    if (found == batch.end()) return errors::RunnerProtocol("output for a sequence that is not in the batch");
    PieceOutput& piece = pieces.emplace_back();
    piece.sequence_id = message.sequence_id();
    piece.request_index = message.request_index();
    piece.first_row = message.first_row();
    piece.row_count = message.row_count();
    if (message.has_error()) {
      piece.status = FromProto(message.error());
      continue;
    }
    if (message.skipped()) {
      if (!found->second.append_chosen) return errors::RunnerProtocol("an entry was skipped that runs not ahead");
      piece.skipped = true;
      continue;
    }
    const std::vector<RowRequest>& requests = found->second.rows;
    if (message.request_index() < 0 || message.request_index() >= std::ssize(requests)) {
      return errors::RunnerProtocol("output for a request that the entry does not have");
    }
    const RowRequest& request = requests[static_cast<size_t>(message.request_index())];
    if (message.row_count() < 0 || message.row_count() > request.row_count) {
      return errors::RunnerProtocol("row_count out of range");
    }
    if (const auto* records = std::get_if<RecordsWanted>(&request.form)) {
      ASSIGN_OR_RETURN(piece.rows.records, ReadRecords(message, *records, vocab_size));
      continue;
    }
    if (message.row_count() == 0) continue;
    if (std::holds_alternative<ChoiceWanted>(request.form)) {
      if (!message.has_chosen()) return errors::RunnerProtocol("a choice was asked for, and none came");
      Choice& choice = piece.rows.choice.emplace();
      if (message.chosen().has_token()) {
        auto record = wire::FromProto(message.chosen().token(), vocab_size);
        if (!record.ok()) return errors::RunnerProtocol("chosen.token: " + DetailOf(record.status()).message);
        choice.token = *std::move(record);
      }
      continue;
    }
    if (message.block_row() < next_block_row || message.block_row() + int64_t{message.row_count()} > rows.row_count()) {
      return errors::RunnerProtocol("block_row out of range, or not ascending");
    }
    next_block_row = message.block_row() + message.row_count();
    piece.rows.logits = std::make_shared<std::vector<float>>();
    piece.rows.logits->reserve(static_cast<size_t>(message.row_count()) * static_cast<size_t>(row_width));
    for (int32_t i = 0; i < message.row_count(); ++i) {
      ASSIGN_OR_RETURN(const LogitsRow row, rows.Row(message.block_row() + i, buffers));
      piece.rows.logits->insert(piece.rows.logits->end(), row.slots().begin(), row.slots().end());
    }
  }
  return pieces;
}

}  // namespace logitd::server

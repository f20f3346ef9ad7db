#include "wire/token_record.h"

#include <bit>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "core/errors.h"

namespace logitd::wire {
namespace {

void ToProto(std::span<const TokenAlternative> alternatives, const RecordOptions& options, const Vocabulary* vocabulary,
             v1::TokenAlternatives& message) {
  for (const TokenAlternative& alternative : alternatives) {
    message.add_token_ids(alternative.token_id);
    if (alternative.model_log_prob) message.add_model_log_probs(*alternative.model_log_prob);
    if (alternative.sampling_log_prob) message.add_sampling_log_probs(*alternative.sampling_log_prob);
    if (alternative.rank) message.add_ranks(*alternative.rank);
    if (options.token_bytes && vocabulary != nullptr) {
      message.add_token_bytes(std::string(vocabulary->TokenBytes(alternative.token_id)));
    }
  }
}

static_assert(std::endian::native == std::endian::little, "columns on the wire are little endian");

// One value of each alternative as a column of bytes, in their order or by their ids. Empty if they have no such value.
template <typename Value, typename Get>
std::string Column(std::span<const TokenAlternative> alternatives, bool by_id, Get get) {
  if (!get(alternatives.front())) return "";
  std::string bytes(alternatives.size() * sizeof(Value), '\0');
  for (size_t i = 0; i < alternatives.size(); ++i) {
    const Value value = *get(alternatives[i]);
    const size_t place = by_id ? static_cast<size_t>(alternatives[i].token_id) : i;
    std::memcpy(bytes.data() + place * sizeof(value), &value, sizeof(value));
  }
  return bytes;
}

void ToProto(std::span<const TokenAlternative> alternatives, TopLayout layout, v1::PackedAlternatives& message) {
  const bool by_id = layout == TopLayout::kWholeVocabulary;
  message.set_count(static_cast<int32_t>(alternatives.size()));
  if (!by_id) {
    message.set_token_ids(Column<int32_t>(
        alternatives, by_id, [](const TokenAlternative& one) { return std::optional<int32_t>(one.token_id); }));
  }
  message.set_model_log_probs(
      Column<double>(alternatives, by_id, [](const TokenAlternative& one) { return one.model_log_prob; }));
  message.set_sampling_log_probs(
      Column<double>(alternatives, by_id, [](const TokenAlternative& one) { return one.sampling_log_prob; }));
  message.set_ranks(Column<int32_t>(alternatives, by_id, [](const TokenAlternative& one) { return one.rank; }));
}

absl::Status CheckId(const std::string& field, TokenId id, int32_t vocab_size) {
  if (id >= 0 && id < vocab_size) return absl::OkStatus();
  return errors::TokenIdOutOfRange(field, id, vocab_size);
}

// NaN fails it. Rounding may leave a log-prob of 1 a little above 0.
absl::Status CheckLogProb(const std::string& field, double value) {
  if (value <= 1e-6) return absl::OkStatus();
  return errors::OutOfRange(field, value, "at most 0");
}

absl::StatusOr<std::vector<TokenAlternative>> AlternativesOf(const v1::TokenAlternatives& message,
                                                             const std::string& field, int32_t vocab_size) {
  const int count = message.token_ids_size();
  for (const int size : {message.model_log_probs_size(), message.sampling_log_probs_size(), message.ranks_size()}) {
    if (size != 0 && size != count) return errors::OutOfRange(field, int64_t{size}, "lists of one length");
  }
  std::vector<TokenAlternative> alternatives(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    TokenAlternative& one = alternatives[static_cast<size_t>(i)];
    one.token_id = message.token_ids(i);
    RETURN_IF_ERROR(CheckId(field, one.token_id, vocab_size));
    if (message.model_log_probs_size() > 0) one.model_log_prob = message.model_log_probs(i);
    if (message.sampling_log_probs_size() > 0) one.sampling_log_prob = message.sampling_log_probs(i);
    if (message.ranks_size() > 0) one.rank = message.ranks(i);
    for (const std::optional<double>& log_prob : {one.model_log_prob, one.sampling_log_prob}) {
      if (log_prob) RETURN_IF_ERROR(CheckLogProb(field, *log_prob));
    }
  }
  return alternatives;
}

template <typename Value>
std::optional<Value> ValueAt(const std::string& column, size_t index) {
  if (column.empty()) return std::nullopt;
  Value value;
  std::memcpy(&value, column.data() + index * sizeof(value), sizeof(value));
  return value;
}

absl::StatusOr<std::vector<TokenAlternative>> AlternativesOf(const v1::PackedAlternatives& message,
                                                             int32_t vocab_size) {
  if (message.count() < 1 || message.count() > vocab_size) {
    return errors::OutOfRange("packed_top.count", int64_t{message.count()}, "[1, vocab_size]");
  }
  const auto count = static_cast<size_t>(message.count());
  const auto fits = [count](const std::string& column, size_t width) {
    return column.empty() || column.size() == count * width;
  };
  if (!fits(message.token_ids(), 4) || !fits(message.model_log_probs(), 8) || !fits(message.sampling_log_probs(), 8) ||
      !fits(message.ranks(), 4) || (message.token_ids().empty() && message.count() != vocab_size)) {
    return errors::OutOfRange("packed_top", int64_t{message.count()}, "columns of count values");
  }
  std::vector<TokenAlternative> alternatives(count);
  for (size_t i = 0; i < count; ++i) {
    TokenAlternative& one = alternatives[i];
    one.token_id = ValueAt<int32_t>(message.token_ids(), i).value_or(static_cast<TokenId>(i));
    RETURN_IF_ERROR(CheckId("packed_top.token_ids", one.token_id, vocab_size));
    one.model_log_prob = ValueAt<double>(message.model_log_probs(), i);
    one.sampling_log_prob = ValueAt<double>(message.sampling_log_probs(), i);
    one.rank = ValueAt<int32_t>(message.ranks(), i);
    for (const std::optional<double>& log_prob : {one.model_log_prob, one.sampling_log_prob}) {
      if (log_prob) RETURN_IF_ERROR(CheckLogProb("packed_top", *log_prob));
    }
  }
  return alternatives;
}

}  // namespace

void ToProto(const TokenRecord& record, const RecordOptions& options, const Vocabulary* vocabulary,
             v1::TokenRecord& message) {
  message.set_token_id(record.token_id);
  message.set_position(record.position);
  message.set_origin(static_cast<v1::TokenOrigin>(record.origin));
  if (!options.records) return;
  message.set_log_prob_state(static_cast<v1::LogProbState>(record.state));
  if (options.token_bytes && vocabulary != nullptr) {
    message.set_token_bytes(std::string(vocabulary->TokenBytes(record.token_id)));
  }
  if (record.model_log_prob) message.set_model_log_prob(*record.model_log_prob);
  if (record.sampling_log_prob) message.set_sampling_log_prob(*record.sampling_log_prob);
  if (record.rank) message.set_rank(*record.rank);
  if (record.model_entropy) message.set_model_entropy(*record.model_entropy);
  if (record.model_log_sum_exp) message.set_model_log_sum_exp(*record.model_log_sum_exp);
  if (record.kept_count) message.set_kept_count(*record.kept_count);
  if (record.kept_mass) message.set_kept_mass(*record.kept_mass);
  if (record.draw) ToProto(*record.draw, *message.mutable_draw());
  if (record.rest_draw) ToProto(*record.rest_draw, *message.mutable_rest_draw());
  if (!record.top.empty()) {
    if (options.top_layout == TopLayout::kList) {
      ToProto(record.top, options, vocabulary, *message.mutable_top());
    } else {
      ToProto(record.top, options.top_layout, *message.mutable_packed_top());
    }
  }
  if (!record.named.empty()) ToProto(record.named, options, vocabulary, *message.mutable_named());
}

void ToProto(const Draw& draw, v1::DrawRecord& message) {
  message.set_uniform(draw.uniform);
  message.set_total_weight(draw.total_weight);
  message.set_interval_start(draw.interval_start);
  message.set_weight(draw.weight);
}

absl::StatusOr<TokenRecord> FromProto(const v1::TokenRecord& message, int32_t vocab_size) {
  TokenRecord record;
  record.token_id = message.token_id();
  RETURN_IF_ERROR(CheckId("token_id", record.token_id, vocab_size));
  record.position = message.position();
  record.origin = static_cast<TokenOrigin>(message.origin());
  record.state = static_cast<LogProbState>(message.log_prob_state());
  if (message.has_model_log_prob()) record.model_log_prob = message.model_log_prob();
  if (message.has_sampling_log_prob()) record.sampling_log_prob = message.sampling_log_prob();
  for (const std::optional<double>& log_prob : {record.model_log_prob, record.sampling_log_prob}) {
    if (log_prob) RETURN_IF_ERROR(CheckLogProb("log_prob", *log_prob));
  }
  if (message.has_rank()) record.rank = message.rank();
  if (message.has_model_entropy()) record.model_entropy = message.model_entropy();
  if (message.has_model_log_sum_exp()) record.model_log_sum_exp = message.model_log_sum_exp();
  if (message.has_kept_count()) record.kept_count = message.kept_count();
  if (message.has_kept_mass()) record.kept_mass = message.kept_mass();
  if (message.has_draw()) {
    record.draw = Draw{record.token_id, message.draw().uniform(), message.draw().total_weight(),
                       message.draw().interval_start(), message.draw().weight()};
  }
  if (message.has_top()) {
    ASSIGN_OR_RETURN(record.top, AlternativesOf(message.top(), "top", vocab_size));
  } else if (message.has_packed_top()) {
    ASSIGN_OR_RETURN(record.top, AlternativesOf(message.packed_top(), vocab_size));
  }
  if (message.has_named()) {
    ASSIGN_OR_RETURN(record.named, AlternativesOf(message.named(), "named", vocab_size));
  }
  return record;
}

}  // namespace logitd::wire

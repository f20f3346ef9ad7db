#include "wire/token_record.h"

#include <bit>
#include <cstring>
#include <optional>
#include <string>

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

}  // namespace logitd::wire

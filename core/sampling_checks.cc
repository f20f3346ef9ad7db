#include "core/sampling_checks.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"

namespace logitd {
namespace {

std::string Closed(double low, double high) { return "[" + errors::Show(low) + ", " + errors::Show(high) + "]"; }

absl::Status CheckCount(std::string_view field, size_t count, const Limit& limit) {
  if (static_cast<int64_t>(count) <= limit) return absl::OkStatus();
  return errors::AboveLimit(field, static_cast<int64_t>(count), limit);
}

absl::Status CheckToken(std::string_view field, TokenId token_id, int32_t vocab_size) {
  if (token_id >= 0 && token_id < vocab_size) return absl::OkStatus();
  return errors::TokenIdOutOfRange(field, token_id, vocab_size);
}

// `field` is the list of ids that must not be empty.
absl::Status CheckTokens(const std::string& field, std::span<const TokenId> token_ids, int32_t vocab_size) {
  if (token_ids.empty()) return errors::Required(field);
  for (size_t i = 0; i < token_ids.size(); ++i) {
    RETURN_IF_ERROR(CheckToken(Element(field, i), token_ids[i], vocab_size));
  }
  return absl::OkStatus();
}

}  // namespace

// Every test is written so that NaN fails it.
absl::Status CheckTemperature(double temperature) {
  if (temperature == 0 || (temperature >= kMinTemperature && temperature <= kMaxTemperature)) return absl::OkStatus();
  return errors::OutOfRange("temperature", temperature, "0 or in " + Closed(kMinTemperature, kMaxTemperature));
}

absl::Status CheckClosed(std::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return errors::OutOfRange(field, value, Closed(low, high));
}

absl::Status CheckPositive(std::string_view field, double value, double high) {
  if (value > 0 && value <= high) return absl::OkStatus();
  return errors::OutOfRange(field, value, "(0, " + errors::Show(high) + "]");
}

absl::Status CheckCutoff(std::string_view field, double value) {
  if (value >= 0 && value < 1) return absl::OkStatus();
  return errors::OutOfRange(field, value, "[0, 1)");
}

absl::Status CheckNotNegative(std::string_view field, int32_t value) {
  if (value >= 0) return absl::OkStatus();
  return errors::OutOfRange(field, int64_t{value}, ">= 0");
}

absl::Status CheckLogitBiases(std::span<const LogitBias> biases, int32_t vocab_size) {
  RETURN_IF_ERROR(CheckCount("logit_biases", biases.size(), kMaxLogitBiases));
  for (size_t i = 0; i < biases.size(); ++i) {
    RETURN_IF_ERROR(CheckToken(Element("logit_biases", i, ".token_id"), biases[i].token_id, vocab_size));
    RETURN_IF_ERROR(CheckClosed(Element("logit_biases", i, ".bias"), biases[i].bias, -kMaxBias, kMaxBias));
  }
  // By token, then by place: of equal tokens the later one is the duplicate.
  std::vector<size_t> order(biases.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [&](size_t i) { return biases[i].token_id; });
  size_t duplicate = biases.size();
  for (size_t i = 1; i < order.size(); ++i) {
    if (biases[order[i]].token_id == biases[order[i - 1]].token_id) duplicate = std::min(duplicate, order[i]);
  }
  if (duplicate == biases.size()) return absl::OkStatus();
  return errors::DuplicateTokenId(Element("logit_biases", duplicate, ".token_id"), biases[duplicate].token_id);
}

absl::Status CheckSequenceBiases(std::span<const SequenceBias> biases, int32_t vocab_size) {
  RETURN_IF_ERROR(CheckCount("sequence_biases", biases.size(), kMaxSequenceBiases));
  for (size_t i = 0; i < biases.size(); ++i) {
    RETURN_IF_ERROR(CheckTokens(Element("sequence_biases", i, ".token_ids"), biases[i].token_ids, vocab_size));
    if (biases[i].bias.has_value()) {
      RETURN_IF_ERROR(CheckClosed(Element("sequence_biases", i, ".bias"), *biases[i].bias, -kMaxBias, kMaxBias));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckDry(const DryPenalty& dry, int32_t vocab_size) {
  RETURN_IF_ERROR(CheckClosed("dry.multiplier", dry.multiplier, 0, kMaxDryMultiplier));
  RETURN_IF_ERROR(CheckClosed("dry.base", dry.base, kMinDryBase, kMaxDryBase));
  if (dry.allowed_length < 1 || dry.allowed_length > kMaxDryAllowedLength) {
    return errors::OutOfRange("dry.allowed_length", int64_t{dry.allowed_length},
                              "[1, " + std::to_string(kMaxDryAllowedLength) + "]");
  }
  if (dry.window.has_value()) RETURN_IF_ERROR(CheckNotNegative("dry.window", *dry.window));
  RETURN_IF_ERROR(CheckCount("dry.breakers", dry.breakers.size(), kMaxDryBreakers));
  for (size_t i = 0; i < dry.breakers.size(); ++i) {
    const std::string field = Element("dry.breakers", i, ".token_ids");
    RETURN_IF_ERROR(CheckCount(field, dry.breakers[i].size(), kMaxDryBreakerTokens));
    RETURN_IF_ERROR(CheckTokens(field, dry.breakers[i], vocab_size));
  }
  return absl::OkStatus();
}

absl::Status CheckListTokens(const SamplingLists& lists) {
  size_t sequence_tokens = 0, breaker_tokens = 0;
  for (const SequenceBias& bias : lists.sequence_biases) sequence_tokens += bias.token_ids.size();
  for (const std::vector<TokenId>& breaker : lists.dry.breakers) breaker_tokens += breaker.size();
  const size_t token_count = sequence_tokens + breaker_tokens;
  if (token_count <= static_cast<size_t>(kMaxListTokens)) return absl::OkStatus();
  return errors::AboveLimit(sequence_tokens >= breaker_tokens ? "sequence_biases" : "dry.breakers",
                            static_cast<int64_t>(token_count), kMaxListTokens, 0,
                            "tokens in sequence_biases and dry.breakers");
}

}  // namespace logitd

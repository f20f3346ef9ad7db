#include "server/converters/sampling.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "core/limits.h"
#include "core/status_macros.h"

namespace logitd::server {
namespace {

absl::StatusOr<VocabSubset> FromProto(const v1::TokenSet& set, int32_t vocab_size) {
  switch (set.set_case()) {
    case v1::TokenSet::kIds: {
      const auto& ids = set.ids().token_ids();
      auto subset = VocabSubset::Of(vocab_size, {ids.data(), static_cast<size_t>(ids.size())});
      if (!subset.ok()) return WithFieldPrefix(subset.status(), "ids.");
      return subset;
    }
    case v1::TokenSet::kBitmask:
      return VocabSubset::OfBitmask(vocab_size, set.bitmask());
    case v1::TokenSet::SET_NOT_SET:
      break;
  }
  return errors::Required("ids");
}

std::string UpTo(int64_t limit, int64_t from) {
  return "[" + std::to_string(from) + ", " + std::to_string(limit) + "]";
}

}  // namespace

absl::StatusOr<SamplingParams> FromProto(const v1::SamplingParams& message, int32_t vocab_size) {
  SamplingParams params;
  if (message.has_temperature()) params.temperature = message.temperature();
  if (message.has_top_k()) params.top_k = message.top_k();
  if (message.has_top_p()) params.top_p = message.top_p();
  if (message.has_min_p()) params.min_p = message.min_p();
  RETURN_IF_ERROR(Validate(params));

  std::optional<VocabSubset> subset;
  if (message.has_allowed_tokens()) {
    auto allowed = FromProto(message.allowed_tokens(), vocab_size);
    if (!allowed.ok()) return WithFieldPrefix(allowed.status(), "allowed_tokens.");
    subset = *std::move(allowed);
  }
  if (message.has_banned_tokens()) {
    auto banned = FromProto(message.banned_tokens(), vocab_size);
    if (!banned.ok()) return WithFieldPrefix(banned.status(), "banned_tokens.");
    subset = (subset ? *subset : VocabSubset::All(vocab_size)).Without(*banned);
  }
  if (subset) params.subset = std::make_shared<const VocabSubset>(*std::move(subset));
  return params;
}

absl::StatusOr<StopRules> FromProto(const v1::StopCriteria& message, std::span<const TokenId> eos_token_ids,
                                    int32_t vocab_size, int32_t default_max_tokens) {
  StopRules rules;
  const auto& stops = message.stop_token_ids();
  if (stops.size() > kMaxStops) {
    return errors::LimitExceeded("stop_token_ids", stops.size(), UpTo(kMaxStops, 0), "max_stops");
  }
  RETURN_IF_ERROR(CheckTokenIds({stops.data(), static_cast<size_t>(stops.size())}, "stop_token_ids", vocab_size));
  rules.stop_token_ids.assign(stops.begin(), stops.end());
  if (!message.ignore_eos()) {
    rules.stop_token_ids.insert(rules.stop_token_ids.end(), eos_token_ids.begin(), eos_token_ids.end());
  }
  std::sort(rules.stop_token_ids.begin(), rules.stop_token_ids.end());
  rules.stop_token_ids.erase(std::unique(rules.stop_token_ids.begin(), rules.stop_token_ids.end()),
                             rules.stop_token_ids.end());

  rules.max_tokens = message.has_max_tokens() ? message.max_tokens() : default_max_tokens;
  if (rules.max_tokens < 1) {
    return errors::OutOfRange("max_tokens", int64_t{rules.max_tokens}, "in " + UpTo(kMaxTokens, 1));
  }
  if (rules.max_tokens > kMaxTokens) {
    return errors::LimitExceeded("max_tokens", rules.max_tokens, UpTo(kMaxTokens, 1), "max_tokens");
  }
  rules.min_tokens = message.min_tokens();
  if (rules.min_tokens < 0 || rules.min_tokens > rules.max_tokens) {
    return errors::OutOfRange("min_tokens", int64_t{rules.min_tokens}, "in " + UpTo(rules.max_tokens, 0));
  }
  return rules;
}

absl::StatusOr<RecordOptions> FromProto(const v1::RecordOptions& message, int32_t vocab_size,
                                        bool default_sampling_log_prob, v1::RecordLayout default_layout) {
  RecordOptions options;
  if (message.has_model_log_prob()) options.model_log_prob = message.model_log_prob();
  options.sampling_log_prob = message.has_sampling_log_prob() ? message.sampling_log_prob() : default_sampling_log_prob;
  options.rank = message.rank();
  options.entropy = message.entropy();
  if (message.has_token_bytes()) options.token_bytes = message.token_bytes();
  const v1::RecordLayout layout = message.layout() == v1::RECORD_LAYOUT_UNSPECIFIED ? default_layout : message.layout();
  options.records = layout != v1::RECORD_LAYOUT_NONE;

  const int32_t largest_top_n = std::min(kMaxTopN, vocab_size);
  if (message.top_n() < 0) return errors::OutOfRange("top_n", int64_t{message.top_n()}, "in " + UpTo(largest_top_n, 0));
  if (message.top_n() > largest_top_n) {
    return errors::LimitExceeded("top_n", message.top_n(), UpTo(largest_top_n, 0), "max_top_n");
  }
  options.top_n = message.top_n();
  const auto& named = message.named_token_ids();
  if (named.size() > kMaxNamedTokens) {
    return errors::LimitExceeded("named_token_ids", named.size(), UpTo(kMaxNamedTokens, 0), "max_named_tokens");
  }
  RETURN_IF_ERROR(CheckTokenIds({named.data(), static_cast<size_t>(named.size())}, "named_token_ids", vocab_size));
  options.named_token_ids.assign(named.begin(), named.end());
  return options;
}

absl::Status CheckTokenIds(std::span<const TokenId> ids, std::string_view field, int32_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return errors::TokenIdOutOfRange(std::string(field) + "[" + std::to_string(i) + "]", ids[i], vocab_size);
    }
  }
  return absl::OkStatus();
}

uint64_t DrawSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace logitd::server

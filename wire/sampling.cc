#include "wire/sampling.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "base/utf8.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/stages.h"

namespace logitd::wire {
namespace {

std::string UpTo(int64_t limit, int64_t from) {
  return "[" + std::to_string(from) + ", " + std::to_string(limit) + "]";
}

// An enum of core has the numbers of the contract's; ScanWire has refused those that it does not have.
template <typename Core, typename Wire>
Core ToCore(Wire value) {
  return static_cast<Core>(static_cast<int>(value));
}
static_assert(kMaxStages == v1::Stage_MAX);
static_assert(static_cast<int>(StagePreset::kTrtLlm) == v1::STAGE_PRESET_TRT_LLM);
static_assert(static_cast<int>(PenaltyScope::kPrompt) == v1::PENALTY_SCOPE_PROMPT);
static_assert(static_cast<int>(TieRule::kKeepAll) == v1::TIE_RULE_KEEP_ALL);
static_assert(static_cast<int>(TopPBoundary::kMassAbove) == v1::TOP_P_BOUNDARY_MASS_ABOVE);

// Before the lists are copied; Validate checks what is in them, and their tokens together.
absl::Status CheckListSizes(const v1::SamplingParams& message) {
  const auto check = [](const char* field, int64_t count, const Limit& limit) {
    return count <= limit ? absl::OkStatus() : errors::AboveLimit(field, count, limit);
  };
  RETURN_IF_ERROR(check("logit_biases", message.logit_biases_size(), kMaxLogitBiases));
  RETURN_IF_ERROR(check("sequence_biases", message.sequence_biases_size(), kMaxSequenceBiases));
  return check("dry.breakers", message.dry().breakers_size(), kMaxDryBreakers);
}

DryPenalty DryOf(const v1::DryPenalty& message) {
  DryPenalty dry;
  dry.multiplier = message.multiplier();
  if (message.has_base()) dry.base = message.base();
  if (message.has_allowed_length()) dry.allowed_length = message.allowed_length();
  if (message.has_window()) dry.window = message.window();
  for (const v1::TokenIds& breaker : message.breakers()) {
    dry.breakers.emplace_back(breaker.token_ids().begin(), breaker.token_ids().end());
  }
  return dry;
}

// Null: none is set.
std::shared_ptr<const SamplingLists> ListsOf(const v1::SamplingParams& message) {
  if (message.logit_biases().empty() && message.sequence_biases().empty() && !message.has_dry()) return nullptr;
  auto lists = std::make_shared<SamplingLists>();
  lists->logit_biases.reserve(static_cast<size_t>(message.logit_biases_size()));
  for (const v1::LogitBias& bias : message.logit_biases()) {
    lists->logit_biases.push_back({bias.token_id(), bias.bias()});
  }
  for (const v1::SequenceBias& bias : message.sequence_biases()) {
    SequenceBias& one = lists->sequence_biases.emplace_back();
    one.token_ids.assign(bias.token_ids().begin(), bias.token_ids().end());
    if (bias.has_bias()) one.bias = bias.bias();
  }
  if (message.has_dry()) lists->dry = DryOf(message.dry());
  return lists;
}

absl::StatusOr<StageOrder> OrderOf(const v1::SamplingParams& message) {
  StageOrder order;
  const v1::StageOrder& wire = message.stage_order();
  if (wire.preset() != v1::STAGE_PRESET_UNSPECIFIED) {
    // Core tells an order from a preset by its stages alone.
    if (!wire.stages().empty()) return errors::Exclusive("stage_order.preset", "stage_order.stages");
    order.preset = ToCore<StagePreset>(wire.preset());
  }
  for (int i = 0; i < wire.stages_size(); ++i) {
    if (wire.stages(i) == v1::STAGE_UNSPECIFIED) {
      return errors::OutOfRange(Element("stage_order.stages", i), "STAGE_UNSPECIFIED", "a stage");
    }
    order.stages.push_back(ToCore<Stage>(wire.stages(i)));
  }
  order.top_k_ties = ToCore<TieRule>(message.top_k_ties());
  order.top_p_boundary = ToCore<TopPBoundary>(message.top_p_boundary());
  order.typical_ties = ToCore<TieRule>(message.typical_ties());
  return order;
}

// The allowed tokens less the banned ones. Null: all may be chosen.
absl::StatusOr<std::shared_ptr<const VocabSubset>> SubsetOf(const v1::SamplingParams& message, int32_t vocab_size) {
  std::optional<VocabSubset> subset;
  if (message.has_allowed_tokens()) {
    ASSIGN_OR_RETURN(subset, In("allowed_tokens.", FromProto(message.allowed_tokens(), vocab_size)));
  }
  if (message.has_banned_tokens()) {
    ASSIGN_OR_RETURN(auto banned, In("banned_tokens.", FromProto(message.banned_tokens(), vocab_size)));
    subset = (subset ? *subset : VocabSubset::All(vocab_size)).Without(banned);
  }
  if (!subset) return std::shared_ptr<const VocabSubset>();
  return std::make_shared<const VocabSubset>(*std::move(subset));
}

int64_t BytesOf(const SamplingLists& lists) {
  const auto tokens = [](const std::vector<TokenId>& ids) {
    return static_cast<int64_t>(sizeof(ids) + ids.capacity() * sizeof(TokenId));
  };
  auto bytes = static_cast<int64_t>(sizeof(lists) + lists.logit_biases.capacity() * sizeof(LogitBias));
  for (const SequenceBias& bias : lists.sequence_biases) bytes += tokens(bias.token_ids) + 16;
  for (const std::vector<TokenId>& breaker : lists.dry.breakers) bytes += tokens(breaker);
  return bytes;
}

}  // namespace

absl::StatusOr<VocabSubset> FromProto(const v1::TokenSet& set, int32_t vocab_size) {
  switch (set.set_case()) {
    case v1::TokenSet::kIds: {
      const auto& ids = set.ids().token_ids();
      return In("ids.", VocabSubset::Of(vocab_size, Ids(ids)));
    }
    case v1::TokenSet::kBitmask:
      return VocabSubset::OfBitmask(vocab_size, set.bitmask());
    case v1::TokenSet::SET_NOT_SET:
      break;
  }
  return errors::Required("ids");
}

absl::StatusOr<SamplingParams> FromProto(const v1::SamplingParams& message, int32_t vocab_size) {
  RETURN_IF_ERROR(CheckListSizes(message));
  SamplingParams params;
  if (message.has_temperature()) params.temperature = message.temperature();
  if (message.has_top_k()) params.top_k = message.top_k();
  if (message.has_top_p()) params.top_p = message.top_p();
  if (message.has_min_p()) params.min_p = message.min_p();
  if (message.has_typical_p()) params.typical_p = message.typical_p();
  if (message.has_epsilon_cutoff()) params.epsilon_cutoff = message.epsilon_cutoff();
  if (message.has_eta_cutoff()) params.eta_cutoff = message.eta_cutoff();
  if (message.has_top_n_sigma()) params.top_n_sigma = message.top_n_sigma();
  params.xtc.probability = message.xtc().probability();
  if (message.xtc().has_threshold()) params.xtc.threshold = message.xtc().threshold();
  if (message.has_repetition_penalty()) params.repetition_penalty = message.repetition_penalty();
  if (message.has_frequency_penalty()) params.frequency_penalty = message.frequency_penalty();
  if (message.has_presence_penalty()) params.presence_penalty = message.presence_penalty();
  params.repetition_scope = ToCore<PenaltyScope>(message.repetition_scope());
  params.occurrence_scope = ToCore<PenaltyScope>(message.occurrence_scope());
  if (message.has_penalty_window()) params.penalty_window = message.penalty_window();
  if (message.has_no_repeat_ngram_size()) params.no_repeat_ngram_size = message.no_repeat_ngram_size();
  for (int i = 0; i < message.logit_biases_size(); ++i) {
    if (!message.logit_biases(i).has_token_id()) {
      return errors::Required(Element("logit_biases", i, ".token_id"));
    }
  }
  params.lists = ListsOf(message);
  ASSIGN_OR_RETURN(params.subset, SubsetOf(message, vocab_size));
  ASSIGN_OR_RETURN(params.order, OrderOf(message));
  RETURN_IF_ERROR(Validate(params, vocab_size));
  return params;
}

absl::StatusOr<SamplingParams> ScoringParamsFromProto(const v1::SamplingParams& message, int32_t vocab_size) {
  ASSIGN_OR_RETURN(SamplingParams params, FromProto(message, vocab_size));
  // At temperature 0 every token but one has no log-prob.
  if (params.greedy()) return errors::OutOfRange("temperature", 0.0, "in [0.0001, 1e+06] to score with");
  if (IsOn(params, Stage::kXtc)) {
    return errors::OutOfRange("xtc.probability", params.xtc.probability, "0 to score with: XTC is a matter of chance");
  }
  return params;
}

int64_t HeldBytes(const SamplingParams& params, const SamplingParams* shared) {
  int64_t bytes = 0;
  if (params.subset != nullptr && (shared == nullptr || params.subset != shared->subset)) {
    bytes += static_cast<int64_t>(params.subset->mask().words().size_bytes());
  }
  if (params.lists != nullptr && (shared == nullptr || params.lists != shared->lists)) bytes += BytesOf(*params.lists);
  return bytes + static_cast<int64_t>(params.order.stages.capacity() * sizeof(Stage));
}

absl::StatusOr<StopRules> FromProto(const v1::StopCriteria& message, std::span<const TokenId> end_token_ids,
                                    int32_t vocab_size, int32_t default_max_tokens) {
  StopRules rules;
  const auto& stops = message.stop_token_ids();
  if (stops.size() > kMaxStops) {
    return errors::AboveLimit("stop_token_ids", stops.size(), kMaxStops);
  }
  RETURN_IF_ERROR(CheckTokenIds(stops, "stop_token_ids", vocab_size));
  rules.stop_token_ids.assign(stops.begin(), stops.end());
  if (!message.ignore_eos()) {
    rules.stop_token_ids.insert(rules.stop_token_ids.end(), end_token_ids.begin(), end_token_ids.end());
  }
  std::sort(rules.stop_token_ids.begin(), rules.stop_token_ids.end());
  rules.stop_token_ids.erase(std::unique(rules.stop_token_ids.begin(), rules.stop_token_ids.end()),
                             rules.stop_token_ids.end());

  rules.max_tokens = message.has_max_tokens() ? message.max_tokens() : default_max_tokens;
  if (rules.max_tokens < 1) {
    return errors::OutOfRange("max_tokens", int64_t{rules.max_tokens}, "in " + UpTo(kMaxTokens, 1));
  }
  if (rules.max_tokens > kMaxTokens) {
    return errors::AboveLimit("max_tokens", rules.max_tokens, kMaxTokens, 1);
  }
  rules.min_tokens = message.min_tokens();
  if (rules.min_tokens < 0 || rules.min_tokens > rules.max_tokens) {
    return errors::OutOfRange("min_tokens", int64_t{rules.min_tokens}, "in " + UpTo(rules.max_tokens, 0));
  }
  return rules;
}

absl::StatusOr<std::shared_ptr<const StopStrings>> StopStringsFromProto(const v1::StopCriteria& message) {
  const auto& strings = message.stop_strings();
  if (strings.empty()) return nullptr;
  if (strings.size() > kMaxStopStrings) return errors::AboveLimit("stop_strings", strings.size(), kMaxStopStrings);
  for (int i = 0; i < strings.size(); ++i) {
    const std::string field = Element("stop_strings", i);
    const std::string bound = "UTF-8 of " + UpTo(kMaxStopStringBytes, 1) + " bytes";
    if (strings[i].empty()) return errors::OutOfRange(field, "", bound);
    if (std::ssize(strings[i]) > kMaxStopStringBytes) {
      return errors::AboveLimit(field, std::ssize(strings[i]), kMaxStopStringBytes, 1, "bytes");
    }
    if (!IsUtf8(strings[i])) return errors::OutOfRange(field, strings[i], bound);
  }
  return std::make_shared<const StopStrings>(std::vector<std::string>(strings.begin(), strings.end()));
}

absl::StatusOr<std::optional<std::chrono::milliseconds>> TimeLimitFromProto(const v1::StopCriteria& message) {
  if (!message.has_time_limit_ms()) return std::nullopt;
  const int32_t limit = message.time_limit_ms();
  if (limit < 1) return errors::OutOfRange("time_limit_ms", int64_t{limit}, "in " + UpTo(kMaxTimeLimitMs, 1));
  if (limit > kMaxTimeLimitMs) return errors::AboveLimit("time_limit_ms", limit, kMaxTimeLimitMs, 1);
  return std::chrono::milliseconds(limit);
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

  options.kept_set = message.kept_set();
  options.draw = message.draw();
  // Lists are for people; columns hold the whole vocabulary if they must.
  const int32_t largest_top_n = message.packed_top() ? vocab_size : std::min<int32_t>(kMaxTopN, vocab_size);
  if (message.top_n() < 0) return errors::OutOfRange("top_n", int64_t{message.top_n()}, "in " + UpTo(largest_top_n, 0));
  if (message.top_n() > largest_top_n) {
    return errors::AboveLimit("top_n", message.top_n(), {kMaxTopN.name, largest_top_n});
  }
  options.top_n = message.top_n();
  if (message.packed_top()) {
    options.top_layout = options.top_n == vocab_size ? TopLayout::kWholeVocabulary : TopLayout::kPacked;
  }
  const auto& named = message.named_token_ids();
  if (named.size() > kMaxNamedTokens) {
    return errors::AboveLimit("named_token_ids", named.size(), kMaxNamedTokens);
  }
  RETURN_IF_ERROR(CheckTokenIds(named, "named_token_ids", vocab_size));
  options.named_token_ids.assign(named.begin(), named.end());
  return options;
}

uint64_t DrawSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace logitd::wire

#include "core/choice_check.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/history_bans.h"
#include "core/random_stream.h"
#include "core/stages.h"

namespace logitd {
namespace {

// Rounding may leave a log-prob of 1, or a mass of 1, a little above.
constexpr double kRounding = 1e-6;
// ln of the largest vocabulary is 13.9.
constexpr double kMaxEntropy = 20;
constexpr uint64_t kLeastTotalWeight = uint64_t{1} << 42;
constexpr uint64_t kMostTotalWeight = uint64_t{1} << 62;

absl::Status Invalid(const std::string& what) { return errors::ModelOutputInvalid("the chosen token: " + what); }

// Whether exactly the numbers that were asked for are there, each in [least, most].
template <typename Number>
absl::Status Check(const char* name, bool asked, const std::optional<Number>& value, double least, double most) {
  if (value.has_value() != asked) {
    return Invalid(std::string(name) + (asked ? " was asked for, and is not there" : " was not asked for"));
  }
  if (!value) return absl::OkStatus();
  const auto number = static_cast<double>(*value);
  if (number >= least && number <= most && std::isfinite(number)) return absl::OkStatus();
  return Invalid(std::string(name) + " must be in [" + errors::Show(least) + ", " + errors::Show(most) + "], got " +
                 errors::Show(number));
}

absl::Status CheckDraw(const DecoderConfig& config, int32_t position, const Draw& draw) {
  const RandomStream random(config.seed, config.sequence_key, position, RandomPurpose::kTokenDraw);
  if (draw.uniform != random.Uniform64(0)) return Invalid("its random bits are not those of seed, key and position");
  if (draw.total_weight < kLeastTotalWeight || draw.total_weight > kMostTotalWeight || draw.weight == 0 ||
      draw.weight > draw.total_weight || draw.interval_start > draw.total_weight - draw.weight) {
    return Invalid("its weights are none");
  }
  __extension__ using uint128 = unsigned __int128;
  const auto r = static_cast<uint64_t>((static_cast<uint128>(draw.uniform) * draw.total_weight) >> 64);
  if (r < draw.interval_start || r - draw.interval_start >= draw.weight) {
    return Invalid("its interval does not hold the random bits");
  }
  return absl::OkStatus();
}

absl::Status CheckAlternatives(const char* name, const RecordOptions& asked, int32_t vocab_size,
                               const std::vector<TokenAlternative>& alternatives) {
  for (const TokenAlternative& one : alternatives) {
    if (one.model_log_prob.has_value() != asked.model_log_prob ||
        one.sampling_log_prob.has_value() != asked.sampling_log_prob || one.rank.has_value() != asked.rank) {
      return Invalid(std::string(name) + " must have what was asked for, and nothing else");
    }
    if (one.rank && (*one.rank < 1 || *one.rank > vocab_size)) {
      return Invalid(std::string(name) + ": a rank is not in [1, vocab_size]");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckChoice(const DecoderConfig& config, const RecordOptions& asked, std::span<const TokenId> prompt,
                         std::span<const TokenId> output, int32_t vocab_size, const TokenRecord& record) {
  const auto position = static_cast<int32_t>(output.size());
  const TokenId id = record.token_id;
  if (id < 0 || id >= vocab_size) return Invalid("it is not in [0, vocab_size)");
  if (record.position != position) {
    return Invalid("it is for position " + std::to_string(record.position) + ", not " + std::to_string(position));
  }
  if (record.origin != TokenOrigin::kChosen || record.state != LogProbState::kPresent) {
    return Invalid("it is none that was chosen");
  }
  if (config.sampling.subset != nullptr && !config.sampling.subset->Contains(id)) {
    return Invalid("token " + std::to_string(id) + " is excluded by allowed_tokens or banned_tokens");
  }
  const std::vector<TokenId>& stops = config.stop.stop_token_ids;
  if (position < config.stop.min_tokens && std::binary_search(stops.begin(), stops.end(), id)) {
    return Invalid("token " + std::to_string(id) + " ends the sequence before min_tokens");
  }
  if (const char* field = BannedBy(config.sampling, prompt, output, id)) {
    return Invalid("token " + std::to_string(id) + " is excluded by " + field + " after the tokens so far");
  }
  const bool greedy = config.sampling.greedy();
  constexpr double kLeast = std::numeric_limits<double>::lowest();
  RETURN_IF_ERROR(Check("model_log_prob", asked.model_log_prob, record.model_log_prob, kLeast, kRounding));
  RETURN_IF_ERROR(Check("sampling_log_prob", asked.sampling_log_prob, record.sampling_log_prob, greedy ? 0 : kLeast,
                        greedy ? 0 : kRounding));
  RETURN_IF_ERROR(Check("rank", asked.rank, record.rank, 1, vocab_size));
  RETURN_IF_ERROR(Check("model_entropy", asked.entropy, record.model_entropy, -kRounding, kMaxEntropy));
  RETURN_IF_ERROR(Check("model_log_sum_exp", asked.entropy, record.model_log_sum_exp, kLeast, -kLeast));
  RETURN_IF_ERROR(Check("kept_count", asked.kept_set, record.kept_count, 1, vocab_size));
  RETURN_IF_ERROR(Check("kept_mass", asked.kept_set, record.kept_mass, 0, 1 + kRounding));
  if (record.draw.has_value() != (asked.draw && !greedy)) {
    return Invalid(record.draw ? "its draw was not asked for" : "its draw was asked for, and is not there");
  }
  if (record.draw) RETURN_IF_ERROR(CheckDraw(config, position, *record.draw));
  if (std::ssize(record.top) != std::min(asked.top_n, vocab_size)) return Invalid("its top tokens are too few or many");
  RETURN_IF_ERROR(CheckAlternatives("top", asked, vocab_size, record.top));
  for (size_t i = 1; asked.top_layout != TopLayout::kWholeVocabulary && i < record.top.size(); ++i) {
    const TokenAlternative& before = record.top[i - 1];
    const TokenAlternative& here = record.top[i];
    const bool in_order = !here.model_log_prob || *before.model_log_prob > *here.model_log_prob ||
                          (*before.model_log_prob == *here.model_log_prob && before.token_id < here.token_id);
    if (!in_order) return Invalid("its top tokens are not in order");
  }
  if (asked.top_layout == TopLayout::kWholeVocabulary) {
    std::vector<bool> is_there(static_cast<size_t>(vocab_size), false);
    for (const TokenAlternative& one : record.top) is_there[static_cast<size_t>(one.token_id)] = true;
    if (std::find(is_there.begin(), is_there.end(), false) != is_there.end()) return Invalid("a top token is missing");
  }
  if (record.named.size() != asked.named_token_ids.size()) return Invalid("its named tokens are too few or many");
  for (size_t i = 0; i < record.named.size(); ++i) {
    if (record.named[i].token_id != asked.named_token_ids[i]) return Invalid("a named token is another one");
  }
  return CheckAlternatives("named", asked, vocab_size, record.named);
}

absl::Status CheckNoChoice(const DecoderConfig& config, std::span<const TokenId> output) {
  const SamplingParams& sampling = config.sampling;
  const bool before_min_tokens = std::ssize(output) < config.stop.min_tokens && !config.stop.stop_token_ids.empty();
  if (sampling.subset != nullptr || IsOn(sampling, Stage::kSequenceBiases) || IsOn(sampling, Stage::kNoRepeatNgram) ||
      before_min_tokens) {
    return absl::OkStatus();
  }
  return Invalid("there is none, and nothing excludes any token");
}

}  // namespace logitd

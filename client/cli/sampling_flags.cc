#include "client/cli/sampling_flags.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/cli/request_flags.h"
#include "client/cli/session.h"
#include "google/protobuf/descriptor.h"

namespace logitd::cli {
namespace {

void SetIds(const std::vector<int32_t>& ids, v1::TokenSet* set) {
  // Present even if it holds nothing: "no token is allowed" is for the server to refuse.
  v1::TokenIds* list = set->mutable_ids();
  list->mutable_token_ids()->Add(ids.begin(), ids.end());
}

// A value of an enum as a flag has it: STAGE_TOP_K, of prefix STAGE_, is "top-k".
std::string FlagName(const google::protobuf::EnumValueDescriptor& value, std::string_view prefix) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(value.name().substr(prefix.size())), {{"_", "-"}});
}

// The number of the value that `text` names, "_" and "-" being the same. Unset: there is none; UNSPECIFIED is none.
std::optional<int> EnumNumber(const google::protobuf::EnumDescriptor& type, std::string_view prefix,
                              const std::string& text) {
  const std::string name = absl::StrReplaceAll(absl::AsciiStrToLower(text), {{"_", "-"}});
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0 && FlagName(*type.value(i), prefix) == name) return type.value(i)->number();
  }
  return std::nullopt;
}

// "lowest-id or keep-all".
std::string ExpectedNames(const google::protobuf::EnumDescriptor& type, std::string_view prefix) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(FlagName(*type.value(i), prefix));
  }
  const std::string last = names.back();
  names.pop_back();
  return absl::StrCat(absl::StrJoin(names, ", "), " or ", last);
}

// A flag whose value is one of an enum's.
template <typename Enum, typename Set>
absl::Status SetEnum(const Arguments& arguments, const std::string& flag, std::string_view prefix, Set set) {
  if (!arguments.Has(flag)) return absl::OkStatus();
  const google::protobuf::EnumDescriptor& type = *google::protobuf::GetEnumDescriptor<Enum>();
  const std::optional<int> number = EnumNumber(type, prefix, arguments.Value(flag));
  if (!number) return UsageError(flag, arguments.Value(flag), ExpectedNames(type, prefix));
  set(static_cast<Enum>(*number));
  return absl::OkStatus();
}

// A preset, or stages one by one.
absl::Status SetStageOrder(const Arguments& arguments, v1::SamplingParams& out) {
  if (!arguments.Has("--stage-order")) return absl::OkStatus();
  const std::string& text = arguments.Value("--stage-order");
  v1::StageOrder& order = *out.mutable_stage_order();
  if (const auto preset = EnumNumber(*v1::StagePreset_descriptor(), "STAGE_PRESET_", text)) {
    order.set_preset(static_cast<v1::StagePreset>(*preset));
    return absl::OkStatus();
  }
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(text, ','))) {
    const auto stage = EnumNumber(*v1::Stage_descriptor(), "STAGE_", name);
    if (!stage) {
      return UsageError(
          "--stage-order", name,
          absl::StrCat(ExpectedNames(*v1::StagePreset_descriptor(), "STAGE_PRESET_"),
                       ", or stages separated by commas (", ExpectedNames(*v1::Stage_descriptor(), "STAGE_"), ")"));
    }
    order.add_stages(static_cast<v1::Stage>(*stage));
  }
  return absl::OkStatus();
}

// Splits "KEY=NATS"; the expected form is for errors.
absl::StatusOr<double> NatsOf(const std::string& flag, const std::string& text, const char* expected,
                              std::string& key) {
  const size_t equals = text.find('=');
  double nats = 0;
  if (equals == std::string::npos || equals == 0 || !absl::SimpleAtod(text.substr(equals + 1), &nats)) {
    return UsageError(flag, text, expected);
  }
  key = text.substr(0, equals);
  return nats;
}

absl::Status SetBiases(const Arguments& arguments, v1::SamplingParams& out) {
  constexpr char kOneToken[] = "a token id and nats (ID=NATS, as 7=-1.5)";
  constexpr char kSequence[] = "token ids and nats (IDS=NATS, as 5,7=-1.5)";
  std::string key;
  for (const std::string& text : arguments.Values("--logit-bias")) {
    const absl::StatusOr<double> nats = NatsOf("--logit-bias", text, kOneToken, key);
    if (!nats.ok()) return nats.status();
    int32_t id = 0;
    if (!absl::SimpleAtoi(key, &id)) return UsageError("--logit-bias", text, kOneToken);
    v1::LogitBias& bias = *out.add_logit_biases();
    bias.set_token_id(id);
    bias.set_bias(*nats);
  }
  for (const std::string& text : arguments.Values("--sequence-bias")) {
    const absl::StatusOr<double> nats = NatsOf("--sequence-bias", text, kSequence, key);
    if (!nats.ok()) return nats.status();
    const absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds("--sequence-bias", key);
    if (!ids.ok()) return ids.status();
    v1::SequenceBias& bias = *out.add_sequence_biases();
    bias.mutable_token_ids()->Add(ids->begin(), ids->end());
    bias.set_bias(*nats);
  }
  for (const std::string& text : arguments.Values("--bad-words")) {
    const absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds("--bad-words", text);
    if (!ids.ok()) return ids.status();
    out.add_sequence_biases()->mutable_token_ids()->Add(ids->begin(), ids->end());
  }
  return absl::OkStatus();
}

absl::Status SetDry(const Arguments& arguments, v1::SamplingParams& out) {
  for (const absl::Status& status : {
           SetIfGiven(arguments.Double("--dry-multiplier"), [&](double v) { out.mutable_dry()->set_multiplier(v); }),
           SetIfGiven(arguments.Double("--dry-base"), [&](double v) { out.mutable_dry()->set_base(v); }),
           SetIfGiven(arguments.Int32("--dry-allowed-length"),
                      [&](int32_t v) { out.mutable_dry()->set_allowed_length(v); }),
           SetIfGiven(arguments.Int32("--dry-window"), [&](int32_t v) { out.mutable_dry()->set_window(v); }),
       }) {
    if (!status.ok()) return status;
  }
  for (const std::string& text : arguments.Values("--dry-breaker")) {
    const absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds("--dry-breaker", text);
    if (!ids.ok()) return ids.status();
    out.mutable_dry()->add_breakers()->mutable_token_ids()->Add(ids->begin(), ids->end());
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<Flag> StageFlags(const char* temperature) {
  return {{"--temperature", "T", temperature},
          {"--top-k", "K", "keep the K most likely tokens; 0: off"},
          {"--top-p", "P", "keep the smallest set of at least probability P, in [0, 1]; 1: off"},
          {"--min-p", "P", "keep what has at least P times the largest probability, in [0, 1]; 0: off"},
          {"--typical-p", "P", "keep the most typical tokens, of at least probability P together, in (0, 1]; 1: off"},
          {"--epsilon-cutoff", "P", "keep what has at least probability P, in [0, 1); 0: off"},
          {"--eta-cutoff", "P",
           "keep what has at least probability P, or less where the entropy is high, in [0, 1); 0: off"},
          {"--top-n-sigma", "N", "keep logits within N standard deviations of the largest, in [0, 100]; default: off"},
          {"--xtc-probability", "P", "how often to remove all likely tokens but the last, in [0, 1]; 0: off"},
          {"--xtc-threshold", "P", "from which probability on a token counts as likely, in (0, 0.5]; default 0.1"}};
}

std::vector<Flag> TokenSetFlags() {
  return {{"--allowed-tokens", "IDS", "only these tokens may be chosen, as 1,2,3"},
          {"--banned-tokens", "IDS", "these tokens may not be chosen"}};
}

std::vector<FlagGroup> WithPenaltyFlags(std::vector<FlagGroup> groups) {
  groups.insert(
      groups.end(),
      {{"Biases and penalties",
        {{"--logit-bias", "ID=NATS", "add to a token's logit, in [-100, 100]; repeatable", /*repeatable=*/true},
         {"--sequence-bias", "IDS=NATS", "add to the last token's logit where the others come before it; repeatable",
          /*repeatable=*/true},
         {"--bad-words", "IDS", "a sequence that may not occur; repeatable", /*repeatable=*/true},
         {"--repetition-penalty", "R", "divide positive logits of tokens that occurred by R, multiply others; 1: off"},
         {"--frequency-penalty", "F", "take F times a token's count from its logit, in [-2, 2]; 0: off"},
         {"--presence-penalty", "P", "take P from the logits of tokens that occurred, in [-2, 2]; 0: off"},
         {"--repetition-scope", "SCOPE",
          "what the repetition penalty and n-grams look at: prompt-and-output, output or prompt"},
         {"--occurrence-scope", "SCOPE", "what the frequency and presence penalty look at"},
         {"--penalty-window", "N", "the penalties look at the N last tokens; default: all"},
         {"--no-repeat-ngram-size", "N", "no N tokens may occur twice; 0: off"},
         {"--dry-multiplier", "M", "DRY: penalty of a repetition of the allowed length, nats; 0: off"},
         {"--dry-base", "B", "DRY: growth with each token more, in [1, 8]; default 1.75"},
         {"--dry-allowed-length", "N", "DRY: repetitions of fewer tokens are free; default 2"},
         {"--dry-window", "N", "DRY: look at the N last tokens; default: all"},
         {"--dry-breaker", "IDS", "DRY: a sequence that ends a repetition; repeatable", /*repeatable=*/true}}},
       {"Order of the stages",
        {{"--stage-order", "ORDER",
          "a preset (logitd, hf, vllm, llama-cpp, trt-llm), or stages as token-sets,temperature,top-k; default "
          "logitd"},
         {"--top-k-ties", "RULE", "lowest-id or keep-all; default: the preset's"},
         {"--top-p-boundary", "RULE", "reached, exceeded, ascending or mass-above; default: the preset's"},
         {"--typical-ties", "RULE", "lowest-id or keep-all; default: the preset's"}}}});
  groups.push_back(SessionFlags());
  return groups;
}

absl::StatusOr<std::optional<v1::SamplingParams>> SamplingFrom(const Arguments& arguments) {
  v1::SamplingParams out;
  const auto set_double = [&](const char* flag, void (v1::SamplingParams::*set)(double)) {
    return SetIfGiven(arguments.Double(flag), [&](double value) { (out.*set)(value); });
  };
  const auto set_int32 = [&](const char* flag, void (v1::SamplingParams::*set)(int32_t)) {
    return SetIfGiven(arguments.Int32(flag), [&](int32_t value) { (out.*set)(value); });
  };
  using Params = v1::SamplingParams;
  for (const absl::Status& status : {
           set_double("--temperature", &Params::set_temperature),
           set_int32("--top-k", &Params::set_top_k),
           set_double("--top-p", &Params::set_top_p),
           set_double("--min-p", &Params::set_min_p),
           set_double("--typical-p", &Params::set_typical_p),
           set_double("--epsilon-cutoff", &Params::set_epsilon_cutoff),
           set_double("--eta-cutoff", &Params::set_eta_cutoff),
           set_double("--top-n-sigma", &Params::set_top_n_sigma),
           SetIfGiven(arguments.Double("--xtc-probability"),
                      [&](double value) { out.mutable_xtc()->set_probability(value); }),
           SetIfGiven(arguments.Double("--xtc-threshold"),
                      [&](double value) { out.mutable_xtc()->set_threshold(value); }),
           SetIfGiven(arguments.Uint64("--seed"), [&](uint64_t value) { out.set_seed(value); }),
           SetIfGiven(arguments.TokenIds("--allowed-tokens"),
                      [&](const std::vector<int32_t>& ids) { SetIds(ids, out.mutable_allowed_tokens()); }),
           SetIfGiven(arguments.TokenIds("--banned-tokens"),
                      [&](const std::vector<int32_t>& ids) { SetIds(ids, out.mutable_banned_tokens()); }),
           SetBiases(arguments, out),
           set_double("--repetition-penalty", &Params::set_repetition_penalty),
           set_double("--frequency-penalty", &Params::set_frequency_penalty),
           set_double("--presence-penalty", &Params::set_presence_penalty),
           SetEnum<v1::PenaltyScope>(arguments, "--repetition-scope", "PENALTY_SCOPE_",
                                     [&](v1::PenaltyScope value) { out.set_repetition_scope(value); }),
           SetEnum<v1::PenaltyScope>(arguments, "--occurrence-scope", "PENALTY_SCOPE_",
                                     [&](v1::PenaltyScope value) { out.set_occurrence_scope(value); }),
           set_int32("--penalty-window", &Params::set_penalty_window),
           set_int32("--no-repeat-ngram-size", &Params::set_no_repeat_ngram_size),
           SetDry(arguments, out),
           SetStageOrder(arguments, out),
           SetEnum<v1::TieRule>(arguments, "--top-k-ties", "TIE_RULE_",
                                [&](v1::TieRule value) { out.set_top_k_ties(value); }),
           SetEnum<v1::TopPBoundary>(arguments, "--top-p-boundary", "TOP_P_BOUNDARY_",
                                     [&](v1::TopPBoundary value) { out.set_top_p_boundary(value); }),
           SetEnum<v1::TieRule>(arguments, "--typical-ties", "TIE_RULE_",
                                [&](v1::TieRule value) { out.set_typical_ties(value); }),
       }) {
    if (!status.ok()) return status;
  }
  // Whatever a flag sets has presence or is not zero, so an empty message means that no flag was given.
  if (out.ByteSizeLong() == 0) return std::optional<v1::SamplingParams>();
  return std::optional<v1::SamplingParams>(std::move(out));
}

}  // namespace logitd::cli

// The stages that turn a row into a distribution, and the orders they can have: logitd's own, a peer's, or one given
// stage by stage.
//
//   const StagePlan plan = PlanOf(params);
//   for (Stage stage : plan.stages()) ...
//
// Source: docs/numerics.md, section 7. Thread-safe: values and free functions.
#ifndef LOGITD_CORE_STAGE_ORDER_H_
#define LOGITD_CORE_STAGE_ORDER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace logitd {

struct SamplingParams;

// Numbers are those of logitd.v1.Stage.
enum class Stage {
  kTokenSets = 1,
  kMinTokens = 2,
  kSequenceBiases = 3,
  kLogitBiases = 4,
  kRepetitionPenalty = 5,
  kFrequencyPenalty = 6,
  kPresencePenalty = 7,
  kDry = 8,
  kNoRepeatNgram = 9,
  kTemperature = 10,
  kTopK = 11,
  kTopP = 12,
  kMinP = 13,
  kTypicalP = 14,
  kEpsilon = 15,
  kEta = 16,
  kTopNSigma = 17,
  kXtc = 18,
};
inline constexpr size_t kMaxStages = 18;

// "TOP_K" and so on: the name in logitd.v1.Stage without its prefix; "UNKNOWN" for a number without a stage.
std::string_view StageName(Stage stage);

// Numbers are those of logitd.v1.StagePreset.
enum class StagePreset { kLogitd = 1, kHf = 2, kVllm = 3, kLlamaCpp = 4, kTrtLlm = 5 };

// "LLAMA_CPP" and so on: the name in logitd.v1.StagePreset without its prefix.
std::string_view PresetName(StagePreset preset);

// Which of equal values survive at a cut. Numbers are those of logitd.v1.TieRule.
enum class TieRule {
  // The preset's.
  kDefault = 0,
  // The lower id comes first.
  kLowestId = 1,
  // Everything equal to the last one kept stays.
  kKeepAll = 2,
};

// Where top-p stops. S: the mass of what the stage before left. Numbers are those of logitd.v1.TopPBoundary.
enum class TopPBoundary {
  // The preset's.
  kDefault = 0,
  // The shortest prefix whose mass is >= ceil(S p (1 - 2^-40)).
  kReached = 1,
  // The shortest prefix whose mass is > S p.
  kExceeded = 2,
  // Ascending: removed while the cumulative mass is <= S (1 - p), the first stays.
  kAscending = 3,
  // As kReached, and everything equal to the last one stays.
  kMassAbove = 4,
};

// What of SamplingParams says in which order the stages come, and how they cut.
struct StageOrder {
  StagePreset preset = StagePreset::kLogitd;
  // Not empty: this order, with LOGITD's rules where they are kDefault.
  std::vector<Stage> stages;
  TieRule top_k_ties = TieRule::kDefault;
  TopPBoundary top_p_boundary = TopPBoundary::kDefault;
  TieRule typical_ties = TieRule::kDefault;
};

// The stages that are on, in order, with the rules of their cuts. Thread-compatible value.
class StagePlan {
 public:
  // A view of this plan: not of a temporary.
  std::span<const Stage> stages() const& { return {stages_.data(), count_}; }
  std::span<const Stage> stages() && = delete;
  TieRule top_k_ties = TieRule::kLowestId;
  TopPBoundary top_p_boundary = TopPBoundary::kReached;
  TieRule typical_ties = TieRule::kLowestId;
  // The mass at which typical stops: >= p (LOGITD, HF), or > p (llama.cpp).
  TopPBoundary typical_boundary = TopPBoundary::kReached;
  // Added to the temperature (TRT_LLM: 1e-6).
  double temperature_offset = 0;

  void Add(Stage stage) { stages_[count_++] = stage; }

 private:
  std::array<Stage, kMaxStages> stages_{};
  size_t count_ = 0;
};

// Stages that are off are not in it. kMinTokens is always in it: at its place, or first if the explicit order does not
// say where. kTemperature is, unless it is 1 and nothing is added.
// At temperature 0 the temperature is left out, and so are the cuts after it: the argmax of what is left is the token.
// Stages after it that change logits or ban tokens stay, as at temperature 1: no order lets a banned token through.
// `has_step_set`: the step brings a token set of its own. kTokenSets is then in the plan though the parameters have
// none: at its place, or first if the explicit order does not say where. REQUIRES: Validate(params) is OK.
StagePlan PlanOf(const SamplingParams& params, bool has_step_set = false);

// The order that a preset gives all stages that it has.
std::span<const Stage> StagesOf(StagePreset preset);

// Added to the temperature: 1e-6 in TRT_LLM, else 0.
double TemperatureOffsetOf(const StageOrder& order);

// Whether a stage changes logits or bans tokens one by one: kMinTokens to kNoRepeatNgram. Such stages are
// LogitsProcessor's (core/logits_processor.h).
bool ChangesLogits(Stage stage);

// Errors: FIELD_REQUIRED if a stage that is on is not in stage_order.stages, FIELD_OUT_OF_RANGE for one that is there
// twice, FIELDS_EXCLUSIVE for a stage that is on and that the preset does not have (its field is named: "dry"), and for
// a preset with stages.
absl::Status ValidateOrder(const SamplingParams& params);

}  // namespace logitd

#endif  // LOGITD_CORE_STAGE_ORDER_H_

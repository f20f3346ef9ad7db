// The stages that turn a row into a distribution: one row of a table for each, the orders that they can have, and the
// plan of a step.
//
//   const StagePlan plan = PlanOf(params);
//   for (size_t i = 0; i < plan.group_count(); ++i) ...
//
// ARCHITECTURE.md, "How to add", lists the files that a new stage touches.
//
// Source: docs/numerics.md, section 7. Thread-safe: values and free functions.
#ifndef LOGITD_CORE_STAGES_H_
#define LOGITD_CORE_STAGES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "core/kept_tokens.h"
#include "core/logits_processor.h"
#include "core/sampling_params.h"
#include "core/truncation.h"

namespace logitd {

class StagePlan;

// The objects that a stage works on. All except `context` and the parameters belong to the running step.
struct StageStep {
  const SamplingParams& params;
  const StepContext& context;
  const StagePlan& plan;
  LogitsProcessor& processor;
  KeptTokens& kept;
  TruncationSpace& space;
};

// kSet: limits the tokens to a set. kEdit: changes logits or bans tokens, one by one. kTemperature: the temperature.
// kCut: compares the remaining tokens with each other and keeps some of them.
enum class StageKind { kSet, kEdit, kTemperature, kCut };

struct StageSpec {
  Stage stage;
  StageKind kind;
  // "TOP_K" and so on: the name in logitd.v1.Stage without its prefix.
  std::string_view name;
  // The field of SamplingParams that turns it on.
  std::string_view field;
  // Whether the parameters turn it on, whatever the order. kTokenSets: with a subset. kMinTokens: never, because it
  // belongs to the sequence.
  bool (*is_on)(const SamplingParams& params);
  // The error of a parameter outside of its range. Null: it has none to check.
  absl::Status (*check)(const SamplingParams& params, int32_t vocab_size) = nullptr;
  // The scope of the tokens so far that it looks at. Null or unset: none.
  std::optional<PenaltyScope> (*looks_at)(const SamplingParams& params) = nullptr;
  // kEdit and kTemperature: edits what step.processor has begun. kCut: narrows step.kept. kSet: null.
  void (*apply)(const StageStep& step) = nullptr;
};

// REQUIRES: `stage` is one of the enumerators.
const StageSpec& SpecOf(Stage stage);

// SpecOf(stage).name; "UNKNOWN" for a number without a stage.
std::string_view StageName(Stage stage);
// "LLAMA_CPP" and so on: the name in logitd.v1.StagePreset without its prefix.
std::string_view PresetName(StagePreset preset);
// The order that a preset gives all stages that it has.
std::span<const Stage> StagesOf(StagePreset preset);

inline bool IsOn(const SamplingParams& params, Stage stage) { return SpecOf(stage).is_on(params); }
// The temperature in force once the stage has acted: TRT_LLM adds 1e-6. 1 at temperature 0.
double TemperatureOf(const SamplingParams& params);
// Whether some stage except the temperature is on.
bool HasStages(const SamplingParams& params);
// No stage is on: the sampling distribution is the model's. TRT_LLM never is neutral, because it adds to the
// temperature.
bool IsNeutral(const SamplingParams& params);
// The first stage that is on and looks at the tokens so far. Unset: none does.
std::optional<Stage> HistoryStage(const SamplingParams& params);
inline bool NeedsHistory(const SamplingParams& params) { return HistoryStage(params).has_value(); }
// Whether some stage looks at the prompt.
bool NeedsPrompt(const SamplingParams& params);
// Whether a step depends on the seed, sequence key and position. Temperature 0 draws nothing, but XTC still rolls its
// dice if the order has it before TEMPERATURE (LLAMA_CPP). REQUIRES: Validate(params, ...) is OK.
bool UsesRandomBits(const SamplingParams& params);

// Errors: FIELD_OUT_OF_RANGE, TOKEN_ID_OUT_OF_RANGE, DUPLICATE_TOKEN_ID, FIELD_REQUIRED, naming the field as
// SamplingParams in the proto does ("temperature", "logit_biases[3].token_id", "sequence_biases[0].token_ids[1]",
// "dry.breakers[2].token_ids", ...); LIMIT_EXCEEDED for lists that are too long; the errors of ValidateOrder. The first
// wrong field in the order of SamplingParams is named.
// REQUIRES: params.subset, if set, is of vocab_size.
absl::Status Validate(const SamplingParams& params, int32_t vocab_size);

// Errors: FIELD_REQUIRED if a stage that is on is not in order.stages, FIELD_OUT_OF_RANGE for one that is there twice,
// FIELDS_EXCLUSIVE for a stage that is on and that the preset does not have (its field is named: "dry"), and for a
// preset with stages.
absl::Status ValidateOrder(const SamplingParams& params);

// The stages that are on, in order, with the rules of their cuts. Thread-compatible value.
class StagePlan {
 public:
  // Consecutive stages: first those that work on single tokens, then cuts. Views of the plan.
  struct Group {
    // kSet, kEdit, and a kTemperature between them: a token's logit is rounded once, after all of them.
    std::span<const Stage> edits;
    // Whether a kTemperature is among the edits, or between them and the cuts.
    bool has_temperature = false;
    std::span<const Stage> cuts;
  };

  // A view of this plan: not of a temporary.
  std::span<const Stage> stages() const& { return {stages_.data(), count_}; }
  std::span<const Stage> stages() && = delete;
  // At least one, which may be empty.
  size_t group_count() const { return group_count_; }
  Group group(size_t i) const&;
  bool Has(Stage stage) const;

  // Only the first `count` stages. Stages of one group stay one group: a temperature divides the edits before it if the
  // whole plan has an edit after it.
  StagePlan First(size_t count) const;

  double temperature = 1;
  TieRule top_k_ties = TieRule::kLowestId;
  TopPBoundary top_p_boundary = TopPBoundary::kReached;
  TieRule typical_ties = TieRule::kLowestId;
  // The mass at which typical stops: >= p (LOGITD, HF), or > p (llama.cpp).
  TopPBoundary typical_boundary = TopPBoundary::kReached;

 private:
  friend StagePlan PlanOf(const SamplingParams& params, bool has_step_set);

  void Add(Stage stage) { stages_[count_++] = stage; }
  void MakeGroups();

  // Places in stages_: edits are [begin, edits_end), cuts [cuts_begin, end).
  struct Range {
    size_t begin = 0, edits_end = 0, cuts_begin = 0, end = 0;
  };
  std::array<Stage, kMaxStages> stages_{};
  size_t count_ = 0;
  std::array<Range, kMaxStages / 2 + 1> groups_{};
  size_t group_count_ = 0;
};

// The plan of `params`. REQUIRES: Validate(params) is OK.
// - Stages that are off are not in it.
// - kMinTokens is always in it: at its place, or first if the explicit order does not name it.
// - kTemperature is in it unless it is 1 and nothing is added.
// - Temperature 0 leaves out the temperature and the cuts after it: the argmax of the remaining tokens is the token.
//   Stages after it that change logits or ban tokens stay, as at temperature 1: no order lets a banned token through.
// - `has_step_set`: the step brings a token set of its own. kTokenSets is then in the plan even if the parameters have
//   no set: at its place, or first if the explicit order does not name it.
StagePlan PlanOf(const SamplingParams& params, bool has_step_set = false);

}  // namespace logitd

#endif  // LOGITD_CORE_STAGES_H_

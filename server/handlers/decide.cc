#include "server/handlers/decide.h"

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/decision.h"
#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/model.h"
#include "server/converters/wire.h"
#include "server/handlers/applied_calibration.h"
#include "server/handlers/closed_sets.h"
#include "server/handlers/continuation_scores.h"
#include "server/handlers/item_tokens.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

// The options of an item's question.
struct Question {
  // Not OK: the item cannot be decided.
  absl::Status status;
  // Views of the options, each with its path in the item.
  std::vector<ContinuationRequest> options;
  // Parallel to `options`.
  std::vector<double> offsets;
  // Parallel to `options`; empty: not a score question.
  std::vector<double> values;
};

absl::Status AddOption(std::string field, const v1::DecisionOption& option, Question& question) {
  const double offset = option.log_offset();
  if (!(std::abs(offset) <= kMaxLogOffset)) {
    return errors::OutOfRange(field + ".log_offset", offset, "in [-1000, 1000]");
  }
  question.options.push_back(ContentOf(std::move(field), option));
  question.offsets.push_back(offset);
  return absl::OkStatus();
}

absl::Status ReadPredicate(const v1::PredicateQuestion& predicate, Question& question) {
  if (!predicate.has_if_true()) return errors::Required("predicate.if_true");
  if (!predicate.has_if_false()) return errors::Required("predicate.if_false");
  RETURN_IF_ERROR(AddOption("predicate.if_true", predicate.if_true(), question));
  return AddOption("predicate.if_false", predicate.if_false(), question);
}

absl::Status ReadChoice(const v1::ChoiceQuestion& choice, Question& question) {
  if (choice.options().empty()) return errors::NoCandidates("choice.options");
  if (choice.options_size() > kMaxCandidates) {
    return errors::AboveLimit("choice.options", choice.options_size(), kMaxCandidates, 1);
  }
  for (int i = 0; i < choice.options_size(); ++i) {
    RETURN_IF_ERROR(AddOption(Element("choice.options", i), choice.options(i), question));
  }
  return absl::OkStatus();
}

absl::Status ReadScore(const v1::ScoreQuestion& score, Question& question) {
  if (score.levels().empty()) return errors::NoCandidates("score.levels");
  if (score.levels_size() > kMaxCandidates) {
    return errors::AboveLimit("score.levels", score.levels_size(), kMaxCandidates, 1);
  }
  for (int i = 0; i < score.levels_size(); ++i) {
    const v1::DecisionLevel& level = score.levels(i);
    const std::string field = Element("score.levels", i);
    if (!level.has_option()) return errors::Required(field + ".option");
    if (!level.has_value()) return errors::Required(field + ".value");
    if (!(std::abs(level.value()) <= kMaxLevelValue)) {
      return errors::OutOfRange(field + ".value", level.value(), "in [-1e9, 1e9]");
    }
    RETURN_IF_ERROR(AddOption(field + ".option", level.option(), question));
    question.values.push_back(level.value());
  }
  return absl::OkStatus();
}

absl::Status ReadQuestion(const v1::DecideItem& item, Question& question) {
  switch (item.question_case()) {
    case v1::DecideItem::kPredicate:
      return ReadPredicate(item.predicate(), question);
    case v1::DecideItem::kChoice:
      return ReadChoice(item.choice(), question);
    case v1::DecideItem::kScore:
      return ReadScore(item.score(), question);
    case v1::DecideItem::QUESTION_NOT_SET:
      break;
  }
  return errors::RequiredOneOf("question", "predicate, choice or score");
}

absl::Status CheckItems(const v1::DecideRequest& request) {
  if (request.items().empty()) return errors::NoCandidates("items");
  if (request.items_size() > kMaxItems) return errors::AboveLimit("items", request.items_size(), kMaxItems, 1);
  return absl::OkStatus();
}

absl::StatusOr<double> TemperatureOf(const v1::DecideRequest& request) {
  if (!request.has_temperature()) return 1;
  const double temperature = request.temperature();
  if (temperature != 0 && !(temperature >= kMinTemperature && temperature <= kMaxTemperature)) {
    return errors::OutOfRange("temperature", temperature, "0 or in [1e-4, 1e6]");
  }
  return temperature;
}

// ln P of each option that is possible.
std::vector<std::optional<double>> LogProbsOf(const std::vector<ContinuationScore>& scores) {
  std::vector<std::optional<double>> log_probs;
  for (const ContinuationScore& score : scores) {
    const double log_prob = LogProbOf(score);
    log_probs.push_back(std::isfinite(log_prob) ? std::optional(log_prob) : std::nullopt);
  }
  return log_probs;
}

// Chooses between the options, all of which have been scored.
void Choose(const Question& question, const std::vector<std::optional<double>>& log_probs, double temperature,
            v1::DecidedItem& item) {
  const std::optional<Decision> decision = logitd::Decide(log_probs, question.offsets, temperature);
  if (!decision) return;
  double expected = 0;
  for (size_t i = 0; i < log_probs.size(); ++i) {
    item.mutable_options(static_cast<int>(i))->set_probability(decision->probabilities[i]);
    if (!question.values.empty()) expected += decision->probabilities[i] * question.values[i];
  }
  item.set_chosen_index(decision->chosen);
  item.set_tied(decision->tied);
  item.set_confidence(decision->probabilities[static_cast<size_t>(decision->chosen)]);
  if (!question.values.empty()) item.set_expected_value(expected);
}

v1::DecidedItem DecidedItemOf(const Question& question, const ItemInput& input, ItemScores scores, double temperature,
                              const AppliedCalibration& calibration, const RecordOptions& record,
                              const Vocabulary& vocabulary) {
  v1::DecidedItem item;
  const absl::Status& status = question.status.ok() ? input.status : question.status;
  if (!status.ok()) {
    *item.mutable_error() = ToProto(status);
    return item;
  }
  ReportContext(input, item);
  bool is_complete = true;
  for (size_t i = 0; i < scores.continuations.size(); ++i) {
    const ContinuationScore& score = scores.continuations[i];
    v1::ScoredContinuation scored;
    ToProto(input.continuations[i], score, record, vocabulary, scored);
    v1::DecidedOption& option = *item.add_options();
    if (!MoveTo(std::move(scored), option)) {
      is_complete = false;
    } else if (score.sums.model) {
      option.set_log_prob(score.sums.model->value());
    }
  }
  if (auto mass = ClosedSetOf(input, scores.continuations)) *item.mutable_label_mass() = *std::move(mass);
  if (!is_complete) return item;
  const std::vector<std::optional<double>> log_probs = LogProbsOf(scores.continuations);
  Choose(question, log_probs, temperature, item);
  calibration.Write(log_probs,
                    [&item](size_t i) -> v1::DecidedOption& { return *item.mutable_options(static_cast<int>(i)); });
  return item;
}

}  // namespace

absl::Status Decide(const v1::DecideRequest& request, const ServerEnv& env, const RequestContext& context,
                    ReplyWriter<v1::DecideResponse>& writer) {
  RETURN_IF_ERROR(CheckItems(request));
  ASSIGN_OR_RETURN(const double temperature, TemperatureOf(request));
  ASSIGN_OR_RETURN(const AppliedCalibration calibration, AppliedCalibration::Of(request.calibration(), env));
  RETURN_IF_ERROR(calibration.CheckScore("calibration", Normalization::kSum, std::nullopt));
  std::vector<Question> questions;
  std::vector<ItemRequest> items;
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::DecideItem& message = request.items(i);
    Question& question = questions.emplace_back();
    ItemRequest& item = items.emplace_back();
    item.field = Element("items", i);
    item.id = message.id();
    question.status = In(item.field + ".", ReadQuestion(message, question));
    if (question.status.ok()) question.status = calibration.CheckCount(item.field, std::ssize(question.options));
    // An item with an error costs nothing.
    if (!question.status.ok()) continue;
    if (message.has_context()) item.context = &message.context();
    item.continuations = question.options;
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  ASSIGN_OR_RETURN(const ScoreOptions options, OptionsForSums(request.evaluation(), request.record(), *model, env));
  ASSIGN_OR_RETURN(const std::vector<ItemInput> inputs,
                   ResolveItems(items, FromProto(request.tokenization()), *model, context));
  RETURN_IF_ERROR(CheckAlternatives(inputs, options.record));
  const auto done = [&](size_t i, ItemScores scores) {
    v1::DecideResponse response;
    response.set_item_index(static_cast<int32_t>(i));
    if (CheckId(items[i].id).ok()) response.set_id(std::string(items[i].id));
    *response.mutable_provenance() = ProvenanceOf(*model, options.scope);
    calibration.Write(*response.mutable_provenance());
    if (inputs[i].status.ok() && questions[i].status.ok()) *response.mutable_usage() = UsageOf(inputs[i], scores);
    *response.mutable_item() = DecidedItemOf(questions[i], inputs[i], std::move(scores), temperature, calibration,
                                             options.record, model->vocabulary());
    return writer.Write(response);
  };
  return ScoreContinuations(inputs, options, *model, env, context, done);
}

}  // namespace logitd::server

#include "client/http/decision_prompt.h"

#include <set>

#include "client/http/request_error.h"
#include "client/logitd/client_error.h"

namespace logitd::http {

absl::StatusOr<std::string> ContentText(const Json& value, const std::string& path) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() || value.is_array()) return value.dump();
  return InvalidType(path, "a text, an object or a list", KindOf(value));
}

absl::Status CheckOptions(const std::vector<LabelledOption>& options, size_t least, size_t most,
                          const std::string& path) {
  if (options.size() < least || options.size() > most) {
    return InvalidValue(path, "must have " + std::to_string(least) + " to " + std::to_string(most) + " options, got " +
                                  std::to_string(options.size()));
  }
  std::set<std::string> labels;
  for (const LabelledOption& option : options) {
    if (option.label.empty()) return InvalidValue(path, "has an option without text");
    if (!labels.insert(option.label).second) return InvalidValue(path, "has two options of the same text");
  }
  return absl::OkStatus();
}

v1::DecideItem DecideItemOf(const std::string& input, const DecisionQuestion& question) {
  const bool is_predicate = question.kind == QuestionKind::kPredicate;
  std::string context = input + "\n\n" + (is_predicate ? "Is this true: " : "Question: ") + question.instructions;
  context += is_predicate ? "\nAnswer with yes or no:\n" : "\nOptions:\n";
  for (const LabelledOption& option : question.options) {
    if (is_predicate && option.description.empty()) continue;
    context += "- " + option.label + (option.description.empty() ? "" : ": " + option.description) + "\n";
  }
  context += "Answer:";
  v1::DecideItem item;
  item.mutable_context()->set_text(context);
  for (size_t i = 0; i < question.options.size(); ++i) {
    const std::string text = " " + question.options[i].label;
    if (is_predicate) {
      (i == 0 ? item.mutable_predicate()->mutable_if_true() : item.mutable_predicate()->mutable_if_false())
          ->set_text(text);
    } else if (question.kind == QuestionKind::kChoice) {
      item.mutable_choice()->add_options()->set_text(text);
    } else {
      v1::DecisionLevel& level = *item.mutable_score()->add_levels();
      level.mutable_option()->set_text(text);
      level.set_value(static_cast<double>(i));
    }
  }
  return item;
}

absl::Status DecisionError(const v1::DecidedItem& item) {
  if (item.has_error()) return client::FromError(item.error());
  for (const v1::DecidedOption& option : item.options()) {
    if (option.has_error()) return client::FromError(option.error());
  }
  // No option is possible after the context.
  if (!item.has_chosen_index()) return HttpError(500, "undecided", "", "the model gives no option any probability");
  return absl::OkStatus();
}

}  // namespace logitd::http

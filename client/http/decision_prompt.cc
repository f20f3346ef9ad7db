#include "client/http/decision_prompt.h"

#include <set>
#include <utility>

#include "base/status_macros.h"
#include "client/http/request_error.h"
#include "client/logitd/client_error.h"

namespace logitd::http {
namespace {

// The server takes no larger request (Limits.max_request_bytes).
constexpr size_t kMaxPromptBytes = size_t{16} << 20;

}  // namespace

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
  std::string context = input + "\n\n";
  if (!question.instructions.empty()) {
    context += (is_predicate ? "Is this true: " : "Question: ") + question.instructions + "\n";
  }
  context += is_predicate ? "Answer with yes or no:\n" : "Options:\n";
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

absl::Status CheckPromptBytes(size_t shared_bytes, size_t count, const std::string& path) {
  if (count == 0 || shared_bytes <= kMaxPromptBytes / count) return absl::OkStatus();
  return InvalidValue(path, "make prompts of more than " + std::to_string(kMaxPromptBytes) + " bytes together: " +
                                std::to_string(count) + " of " + std::to_string(shared_bytes) + " bytes at least");
}

absl::StatusOr<std::vector<v1::DecideResponse>> DecideAll(Services& services, const Caller& caller,
                                                          const v1::DecideRequest& request,
                                                          const std::function<std::string(size_t index)>& param_of) {
  absl::StatusOr<std::vector<v1::DecideResponse>> replies = services.upstream.Decide(request, caller);
  if (!replies.ok()) return OfItem(replies.status(), param_of);
  for (const v1::DecideResponse& reply : *replies) {
    if (absl::Status status = ItemError(reply.item()); !status.ok()) return OfItem(std::move(status), param_of);
  }
  return replies;
}

absl::Status ItemError(const v1::DecidedItem& item) {
  if (item.has_error()) return client::FromError(item.error());
  for (const v1::DecidedOption& option : item.options()) {
    if (option.has_error()) return client::FromError(option.error());
  }
  return absl::OkStatus();
}

absl::Status DecisionError(const v1::DecidedItem& item) {
  RETURN_IF_ERROR(ItemError(item));
  // No option is possible after the context.
  if (!item.has_chosen_index()) return HttpError(500, "undecided", "", "the model gives no option any probability");
  return absl::OkStatus();
}

std::optional<double> LabelMass(const v1::DecidedItem& item) {
  return item.label_mass().has_mass() ? std::optional(item.label_mass().mass()) : std::nullopt;
}

}  // namespace logitd::http

#include "client/http/systemone_route.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "client/http/decision_prompt.h"
#include "client/http/json_writer.h"
#include "client/http/request_error.h"
#include "client/http/strict_json.h"

namespace logitd::http {
namespace {

constexpr size_t kMaxOptions = 255;
// The levels' names have one digit each: that of a second digit would be part of the first one's probability.
constexpr size_t kMaxLevels = 10;

constexpr Field kSystemoneFields[] = {
    {"model", Use::kServed, "the model's name; may be left out if the server has one model"},
    {"state", Use::kServed, "what the questions are about: a text, an object or a list"},
    {"questions", Use::kServed, "an object of 1 to 400 questions by name"},
    {"temperature", Use::kServed, "of the softmax over the options; default 1 (an extension)"},
    {"images", Use::kRefused, "a model of text sees no images", "[[]]"},
    {"assets", Use::kRefused, "a model of text sees no images", "[{}]"},
    {"audio", Use::kRefused, "a model of text hears nothing", "[[]]"},
    {"videos", Use::kRefused, "a model of text sees no videos", "[[]]"},
    {"chat_template_kwargs", Use::kRefused, "the prompt is not rendered with a chat template", "[{}]"},
    {"safety_identifier", Use::kIgnored, "no effect on the result"},
    {"user", Use::kIgnored, "no effect on the result"},
};

constexpr Field kQuestionFields[] = {
    {"type", Use::kServed, "noul, choice or score"},
    {"instructions", Use::kServed, "the question: a text, an object or a list; a noul may have criteria instead"},
    {"criteria", Use::kServed,
     "of a noul: an object of true and false, each with its meaning; of a choice: an object of 1 to 255 options by "
     "name, "
     "each with its meaning or null; of a score: a list of 1 to 10 levels, from 0"},
};

constexpr Field kNoulCriteria[] = {
    {"true", Use::kServed, "what makes the answer yes"},
    {"false", Use::kServed, "what makes the answer no"},
};

struct Question {
  std::string name;
  DecisionQuestion decide;
  // Of a score: its levels as JSON, as the client wrote them.
  std::vector<std::string> levels;
};

// "" if unset.
absl::StatusOr<std::string> OptionalText(const Json* value, const std::string& path) {
  if (value == nullptr) return std::string();
  return ContentText(*value, path);
}

absl::Status AddNoulOptions(const Json* criteria, const std::string& path, DecisionQuestion& question) {
  question.options = {{"yes", ""}, {"no", ""}};
  if (criteria == nullptr) {
    if (question.instructions.empty()) return InvalidValue(path, "or instructions must be given");
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckFields(*criteria, kNoulCriteria, path));
  FieldReader fields(*criteria, path);
  const char* const names[] = {"true", "false"};
  for (size_t i = 0; i < question.options.size(); ++i) {
    ASSIGN_OR_RETURN(question.options[i].description, OptionalText(fields.Find(names[i]), fields.PathOf(names[i])));
  }
  if (!question.instructions.empty()) return absl::OkStatus();
  for (const LabelledOption& option : question.options) {
    if (!option.description.empty()) return absl::OkStatus();
  }
  return InvalidValue(path, "has no text, and there are no instructions");
}

absl::Status AddChoiceOptions(const Json& criteria, const std::string& path, DecisionQuestion& question) {
  question.kind = QuestionKind::kChoice;
  if (!criteria.is_object()) return InvalidType(path, "an object of options", KindOf(criteria));
  for (const auto& [name, meaning] : criteria.items()) {
    const Json* text = meaning.is_null() ? nullptr : &meaning;
    ASSIGN_OR_RETURN(std::string description, OptionalText(text, path + "." + ShownName(name)));
    question.options.push_back({name, std::move(description)});
  }
  return CheckOptions(question.options, 1, kMaxOptions, path);
}

absl::Status AddLevels(const Json& criteria, const std::string& path, Question& question) {
  question.decide.kind = QuestionKind::kScore;
  if (!criteria.is_array()) return InvalidType(path, "a list of levels", KindOf(criteria));
  for (size_t i = 0; i < criteria.size(); ++i) {
    const std::string level_path = path + "[" + std::to_string(i) + "]";
    ASSIGN_OR_RETURN(std::string level, ContentText(criteria[i], level_path));
    if (level.empty()) return InvalidValue(level_path, "must not be empty");
    question.decide.options.push_back({std::to_string(i), std::move(level)});
    question.levels.push_back(criteria[i].dump());
  }
  return CheckOptions(question.decide.options, 1, kMaxLevels, path);
}

absl::StatusOr<Question> ParseQuestion(const std::string& name, const Json& value) {
  const std::string path = "questions." + ShownName(name);
  RETURN_IF_ERROR(CheckFields(value, kQuestionFields, path));
  FieldReader fields(value, path);
  Question question;
  question.name = name;
  const std::string type = fields.String("type").value_or("");
  RETURN_IF_ERROR(fields.status());
  ASSIGN_OR_RETURN(question.decide.instructions,
                   OptionalText(fields.Find("instructions"), fields.PathOf("instructions")));
  const Json* criteria = fields.Find("criteria");
  const std::string criteria_path = fields.PathOf("criteria");
  if (type == "noul") {
    RETURN_IF_ERROR(AddNoulOptions(criteria, criteria_path, question.decide));
    return question;
  }
  if (type != "choice" && type != "score") {
    return InvalidValue(fields.PathOf("type"), "must be noul, choice or score");
  }
  if (criteria == nullptr) return MissingField(criteria_path);
  RETURN_IF_ERROR(type == "choice" ? AddChoiceOptions(*criteria, criteria_path, question.decide)
                                   : AddLevels(*criteria, criteria_path, question));
  return question;
}

struct SystemoneRequest {
  // In the request's order.
  std::vector<Question> questions;
  v1::DecideRequest decide;
};

absl::StatusOr<SystemoneRequest> ParseSystemone(const Json& body) {
  RETURN_IF_ERROR(CheckFields(body, kSystemoneFields));
  FieldReader fields(body);
  SystemoneRequest out;
  out.decide.set_model(fields.String("model").value_or(""));
  if (const auto temperature = fields.Number("temperature")) out.decide.set_temperature(*temperature);
  RETURN_IF_ERROR(fields.status());
  const Json* state = fields.Find("state");
  if (state == nullptr) return MissingField("state");
  ASSIGN_OR_RETURN(const std::string input, ContentText(*state, "state"));
  const Json* questions = fields.Find("questions");
  if (questions == nullptr) return MissingField("questions");
  if (!questions->is_object()) return InvalidType("questions", "an object of questions", KindOf(*questions));
  if (questions->empty() || questions->size() > kMaxQuestions) {
    return InvalidValue("questions", "must have 1 to " + std::to_string(kMaxQuestions) + " questions, got " +
                                         std::to_string(questions->size()));
  }
  RETURN_IF_ERROR(CheckPromptBytes(input.size(), questions->size(), "questions"));
  for (const auto& [name, value] : questions->items()) {
    ASSIGN_OR_RETURN(Question question, ParseQuestion(name, value));
    *out.decide.add_items() = DecideItemOf(input, question.decide);
    out.questions.push_back(std::move(question));
  }
  return out;
}

void WriteAnswer(const Question& question, const v1::DecidedItem& item, JsonWriter& out) {
  // An option that is not possible has probability 0.
  std::vector<double> probabilities;
  for (const v1::DecidedOption& option : item.options()) probabilities.push_back(option.probability());
  const std::vector<LabelledOption>& options = question.decide.options;
  const auto by_name = [&](const char* field, const auto& write) {
    out.Key(field);
    out.BeginObject();
    for (size_t i = 0; i < options.size(); ++i) {
      out.Key(options[i].label);
      write(i);
    }
    out.EndObject();
  };
  out.BeginObject();
  switch (question.decide.kind) {
    case QuestionKind::kPredicate:
      out.Field("type", "noul");
      out.Field("noul", probabilities[0]);
      break;
    case QuestionKind::kChoice:
      out.Field("type", "choice");
      out.Field("choice", options[static_cast<size_t>(item.chosen_index())].label);
      out.Field("confidence", ChoiceConfidence(probabilities));
      break;
    case QuestionKind::kScore:
      out.Field("type", "score");
      out.Field("score", item.expected_value());
      out.Field("confidence", ScoreConfidence(probabilities));
      by_name("legend", [&](size_t i) { out.Raw(question.levels[i]); });
      break;
  }
  if (question.decide.kind != QuestionKind::kPredicate) {
    by_name("probabilities", [&](size_t i) { out.Double(probabilities[i]); });
  }
  out.Field("x_label_mass", LabelMass(item));
  out.EndObject();
}

}  // namespace

FieldTable SystemoneFields() { return kSystemoneFields; }
FieldTable SystemoneQuestionFields() { return kQuestionFields; }

double ChoiceConfidence(std::span<const double> probabilities) {
  if (probabilities.size() == 1) return 1;
  const auto count = static_cast<double>(probabilities.size());
  const double largest = *std::max_element(probabilities.begin(), probabilities.end());
  return std::clamp((count * largest - 1) / (count - 1), 0.0, 1.0);
}

double ScoreConfidence(std::span<const double> probabilities) {
  if (probabilities.size() == 1) return 1;
  const auto count = static_cast<double>(probabilities.size());
  const auto top = std::max_element(probabilities.begin(), probabilities.end()) - probabilities.begin();
  double spread = 0;
  double uniform = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    const auto level = static_cast<double>(i);
    spread += probabilities[i] * std::abs(level - static_cast<double>(top));
    uniform += std::abs(level - (count - 1) / 2) / count;
  }
  return std::clamp(1 - spread / uniform, 0.0, 1.0);
}

absl::Status HandleSystemone(Exchange& exchange, Services& services) {
  ASSIGN_OR_RETURN(const Json body, ParseJson(exchange.request.body));
  ASSIGN_OR_RETURN(const SystemoneRequest request, ParseSystemone(body));
  ASSIGN_OR_RETURN(const std::vector<v1::DecideResponse> replies,
                   DecideAll(services, CallerOf(exchange), request.decide,
                             [&request](size_t i) { return "questions." + ShownName(request.questions[i].name); }));
  for (const v1::DecideResponse& reply : replies) RETURN_IF_ERROR(DecisionError(reply.item()));
  int64_t tokens = 0;
  JsonWriter out;
  out.BeginObject();
  out.Field("model", replies.front().provenance().model());
  out.Key("answers");
  out.BeginObject();
  for (size_t i = 0; i < request.questions.size(); ++i) {
    out.Key(request.questions[i].name);
    WriteAnswer(request.questions[i], replies[i].item(), out);
    tokens += replies[i].usage().prompt_token_count();
  }
  out.EndObject();
  out.Key("usage");
  out.BeginObject();
  out.Field("input_tokens", tokens);
  out.Field("output_tokens", 0);
  out.EndObject();
  out.EndObject();
  exchange.ReplyJson(out.Take());
  return absl::OkStatus();
}

}  // namespace logitd::http

#include "client/http/decisions_route.h"

#include <algorithm>
#include <optional>
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

constexpr size_t kMaxChoices = 255;

constexpr Field kDecisionFields[] = {
    {"model", Use::kServed, "the model's name; may be left out if the server has one model"},
    {"input", Use::kServed,
     "a text, or a list of messages whose contents are texts or parts input_text, output_text, input_json"},
    {"questions", Use::kServed, "1 to 400 questions"},
    {"temperature", Use::kServed, "of the softmax over the options; default 1 (an extension)"},
    {"prompt_cache_key", Use::kIgnored, "no effect on the result"},
    {"prompt_cache_options", Use::kIgnored, "no effect on the result"},
    {"safety_identifier", Use::kIgnored, "no effect on the result"},
    {"user", Use::kIgnored, "no effect on the result"},
};

constexpr Field kQuestionFields[] = {
    {"type", Use::kServed, "predicate, choice or score"},
    {"name", Use::kServed, "repeated in the answer"},
    {"instructions", Use::kServed, "a text, or a list of parts input_text and input_json"},
    {"choices", Use::kServed, "of a choice: 2 to 255 objects of value, a text or a boolean, and description"},
    {"levels", Use::kServed, "of a score: 2 to 255 objects of label and description, in order"},
};

constexpr Field kMessageFields[] = {
    {"type", Use::kServed, "message"},
    {"role", Use::kServed, "user, developer, system or assistant"},
    {"content", Use::kServed, "a text or parts"},
    {"phase", Use::kIgnored, "no effect on the result"},
};

constexpr Field kPartFields[] = {
    {"type", Use::kServed, "input_text, output_text or input_json"},
    {"text", Use::kServed, "the text"},
    {"data", Use::kServed, "of input_json: an object or a list"},
    {"prompt_cache_breakpoint", Use::kIgnored, "no effect on the result"},
};

constexpr Field kOptionFields[] = {
    {"value", Use::kServed, "of a choice"},
    {"label", Use::kServed, "of a level"},
    {"description", Use::kServed, "its meaning"},
};

std::string At(const std::string& path, size_t index) { return path + "[" + std::to_string(index) + "]"; }

// A field of the other type of `thing` is not ignored.
absl::Status CheckAbsent(const FieldReader& fields, const char* name, const std::string& thing) {
  if (!fields.Has(name)) return absl::OkStatus();
  return InvalidValue(fields.PathOf(name), "does not belong to this type of " + thing);
}

// A text, or parts that follow each other.
absl::StatusOr<std::string> TextOfParts(const Json* value, const std::string& path) {
  if (value == nullptr) return MissingField(path);
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array()) return InvalidType(path, "a text or a list of parts", KindOf(*value));
  std::string text;
  for (size_t i = 0; i < value->size(); ++i) {
    RETURN_IF_ERROR(CheckFields((*value)[i], kPartFields, At(path, i)));
    FieldReader part((*value)[i], At(path, i));
    const std::string type = part.String("type").value_or("");
    RETURN_IF_ERROR(part.status());
    RETURN_IF_ERROR(CheckAbsent(part, type == "input_json" ? "text" : "data", "part"));
    if (type == "input_json") {
      if (!part.Has("data")) return MissingField(part.PathOf("data"));
      ASSIGN_OR_RETURN(const std::string json, ContentText(*part.Find("data"), part.PathOf("data")));
      text += json;
    } else if (type == "input_text" || type == "output_text") {
      const std::optional<std::string> one = part.String("text");
      RETURN_IF_ERROR(part.status());
      if (!one) return MissingField(part.PathOf("text"));
      text += *one;
    } else {
      return InvalidValue(part.PathOf("type"),
                          "must be input_text, output_text or input_json: a model of text sees no others");
    }
  }
  return text;
}

// A list of messages as text: "user: ...".
absl::StatusOr<std::string> InputText(const Json* value) {
  if (value == nullptr) return MissingField("input");
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array() || value->empty()) return InvalidType("input", "a text or a list of messages", KindOf(*value));
  std::string text;
  for (size_t i = 0; i < value->size(); ++i) {
    const std::string path = At("input", i);
    RETURN_IF_ERROR(CheckFields((*value)[i], kMessageFields, path));
    FieldReader message((*value)[i], path);
    const std::string type = message.String("type").value_or("message");
    const std::string role = message.String("role").value_or("");
    RETURN_IF_ERROR(message.status());
    if (type != "message")
      return InvalidValue(message.PathOf("type"), "must be message: calls of tools are not rendered");
    if (role != "user" && role != "developer" && role != "system" && role != "assistant") {
      return InvalidValue(message.PathOf("role"), "must be user, developer, system or assistant");
    }
    ASSIGN_OR_RETURN(const std::string content, TextOfParts(message.Find("content"), message.PathOf("content")));
    text += (i == 0 ? "" : "\n") + role + ": " + content;
  }
  return text;
}

struct Question {
  DecisionQuestion decide;
  std::optional<std::string> name;
  // The values of a choice, as JSON: a text and a boolean of the same text differ.
  std::vector<std::string> values;
};

absl::Status AddOption(const Json& value, const std::string& path, bool is_choice, Question& question) {
  RETURN_IF_ERROR(CheckFields(value, kOptionFields, path));
  FieldReader fields(value, path);
  const char* name = is_choice ? "value" : "label";
  RETURN_IF_ERROR(CheckAbsent(fields, is_choice ? "label" : "value", "option"));
  const Json* label = fields.Find(name);
  if (label == nullptr) return MissingField(fields.PathOf(name));
  const bool is_boolean = is_choice && label->is_boolean();
  if (!label->is_string() && !is_boolean) return InvalidType(fields.PathOf(name), "a text", KindOf(*label));
  question.values.push_back(label->dump());
  question.decide.options.push_back(
      {is_boolean ? label->dump() : label->get<std::string>(), fields.String("description").value_or("")});
  return fields.status();
}

absl::StatusOr<Question> ParseQuestion(const Json& value, const std::string& path) {
  RETURN_IF_ERROR(CheckFields(value, kQuestionFields, path));
  FieldReader fields(value, path);
  Question question;
  const std::string type = fields.String("type").value_or("");
  question.name = fields.String("name");
  RETURN_IF_ERROR(fields.status());
  ASSIGN_OR_RETURN(question.decide.instructions,
                   TextOfParts(fields.Find("instructions"), fields.PathOf("instructions")));
  const char* used = type == "choice" ? "choices" : type == "score" ? "levels" : "";
  for (const std::string& name : {std::string("choices"), std::string("levels")}) {
    if (name != used && fields.Has(name))
      return InvalidValue(fields.PathOf(name), "does not belong to this type of question");
  }
  if (type == "predicate") {
    question.decide.options = {{"yes", ""}, {"no", ""}};
    return question;
  }
  if (*used == '\0') return InvalidValue(fields.PathOf("type"), "must be predicate, choice or score");
  question.decide.kind = type == "choice" ? QuestionKind::kChoice : QuestionKind::kScore;
  const Json* options = fields.Find(used);
  const std::string options_path = fields.PathOf(used);
  if (options == nullptr) return MissingField(options_path);
  if (!options->is_array()) return InvalidType(options_path, "a list", KindOf(*options));
  for (size_t i = 0; i < options->size(); ++i) {
    RETURN_IF_ERROR(AddOption((*options)[i], At(options_path, i), type == "choice", question));
  }
  RETURN_IF_ERROR(CheckOptions(question.decide.options, 2, kMaxChoices, options_path));
  return question;
}

void WriteName(const Question& question, JsonWriter& out) {
  if (question.name) {
    out.Field("name", *question.name);
  } else {
    out.NullField("name");
  }
}

void WriteAnswer(const Question& question, const v1::DecidedItem& item, JsonWriter& out) {
  const auto probability = [&item](int i) {
    const v1::DecidedOption& option = item.options(i);
    return option.has_probability() ? std::optional<double>(option.probability()) : std::nullopt;
  };
  out.BeginObject();
  WriteName(question, out);
  if (question.decide.kind == QuestionKind::kPredicate) {
    out.Field("type", "predicate");
    out.Field("probability", probability(0));
  } else {
    const bool is_choice = question.decide.kind == QuestionKind::kChoice;
    out.Field("type", is_choice ? "choice" : "score");
    if (is_choice) {
      out.Key("choice");
      out.Raw(question.values[static_cast<size_t>(item.chosen_index())]);
    } else {
      out.Field("score", item.expected_value());
    }
    out.Field("confidence", item.confidence());
    out.Key("probabilities");
    out.BeginArray();
    for (int i = 0; i < item.options_size(); ++i) {
      out.BeginObject();
      if (!is_choice) out.Field("value", i);
      out.Key(is_choice ? "value" : "label");
      out.Raw(question.values[static_cast<size_t>(i)]);
      out.Field("probability", probability(i));
      out.EndObject();
    }
    out.EndArray();
  }
  out.Field("label_mass", LabelMass(item));
  out.EndObject();
}

void WriteUsage(const std::vector<v1::DecideResponse>& replies, JsonWriter& out) {
  int64_t tokens = 0;
  int64_t cached = 0;
  for (const v1::DecideResponse& reply : replies) {
    tokens += reply.usage().prompt_token_count();
    cached += std::min(reply.usage().cached_token_count(), reply.usage().prompt_token_count());
  }
  out.BeginObject();
  out.Field("input_tokens", tokens);
  out.Key("input_tokens_details");
  out.BeginObject();
  out.Field("cached_tokens", cached);
  out.Field("cache_write_tokens", 0);
  out.EndObject();
  out.Field("output_tokens", 0);
  out.Key("output_tokens_details");
  out.BeginObject();
  out.Field("reasoning_tokens", 0);
  out.EndObject();
  out.Field("total_tokens", tokens);
  out.EndObject();
}

}  // namespace

FieldTable DecisionFields() { return kDecisionFields; }
FieldTable DecisionQuestionFields() { return kQuestionFields; }

absl::Status HandleDecisions(Exchange& exchange, Services& services) {
  ASSIGN_OR_RETURN(const Json body, ParseJson(exchange.request.body));
  RETURN_IF_ERROR(CheckFields(body, kDecisionFields));
  FieldReader fields(body);
  v1::DecideRequest request;
  request.set_model(fields.String("model").value_or(""));
  if (const auto temperature = fields.Number("temperature")) request.set_temperature(*temperature);
  RETURN_IF_ERROR(fields.status());
  ASSIGN_OR_RETURN(const std::string input, InputText(fields.Find("input")));
  const Json* list = fields.Find("questions");
  if (list == nullptr) return MissingField("questions");
  if (!list->is_array() || list->empty()) return InvalidType("questions", "a list that is not empty", KindOf(*list));
  if (list->size() > kMaxQuestions) return InvalidValue("questions", "must have at most 400 questions");
  RETURN_IF_ERROR(CheckPromptBytes(input.size(), list->size(), "questions"));
  std::vector<Question> questions;
  for (size_t i = 0; i < list->size(); ++i) {
    ASSIGN_OR_RETURN(Question question, ParseQuestion((*list)[i], At("questions", i)));
    *request.add_items() = DecideItemOf(input, question.decide);
    questions.push_back(std::move(question));
  }
  ASSIGN_OR_RETURN(const std::vector<v1::DecideResponse> replies,
                   DecideAll(services, CallerOf(exchange), request, [](size_t i) { return At("questions", i); }));
  for (const v1::DecideResponse& reply : replies) RETURN_IF_ERROR(DecisionError(reply.item()));
  JsonWriter out;
  out.BeginObject();
  out.Field("model", replies.front().provenance().model());
  out.Key("answers");
  out.BeginArray();
  for (size_t i = 0; i < questions.size(); ++i) WriteAnswer(questions[i], replies[i].item(), out);
  out.EndArray();
  out.Key("usage");
  WriteUsage(replies, out);
  out.EndObject();
  exchange.ReplyJson(out.Take());
  return absl::OkStatus();
}

}  // namespace logitd::http

#include "client/cli/eval_item.h"

#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "client/cli/token_text.h"
#include "client/logitd/client_error.h"
#include "google/protobuf/struct.pb.h"

namespace logitd::cli {
namespace {

using google::protobuf::Value;

constexpr int kQuotedColumns = 24;

// An error of one key: it must be `bound`, and is `value`, as a person reads it; an empty value is not named.
absl::Status KeyError(const std::string& key, const std::string& bound, const std::string& value = "") {
  return client::InputError(key, value, bound,
                            absl::StrCat(key, " must be ", bound, value.empty() ? "" : ", got ", value));
}

// The value of a key. Null: it is not there.
const Value* Find(const google::protobuf::Struct& fields, const std::string& key) {
  const auto found = fields.fields().find(key);
  return found == fields.fields().end() ? nullptr : &found->second;
}

absl::StatusOr<std::optional<std::string>> TextOf(const google::protobuf::Struct& fields, const std::string& key) {
  const Value* value = Find(fields, key);
  if (value == nullptr) return std::nullopt;
  if (!value->has_string_value()) return KeyError(key, "a text");
  return value->string_value();
}

// The place of the answer among the choices.
absl::StatusOr<int> AnswerOf(const google::protobuf::Struct& fields, const std::vector<std::string>& choices) {
  const bool is_gold = Find(fields, "answer") == nullptr;
  const std::string key = is_gold ? "gold" : "answer";
  const Value* value = Find(fields, key);
  if (value == nullptr) return KeyError("answer", "the index or the text of the right choice, and is missing");
  if (!is_gold && Find(fields, "gold") != nullptr) return KeyError("gold", "left out beside answer");
  if (value->has_number_value()) {
    const double number = value->number_value();
    if (number >= 0 && number < static_cast<double>(choices.size()) && number == std::floor(number)) {
      return static_cast<int>(number);
    }
    return KeyError(key, absl::StrCat("in [0, ", choices.size(), ")"), absl::StrCat(number));
  }
  if (!value->has_string_value()) return KeyError(key, "an index or a text");
  int found = -1;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (choices[i] != value->string_value()) continue;
    if (found >= 0) return KeyError(key, "an index, because two choices are equal to it");
    found = static_cast<int>(i);
  }
  if (found < 0) {
    return KeyError(key, "one of the choices",
                    absl::StrCat("\"", Shorten(EscapeText(value->string_value()), kQuotedColumns), "\""));
  }
  return found;
}

// Refuses keys that mean nothing: a mistyped "contxt" would leave the context out.
absl::Status CheckKeys(const google::protobuf::Struct& fields) {
  for (const auto& [key, value] : fields.fields()) {
    bool is_known = false;
    for (const char* known : {"id", "context", "choices", "answer", "gold", "continuation", "text"}) {
      is_known = is_known || key == known;
    }
    if (!is_known) {
      return client::InputError(key, "", "",
                                absl::StrCat("unknown key \"", Shorten(EscapeText(key), kQuotedColumns),
                                             "\": an item has id, context, and choices with answer, or "
                                             "continuation, or text"));
    }
  }
  return absl::OkStatus();
}

// Adds what is scored after the context.
void AddContinuation(const std::string& text, const std::string& delimiter, v1::ScoreItem& score) {
  v1::Continuation& continuation = *score.add_continuations();
  continuation.set_text(delimiter + text);
  continuation.set_uncounted_prefix_bytes(static_cast<int32_t>(delimiter.size()));
}

absl::Status ReadChoices(const google::protobuf::Struct& fields, const Value& list, const std::string& delimiter,
                         v1::ScoreItem& score, EvalItem& item) {
  if (!list.has_list_value() || list.list_value().values().empty()) return KeyError("choices", "a list of texts");
  std::vector<std::string> choices;
  for (const Value& choice : list.list_value().values()) {
    const std::string key = absl::StrCat("choices[", choices.size(), "]");
    if (!choice.has_string_value()) return KeyError(key, "a text");
    if (choice.string_value().empty()) return KeyError(key, "at least one character");
    choices.push_back(choice.string_value());
  }
  ASSIGN_OR_RETURN(item.answer, AnswerOf(fields, choices));
  for (const std::string& choice : choices) {
    AddContinuation(choice, delimiter, score);
    item.character_counts.push_back(CountCharacters(choice).value_or(0));
    item.byte_counts.push_back(static_cast<int64_t>(choice.size()));
  }
  return absl::OkStatus();
}

absl::Status Read(const google::protobuf::Struct& fields, const std::string& delimiter, v1::ScoreItem& score,
                  EvalItem& item) {
  RETURN_IF_ERROR(CheckKeys(fields));
  ASSIGN_OR_RETURN(const auto id, TextOf(fields, "id"));
  ASSIGN_OR_RETURN(const auto context, TextOf(fields, "context"));
  ASSIGN_OR_RETURN(const auto continuation, TextOf(fields, "continuation"));
  ASSIGN_OR_RETURN(const auto text, TextOf(fields, "text"));
  const Value* choices = Find(fields, "choices");
  score.set_id(id.value_or(""));
  if ((choices != nullptr) + continuation.has_value() + text.has_value() != 1) {
    return KeyError("item", "one of three kinds: with choices, with continuation, or with text");
  }
  if (text && context) return KeyError("text", "without context");
  score.mutable_context()->set_text(context.value_or(""));
  const std::string between = context.value_or("").empty() ? "" : delimiter;
  if (choices != nullptr) return ReadChoices(fields, *choices, between, score, item);
  if (Find(fields, "answer") != nullptr || Find(fields, "gold") != nullptr) return KeyError("answer", "beside choices");
  if (continuation) {
    AddContinuation(*continuation, between, score);
  } else {
    score.clear_context();
    score.mutable_rolling()->mutable_input()->set_text(*text);
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<LineError> ReadEvalItem(const InputLine& line, const std::string& file, const std::string& delimiter,
                                      v1::ScoreItem* score, EvalItem* item) {
  google::protobuf::Struct fields;
  if (std::optional<LineError> error = ReadItem(line, file, &fields, "an item of eval")) return error;
  const absl::Status status = Read(fields, delimiter, *score, *item);
  if (status.ok()) return std::nullopt;
  LineError out{.error = client::ErrorMessageOf(status), .id = score->id()};
  out.error.set_reason(v1::ERROR_REASON_MALFORMED_MESSAGE);
  NameLine(line, file, out.error);
  return out;
}

}  // namespace logitd::cli

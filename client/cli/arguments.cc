#include "client/cli/arguments.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/utf8.h"
#include "client/cli/filled_text.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

// Marks a status as a usage error; never leaves this program.
constexpr char kUsageUrl[] = "logit/usage";
// Of a value that is wrong: as much as a server quotes.
constexpr int kValueColumns = 64;
// Help beside a flag is not squeezed into less than this; below it stands on lines of its own.
constexpr int kLeastHelpColumns = 24;
constexpr size_t kIndentBelow = 6;
// Examples fit a terminal of 80 columns, and stay as they are on others.
constexpr int kExampleColumns = 78;

absl::Status MakeUsageError(v1::Error error) {
  error.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
  absl::Status status = absl::InvalidArgumentError(error.message());
  status.SetPayload(kUsageUrl, absl::Cord(error.SerializeAsString()));
  return status;
}

bool LooksLikeFlag(const std::string& argument) {
  if (argument.size() < 2 || argument[0] != '-') return false;
  if (argument.find_first_of(" \t\n") != std::string::npos && argument.find('=') == std::string::npos) return false;
  return std::isdigit(static_cast<unsigned char>(argument[1])) == 0 && argument[1] != ' ';
}

template <typename Number, typename Parse>
absl::StatusOr<std::optional<Number>> Typed(const Arguments& arguments, const std::string& name, const char* expected,
                                            Parse parse) {
  if (!arguments.Has(name)) return std::optional<Number>();
  Number number{};
  const std::string& text = arguments.Value(name);
  if (!parse(text, &number)) return UsageError(name, text, expected);
  return std::optional<Number>(number);
}

}  // namespace

absl::Status UsageError(std::string_view field, std::string_view message) {
  v1::Error error;
  error.set_field(std::string(field));
  error.set_message(std::string(message));
  return MakeUsageError(error);
}

absl::Status UsageError(std::string_view field, std::string_view value, std::string_view bound,
                        std::string_view message) {
  v1::Error error;
  error.set_field(std::string(field));
  error.set_value(Shorten(EscapeText(value), kValueColumns));
  error.set_bound(std::string(bound));
  error.set_message(std::string(message));
  return MakeUsageError(error);
}

absl::Status UsageError(std::string_view field, std::string_view value, std::string_view bound) {
  return UsageError(field, value, bound,
                    absl::StrCat(std::string(field), " must be ", std::string(bound), ", got \"",
                                 Shorten(EscapeText(value), kValueColumns), "\""));
}

bool IsUsageError(const absl::Status& status) { return status.GetPayload(kUsageUrl).has_value(); }

v1::Error UsageErrorMessage(const absl::Status& status) {
  v1::Error error;
  const auto payload = status.GetPayload(kUsageUrl);
  // Written by MakeUsageError and by nobody else: it parses.
  if (payload) error.ParseFromString(std::string(*payload));
  return error;
}

absl::StatusOr<std::vector<int32_t>> ParseTokenIds(std::string_view subject, std::string_view text) {
  std::vector<int32_t> ids;
  if (text.empty()) return ids;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(std::string(text), ','))) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(part, &id)) return UsageError(subject, text, "token ids separated by commas (1,2,3)");
    ids.push_back(id);
  }
  return ids;
}

Arguments::Arguments(CommandHelp help, std::vector<FlagGroup> groups)
    : help_(std::move(help)), groups_(std::move(groups)) {}

const Flag* Arguments::Find(const std::string& name) const {
  for (const FlagGroup& group : groups_) {
    for (const Flag& flag : group.flags) {
      if (flag.name == name || (!flag.alias.empty() && flag.alias == name)) return &flag;
    }
  }
  return nullptr;
}

absl::Status Arguments::Add(const Flag& flag, std::string value) {
  std::vector<std::string>& values = values_[flag.name];
  if (!values.empty() && !flag.repeatable) return UsageError(flag.name, absl::StrCat(flag.name, " is given twice"));
  values.push_back(std::move(value));
  return absl::OkStatus();
}

absl::Status Arguments::Parse(const std::vector<std::string>& args) {
  bool flags_ended = false;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& argument = args[i];
    if (!IsUtf8(argument)) {
      const std::string place = absl::StrCat("argument ", i + 1);
      return UsageError(place, argument, "valid UTF-8", absl::StrCat(place, " is not valid UTF-8"));
    }
    if (!flags_ended && argument == "--") {
      flags_ended = true;
      continue;
    }
    if (flags_ended || !LooksLikeFlag(argument)) {
      if (help_.positionals.empty()) {
        return UsageError(absl::StrCat("argument ", i + 1), argument, "a flag",
                          absl::StrCat("unexpected argument \"", EscapeText(argument), "\""));
      }
      positionals_.push_back(argument);
      continue;
    }
    const bool is_short = argument[1] != '-';
    const size_t equals = is_short ? std::string::npos : argument.find('=');
    const std::string name = is_short ? argument.substr(0, 2) : argument.substr(0, equals);
    std::optional<std::string> value;
    if (is_short && argument.size() > 2) value = argument.substr(2);
    if (equals != std::string::npos) value = argument.substr(equals + 1);

    const Flag* flag = Find(name);
    if (flag == nullptr) {
      const std::string typed = EscapeText(is_short ? argument : name);
      return UsageError(typed,
                        absl::StrCat("unknown flag ", typed, "; `logit ", help_.name, " --help` lists the flags",
                                     help_.positionals.empty() ? "" : ", text that starts with - goes after --"));
    }
    if (flag->value.empty()) {
      if (value) {
        return UsageError(name, *value, "without a value",
                          absl::StrCat(name, " takes no value, got \"", EscapeText(*value), "\""));
      }
      if (absl::Status status = Add(*flag, ""); !status.ok()) return status;
      continue;
    }
    if (!value) {
      if (i + 1 == args.size()) return UsageError(name, absl::StrCat(name, " needs a value: ", name, " ", flag->value));
      value = args[++i];
      if (!IsUtf8(*value)) {
        return UsageError(name, *value, "valid UTF-8", absl::StrCat("the value of ", name, " is not valid UTF-8"));
      }
    }
    if (absl::Status status = Add(*flag, *std::move(value)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

bool Arguments::Has(const std::string& name) const { return values_.count(name) > 0; }

const std::string& Arguments::Value(const std::string& name) const { return values_.at(name).back(); }

std::vector<std::string> Arguments::Values(const std::string& name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

absl::StatusOr<std::optional<double>> Arguments::Double(const std::string& name) const {
  return Typed<double>(*this, name, "a number",
                       [](const std::string& text, double* out) { return absl::SimpleAtod(text, out); });
}

absl::StatusOr<std::optional<int32_t>> Arguments::Int32(const std::string& name) const {
  return Typed<int32_t>(*this, name, "an integer of 32 bits",
                        [](const std::string& text, int32_t* out) { return absl::SimpleAtoi(text, out); });
}

absl::StatusOr<std::optional<uint64_t>> Arguments::Uint64(const std::string& name) const {
  return Typed<uint64_t>(*this, name, "an integer in [0, 2^64)",
                         [](const std::string& text, uint64_t* out) { return absl::SimpleAtoi(text, out); });
}

absl::StatusOr<std::optional<bool>> Arguments::Bool(const std::string& name) const {
  return Typed<bool>(*this, name, "true or false",
                     [](const std::string& text, bool* out) { return absl::SimpleAtob(text, out); });
}

absl::StatusOr<std::optional<std::vector<int32_t>>> Arguments::TokenIds(const std::string& name) const {
  if (!Has(name)) return std::optional<std::vector<int32_t>>();
  absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds(name, Value(name));
  if (!ids.ok()) return ids.status();
  return std::optional<std::vector<int32_t>>(*std::move(ids));
}

std::string Arguments::HelpText(int width) const {
  std::string out = absl::StrCat(Filled(help_.summary, width), "\n\nUsage: logit ", help_.name, " [FLAGS]",
                                 help_.positionals.empty() ? "" : " ", help_.positionals, "\n");
  const auto left = [](const Flag& flag) {
    return absl::StrCat("  ", flag.alias.rfind("--", 0) != 0 && !flag.alias.empty() ? flag.alias + ", " : "", flag.name,
                        flag.alias.rfind("--", 0) == 0 ? ", " + flag.alias : "", flag.value.empty() ? "" : " ",
                        flag.value, "  ");
  };
  size_t column = 0;
  for (const FlagGroup& group : groups_) {
    for (const Flag& flag : group.flags) column = std::max(column, left(flag).size());
  }
  // Too narrow for two columns: the help stands below its flag.
  const bool is_below = width > 0 && static_cast<int>(column) + kLeastHelpColumns > width;
  const size_t indent = is_below ? kIndentBelow : column;
  for (const FlagGroup& group : groups_) {
    absl::StrAppend(&out, "\n", group.heading, ":\n");
    for (const Flag& flag : group.flags) {
      std::string head = left(flag);
      if (is_below) head = absl::StrCat(head.substr(0, head.size() - 2), "\n");
      head.append(indent - (is_below ? 0 : head.size()), ' ');
      absl::StrAppend(&out, head, Filled(flag.help, width, static_cast<int>(indent), static_cast<int>(indent)), "\n");
    }
  }
  absl::StrAppend(&out, "\nExamples:\n");
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(help_.examples, '\n', absl::SkipEmpty()))) {
    const std::string command = FilledCommand(line, kExampleColumns);
    absl::StrAppend(&out, "  ", absl::StrReplaceAll(command, {{"\n", "\n  "}}), "\n");
  }
  absl::StrAppend(&out, "\n",
                  Filled("Exit codes: 0 fine, 1 an item failed, 2 usage, 3 refused by the server, 4 server not "
                         "reachable, 5 standard output cannot be written, 130 interrupted.",
                         width),
                  "\n");
  return out;
}

}  // namespace logitd::cli

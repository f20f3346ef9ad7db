#include "client/cli/arguments.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/suggestion.h"
#include "base/utf8.h"
#include "client/cli/request_fields.h"
#include "client/cli/token_text.h"
#include "client/logitd/client_error.h"

namespace logitd::cli {
namespace {

// The columns of a wrong value in an error, as a server quotes it.
constexpr int kValueColumns = 64;

bool LooksLikeFlag(const std::string& argument) {
  if (argument.size() < 2 || argument[0] != '-') return false;
  if (argument.find_first_of(" \t\n") != std::string::npos && argument.find('=') == std::string::npos) return false;
  return std::isdigit(static_cast<unsigned char>(argument[1])) == 0 && argument[1] != ' ';
}

}  // namespace

std::string QuotedValue(std::string_view value) { return Shorten(value, kValueColumns); }

absl::Status UsageError(std::string_view field, std::string_view message) {
  return client::InputError(field, "", "", message);
}

absl::Status UsageError(std::string_view field, std::string_view value, std::string_view bound,
                        std::string_view message) {
  return client::InputError(field, QuotedValue(EscapeText(value)), bound, message);
}

absl::Status UsageError(std::string_view field, std::string_view value, std::string_view bound) {
  return UsageError(field, value, bound,
                    absl::StrCat(std::string(field), " must be ", std::string(bound), ", got \"",
                                 QuotedValue(EscapeText(value)), "\""));
}

absl::Status ParseValue(std::string_view flag, const std::string& text, double& out) {
  return absl::SimpleAtod(text, &out) ? absl::OkStatus() : UsageError(flag, text, "a number");
}

absl::Status ParseValue(std::string_view flag, const std::string& text, int32_t& out) {
  return absl::SimpleAtoi(text, &out) ? absl::OkStatus() : UsageError(flag, text, "an integer of 32 bits");
}

absl::Status ParseValue(std::string_view flag, const std::string& text, uint64_t& out) {
  return absl::SimpleAtoi(text, &out) ? absl::OkStatus() : UsageError(flag, text, "an integer in [0, 2^64)");
}

absl::Status ParseValue(std::string_view flag, const std::string& text, bool& out) {
  return absl::SimpleAtob(text, &out) ? absl::OkStatus() : UsageError(flag, text, "true or false");
}

absl::Status ParseValue(std::string_view flag, const std::string& text, std::vector<int32_t>& out) {
  out.clear();
  if (text.empty()) return absl::OkStatus();
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(text, ','))) {
    if (!absl::SimpleAtoi(part, &out.emplace_back())) {
      return UsageError(flag, text, "token ids separated by commas (1,2,3)");
    }
  }
  return absl::OkStatus();
}

Arguments::Arguments(Command command) : command_(std::move(command)) {}

const Flag* Arguments::Find(const std::string& name) const {
  for (const FlagGroup& group : command_.groups) {
    for (const Flag& flag : group.flags) {
      if (flag.name == name || (!flag.alias.empty() && flag.alias == name)) return &flag;
    }
  }
  return nullptr;
}

const Flag* Arguments::FirstOf(const std::vector<Flag>& flags) const {
  const auto found = std::find_if(flags.begin(), flags.end(), [this](const Flag& flag) { return Has(flag.name); });
  return found == flags.end() ? nullptr : &*found;
}

absl::Status Arguments::UnknownFlag(const std::string& typed) const {
  std::vector<std::string> names;
  for (const FlagGroup& group : command_.groups) {
    for (const Flag& flag : group.flags) names.push_back(flag.name);
  }
  return UsageError(typed, absl::StrCat("unknown flag ", typed, DidYouMean(typed, names), "; `logit ", command_.name,
                                        " --help` lists the flags",
                                        command_.positionals.empty() ? "" : ", text that starts with - goes after --"));
}

absl::Status Arguments::Add(const Flag& flag, std::string value) {
  std::vector<std::string>& values = values_[flag.name];
  if (!values.empty() && !flag.repeatable && !IsRepeated(flag, command_.request)) {
    return UsageError(flag.name, absl::StrCat(flag.name, " is given twice"));
  }
  if (!flag.choices.empty() && std::find(flag.choices.begin(), flag.choices.end(), value) == flag.choices.end()) {
    return UsageError(flag.name, value, OneOf(flag.choices));
  }
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
      if (command_.positionals.empty()) {
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
    if (flag == nullptr) return UnknownFlag(EscapeText(is_short ? argument : name));
    if (flag->value.empty()) {
      if (value) {
        return UsageError(name, *value, "without a value",
                          absl::StrCat(name, " takes no value, got \"", EscapeText(*value), "\""));
      }
      RETURN_IF_ERROR(Add(*flag, ""));
      continue;
    }
    if (!value) {
      if (i + 1 == args.size()) return UsageError(name, absl::StrCat(name, " needs a value: ", name, " ", flag->value));
      value = args[++i];
      if (!IsUtf8(*value)) {
        return UsageError(name, *value, "valid UTF-8", absl::StrCat("the value of ", name, " is not valid UTF-8"));
      }
    }
    RETURN_IF_ERROR(Add(*flag, *std::move(value)));
  }
  return absl::OkStatus();
}

std::string Arguments::Value(const std::string& name) const { return Has(name) ? values_.at(name).back() : ""; }

std::vector<std::string> Arguments::Values(const std::string& name) const {
  return Has(name) ? values_.at(name) : std::vector<std::string>();
}

}  // namespace logitd::cli

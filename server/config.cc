#include "server/config.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <string_view>
#include <system_error>

#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "server/limits.h"

namespace logitd::server {
namespace {

using config::v1::ServerConfig;
using google::protobuf::TextFormat;

// Nobody writes a larger file by hand: the flag names a wrong file.
constexpr std::uintmax_t kMaxFileBytes = 1 << 20;

// Keeps the first error, because later ones are often its consequences.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(std::string path) : path_(std::move(path)) {}
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (!error_.empty()) return;
    line_ = line;
    column_ = column;
    error_ = path_ + ":" + std::to_string(line + 1) + ":" + std::to_string(column + 1) + ": " + message;
  }
  void AddWarning(int, google::protobuf::io::ColumnNumber, const std::string&) override {}
  const std::string& error() const { return error_; }
  // The place of the error, counted from 0.
  int line() const { return line_; }
  int column() const { return column_; }

 private:
  const std::string path_;
  std::string error_;
  int line_ = 0;
  int column_ = 0;
};

std::optional<bool> ParseBool(const std::string& word) {
  for (const char* yes : {"true", "1", "yes", "on"}) {
    if (word == yes) return true;
  }
  for (const char* no : {"false", "0", "no", "off"}) {
    if (word == no) return false;
  }
  return std::nullopt;
}

std::string ShowRange(const ConfigField& field) {
  const WholeRange range = RangeOf(field);
  return "[" + std::to_string(range.least) + ", " + std::to_string(range.most) + "]";
}

absl::Status NotInRange(const ConfigField& field, const std::string& origin, const std::string& value) {
  return absl::InvalidArgumentError(origin + " must be in " + ShowRange(field) + ", got " + value);
}

// An integer that the field's type holds. (Ranges are checked at the end.)
absl::StatusOr<int64_t> ParseWhole(const ConfigField& field, const std::string& word, const std::string& origin) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  const bool is_whole = end == word.data() + word.size() && !word.empty();
  if (is_whole && error == std::errc::result_out_of_range) return NotInRange(field, origin, word);
  if (!is_whole || error != std::errc()) {
    return absl::InvalidArgumentError(origin + " must be a whole number in " + ShowRange(field) + ", got " + word);
  }
  const bool is_narrow = field.cpp_type() == ConfigField::CPPTYPE_INT32;
  if (is_narrow && value != static_cast<int32_t>(value)) return NotInRange(field, origin, word);
  return value;
}

// Replaces the values of the field by `words`.
absl::Status Set(const ConfigField& field, const std::vector<std::string>& words, const std::string& origin,
                 Config& config) {
  const google::protobuf::Reflection& reflection = *ServerConfig::GetReflection();
  ServerConfig& values = config.values;
  config.origins[field.name()] = origin;
  reflection.ClearField(&values, &field);
  if (field.is_repeated()) {
    for (const std::string& word : words) reflection.AddString(&values, &field, word);
    return absl::OkStatus();
  }
  if (words.size() != 1) {
    return absl::InvalidArgumentError(origin + " must be given once, is given " + std::to_string(words.size()) +
                                      " times");
  }
  const std::string& word = words.front();
  if (field.cpp_type() == ConfigField::CPPTYPE_BOOL) {
    const std::optional<bool> value = ParseBool(word);
    if (!value) return absl::InvalidArgumentError(origin + " must be true or false, got " + word);
    reflection.SetBool(&values, &field, *value);
  } else if (field.cpp_type() == ConfigField::CPPTYPE_INT32) {
    ASSIGN_OR_RETURN(const int64_t value, ParseWhole(field, word, origin));
    reflection.SetInt32(&values, &field, static_cast<int32_t>(value));
  } else if (field.cpp_type() == ConfigField::CPPTYPE_INT64) {
    ASSIGN_OR_RETURN(const int64_t value, ParseWhole(field, word, origin));
    reflection.SetInt64(&values, &field, value);
  } else {
    reflection.SetString(&values, &field, word);
  }
  return absl::OkStatus();
}

// The error of an integer in a file that is too large for protobuf's parser, which does not name the field. OK if there
// is no such integer at this place.
absl::Status TooLargeNumber(const std::string& text, const std::string& path, int line, int column) {
  std::istringstream lines(text);
  std::string at;
  for (int i = 0; i <= line; ++i) std::getline(lines, at);
  const auto place = static_cast<size_t>(column);
  if (place >= at.size()) return absl::OkStatus();
  const std::string word = at.substr(place, at.find_first_not_of("-0123456789", place) - place);
  for (const ConfigField* field : ConfigFields()) {
    const bool is_whole =
        field->cpp_type() == ConfigField::CPPTYPE_INT32 || field->cpp_type() == ConfigField::CPPTYPE_INT64;
    const size_t name = at.rfind(field->name(), place);
    if (!is_whole || word.empty() || name == std::string::npos) continue;
    const size_t name_end = name + field->name().size();
    if (at.find_first_not_of(" :\t-", name_end) < place) continue;
    return ParseWhole(*field, word, path + ":" + std::to_string(line + 1) + ": " + field->name()).status();
  }
  return absl::OkStatus();
}

constexpr std::string_view kVariablePrefix = "LOGITD_";
// Between the words of a repeated field in the environment.
char SeparatorOf(const ConfigField& field) { return field.name() == "head" ? ';' : ','; }
// Variables that are no options of logitd: the file of options, and the server's address that `logit` reads.
constexpr const char* kOtherVariables[] = {"LOGITD_CONFIG", "LOGITD_SERVER"};
// The most typing slips in a name: a letter too many, missing or wrong, or two letters exchanged.
constexpr size_t kMaxSlips = 2;

// The number of slips that turn `name` into `typed`.
size_t SlipsBetween(std::string_view name, std::string_view typed) {
  // slips[i][j]: between the first i characters of `name` and the first j of `typed`.
  std::vector<std::vector<size_t>> slips(name.size() + 1, std::vector<size_t>(typed.size() + 1));
  for (size_t i = 0; i <= name.size(); ++i) {
    for (size_t j = 0; j <= typed.size(); ++j) {
      if (i == 0 || j == 0) {
        slips[i][j] = i + j;
        continue;
      }
      const bool same = name[i - 1] == typed[j - 1];
      slips[i][j] = std::min({slips[i - 1][j] + 1, slips[i][j - 1] + 1, slips[i - 1][j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && name[i - 1] == typed[j - 2] && name[i - 2] == typed[j - 1]) {
        slips[i][j] = std::min(slips[i][j], slips[i - 2][j - 2] + 1);
      }
    }
  }
  return slips[name.size()][typed.size()];
}

// A variable LOGITD_... that almost has the name of an option is an error. Others are ignored: Kubernetes sets
// LOGITD_SERVICE_HOST and more if a service is called logitd.
absl::Status CheckVariables(Config& config) {
  std::vector<std::string> known(std::begin(kOtherVariables), std::end(kOtherVariables));
  for (const ConfigField* field : ConfigFields()) known.push_back(VariableOf(*field));
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view variable = *at;
    const size_t equals = variable.find('=');
    if (!variable.starts_with(kVariablePrefix) || equals == std::string_view::npos || equals + 1 == variable.size()) {
      continue;
    }
    const std::string name(variable.substr(0, equals));
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string typed = name;
    for (char& c : typed) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    const auto nearest = std::min_element(known.begin(), known.end(), [&typed](const auto& a, const auto& b) {
      return SlipsBetween(a, typed) < SlipsBetween(b, typed);
    });
    if (SlipsBetween(*nearest, typed) <= kMaxSlips) {
      return absl::InvalidArgumentError(name + " is not an option of logitd; is it " + *nearest + "?");
    }
    config.ignored_variables.push_back(name);
  }
  std::sort(config.ignored_variables.begin(), config.ignored_variables.end());
  return absl::OkStatus();
}

}  // namespace

std::string Config::OriginOf(const std::string& field) const {
  const auto found = origins.find(field);
  return found != origins.end() ? found->second : FlagOf(*ServerConfig::descriptor()->FindFieldByName(field));
}

std::vector<const ConfigField*> ConfigFields() {
  std::vector<const ConfigField*> fields;
  const auto& descriptor = *ServerConfig::descriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) fields.push_back(descriptor.field(i));
  return fields;
}

std::string FlagOf(const ConfigField& field) {
  std::string name = "--" + field.name();
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string VariableOf(const ConfigField& field) {
  std::string name = "LOGITD_" + field.name();
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

WholeRange RangeOf(const ConfigField& field) {
  constexpr int64_t kMaxTokens = int64_t{1} << 30;
  static const auto& ranges = *new std::map<std::string, WholeRange>{
      {"runners", {1, kMaxRunners}},
      {"threads", {0, 1024}},
      {"context_length", {0, kMaxTokens}},
      {"cache_tokens", {0, kMaxTokens}},
      // The most of logitd-llama.
      {"max_sequences", {0, 64}},
      // Each may take a thread.
      {"max_calls", {1, 65'536}},
      {"max_open_streams", {1, 65'536}},
      {"record_cache_bytes", {0, int64_t{1} << 40}},
      // As logitd-http has it.
      {"http_max_queue", {0, 1'000'000}},
  };
  return ranges.at(field.name());
}

absl::Status CheckRange(const ConfigField& field, const std::string& origin, int64_t value) {
  const WholeRange range = RangeOf(field);
  if (value >= range.least && value <= range.most) return absl::OkStatus();
  return NotInRange(field, origin, std::to_string(value));
}

std::vector<std::string> WordsOf(const ConfigField& field, const ServerConfig& values) {
  const google::protobuf::Reflection& reflection = *ServerConfig::GetReflection();
  std::vector<std::string> words;
  if (field.is_repeated()) {
    for (int i = 0; i < reflection.FieldSize(values, &field); ++i) {
      words.push_back(reflection.GetRepeatedString(values, &field, i));
    }
  } else if (!reflection.HasField(values, &field)) {
    return {};
  } else if (field.cpp_type() == ConfigField::CPPTYPE_BOOL) {
    words.push_back(reflection.GetBool(values, &field) ? "true" : "false");
  } else if (field.cpp_type() == ConfigField::CPPTYPE_INT32) {
    words.push_back(std::to_string(reflection.GetInt32(values, &field)));
  } else if (field.cpp_type() == ConfigField::CPPTYPE_INT64) {
    words.push_back(std::to_string(reflection.GetInt64(values, &field)));
  } else {
    words.push_back(reflection.GetString(values, &field));
  }
  return words;
}

absl::Status AddFile(const std::string& path, Config& config) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::InvalidArgumentError("--config: there is no file " + path);
  }
  if (std::filesystem::file_size(path, error) > kMaxFileBytes) {
    return absl::InvalidArgumentError("--config: " + path + " must be at most " + std::to_string(kMaxFileBytes) +
                                      " bytes of protobuf text format");
  }
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) return absl::InvalidArgumentError("--config: cannot read " + path);

  ServerConfig values;
  FirstError first_error(path);
  TextFormat::ParseInfoTree places;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&first_error);
  parser.WriteLocationsTo(&places);
  google::protobuf::io::ArrayInputStream input(text.data(), static_cast<int>(text.size()));
  if (!parser.Parse(&input, &values)) {
    RETURN_IF_ERROR(TooLargeNumber(text, path, first_error.line(), first_error.column()));
    return absl::InvalidArgumentError(first_error.error());
  }

  for (const ConfigField* field : ConfigFields()) {
    const std::vector<std::string> words = WordsOf(*field, values);
    if (words.empty()) continue;
    const int line = places.GetLocation(field, field->is_repeated() ? 0 : -1).line;
    RETURN_IF_ERROR(Set(*field, words, path + ":" + std::to_string(line + 1) + ": " + field->name(), config));
  }
  return absl::OkStatus();
}

absl::Status AddEnvironment(Config& config) {
  RETURN_IF_ERROR(CheckVariables(config));
  for (const ConfigField* field : ConfigFields()) {
    const std::string variable = VariableOf(*field);
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0') continue;
    RETURN_IF_ERROR(Set(*field,
                        field->is_repeated() ? std::vector<std::string>(absl::StrSplit(value, SeparatorOf(*field)))
                                             : std::vector<std::string>{value},
                        variable, config));
  }
  return absl::OkStatus();
}

absl::Status AddFlag(const ConfigField& field, const std::vector<std::string>& words, Config& config) {
  return Set(field, words, FlagOf(field), config);
}

std::string ToText(const ServerConfig& values) {
  std::string text;
  TextFormat::PrintToString(values, &text);
  return text;
}

}  // namespace logitd::server

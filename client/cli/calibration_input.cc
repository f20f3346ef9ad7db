#include "client/cli/calibration_input.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "client/cli/arguments.h"
#include "client/cli/json_lines.h"
#include "client/cli/request_fields.h"
#include "client/logitd/client_error.h"
#include "google/protobuf/struct.pb.h"
#include "logitd/v1/completion.pb.h"

namespace logitd::cli {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

// A request takes 8 bytes for each number, and at most 64 MiB.
constexpr int kMostNumbers = 7 << 20;
constexpr int kLinesPerChunk = 1024;
constexpr int64_t kBytesPerChunk = 4 << 20;

const Value* Find(const Struct& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? nullptr : &found->second;
}

// The field of an answer that holds the score.
const char* FieldOf(v1::Normalization score) {
  switch (score) {
    case v1::NORMALIZATION_PER_TOKEN:
      return "per_token";
    case v1::NORMALIZATION_PER_BYTE:
      return "per_byte";
    case v1::NORMALIZATION_PER_CHARACTER:
      return "per_character";
    case v1::NORMALIZATION_GNMT:
      return "gnmt";
    case v1::NORMALIZATION_PMI:
      return "pmi";
    case v1::NORMALIZATION_COMBINED:
      return "combined_log_prob";
    default:
      return "sum";
  }
}

class SampleReader {
 public:
  SampleReader(std::string name, v1::FitCalibrationRequest& request) : name_(std::move(name)), request_(request) {}

  absl::Status Add(const InputLine& line, std::optional<std::string> label) {
    Struct object;
    if (const auto error = FromLine(line, &object, {name_, "IN.jsonl", "a sample"})) return client::InputError(*error);
    line_ = line.number;
    const auto before = request_.values_size();
    RETURN_IF_ERROR(AddNumbers(object));
    const int width = request_.values_size() - before;
    if (request_.labels().empty()) {
      request_.set_width(width);
    } else if (width != request_.width()) {
      return Wrong(absl::StrCat(width), absl::StrCat(request_.width(), " numbers, as the first line"));
    }
    if (request_.values_size() > kMostNumbers) {
      return Wrong(absl::StrCat(request_.values_size()),
                   absl::StrCat("such that all samples together have at most ", kMostNumbers, " numbers"));
    }
    if (label) return AddLabel(*label);
    const Value* own = Find(object, "label");
    if (own == nullptr) return Wrong("none", "a sample with a \"label\", or --labels must be given");
    if (own->kind_case() == Value::kStringValue) return AddLabel(own->string_value());
    if (own->kind_case() != Value::kNumberValue) return Wrong("another kind of value", "a label: an integer or a name");
    return AddLabel(absl::StrCat(own->number_value()));
  }

  absl::Status Finish() {
    if (request_.labels().empty()) {
      return UsageError("IN.jsonl", absl::StrCat(name_, " has no samples: each line is one"));
    }
    if (request_.input() == v1::CALIBRATION_INPUT_SCORES) {
      request_.set_label_count(request_.width());
      return absl::OkStatus();
    }
    const auto labels = request_.labels();
    const int32_t most = *std::max_element(labels.begin(), labels.end());
    request_.set_label_count(request_.label_names().empty() ? most + 1 : request_.label_names_size());
    return absl::OkStatus();
  }

 private:
  // "line 3 of samples.jsonl must be `bound`, got `value`".
  absl::Status Wrong(const std::string& value, const std::string& bound) const {
    return UsageError("IN.jsonl", value, bound,
                      absl::StrCat("line ", line_, " of ", name_, " must be ", bound, ", got ", QuotedValue(value)));
  }

  absl::Status SetInput(v1::CalibrationInput input) {
    if (request_.input() != v1::CALIBRATION_INPUT_UNSPECIFIED && request_.input() != input) {
      return Wrong("the other", "all lines with scores, or all with features");
    }
    request_.set_input(input);
    return absl::OkStatus();
  }

  absl::Status AddList(const Value& list) {
    if (list.kind_case() != Value::kListValue) return Wrong("another kind of value", "a sample with a list of numbers");
    for (const Value& value : list.list_value().values()) {
      if (value.kind_case() != Value::kNumberValue)
        return Wrong("another kind of value", "a sample with numbers alone");
      request_.add_values(value.number_value());
    }
    return absl::OkStatus();
  }

  absl::Status AddAnswers(const Value& parts, const char* field) {
    for (const Value& part : parts.list_value().values()) {
      const Value* value = part.kind_case() == Value::kStructValue ? Find(part.struct_value(), field) : nullptr;
      if (value == nullptr || value->kind_case() != Value::kNumberValue) {
        return Wrong("none", absl::StrCat("an answer whose parts all have \"", field, "\""));
      }
      request_.add_values(value->number_value());
    }
    return absl::OkStatus();
  }

  absl::Status AddNumbers(const Struct& object) {
    if (const Value* scores = Find(object, "scores")) {
      RETURN_IF_ERROR(SetInput(v1::CALIBRATION_INPUT_SCORES));
      return AddList(*scores);
    }
    if (const Value* features = Find(object, "features")) {
      RETURN_IF_ERROR(SetInput(v1::CALIBRATION_INPUT_FEATURES));
      return AddList(*features);
    }
    if (const Value* item = Find(object, "item"); item != nullptr && item->kind_case() == Value::kStructValue) {
      RETURN_IF_ERROR(SetInput(v1::CALIBRATION_INPUT_SCORES));
      if (const Value* candidates = Find(item->struct_value(), "candidates")) {
        return AddAnswers(*candidates, FieldOf(request_.score()));
      }
      if (const Value* options = Find(item->struct_value(), "options")) return AddAnswers(*options, "log_prob");
    }
    return Wrong("none", "a sample with \"scores\" or \"features\", or an answer of logit rank or logit decide");
  }

  absl::Status AddLabel(const std::string& text) {
    int32_t label = 0;
    const auto names = request_.label_names();
    const auto named = std::find(names.begin(), names.end(), text);
    if (named != names.end()) {
      label = static_cast<int32_t>(named - names.begin());
    } else if (!absl::SimpleAtoi(text, &label)) {
      return Wrong(text, names.empty() ? "a sample with an integer as its label"
                                       : "a sample whose label is an integer or one of --label-names");
    }
    request_.add_labels(label);
    return absl::OkStatus();
  }

  const std::string name_;
  v1::FitCalibrationRequest& request_;
  int64_t line_ = 0;
};

}  // namespace

absl::Status ReadSamples(std::istream& in, const std::string& name, std::istream* labels,
                         v1::FitCalibrationRequest& request) {
  LineReader reader(in);
  SampleReader samples(name, request);
  std::vector<std::string> given;
  if (labels != nullptr) {
    LineReader label_reader(*labels);
    for (auto lines = label_reader.NextChunk(kLinesPerChunk, kBytesPerChunk); !lines.empty();
         lines = label_reader.NextChunk(kLinesPerChunk, kBytesPerChunk)) {
      for (const InputLine& line : lines) given.emplace_back(absl::StripAsciiWhitespace(line.text));
    }
  }
  size_t count = 0;
  for (auto lines = reader.NextChunk(kLinesPerChunk, kBytesPerChunk); !lines.empty();
       lines = reader.NextChunk(kLinesPerChunk, kBytesPerChunk)) {
    for (const InputLine& line : lines) {
      std::optional<std::string> label;
      if (labels != nullptr && count < given.size()) label = given[count];
      ++count;
      if (labels != nullptr && !label) continue;
      RETURN_IF_ERROR(samples.Add(line, std::move(label)));
    }
  }
  if (labels != nullptr && given.size() != count) {
    return UsageError("--labels", absl::StrCat(given.size()), absl::StrCat(count, " lines, one for each sample"));
  }
  return samples.Finish();
}

}  // namespace logitd::cli

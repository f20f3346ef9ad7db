#include "server/head_spec.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_split.h"
#include "base/model_name.h"
#include "base/status_macros.h"
#include "core/shown_text.h"

namespace logitd::server {
namespace {

constexpr char kForm[] = "NAME=FILE[,KEY=VALUE...]";

absl::Status Error(const std::string& origin, const std::string& text, const std::string& what) {
  return absl::InvalidArgumentError(origin + ": " + what + ", got " + Quoted(text) + "; the form is " + kForm);
}

// Unset: not a number in [least, most].
std::optional<double> NumberOf(const std::string& word, double least, double most) {
  char* end = nullptr;
  const double value = std::strtod(word.c_str(), &end);
  if (word.empty() || *end != '\0' || !(value >= least && value <= most)) return std::nullopt;
  return value;
}

absl::Status SetKey(const std::string& origin, const std::string& key, const std::string& value, HeadSpec& spec) {
  const auto is_not = [&](const char* bound) {
    return absl::InvalidArgumentError(origin + ": " + key + " of head " + spec.name + " must be " + bound + ", got " +
                                      Quoted(value));
  };
  if (key == "weight" || key == "bias" || key == "norm") {
    if (value.empty()) return is_not("a tensor's name");
    (key == "weight" ? spec.weight : key == "bias" ? spec.bias : spec.norm) = value;
  } else if (key == "layout") {
    if (value != "vd" && value != "dv") return is_not("vd (the weight is [V, d]) or dv ([d, V])");
    spec.layout = value == "vd" ? HeadSpec::Layout::kTokensFirst : HeadSpec::Layout::kDimensionsFirst;
  } else if (key == "norm_eps") {
    spec.norm_eps = NumberOf(value, 0, 1);
    if (!spec.norm_eps) return is_not("a number in [0, 1]");
  } else if (key == "logit_scale") {
    const auto scale = NumberOf(value, -1e6, 1e6);
    if (!scale || static_cast<float>(*scale) == 0) return is_not("a number in [-1e6, 1e6] other than 0");
    spec.logit_scale = static_cast<float>(*scale);
  } else if (key == "soft_cap") {
    const auto cap = NumberOf(value, 1e-6, 1e6);
    if (!cap) return is_not("a number in [1e-6, 1e6]");
    spec.soft_cap = static_cast<float>(*cap);
  } else {
    return absl::InvalidArgumentError(origin + ": head " + spec.name + " has the key " + Quoted(key) +
                                      "; the keys are weight, bias, layout, norm, norm_eps, logit_scale and soft_cap");
  }
  return absl::OkStatus();
}

}  // namespace

bool HeadSpec::is_gguf() const { return file.ends_with(".gguf"); }
bool HeadSpec::is_index() const { return file.ends_with(".index.json"); }

absl::StatusOr<HeadSpec> ParseHeadSpec(const std::string& origin, const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  HeadSpec spec;
  const size_t equals = parts.front().find('=');
  if (equals == std::string::npos) return Error(origin, text, "a head needs a name and a file");
  spec.name = parts.front().substr(0, equals);
  spec.file = parts.front().substr(equals + 1);
  if (!IsModelName(spec.name)) return Error(origin, text, std::string("a head's name must be ") + kModelNameRule);
  if (spec.file.empty()) return Error(origin, text, "a head needs a file");
  std::vector<std::string> keys;
  for (size_t i = 1; i < parts.size(); ++i) {
    const size_t at = parts[i].find('=');
    if (at == std::string::npos) return Error(origin, text, "each part after the file must be KEY=VALUE");
    keys.push_back(parts[i].substr(0, at));
    if (std::count(keys.begin(), keys.end(), keys.back()) > 1) {
      return Error(origin, text, "a key must be given once, " + Quoted(keys.back()) + " is given twice");
    }
    RETURN_IF_ERROR(SetKey(origin, keys.back(), parts[i].substr(at + 1), spec));
  }
  if (spec.is_gguf() && keys.size() > 0) {
    return absl::InvalidArgumentError(origin + ": head " + spec.name +
                                      " is a GGUF file, which says all by itself: it takes no keys, got " +
                                      Quoted(keys.front()));
  }
  if (spec.norm.empty() != !spec.norm_eps) {
    return absl::InvalidArgumentError(origin + ": norm and norm_eps of head " + spec.name +
                                      " need each other, got one of them");
  }
  return spec;
}

absl::StatusOr<std::vector<HeadSpec>> ParseHeadSpecs(const std::string& origin, const std::vector<std::string>& texts) {
  if (texts.size() > kMaxHeads) {
    return absl::InvalidArgumentError(origin + " must be given at most " + std::to_string(kMaxHeads) +
                                      " times, is given " + std::to_string(texts.size()) + " times");
  }
  std::vector<HeadSpec> specs;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(HeadSpec spec, ParseHeadSpec(origin, text));
    const auto is_same = [&spec](const HeadSpec& other) { return other.name == spec.name; };
    if (std::any_of(specs.begin(), specs.end(), is_same)) {
      return absl::InvalidArgumentError(origin + ": two heads have the name " + spec.name);
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

}  // namespace logitd::server

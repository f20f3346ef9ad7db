#include "server/head_config.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace logitd::server {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

// The number that the model's configuration has by this name, itself or for its text; 0: none.
double NumberOf(const nlohmann::json& config, const char* name) {
  if (const auto found = config.find(name); found != config.end() && found->is_number()) return found->get<double>();
  const auto text = config.find("text_config");
  if (text == config.end() || !text->is_object()) return 0;
  const auto found = text->find(name);
  return found != text->end() && found->is_number() ? found->get<double>() : 0;
}

absl::Status Missing(const std::string& path, const char* name, double value, const std::string& what) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, " says ", name, " = ", value, ", which changes the logits: add ", what, " to --head"));
}

// Names under which models keep a factor of their logits. Its meaning is the model's own: Granite divides by
// logits_scaling, and others multiply by it.
constexpr const char* kScales[] = {"logit_scale",        "logits_scaling",
                                   "lm_head_multiplier", "logits_mup_width_multiplier",
                                   "dim_model_base",     "output_multiplier_scale"};

}  // namespace

absl::Status CheckModelConfig(const HeadSpec& spec) {
  const std::string path = (std::filesystem::path(spec.file).parent_path() / "config.json").string();
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return absl::OkStatus();
  std::string text(kMaxConfigBytes, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  const auto config = nlohmann::json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return absl::OkStatus();
  if (const double cap = NumberOf(config, "final_logit_softcapping"); cap > 0 && !spec.soft_cap) {
    return Missing(path, "final_logit_softcapping", cap, absl::StrCat(",soft_cap=", cap));
  }
  if (spec.logit_scale) return absl::OkStatus();
  const std::string type = config.value("model_type", nlohmann::json()).dump();
  for (const char* name : kScales) {
    const double scale = NumberOf(config, name);
    if (scale == 0 || scale == 1) continue;
    if (name == std::string_view("logit_scale"))
      return Missing(path, name, scale, absl::StrCat(",logit_scale=", scale));
    if (name == std::string_view("logits_scaling") && absl::StartsWith(type, "\"granite")) {
      return Missing(path, name, scale, absl::StrCat(",logit_scale=", 1 / scale));
    }
    return Missing(path, name, scale, ",logit_scale=F, with the factor F that this model's code multiplies logits by,");
  }
  return absl::OkStatus();
}

}  // namespace logitd::server

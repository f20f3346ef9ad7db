#include "base/model_name.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/ascii.h"

namespace logitd {
namespace {

constexpr std::string_view kMarks = "._:/-";

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || kMarks.find(c) != std::string_view::npos;
}

}  // namespace

bool IsModelName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxModelNameBytes && std::all_of(name.begin(), name.end(), IsNameCharacter);
}

std::string ModelNameOf(const std::string& file) {
  std::string name = std::filesystem::path(file).stem().string().substr(0, kMaxModelNameBytes);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !IsNameCharacter(c); }, '-');
  return name.empty() ? "model" : name;
}

}  // namespace logitd

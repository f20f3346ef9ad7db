#include "client/cli/logits_list.h"

#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace logitd::cli {
namespace {

constexpr char kExpected[] = "numbers separated by commas (6,3,0.5)";

std::vector<std::string> PartsOf(const std::string& text) { return absl::StrSplit(text, ','); }

}  // namespace

Flag LogitsListFlag() { return {"--logits", "X,Y,...", "one number per token id; -inf excludes the token"}; }

bool IsLogitsList(const std::string& text) {
  for (const std::string& part : PartsOf(text)) {
    double value = 0;
    if (!absl::SimpleAtod(part, &value)) return false;
  }
  return true;
}

absl::Status SetLogitsList(const std::string& text, v1::Logits& out) {
  if (text.empty()) return UsageError("--logits", text, kExpected);
  for (const std::string& part : PartsOf(text)) {
    double value = 0;
    if (!absl::SimpleAtod(part, &value)) return UsageError("--logits", part, kExpected);
    // Finite text that f32 cannot hold would arrive as an infinity that nobody wrote.
    const bool is_written_infinite = part.find_first_of("iI") != std::string::npos;
    if (std::fabs(value) > std::numeric_limits<float>::max() && !std::isnan(value) && !is_written_infinite) {
      return UsageError("--logits", part, "f32 numbers, at most 3.4028235e38 in size");
    }
    out.add_float_values(static_cast<float>(value));
  }
  return absl::OkStatus();
}

}  // namespace logitd::cli

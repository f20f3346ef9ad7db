#include "client/cli/table.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"

namespace logitd::cli {

std::string Table::Render(bool colour) const {
  std::vector<int> widths;
  bool has_heading = false;
  for (const Column& column : columns_) {
    widths.push_back(DisplayWidth(column.heading));
    has_heading = has_heading || !column.heading.empty();
  }
  for (const std::vector<Cell>& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i].text));
  }

  std::string out;
  const auto add_line = [&](const std::vector<Cell>& row, bool is_heading) {
    std::string line;
    // Spaces are held back until something follows them.
    int gap = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string& text = row[i].text;
      const int padding = widths[i] - DisplayWidth(text);
      if (i > 0) gap += 2;
      if (columns_[i].alignment == kRight) gap += padding;
      if (!text.empty()) {
        line.append(gap, ' ');
        gap = 0;
        if (is_heading) {
          line += Dim(text, colour);
        } else {
          line += row[i].log_prob ? InLogProbColour(text, *row[i].log_prob, colour) : text;
        }
      }
      if (columns_[i].alignment == kLeft) gap += padding;
    }
    out += line + "\n";
  };

  if (has_heading) {
    std::vector<Cell> heading;
    for (const Column& column : columns_) heading.push_back({column.heading, std::nullopt});
    add_line(heading, /*is_heading=*/true);
  }
  for (const std::vector<Cell>& row : rows_) add_line(row, /*is_heading=*/false);
  return out;
}

std::string Bar(double value, double largest, int width) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  int eighths = 0;
  if (value > 0 && largest > 0) {
    eighths = std::clamp(static_cast<int>(std::lround(value / largest * width * 8)), 1, width * 8);
  }
  std::string out;
  for (int i = 0; i < eighths / 8; ++i) out += "█";
  out += kEighths[eighths % 8];
  out.append(width - (eighths + 7) / 8, ' ');
  return out;
}

std::string ShowNumber(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // From here on six decimals are noise.
  if (std::fabs(value) >= 1e9) return absl::StrFormat("%.6e", value);
  // -0.0000004 is shown as zero, without a sign.
  const std::string text = absl::StrFormat("%.6f", value);
  return text == "-0.000000" ? "0.000000" : text;
}

std::string ShowNumber(std::optional<double> value) { return value ? ShowNumber(*value) : "-"; }

}  // namespace logitd::cli

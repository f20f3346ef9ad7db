#include "client/cli/table.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"

namespace logitd::cli {

namespace {

constexpr int kGap = 2;
// A cell of text or a list in fewer columns would tell nothing.
constexpr int kLeastTextColumns = 12;
constexpr int kLeastWrapColumns = 30;

std::vector<std::string> PiecesOf(const std::string& text) { return absl::StrSplit(text, '\n'); }

std::string OnOneLine(const std::string& text) { return absl::StrJoin(PiecesOf(text), "  "); }

// Pieces two spaces apart, in lines of `width` columns.
std::vector<std::string> Wrapped(const std::string& text, int width) {
  std::vector<std::string> lines(1);
  for (const std::string& piece : PiecesOf(text)) {
    std::string& line = lines.back();
    if (line.empty()) {
      line = Shorten(piece, width);
    } else if (DisplayWidth(line) + kGap + DisplayWidth(piece) <= width) {
      absl::StrAppend(&line, "  ", piece);
    } else {
      lines.push_back(Shorten(piece, width));
    }
  }
  return lines;
}

int TotalWidth(const std::vector<int>& widths) {
  return std::accumulate(widths.begin(), widths.end(), 0) + kGap * std::max(0, static_cast<int>(widths.size()) - 1);
}

}  // namespace

std::vector<int> Table::WholeWidths() const {
  std::vector<int> widths;
  for (const Column& column : columns_) widths.push_back(DisplayWidth(column.heading));
  for (const std::vector<Cell>& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(OnOneLine(row[i].text)));
  }
  return widths;
}

std::vector<Table::Block> Table::BlocksFor(int width) const {
  std::vector<int> widths = WholeWidths();
  std::vector<size_t> all(columns_.size());
  std::iota(all.begin(), all.end(), 0);
  if (width <= 0 || TotalWidth(widths) <= width) return {{all, widths}};

  // Text gives way, the widest first, as long as a heading and a few letters have room.
  const auto give_way = [this](std::vector<int>& to, const std::vector<size_t>& numbers, int room) {
    while (TotalWidth(to) > room) {
      int* widest = nullptr;
      for (size_t i = 0; i < to.size(); ++i) {
        const Column& column = columns_[numbers[i]];
        if (column.squeeze != kShorten || to[i] <= std::max(kLeastTextColumns, DisplayWidth(column.heading))) continue;
        if (widest == nullptr || to[i] > *widest) widest = &to[i];
      }
      if (widest == nullptr) return false;
      --*widest;
    }
    return true;
  };
  std::vector<int> squeezed = widths;
  if (give_way(squeezed, all, width)) return {{all, squeezed}};

  Block keys;
  for (const size_t i : all) {
    if (!columns_[i].is_key) continue;
    keys.columns.push_back(i);
    keys.widths.push_back(widths[i]);
  }
  give_way(keys.widths, keys.columns, width / 2);
  std::vector<Block> blocks = {keys};
  for (const size_t i : all) {
    if (columns_[i].is_key) continue;
    const int room = width - TotalWidth(blocks.back().widths) - (blocks.back().widths.empty() ? 0 : kGap);
    const bool is_begun = blocks.back().columns.size() > keys.columns.size();
    const bool wraps = columns_[i].squeeze == kWrap;
    const bool fits = widths[i] <= room || (wraps && room >= kLeastWrapColumns);
    if (!fits && columns_[i].squeeze == kDrop) continue;
    if (!fits && is_begun) blocks.push_back(keys);
    Block& block = blocks.back();
    const int room_here = width - TotalWidth(block.widths) - (block.widths.empty() ? 0 : kGap);
    const bool gives_way = wraps || columns_[i].squeeze == kShorten;
    block.columns.push_back(i);
    block.widths.push_back(gives_way ? std::min(widths[i], std::max(room_here, kLeastTextColumns)) : widths[i]);
  }
  return blocks;
}

void Table::RenderBlock(const Block& block, bool colour, std::string& out) const {
  const auto add_line = [&](const std::vector<Cell>& cells, bool is_heading) {
    std::string line;
    // Spaces are held back until something follows them.
    int gap = 0;
    for (size_t i = 0; i < cells.size(); ++i) {
      const Column& column = columns_[block.columns[i]];
      const std::string text = Shorten(cells[i].text, block.widths[i]);
      const int padding = block.widths[i] - DisplayWidth(text);
      if (i > 0) gap += kGap;
      if (column.alignment == kRight) gap += padding;
      if (!text.empty()) {
        line.append(gap, ' ');
        gap = 0;
        if (is_heading) {
          line += Dim(text, colour);
        } else {
          line += cells[i].log_prob ? InLogProbColour(text, *cells[i].log_prob, colour) : text;
        }
      }
      if (column.alignment == kLeft) gap += padding;
    }
    // A bar is padded, and may be the last.
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };

  std::vector<Cell> headings;
  for (const size_t i : block.columns) headings.push_back({columns_[i].heading});
  const bool has_heading =
      std::any_of(columns_.begin(), columns_.end(), [](const Column& column) { return !column.heading.empty(); });
  if (has_heading) add_line(headings, /*is_heading=*/true);
  for (const std::vector<Cell>& row : rows_) {
    std::vector<std::vector<std::string>> lines;
    size_t height = 1;
    for (size_t i = 0; i < block.columns.size(); ++i) {
      const std::string& text = row[block.columns[i]].text;
      lines.push_back(columns_[block.columns[i]].squeeze == kWrap ? Wrapped(text, block.widths[i])
                                                                  : std::vector<std::string>{text});
      height = std::max(height, lines.back().size());
    }
    for (size_t at = 0; at < height; ++at) {
      std::vector<Cell> cells;
      for (size_t i = 0; i < block.columns.size(); ++i) {
        cells.push_back({at < lines[i].size() ? lines[i][at] : "", row[block.columns[i]].log_prob});
      }
      add_line(cells, /*is_heading=*/false);
    }
  }
}

std::string Table::Render(const Style& style) const {
  std::string out;
  for (const Block& block : BlocksFor(style.width)) {
    if (!out.empty()) out += "\n";
    RenderBlock(block, style.colour, out);
  }
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
  // Beyond this, six decimals are noise.
  if (std::fabs(value) >= 1e9) return absl::StrFormat("%.6e", value);
  // -0.0000004 is shown as zero, without a sign.
  const std::string text = absl::StrFormat("%.6f", value);
  return text == "-0.000000" ? "0.000000" : text;
}

std::string ShowNumber(std::optional<double> value) { return value ? ShowNumber(*value) : "-"; }

}  // namespace logitd::cli

// Aligned columns of text, and bars.
//
//   Table table({{"position", Table::kRight}, {"token", Table::kLeft}});
//   table.Add({{"0"}, {"\" Paris\""}});
//   out << table.Render(style);
#ifndef LOGITD_CLIENT_CLI_TABLE_H_
#define LOGITD_CLIENT_CLI_TABLE_H_

#include <optional>
#include <string>
#include <vector>

#include "client/cli/terminal.h"

namespace logitd::cli {

class Table {
 public:
  enum Alignment { kLeft, kRight };
  // How a column gives way in a table that is wider than the terminal.
  enum Squeeze {
    // It stays whole, if need be in another block.
    kWhole,
    // Its cells are cut, down to kLeastTextColumns, with an ellipsis.
    kShorten,
    // Its cells are lists of pieces, separated by newlines, which continue in the next line.
    kWrap,
    // It is an ornament, and left out if there is no room.
    kDrop,
  };
  struct Column {
    std::string heading;
    Alignment alignment = kRight;
    Squeeze squeeze = kWhole;
    // It identifies the row, and stands in front of every block.
    bool is_key = false;
  };
  struct Cell {
    std::string text;
    // Colours the cell as this log-prob. Unset: plain.
    std::optional<double> log_prob = std::nullopt;
  };

  // Columns with empty headings throughout: no heading line.
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns.
  void Add(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }

  // Every line ends with a newline, without spaces before it; columns stand two spaces apart. A table that is wider
  // than style.width is squeezed. If that is not enough it is split into blocks, one below the other: each has the key
  // columns, and as many other columns as fit. No number is left out.
  std::string Render(const Style& style) const;

 private:
  // Some of the columns, by their numbers, and how wide each is.
  struct Block {
    std::vector<size_t> columns;
    std::vector<int> widths;
  };
  // The columns' widths if each stands whole.
  std::vector<int> WholeWidths() const;
  std::vector<Block> BlocksFor(int width) const;
  void RenderBlock(const Block& block, bool colour, std::string& out) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// A bar of `value / largest` of `width` columns, in eighths of a column, padded with spaces to `width`. A value above
// zero shows at least the thinnest bar.
std::string Bar(double value, double largest, int width);

// Six decimals, with an exponent from 1e9 on; "-inf" and "nan" by name.
std::string ShowNumber(double value);
// ShowNumber, or "-" where there is no number.
std::string ShowNumber(std::optional<double> value);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_TABLE_H_

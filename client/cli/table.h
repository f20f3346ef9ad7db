// Aligned columns of text, and bars.
//
//   Table table({{"position", Table::kRight}, {"token", Table::kLeft}});
//   table.Add({{"0"}, {"\" Paris\""}});
//   out << table.Render(colour);
#ifndef LOGITD_CLIENT_CLI_TABLE_H_
#define LOGITD_CLIENT_CLI_TABLE_H_

#include <optional>
#include <string>
#include <vector>

namespace logitd::cli {

class Table {
 public:
  enum Alignment { kLeft, kRight };
  struct Column {
    std::string heading;
    Alignment alignment = kRight;
  };
  struct Cell {
    std::string text;
    // Colours the cell as this log-prob. Unset: plain.
    std::optional<double> log_prob;
  };

  // Columns with empty headings throughout: no heading line.
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns.
  void Add(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }

  // Every line ends with a newline; columns stand two spaces apart; no spaces at the end of a line.
  std::string Render(bool colour) const;

 private:
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

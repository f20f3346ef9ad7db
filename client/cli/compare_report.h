// The result of a comparison, as a document: sentences that answer, tables, plots, and the same as JSON. It is printed
// as text, or written as one page (compare_page.h).
//
//   ReportTable table{.heading = "in total", .columns = {{"sum"}}};
//   table.rows.push_back({{"-8.597665"}});
//   report.tables.push_back(std::move(table));
//   out << ReportText(report, session.style());
//
// Values. One thread.
#ifndef LOGITD_CLIENT_CLI_COMPARE_REPORT_H_
#define LOGITD_CLIENT_CLI_COMPARE_REPORT_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/table.h"
#include "client/cli/terminal.h"

namespace logitd::cli {

// Cells hold text that is safe to print (EscapeText).
struct ReportTable {
  std::string heading;
  std::vector<Table::Column> columns;
  std::vector<std::vector<Table::Cell>> rows = {};
  // A sentence below it. Empty: none.
  std::string note = "";
};

// One curve or one row of bars. A value that is not finite has no point.
struct PlotSeries {
  std::string name;
  // x ascends.
  std::vector<std::pair<double, double>> points;
};

struct Plot {
  enum Kind { kLines, kBars };
  std::string heading;
  std::string x_label;
  std::string y_label;
  Kind kind = kLines;
  // At most four.
  std::vector<PlotSeries> series = {};
  // The text of x = 0, 1, ..., shown beside a point that is pointed at. Empty: the number.
  std::vector<std::string> names = {};
};

struct CompareReport {
  // "two continuations"
  std::string title;
  // One sentence or a few each.
  std::vector<std::string> answers = {};
  std::vector<ReportTable> tables = {};
  std::vector<Plot> plots = {};
  // One object, without a newline.
  std::string json = {};
};

// The tables, then the sentences. Lines end with a newline and fit style.width.
std::string ReportText(const CompareReport& report, const Style& style);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMPARE_REPORT_H_

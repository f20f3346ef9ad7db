#include "client/cli/compare_report.h"

#include "absl/strings/str_cat.h"
#include "client/cli/filled_text.h"

namespace logitd::cli {
namespace {

// The indent of a sentence's further lines.
constexpr int kIndent = 2;

}  // namespace

std::string ReportText(const CompareReport& report, const Style& style) {
  std::string out;
  for (const ReportTable& part : report.tables) {
    Table table(part.columns);
    for (const std::vector<Table::Cell>& row : part.rows) table.Add(row);
    absl::StrAppend(&out, Bold(part.heading, style.colour), "\n", table.Render(style));
    if (!part.note.empty()) absl::StrAppend(&out, Filled(part.note, style.width, kIndent), "\n");
    out += "\n";
  }
  for (const std::string& answer : report.answers) absl::StrAppend(&out, Filled(answer, style.width, kIndent), "\n");
  return out;
}

}  // namespace logitd::cli

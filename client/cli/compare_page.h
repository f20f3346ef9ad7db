// A comparison as one HTML page that needs nothing besides itself: no script, no font, no picture, no network. Its
// Content-Security-Policy forbids everything but its own style sheet, which it names by its hash.
//
//   const std::string page = ReportPage(report);
//
// All text of the report is escaped, so that no token can become markup. The page follows the reader's choice of a dark
// or a light screen, and fits 400 pixels: tables scroll by themselves. Thread-safe.
#ifndef LOGITD_CLIENT_CLI_COMPARE_PAGE_H_
#define LOGITD_CLIENT_CLI_COMPARE_PAGE_H_

#include <string>
#include <string_view>

#include "client/cli/compare_report.h"

namespace logitd::cli {

// A table shows at most this many rows, a plot this many points of each series: a browser should not wait for a page.
// The page says so where it leaves some out.
inline constexpr size_t kMaxPageRows = 2000;

std::string ReportPage(const CompareReport& report);

// `text` with &, <, >, " and ' written as character references.
std::string EscapeHtml(std::string_view text);

// A plot as <svg>. Shows at most kMaxPageRows points of each series, evenly spread.
std::string PlotSvg(const Plot& plot);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMPARE_PAGE_H_

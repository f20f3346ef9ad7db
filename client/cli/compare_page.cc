#include "client/cli/compare_page.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace logitd::cli {
namespace {

// The colours of light-dark pairs have a contrast of at least 4.5 to their background (text), and 3 (curves).
constexpr char kStyleSheet[] = R"css(
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--paper:#fff;--line:#d0d7de;--a:#0550ae;--b:#bc4c00;--c:#116329;--d:#8250df}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--paper:#0d1117;--line:#3d444d;--a:#79c0ff;--b:#ffa657;--c:#7ee787;--d:#d2a8ff}}
body{margin:0 auto;padding:1rem;max-width:60rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font:14px/1.4 ui-monospace,monospace}
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);white-space:pre;text-align:right}
th{color:var(--soft);font-weight:600}
.text{text-align:left}
.note,figcaption{color:var(--soft);font-size:.9rem}
figure{margin:0}svg{width:100%;max-width:42rem;height:auto;display:block}
svg text{fill:var(--soft);font:12px system-ui,sans-serif}
.axis{stroke:var(--line);stroke-width:1}
.curve{fill:none;stroke-width:2}
.s0{stroke:var(--a)}.s1{stroke:var(--b)}.s2{stroke:var(--c)}.s3{stroke:var(--d)}
.f0{fill:var(--a)}.f1{fill:var(--b)}.f2{fill:var(--c)}.f3{fill:var(--d)}
svg text.f0{fill:var(--a)}svg text.f1{fill:var(--b)}svg text.f2{fill:var(--c)}svg text.f3{fill:var(--d)}
)css";

std::string Sha256Base64(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) return "";
  return absl::Base64Escape(std::string(reinterpret_cast<const char*>(digest.data()), size));
}

std::string TableHtml(const ReportTable& table) {
  const auto cell = [&](const char* tag, size_t column, const std::string& text) {
    const bool is_text = table.columns[column].alignment == Table::kLeft;
    // Text of a model may be written from right to left; it must not turn the numbers beside it round.
    return absl::StrCat("<", tag, is_text ? " class=\"text\"><bdi>" : ">", EscapeHtml(text), is_text ? "</bdi>" : "",
                        "</", tag, ">");
  };
  std::string out =
      absl::StrCat("<section><h2>", EscapeHtml(table.heading), "</h2><div class=\"scroll\"><table><thead><tr>");
  for (size_t i = 0; i < table.columns.size(); ++i) out += cell("th", i, table.columns[i].heading);
  out += "</tr></thead><tbody>\n";
  const size_t shown = std::min(table.rows.size(), kMaxPageRows);
  for (size_t row = 0; row < shown; ++row) {
    out += "<tr>";
    for (size_t i = 0; i < table.columns.size(); ++i) out += cell("td", i, table.rows[row][i].text);
    out += "</tr>\n";
  }
  out += "</tbody></table></div>";
  if (!table.note.empty()) absl::StrAppend(&out, "<p class=\"note\">", EscapeHtml(table.note), "</p>");
  if (shown < table.rows.size()) {
    absl::StrAppend(&out, "<p class=\"note\">The first ", shown, " of ", table.rows.size(),
                    " rows; --json has all of them.</p>");
  }
  return out + "</section>\n";
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string ReportPage(const CompareReport& report) {
  std::string out = absl::StrCat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-",
      Sha256Base64(kStyleSheet),
      "'; base-uri 'none'; form-action 'none'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"referrer\" content=\"no-referrer\">\n<title>",
      EscapeHtml(report.title), "</title>\n<style>", kStyleSheet, "</style></head>\n<body><main>\n<h1>",
      EscapeHtml(report.title), "</h1>\n");
  for (const std::string& answer : report.answers) absl::StrAppend(&out, "<p>", EscapeHtml(answer), "</p>\n");
  for (const Plot& plot : report.plots) {
    absl::StrAppend(&out, "<section><h2>", EscapeHtml(plot.heading), "</h2><figure>", PlotSvg(plot),
                    "</figure></section>\n");
  }
  for (const ReportTable& table : report.tables) out += TableHtml(table);
  return out + "</main></body></html>\n";
}

}  // namespace logitd::cli

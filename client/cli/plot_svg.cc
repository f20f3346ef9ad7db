// Plots of a page: curves and bars over axes with round numbers. Everything is drawn in units of a picture of 640 x
// 300, which the browser scales to its width.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/compare_page.h"

namespace logitd::cli {
namespace {

constexpr double kWidth = 420;
constexpr double kHeight = 280;
constexpr double kLeft = 56;
constexpr double kRight = 12;
constexpr double kTop = 34;
constexpr double kBottom = 44;
// A single row of bars does not become one block of colour.
constexpr double kWidestBar = 48;

// The interval that an axis shows, and the distance of its marks.
struct Scale {
  double least = 0;
  double most = 1;
  double step = 1;
};

// 1, 2 or 5 times a power of ten, so that about five marks fit.
double RoundStep(double span) {
  const double rough = span / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

// `is_count`: marks are whole numbers.
Scale ScaleOf(double least, double most, bool is_count) {
  if (!(most > least)) {
    const double room = std::max(1.0, std::abs(least)) / 2;
    least -= room;
    most += room;
  }
  Scale scale{least, most, RoundStep(most - least)};
  if (is_count) scale.step = std::max(1.0, std::round(scale.step));
  return scale;
}

std::string Unit(double value) { return absl::StrFormat("%.1f", value); }
// 0 has no sign.
std::string Mark(double value) { return absl::StrFormat("%.6g", value == 0 ? 0 : value); }

// Draws one plot.
class Drawing {
 public:
  explicit Drawing(const Plot& plot) : plot_(plot) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    double x_least = kInfinity, x_most = -kInfinity, y_least = kInfinity, y_most = -kInfinity;
    for (const PlotSeries& series : plot.series) {
      for (const auto& [x, y] : series.points) {
        if (!std::isfinite(y)) continue;
        x_least = std::min(x_least, x);
        x_most = std::max(x_most, x);
        y_least = std::min(y_least, y);
        y_most = std::max(y_most, y);
      }
    }
    is_empty_ = x_least > x_most;
    if (is_empty_) return;
    if (plot.kind == Plot::kBars) {
      // Bars begin at 0, and take half a position on both sides.
      y_least = std::min(0.0, y_least);
      y_most = std::max(0.0, y_most);
      x_least -= 0.5;
      x_most += 0.5;
    }
    x_ = ScaleOf(x_least, x_most, /*is_count=*/true);
    y_ = ScaleOf(y_least, y_most, /*is_count=*/false);
  }

  std::string Draw() {
    out_ = absl::StrCat("<svg viewBox=\"0 0 ", kWidth, " ", kHeight, "\" role=\"img\" aria-label=\"",
                        EscapeHtml(plot_.heading), "\">");
    DrawLegend();
    if (is_empty_) {
      Text(kWidth / 2, kHeight / 2, "middle", "no finite value", "");
    } else {
      DrawAxes();
      for (size_t s = 0; s < plot_.series.size(); ++s) {
        plot_.kind == Plot::kBars ? DrawBars(s) : DrawCurve(s);
      }
    }
    return out_ + "</svg>";
  }

 private:
  double X(double x) const { return kLeft + (x - x_.least) / (x_.most - x_.least) * (kWidth - kLeft - kRight); }
  double Y(double y) const {
    return kHeight - kBottom - (y - y_.least) / (y_.most - y_.least) * (kHeight - kTop - kBottom);
  }
  void Text(double x, double y, const char* anchor, const std::string& text, const std::string& style) {
    absl::StrAppend(&out_, "<text x=\"", Unit(x), "\" y=\"", Unit(y), "\" text-anchor=\"", anchor, "\"",
                    style.empty() ? "" : absl::StrCat(" class=\"", style, "\""), ">", EscapeHtml(text), "</text>");
  }
  void Line(double x1, double y1, double x2, double y2) {
    absl::StrAppend(&out_, "<line class=\"axis\" x1=\"", Unit(x1), "\" y1=\"", Unit(y1), "\" x2=\"", Unit(x2),
                    "\" y2=\"", Unit(y2), "\"/>");
  }
  // The names of the series above the plot, in their colours, side by side.
  void DrawLegend() {
    const double room = (kWidth - kLeft) / static_cast<double>(std::max<size_t>(1, plot_.series.size()));
    // About seven units a letter.
    const auto letters = static_cast<size_t>(room / 7);
    for (size_t s = 0; s < plot_.series.size(); ++s) {
      std::string name = plot_.series[s].name;
      if (name.size() > letters) {
        size_t end = letters - 1;
        while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;
        name = name.substr(0, end) + "…";
      }
      Text(kLeft + room * static_cast<double>(s), 16, "start", absl::StrCat("■ ", name), absl::StrCat("f", s));
    }
  }
  void DrawAxes() {
    for (double y = std::ceil(y_.least / y_.step) * y_.step; y <= y_.most + y_.step * 1e-9; y += y_.step) {
      Line(kLeft, Y(y), kWidth - kRight, Y(y));
      Text(kLeft - 6, Y(y) + 4, "end", Mark(std::abs(y) < y_.step * 1e-9 ? 0 : y), "");
    }
    for (double x = std::ceil(x_.least / x_.step) * x_.step; x <= x_.most; x += x_.step) {
      Text(X(x), kHeight - kBottom + 18, "middle", Mark(x), "");
    }
    Text((kLeft + kWidth - kRight) / 2, kHeight - 6, "middle", plot_.x_label, "");
    Text(kLeft - 6, kTop - 6, "end", plot_.y_label, "");
  }
  // The points that are drawn: all, or evenly spread ones.
  std::vector<std::pair<double, double>> Shown(const PlotSeries& series) const {
    if (series.points.size() <= kMaxPageRows) return series.points;
    std::vector<std::pair<double, double>> shown;
    for (size_t i = 0; i < kMaxPageRows; ++i) {
      shown.push_back(series.points[i * (series.points.size() - 1) / (kMaxPageRows - 1)]);
    }
    return shown;
  }
  std::string Tip(const PlotSeries& series, double x, double y) const {
    const auto at = static_cast<size_t>(std::max(0.0, x));
    const std::string name = at < plot_.names.size() ? absl::StrCat(" ", plot_.names[at]) : "";
    return absl::StrCat("<title>",
                        EscapeHtml(absl::StrCat(plot_.x_label, " ", Mark(x), name, ", ", series.name, ": ", Mark(y))),
                        "</title>");
  }
  void DrawCurve(size_t s) {
    const std::vector<std::pair<double, double>> points = Shown(plot_.series[s]);
    // A value that is not finite breaks the curve.
    std::string path;
    bool is_begun = false;
    for (const auto& [x, y] : points) {
      if (!std::isfinite(y)) {
        is_begun = false;
        continue;
      }
      absl::StrAppend(&path, is_begun ? "L" : "M", Unit(X(x)), " ", Unit(Y(y)));
      is_begun = true;
    }
    absl::StrAppend(&out_, "<path class=\"curve s", s, "\" d=\"", path, "\"/>");
    for (const auto& [x, y] : points) {
      if (!std::isfinite(y)) continue;
      absl::StrAppend(&out_, "<circle class=\"f", s, "\" cx=\"", Unit(X(x)), "\" cy=\"", Unit(Y(y)), "\" r=\"",
                      points.size() > 100 ? 1 : 4, "\">", Tip(plot_.series[s], x, y), "</circle>");
    }
  }
  // The series' bars stand side by side at each position.
  void DrawBars(size_t s) {
    const double count = static_cast<double>(plot_.series.size());
    const double width = std::min(kWidestBar, (X(1) - X(0)) * 0.8 / count);
    for (const auto& [x, y] : Shown(plot_.series[s])) {
      if (!std::isfinite(y)) continue;
      const double left = X(x) + width * (static_cast<double>(s) - count / 2);
      const double top = Y(std::max(0.0, y));
      // At least a hair's breadth, so that a small value is seen.
      const double height = std::max(y == 0 ? 0.0 : 1.0, std::abs(Y(y) - Y(0)));
      absl::StrAppend(&out_, "<rect class=\"f", s, "\" x=\"", Unit(left), "\" y=\"", Unit(top), "\" width=\"",
                      absl::StrFormat("%.2f", std::max(0.3, width)), "\" height=\"", Unit(height), "\">",
                      Tip(plot_.series[s], x, y), "</rect>");
    }
  }

  const Plot& plot_;
  bool is_empty_ = false;
  Scale x_;
  Scale y_;
  std::string out_;
};

}  // namespace

std::string PlotSvg(const Plot& plot) { return Drawing(plot).Draw(); }

}  // namespace logitd::cli

#include "client/cli/calibration_view.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/filled_text.h"
#include "client/cli/table.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

constexpr int kBarWidth = 20;
// A multinomial's weights are in the file; nobody reads a table of more.
constexpr int kMostShownLabels = 50;

std::string NameOf(const v1::Calibration& calibration, int label) {
  if (label < calibration.label_names_size()) return EscapeText(calibration.label_names(label));
  return absl::StrCat(label);
}

std::string Short(double value) { return absl::StrFormat("%.4f", value); }

std::string Show(const v1::MetricEstimate& estimate) {
  if (!estimate.has_lower()) return Short(estimate.value());
  return absl::StrCat(Short(estimate.value()), " [", Short(estimate.lower()), ", ", Short(estimate.upper()), "]");
}

std::string Parameters(const v1::Calibration& calibration, const Style& style) {
  if (calibration.kind() == v1::CALIBRATION_KIND_TEMPERATURE) {
    return absl::StrCat("temperature: ", ShowNumber(1 / calibration.weights(0)), "\n");
  }
  const bool is_vector = calibration.kind() == v1::CALIBRATION_KIND_VECTOR_SCALING;
  std::vector<Table::Column> columns = {{"label", Table::kLeft, Table::kShorten, /*is_key=*/true}};
  if (is_vector) columns.push_back({"scale"});
  columns.push_back({"offset"});
  Table table(std::move(columns));
  for (int k = 0; k < std::min(calibration.label_count(), kMostShownLabels); ++k) {
    std::vector<Table::Cell> cells = {{NameOf(calibration, k)}};
    if (is_vector) cells.push_back({ShowNumber(calibration.weights(k))});
    cells.push_back({ShowNumber(calibration.offsets(k))});
    table.Add(std::move(cells));
  }
  std::string text = table.Render(style);
  if (calibration.label_count() > kMostShownLabels) {
    absl::StrAppend(&text, "(", calibration.label_count() - kMostShownLabels, " more labels)\n");
  }
  if (!is_vector) absl::StrAppend(&text, "weights: ", calibration.weights_size(), ", in the file\n");
  return text;
}

std::string Metrics(const v1::CalibrationEvaluation& evaluation, const Style& style) {
  const bool has_before = evaluation.has_before();
  std::vector<Table::Column> columns = {{"held out", Table::kLeft, Table::kWhole, /*is_key=*/true}};
  if (has_before) columns.push_back({"before"});
  columns.push_back({"after"});
  if (has_before) columns.push_back({"difference"});
  Table table(std::move(columns));
  const auto add = [&](const char* name, const v1::MetricEstimate& (v1::CalibrationMetrics::*of)() const) {
    std::vector<Table::Cell> cells = {{name}};
    if (has_before) cells.push_back({Show((evaluation.before().*of)())});
    cells.push_back({Show((evaluation.after().*of)())});
    if (has_before) cells.push_back({Show((evaluation.difference().*of)())});
    table.Add(std::move(cells));
  };
  add("NLL, nats", &v1::CalibrationMetrics::nll);
  add("Brier score", &v1::CalibrationMetrics::brier);
  add("calibration error", &v1::CalibrationMetrics::ece);
  add("accuracy", &v1::CalibrationMetrics::accuracy);
  return table.Render(style);
}

std::string Diagram(const v1::CalibrationEvaluation& evaluation, const Style& style) {
  const bool has_before = evaluation.has_before();
  std::vector<Table::Column> columns = {{"confidence", Table::kRight, Table::kWhole, /*is_key=*/true}};
  const auto heading = [&](const char* when) {
    columns.push_back({absl::StrCat(when, "n")});
    columns.push_back({absl::StrCat(when, "mean")});
    columns.push_back({absl::StrCat(when, "right")});
    columns.push_back({"", Table::kLeft, Table::kDrop});
  };
  if (has_before) heading("before: ");
  heading(has_before ? "after: " : "");
  Table table(std::move(columns));
  for (int i = 0; i < evaluation.bins_after_size(); ++i) {
    const v1::ReliabilityBin& after = evaluation.bins_after(i);
    const bool has_one = after.count() > 0 || (has_before && evaluation.bins_before(i).count() > 0);
    if (!has_one) continue;
    std::vector<Table::Cell> cells = {{absl::StrFormat("%.3f-%.3f", after.lower(), after.upper())}};
    const auto add = [&cells](const v1::ReliabilityBin& bin) {
      const bool is_empty = bin.count() == 0;
      cells.push_back({absl::StrCat(bin.count())});
      cells.push_back({is_empty ? "-" : absl::StrFormat("%.3f", bin.confidence())});
      cells.push_back({is_empty ? "-" : absl::StrFormat("%.3f", bin.accuracy())});
      cells.push_back({is_empty ? "" : Bar(bin.accuracy(), 1, kBarWidth)});
    };
    if (has_before) add(evaluation.bins_before(i));
    add(after);
    table.Add(std::move(cells));
  }
  return table.Render(style);
}

// Whether the fit has helped, in words.
std::string Verdict(const v1::CalibrationEvaluation& evaluation) {
  if (!evaluation.has_before()) return "";
  const double difference = evaluation.difference().nll().value();
  const double error = evaluation.nll_difference_standard_error();
  const std::string numbers = absl::StrFormat("%.4f nats, standard error %.4f", std::abs(difference), error);
  if (difference > 2 * error) {
    return absl::StrCat("The calibration makes samples that it has not seen worse (NLL + ", numbers,
                        "): use a simpler kind, a larger --l2 or more samples.\n");
  }
  if (difference < -2 * error) {
    return absl::StrCat("The calibration improves samples that it has not seen (NLL - ", numbers, ").\n");
  }
  return absl::StrCat("The calibration changes samples that it has not seen by less than two standard errors (NLL ",
                      difference < 0 ? "- " : "+ ", numbers, ").\n");
}

// The place of a point in the picture's square of 400 units.
double X(double confidence) { return 50 + 400 * confidence; }
double Y(double accuracy) { return 430 - 400 * accuracy; }

void AddSeries(const google::protobuf::RepeatedPtrField<v1::ReliabilityBin>& bins, const char* colour, double offset,
               std::string& svg) {
  int64_t total = 0;
  for (const v1::ReliabilityBin& bin : bins) total += bin.count();
  std::string line;
  std::string points;
  for (const v1::ReliabilityBin& bin : bins) {
    if (bin.count() == 0) continue;
    const double share = static_cast<double>(bin.count()) / static_cast<double>(total);
    absl::StrAppendFormat(&line, "%s%.1f,%.1f", line.empty() ? "" : " ", X(bin.confidence()), Y(bin.accuracy()));
    absl::StrAppendFormat(&points,
                          "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\"><title>%d samples, mean "
                          "confidence %.3f, right %.3f</title></circle>\n",
                          X(bin.confidence()), Y(bin.accuracy()), 2.5 + 6 * std::sqrt(share), colour, bin.count(),
                          bin.confidence(), bin.accuracy());
    const double width = 400 * (bin.upper() - bin.lower()) / 2 - 1;
    absl::StrAppendFormat(&points, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n",
                          X(bin.lower()) + offset * (width + 1), 560 - 80 * share, std::max(width, 0.5), 80 * share,
                          colour);
  }
  absl::StrAppend(&svg, "<polyline points=\"", line, "\" fill=\"none\" stroke=\"", colour, "\" stroke-width=\"2\"/>\n",
                  points);
}

}  // namespace

std::string CalibrationView(const v1::Calibration& calibration, const Style& style) {
  std::string text = Parameters(calibration, style);
  absl::StrAppend(&text, "samples: ", calibration.sample_count(), ", labels: ", calibration.label_count(), "\n");
  if (!calibration.has_evaluation()) return text;
  const v1::CalibrationEvaluation& evaluation = calibration.evaluation();
  absl::StrAppend(&text, "\n", Metrics(evaluation, style), "\n", Diagram(evaluation, style), "\n",
                  Filled(Verdict(evaluation), style.width));
  return text;
}

std::string ReliabilitySvg(const v1::Calibration& calibration) {
  const v1::CalibrationEvaluation& evaluation = calibration.evaluation();
  std::string svg =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 480 610\" width=\"480\" height=\"610\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"480\" height=\"610\" fill=\"#ffffff\"/>\n"
      "<text x=\"50\" y=\"20\">Reliability of held-out predictions</text>\n";
  for (int i = 0; i <= 10; i += 2) {
    const double at = i / 10.0;
    absl::StrAppendFormat(&svg,
                          "<path d=\"M%.1f 430V30M50 %.1fH450\" stroke=\"#dddddd\" fill=\"none\"/>\n"
                          "<text x=\"%.1f\" y=\"446\" text-anchor=\"middle\">%.1f</text>\n"
                          "<text x=\"44\" y=\"%.1f\" text-anchor=\"end\">%.1f</text>\n",
                          X(at), Y(at), X(at), at, Y(at) + 4, at);
  }
  absl::StrAppend(
      &svg,
      "<path d=\"M50 430L450 30\" stroke=\"#888888\" stroke-dasharray=\"4 4\"/>\n"
      "<text x=\"250\" y=\"464\" text-anchor=\"middle\">mean confidence</text>\n"
      "<text x=\"14\" y=\"230\" text-anchor=\"middle\" transform=\"rotate(-90 14 230)\">share of samples that "
      "are right</text>\n"
      "<text x=\"44\" y=\"524\" text-anchor=\"end\">share</text>\n<path d=\"M50 560H450\" "
      "stroke=\"#888888\"/>\n");
  constexpr char kBefore[] = "#d95f02";
  constexpr char kAfter[] = "#1b6ca8";
  if (evaluation.has_before()) AddSeries(evaluation.bins_before(), kBefore, 0, svg);
  AddSeries(evaluation.bins_after(), kAfter, 1, svg);
  const auto legend = [&](double x, const char* colour, const char* name, const v1::CalibrationMetrics& metrics) {
    absl::StrAppendFormat(&svg,
                          "<circle cx=\"%.0f\" cy=\"585\" r=\"5\" fill=\"%s\"/>\n"
                          "<text x=\"%.0f\" y=\"589\">%s: error %.4f, NLL %.4f</text>\n",
                          x, colour, x + 10, name, metrics.ece().value(), metrics.nll().value());
  };
  if (evaluation.has_before()) legend(55, kBefore, "before", evaluation.before());
  legend(255, kAfter, "after", evaluation.after());
  absl::StrAppend(&svg, "</svg>\n");
  return svg;
}

}  // namespace logitd::cli

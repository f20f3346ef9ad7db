#include "client/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

struct Step {
  // Lower end of the step in nats: ln 0.9, ln 0.5, ln 0.2, ln 0.05, ln 0.01, all below.
  double from;
  const char* name;
  int colour;
};

constexpr Step kSteps[] = {
    {-0.10536, ">= -0.1", 35}, {-0.69315, ">= -0.7", 71},  {-1.60944, ">= -1.6", 142},
    {-2.99573, ">= -3", 172},  {-4.60517, ">= -4.6", 166}, {-1e308, "below", 160},
};

const Step& StepOf(double log_prob) {
  for (const Step& step : kSteps) {
    if (log_prob >= step.from) return step;
  }
  return kSteps[std::size(kSteps) - 1];
}

std::string Paint(std::string_view text, int colour) {
  return absl::StrCat("\x1b[38;5;", colour, "m", std::string(text), "\x1b[0m");
}

}  // namespace

bool IsTerminal(int file_descriptor) { return isatty(file_descriptor) == 1; }

int TerminalWidth(int file_descriptor) {
  winsize size{};
  if (ioctl(file_descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  int columns = 0;
  const char* variable = std::getenv("COLUMNS");
  return variable != nullptr && absl::SimpleAtoi(variable, &columns) && columns > 0 ? columns : 80;
}

bool UseColour(ColourMode mode, bool is_terminal, const Environment& environment) {
  if (mode != ColourMode::kAuto) return mode == ColourMode::kAlways;
  return is_terminal && environment.variable("NO_COLOR").empty() && environment.variable("TERM") != "dumb";
}

std::string ShortenOnTerminal(std::string_view text, int columns, const Style& style) {
  return style.width > 0 ? Shorten(text, columns) : std::string(text);
}

std::string Dim(std::string_view text, bool colour) {
  return colour ? absl::StrCat("\x1b[2m", std::string(text), "\x1b[0m") : std::string(text);
}

std::string Bold(std::string_view text, bool colour) {
  return colour ? absl::StrCat("\x1b[1m", std::string(text), "\x1b[0m") : std::string(text);
}

std::string InLogProbColour(std::string_view text, double log_prob, bool colour) {
  return colour ? Paint(text, StepOf(log_prob).colour) : std::string(text);
}

std::string LogProbLegend(const Style& style) {
  if (!style.colour) return "";
  std::string out = "model log-prob:";
  int column = DisplayWidth(out);
  for (const Step& step : kSteps) {
    const std::string text = absl::StrCat("■ ", step.name);
    const int gap = column == DisplayWidth("model log-prob:") ? 1 : 2;
    const bool fits = style.width <= 0 || column + gap + DisplayWidth(text) <= style.width;
    absl::StrAppend(&out, fits ? std::string(gap, ' ') : "\n", Paint(text, step.colour));
    column = (fits ? column + gap : 0) + DisplayWidth(text);
  }
  return out;
}

}  // namespace logitd::cli

// Whether a stream is a terminal, its width, its colours, and the colours of log-probs.
#ifndef LOGITD_CLIENT_CLI_TERMINAL_H_
#define LOGITD_CLIENT_CLI_TERMINAL_H_

#include <string>
#include <string_view>

#include "client/cli/environment.h"

namespace logitd::cli {

// True if the file descriptor is a terminal.
bool IsTerminal(int file_descriptor);
// Its columns, else the variable COLUMNS, else 80.
int TerminalWidth(int file_descriptor);

enum class ColourMode { kAuto, kAlways, kNever };

// Whether to colour a stream. kAuto: it is a terminal, NO_COLOR is not set (no-color.org), TERM is not "dumb".
bool UseColour(ColourMode mode, bool is_terminal, const Environment& environment);

// How a stream is written to.
struct Style {
  // Implicit: a bool alone is a style of any width.
  Style(bool use_colour = false, int columns = 0) : colour(use_colour), width(columns) {}  // NOLINT
  bool colour;
  // Columns that a table may take; 0: as many as it needs (no terminal).
  int width;
};

// `text`, cut to `columns` columns on a terminal, whole elsewhere.
std::string ShortenOnTerminal(std::string_view text, int columns, const Style& style);

// `text` in dim or bold face, or as it is if `colour` is false.
std::string Dim(std::string_view text, bool colour);
std::string Bold(std::string_view text, bool colour);

// `text` in the colour of a log-prob (nats): six steps of the 256-colour palette from green (nearly certain) over
// yellow to red (unlikely), all readable on a dark and on a light background.
std::string InLogProbColour(std::string_view text, double log_prob, bool colour);

// The legend of the colours in lines that fit, without a newline at the end. Empty without colours.
std::string LogProbLegend(const Style& style);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_TERMINAL_H_

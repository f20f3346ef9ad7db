// Text from outside, made fit for a line of a terminal: what tokens, prompts and labels look like when they are shown.
#ifndef LOGITD_CLIENT_CLI_TOKEN_TEXT_H_
#define LOGITD_CLIENT_CLI_TOKEN_TEXT_H_

#include <string>
#include <string_view>

namespace logitd::cli {

// On one line and harmless: control characters become \n, \t, \r or \xNN (C1 controls too), a backslash \\, bytes that
// are not UTF-8 \xNN.
std::string EscapeText(std::string_view bytes);

// For running text on a terminal: as EscapeText, but newlines, tabs and backslashes stay. A model's output must not be
// able to send escape sequences.
std::string SanitizeForTerminal(std::string_view bytes);

// A token as the tables show it: its bytes escaped and in quotation marks; "(control)" if it has none.
std::string ShowToken(std::string_view token_bytes);

// Columns that UTF-8 text takes on a terminal: 2 for East Asian wide characters and emoji, 0 for combining marks.
int DisplayWidth(std::string_view text);

// The longest beginning of `text` that takes at most `width` columns.
std::string FirstColumns(std::string_view text, int width);

// `text` cut to at most `width` columns, the last of them "…" if something was cut.
std::string Shorten(std::string_view text, int width);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_TOKEN_TEXT_H_

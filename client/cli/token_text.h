// Text from outside, made fit for a line of a terminal: how tokens, prompts and labels are shown.
#ifndef LOGITD_CLIENT_CLI_TOKEN_TEXT_H_
#define LOGITD_CLIENT_CLI_TOKEN_TEXT_H_

#include <string>
#include <string_view>

namespace logitd::cli {

// The text on one line and harmless:
// - Control characters become \n, \t, \r or \xNN, C1 controls too.
// - A backslash becomes two.
// - Bytes that are not UTF-8 become \xNN.
std::string EscapeText(std::string_view bytes);

// As EscapeText, for running text on a terminal: newlines, tabs and backslashes stay. A model's output can send no
// escape sequence.
std::string SanitizeForTerminal(std::string_view bytes);

// A token as the tables show it: its bytes escaped and in quotation marks; "(control)" if it has none.
std::string ShowToken(std::string_view token_bytes);

// The columns of UTF-8 text on a terminal: 2 for East Asian wide characters and emoji, 0 for combining marks.
int DisplayWidth(std::string_view text);

// The longest prefix of `text` that has at most `width` columns.
std::string FirstColumns(std::string_view text, int width);

// `text`, cut to at most `width` columns; the last one is "…" then.
std::string Shorten(std::string_view text, int width);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_TOKEN_TEXT_H_

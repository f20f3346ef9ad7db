// Formats untrusted text (tokens, prompts, labels) for display on a terminal.
#ifndef LOGITD_CLIENT_CLI_TOKEN_TEXT_H_
#define LOGITD_CLIENT_CLI_TOKEN_TEXT_H_

#include <string>
#include <string_view>

namespace logitd::cli {

// Returns `bytes` as one line that is safe to print:
// - Control characters become \n, \t, \r or \xNN, C1 controls too.
// - A backslash is doubled.
// - Bytes that are not UTF-8 become \xNN.
std::string EscapeText(std::string_view bytes);

// As EscapeText, for running text on a terminal: newlines, tabs and backslashes stay. A model's output still cannot
// send an escape sequence.
std::string SanitizeForTerminal(std::string_view bytes);

// A token as the tables show it: its escaped bytes in quotation marks, or "(control)" if it has no bytes.
std::string ShowToken(std::string_view token_bytes);

// The number of terminal columns of UTF-8 text: 2 for each East Asian wide character and emoji, 0 for each combining
// mark, 1 for any other character, and for a byte that is not UTF-8.
int DisplayWidth(std::string_view text);

// The longest prefix of `text` that has at most `width` columns.
std::string FirstColumns(std::string_view text, int width);

// `text` if it fits in `width` columns; otherwise cut so that it fits, with "…" at its end.
std::string Shorten(std::string_view text, int width);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_TOKEN_TEXT_H_

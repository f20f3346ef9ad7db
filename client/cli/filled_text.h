// Sentences in lines that fit a terminal.
//
//   Filled("winner by sum: \" mat\", \" rug\"", 20, 2)   // "winner by sum:\n  \" mat\", \" rug\""
#ifndef LOGITD_CLIENT_CLI_FILLED_TEXT_H_
#define LOGITD_CLIENT_CLI_FILLED_TEXT_H_

#include <string>
#include <string_view>

namespace logitd::cli {

// Breaks `text` at spaces into lines of at most `width` columns; 0: does not break lines. A wider word is broken where
// the line ends. The text's own line ends stay.
//
// Every line except the first is indented by `indent` columns. `taken`: the columns that are taken in the first line.
std::string Filled(std::string_view text, int width, int indent = 0, int taken = 0);

// Breaks a shell command into lines of at most `width` columns. Every line except the last ends with a backslash, every
// line except the first is indented by four columns. Breaks stand between words only, so the shell reads the same
// command.
std::string FilledCommand(std::string_view command, int width);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_FILLED_TEXT_H_

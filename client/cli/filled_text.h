// Sentences in lines that fit a terminal.
//
//   Filled("winner by sum: \" mat\", \" rug\"", 20, 2)   // "winner by sum:\n  \" mat\", \" rug\""
#ifndef LOGITD_CLIENT_CLI_FILLED_TEXT_H_
#define LOGITD_CLIENT_CLI_FILLED_TEXT_H_

#include <string>
#include <string_view>

namespace logitd::cli {

// `text` in lines of at most `width` columns, broken at spaces; a word that is wider is broken where the line ends. The
// text's own line ends stay. Width 0: lines are not broken.
//
// All lines but the first are indented by `indent` columns. `taken`: columns of the first line that something before
// `text` takes.
std::string Filled(std::string_view text, int width, int indent = 0, int taken = 0);

// A shell's command in lines of at most `width` columns, each but the last ended by a backslash, the further ones
// indented by four columns: broken only where the shell would take a line's end for a space.
std::string FilledCommand(std::string_view command, int width);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_FILLED_TEXT_H_

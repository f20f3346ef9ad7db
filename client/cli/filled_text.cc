#include "client/cli/filled_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/token_text.h"

namespace logitd::cli {

namespace {

constexpr int kWidestCharacter = 2;

}  // namespace

std::string Filled(std::string_view text, int width, int indent, int taken) {
  if (width <= 0) width = 1 << 30;
  // On a terminal of a few columns, indented text has at least one column.
  const int last = std::max(width, indent + 1);
  const std::string line_end = "\n" + std::string(indent, ' ');
  std::string out;
  int column = taken;
  int begin = taken;
  const auto end_line = [&] {
    out.erase(out.find_last_not_of(' ') + 1);
    out += line_end;
    column = begin = indent;
  };
  bool is_first = true;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(std::string(text), '\n'))) {
    if (!is_first) end_line();
    is_first = false;
    bool begins_line = true;
    for (std::string word : std::vector<std::string>(absl::StrSplit(line, ' '))) {
      int columns = DisplayWidth(word);
      if (!begins_line && column + 1 + columns > last && column > begin) {
        end_line();
      } else if (!begins_line) {
        out += ' ';
        ++column;
      }
      begins_line = false;
      while (column + columns > last) {
        std::string part = FirstColumns(word, last - column);
        // A character that is wider than the line has a line of its own.
        if (part.empty() && column == begin) part = FirstColumns(word, kWidestCharacter);
        if (part.size() == word.size()) break;
        out += part;
        word.erase(0, part.size());
        columns = DisplayWidth(word);
        end_line();
      }
      out += word;
      column += columns;
    }
  }
  return out;
}

std::string FilledCommand(std::string_view command, int width) {
  constexpr int kIndent = 4;
  // The parts that must stay together: words, and text in quotation marks.
  std::vector<std::string> words(1);
  char quote = 0;
  for (const char c : command) {
    if (c == quote) {
      quote = 0;
    } else if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    }
    if (c == ' ' && quote == 0) {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  std::string out;
  int column = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    const int columns = DisplayWidth(words[i]);
    // Every line except the last needs room for " \\".
    const int room = i + 1 < words.size() ? width - 2 : width;
    if (i > 0 && column + 1 + columns > room) {
      absl::StrAppend(&out, " \\\n", std::string(kIndent, ' '));
      column = kIndent;
    } else if (i > 0) {
      out += ' ';
      ++column;
    }
    out += words[i];
    column += columns;
  }
  return out;
}

}  // namespace logitd::cli

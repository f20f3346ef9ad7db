#include "client/cli/help_text.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/cli/filled_text.h"

namespace logitd::cli {
namespace {

// Help beside a flag has at least this many columns; with fewer it stands below its flag.
constexpr int kLeastHelpColumns = 24;
constexpr size_t kIndentBelow = 6;
// Examples fit a terminal of 80 columns, and stay as they are on others.
constexpr int kExampleColumns = 78;

// A left column and the text beside it.
using Rows = std::vector<std::pair<std::string, std::string>>;

// "  LEFT  text", the texts below each other from `column` on.
std::string TwoColumns(const Rows& rows, size_t column, int width) {
  const bool is_below = width > 0 && static_cast<int>(column) + kLeastHelpColumns > width;
  const size_t indent = is_below ? kIndentBelow : column;
  std::string out;
  for (const auto& [left, text] : rows) {
    std::string head = absl::StrCat("  ", left, is_below ? "\n" : "");
    head.append(indent - (is_below ? 0 : head.size()), ' ');
    absl::StrAppend(&out, head, Filled(text, width, static_cast<int>(indent), static_cast<int>(indent)), "\n");
  }
  return out;
}

// The column where the texts begin.
size_t ColumnOf(const Rows& rows) {
  size_t longest = 0;
  for (const auto& row : rows) longest = std::max(longest, row.first.size());
  return longest + 4;
}

// "-h, --help", "--top-k K".
std::string Usage(const Flag& flag) {
  const bool is_short = flag.alias.size() == 2;
  return absl::StrCat(is_short ? flag.alias + ", " : "", flag.name,
                      is_short || flag.alias.empty() ? "" : ", " + flag.alias, flag.value.empty() ? "" : " ",
                      flag.value);
}

std::string Examples(std::string_view examples) {
  std::string out = "Examples:\n";
  for (const std::string& line :
       std::vector<std::string>(absl::StrSplit(std::string(examples), '\n', absl::SkipEmpty()))) {
    absl::StrAppend(&out, "  ", absl::StrReplaceAll(FilledCommand(line, kExampleColumns), {{"\n", "\n  "}}), "\n");
  }
  return out;
}

}  // namespace

std::string HelpText(const std::vector<Command>& commands, int width) {
  Rows rows;
  for (const Command& command : commands) rows.emplace_back(command.name, command.purpose);
  return absl::StrCat(
      Filled("logit talks to a logitd server: completions, scores, rankings and distributions, with their log-probs.",
             width),
      "\n\nUsage: logit COMMAND [FLAGS] [TEXT...]\n\nCommands:\n", TwoColumns(rows, ColumnOf(rows), width), "\n",
      Filled(
          "`logit COMMAND --help` has the flags and examples. `logit --version` prints the version. `logit completion "
          "bash` prints a script that completes commands and flags in bash. The server is --server ADDRESS, else "
          "LOGITD_SERVER, else 127.0.0.1:50051.",
          width),
      "\n\n",
      Examples("logit distribution --logits 6,3,0.5,0.5 --labels mat,rug,floor,chair\n"
               "logit complete \"The capital of France is\" --temperature 0 --max-tokens 16\n"
               "logit rank \"The cat sat on the\" \" mat\" \" rug\" \" floor\"\n"));
}

std::string HelpText(const Command& command, int width) {
  std::string out = absl::StrCat(Filled(command.summary, width), "\n\nUsage: logit ", command.name, " [FLAGS]",
                                 command.positionals.empty() ? "" : " ", command.positionals, "\n");
  std::vector<Rows> groups;
  size_t column = 0;
  for (const FlagGroup& group : command.groups) {
    Rows& rows = groups.emplace_back();
    for (const Flag& flag : group.flags) rows.emplace_back(Usage(flag), flag.help);
    column = std::max(column, ColumnOf(rows));
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    absl::StrAppend(&out, "\n", command.groups[i].heading, ":\n", TwoColumns(groups[i], column, width));
  }
  absl::StrAppend(&out, "\n", Examples(command.examples), "\n",
                  Filled("Exit codes: 0 fine, 1 an item failed, 2 usage, 3 refused by the server, 4 server not "
                         "reachable, 5 standard output cannot be written, 130 interrupted.",
                         width),
                  "\n");
  return out;
}

std::string FlagsMarkdown(const std::vector<Command>& commands) {
  struct Row {
    const Flag* flag;
    std::vector<std::string> commands;
  };
  // Flags that differ in a word have a row each.
  std::vector<Row> rows;
  for (const Command& command : commands) {
    for (const FlagGroup& group : command.groups) {
      for (const Flag& flag : group.flags) {
        const auto is_same = [&flag](const Row& row) {
          return Usage(*row.flag) == Usage(flag) && row.flag->help == flag.help && row.flag->field == flag.field;
        };
        auto row = std::find_if(rows.begin(), rows.end(), is_same);
        if (row == rows.end()) row = rows.insert(row, {&flag, {}});
        row->commands.push_back(command.name);
      }
    }
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.flag->name < b.flag->name; });
  std::string out =
      "# Flags of `logit`\n\n"
      "Generated by `logit help --markdown`; [cli.md](cli.md) explains them. The field is a path in the command's "
      "request, whose\ncomments in `proto/logitd/v1` define it. A flag that is not given is not sent.\n\n"
      "| Flag | Meaning | Field | Commands |\n| --- | --- | --- | --- |\n";
  for (const Row& row : rows) {
    const std::string who = row.commands.size() == commands.size() ? "all" : absl::StrJoin(row.commands, ", ");
    absl::StrAppend(&out, "| `", absl::StrReplaceAll(Usage(*row.flag), {{"|", "\\|"}}), "` | ", row.flag->help, " | ",
                    row.flag->field.empty() ? "" : absl::StrCat("`", row.flag->field, "`"), " | ", who, " |\n");
  }
  return out;
}

}  // namespace logitd::cli

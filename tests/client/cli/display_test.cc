// What is shown: escaped text, widths, tables, bars, colours, progress.
#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "base/utf8.h"
#include "client/cli/filled_text.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"
#include "gmock/gmock.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::string_literals;

TEST(TokenTextTest, Utf8IsChecked) {
  for (const std::string& good : {""s, "a"s, "\0"s, "é"s, "€"s, "🙂"s, "\xf4\x8f\xbf\xbf"s})
    EXPECT_TRUE(IsUtf8(good));
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8", "a\xff"}) {
    EXPECT_FALSE(IsUtf8(bad));
  }
}

TEST(TokenTextTest, WhatControlsATerminalIsEscaped) {
  EXPECT_EQ(EscapeText("a\n\t\r\\b\x1b[31m\x7f"), "a\\n\\t\\r\\\\b\\x1b[31m\\x7f");
  EXPECT_EQ(EscapeText("\xc2\x9b"), "\\xc2\\x9b");  // A one-character escape sequence (C1).
  EXPECT_EQ(EscapeText("é\xe2\x82"), "é\\xe2\\x82");
  EXPECT_EQ(SanitizeForTerminal("a\n\tb\\\x1b]0;title\x07"), "a\n\tb\\\\x1b]0;title\\x07");
}

TEST(TokenTextTest, TokensStandInQuotationMarks) {
  EXPECT_EQ(ShowToken(" Paris"), "\" Paris\"");
  EXPECT_EQ(ShowToken("\xf0\x9f"), "\"\\xf0\\x9f\"");
  EXPECT_EQ(ShowToken(""), "(control)");
}

TEST(TokenTextTest, WidthCountsColumns) {
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("é"), 1);
  EXPECT_EQ(DisplayWidth("日本"), 4);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1);
  // Wide by Unicode's East_Asian_Width: Hangul, fullwidth, emoji of several blocks; narrow: half-width kana.
  for (const char* wide : {"한", "Ａ", "🙂", "🚀", "🥑", "🫠", "⌚", "✅", "〒"})
    EXPECT_EQ(DisplayWidth(wide), 2) << wide;
  for (const char* narrow : {"ｱ", "é", "Ж", "א", "→", "█"}) EXPECT_EQ(DisplayWidth(narrow), 1) << narrow;
  for (const char* nothing : {"\u0301", "\u200B", "\uFE0F"}) EXPECT_EQ(DisplayWidth(nothing), 0);
  EXPECT_EQ(Shorten("abcdef", 6), "abcdef");
  EXPECT_EQ(Shorten("abcdefg", 6), "abcde…");
  EXPECT_EQ(DisplayWidth(Shorten("日本日本", 6)), 5);
}

TEST(TableTest, ColumnsAreAlignedAndLinesEndWithoutSpaces) {
  Table table({{"name", Table::kLeft}, {"value"}, {"note", Table::kLeft}});
  table.Add({{"日本", {}}, {"1", {}}, {"", {}}});
  table.Add({{"b", {}}, {"-10.5", {}}, {"x", {}}});
  EXPECT_EQ(table.Render(false),
            "name  value  note\n"
            "日本      1\n"
            "b     -10.5  x\n");
}

TEST(TableTest, ColoursDoNotMoveColumns) {
  Table table({{"", Table::kLeft}, {""}});
  table.Add({{"a", -0.01}, {"1", {}}});
  table.Add({{"bb", {}}, {"2", {}}});
  EXPECT_EQ(table.Render(false), "a   1\nbb  2\n");
  EXPECT_EQ(table.Render(true), InLogProbColour("a", -0.01, true) + "   1\nbb  2\n");
}

// The widest line.
int WidthOf(const std::string& text) {
  int width = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) width = std::max(width, DisplayWidth(line));
  return width;
}

TEST(TableTest, TextGivesWayWhereATableIsTooWide) {
  Table table({{"", Table::kRight, Table::kWhole, true}, {"name", Table::kLeft, Table::kShorten, true}, {"value"}});
  table.Add({{"0", {}}, {"a rather long name of things", {}}, {"-1.5", {}}});
  table.Add({{"1", {}}, {"日本語の長い名前です、とても", {}}, {"-2.5", {}}});
  EXPECT_EQ(table.Render({false, 38}),
            "   name                          value\n"
            "0  a rather long name of things   -1.5\n"
            "1  日本語の長い名前です、とても   -2.5\n");
  EXPECT_EQ(table.Render({false, 30}),
            "   name                  value\n"
            "0  a rather long name …   -1.5\n"
            "1  日本語の長い名前で…    -2.5\n");
}

TEST(TableTest, NumbersThatHaveNoRoomStandInAnotherBlock) {
  Table table({{"place", Table::kRight, Table::kWhole, true},
               {"name", Table::kLeft, Table::kShorten, true},
               {"", Table::kLeft, Table::kDrop},
               {"sum"},
               {"per byte"},
               {"perplexity"}});
  table.Add({{"1", {}}, {"a", {}}, {"████████", {}}, {"-10.5", {}}, {"-1.25", {}}, {"200", {}}});
  table.Add({{"2", {}}, {"bb", {}}, {"██", {}}, {"-9", {}}, {"-", {}}, {"3", {}}});
  EXPECT_EQ(table.Render({false, 80}), table.Render(false));
  EXPECT_EQ(table.Render({false, 36}),
            "place  name              sum\n"
            "    1  a     ████████  -10.5\n"
            "    2  bb    ██           -9\n"
            "\n"
            "place  name  per byte  perplexity\n"
            "    1  a        -1.25         200\n"
            "    2  bb           -           3\n");
  // The bar is an ornament: without room it goes, and the numbers stay.
  EXPECT_EQ(table.Render({false, 20}),
            "place  name    sum\n"
            "    1  a     -10.5\n"
            "    2  bb       -9\n"
            "\n"
            "place  name  per byte\n"
            "    1  a        -1.25\n"
            "    2  bb           -\n"
            "\n"
            "place  name  perplexity\n"
            "    1  a            200\n"
            "    2  bb             3\n")
      << "a column that is wider than the terminal stands alone";
}

TEST(TableTest, ListsGoOnBelow) {
  Table table({{"position", Table::kRight, Table::kWhole, true}, {"alternatives", Table::kLeft, Table::kWrap}});
  table.Add({{"0", {}}, {"\" a  b\" -1.000000\n\" c\" -2.000000\n\" d\" -3.000000\n\" e\" -4.000000", {}}});
  table.Add({{"1", {}}, {"\" f\" -1.000000", {}}});
  EXPECT_EQ(table.Render(false),
            "position  alternatives\n"
            "       0  \" a  b\" -1.000000  \" c\" -2.000000  \" d\" -3.000000  \" e\" -4.000000\n"
            "       1  \" f\" -1.000000\n");
  EXPECT_EQ(table.Render({false, 48}),
            "position  alternatives\n"
            "       0  \" a  b\" -1.000000  \" c\" -2.000000\n"
            "          \" d\" -3.000000  \" e\" -4.000000\n"
            "       1  \" f\" -1.000000\n");
}

TEST(TableTest, NoWidthIsOverstepped) {
  std::vector<Table::Column> columns = {{"place", Table::kRight, Table::kWhole, true},
                                        {"candidate", Table::kLeft, Table::kShorten, true}};
  std::vector<Table::Cell> row = {{"1", {}}, {"\" 日本語 and more of it\"", {}}};
  for (int i = 0; i < 9; ++i) {
    columns.push_back({"a heading"});
    row.push_back({"-10.123456", -1.0});
  }
  Table table(columns);
  table.Add(row);
  for (int width = 40; width < 200; ++width) {
    for (const bool colour : {false, true}) {
      const std::string text = table.Render({colour, width});
      EXPECT_EQ(std::count(text.begin(), text.end(), '1') > 0, true);
      if (!colour) {
        EXPECT_LE(WidthOf(text), width);
      }
    }
  }
}

TEST(TableTest, BarsFillAndPad) {
  EXPECT_EQ(Bar(1, 1, 4), "████");
  EXPECT_EQ(Bar(0.5, 1, 4), "██  ");
  EXPECT_EQ(Bar(0.625, 1, 4), "██▌ ");
  EXPECT_EQ(Bar(0, 1, 4), "    ");
  EXPECT_EQ(Bar(1e-9, 1, 4), "▏   ");
  EXPECT_EQ(Bar(1, 0, 4), "    ");
  EXPECT_EQ(Bar(std::nan(""), 1, 4), "    ");
}

TEST(TableTest, NumbersShowWhatTheyAre) {
  EXPECT_EQ(ShowNumber(-1.0000005), "-1.000001");
  EXPECT_EQ(ShowNumber(-0.0), "0.000000");
  EXPECT_EQ(ShowNumber(-2e30), "-2.000000e+30");
  EXPECT_EQ(ShowNumber(-std::numeric_limits<double>::infinity()), "-inf");
  EXPECT_EQ(ShowNumber(std::nan("")), "nan");
  EXPECT_EQ(ShowNumber(std::optional<double>()), "-");
}

TEST(TerminalTest, ColoursAreForTerminalsUnlessSaidOtherwise) {
  CommandRig rig;
  Environment& environment = rig.environment();
  EXPECT_TRUE(UseColour(ColourMode::kAuto, true, environment));
  EXPECT_FALSE(UseColour(ColourMode::kAuto, false, environment));
  EXPECT_TRUE(UseColour(ColourMode::kAlways, false, environment));
  EXPECT_FALSE(UseColour(ColourMode::kNever, true, environment));
  rig.SetVariable("NO_COLOR", "1");
  EXPECT_FALSE(UseColour(ColourMode::kAuto, true, environment));
  EXPECT_TRUE(UseColour(ColourMode::kAlways, true, environment));
  rig.SetVariable("NO_COLOR", "");
  rig.SetVariable("TERM", "dumb");
  EXPECT_FALSE(UseColour(ColourMode::kAuto, true, environment));
}

TEST(TerminalTest, LogProbsHaveASequentialScale) {
  EXPECT_EQ(InLogProbColour("x", -5, false), "x");
  EXPECT_EQ(InLogProbColour("x", 0, true), "\x1b[38;5;35mx\x1b[0m");
  EXPECT_EQ(InLogProbColour("x", -1, true), "\x1b[38;5;142mx\x1b[0m");
  EXPECT_EQ(InLogProbColour("x", -100, true), "\x1b[38;5;160mx\x1b[0m");
  EXPECT_EQ(InLogProbColour("x", -std::numeric_limits<double>::infinity(), true), "\x1b[38;5;160mx\x1b[0m");
  EXPECT_THAT(LogProbLegend(true), HasSubstr("log-prob"));
  EXPECT_EQ(LogProbLegend(false), "");
}

TEST(TerminalTest, ALegendIsBrokenBetweenItsSteps) {
  const std::string legend = LogProbLegend({true, 30});
  EXPECT_GT(std::count(legend.begin(), legend.end(), '\n'), 1);
  EXPECT_EQ(LogProbLegend(true).find('\n'), std::string::npos) << "no terminal";
}

TEST(FilledTextTest, LinesAreBrokenAtSpaces) {
  EXPECT_EQ(Filled("one two three four", 9), "one two\nthree\nfour");
  EXPECT_EQ(Filled("one two three four", 9, 2), "one two\n  three\n  four");
  EXPECT_EQ(Filled("one two three four", 0, 2), "one two three four");
  EXPECT_EQ(Filled("one two\n\nthree", 40, 2), "one two\n\n  three") << "its own line ends stay";
  EXPECT_EQ(Filled("a  b", 40), "a  b") << "spaces are kept";
  EXPECT_EQ(Filled("two words", 12, 4, 4), "two\n    words") << "something stands before it";
}

TEST(FilledTextTest, AWordThatIsTooWideIsBroken) {
  EXPECT_EQ(Filled("a 0123456789", 5, 1), "a\n 0123\n 4567\n 89");
  EXPECT_EQ(Filled("日本語", 4), "日本\n語");
  EXPECT_EQ(Filled("日本", 1), "日\n本") << "what no line has room for stands alone";
}

TEST(FilledTextTest, ACommandIsBrokenWhereAShellTakesIt) {
  EXPECT_EQ(FilledCommand("logit rank \"a b\" ' c d' --json", 20), "logit rank \"a b\" \\\n    ' c d' --json");
  EXPECT_EQ(FilledCommand("short one", 20), "short one");
  EXPECT_EQ(FilledCommand("echo '{a a a a a a a a a a}' | x", 12), "echo \\\n    '{a a a a a a a a a a}' \\\n    | x");
}

TEST(ProgressTest, TheLineTellsShareRateAndTimeLeft) {
  using std::chrono::seconds;
  EXPECT_EQ(ProgressLine("score", {.items = 30, .share = 0.25, .elapsed = seconds(10)}),
            "score  [█████               ]  25%  30 items  3.0 items/s  ETA 0:30");
  EXPECT_EQ(ProgressLine("score", {.items = 30, .elapsed = seconds(10)}), "score  30 items  3.0 items/s");
  EXPECT_THAT(ProgressLine("score", {.items = 1, .share = 0.0001, .elapsed = seconds(1)}), HasSubstr("ETA 2:46:39"));
  EXPECT_THAT(ProgressLine("score", {.share = 0}), Not(HasSubstr("ETA")));
}

TEST(ProgressTest, RateAndTimeLeftCountThisJobsItemsAlone) {
  using std::chrono::seconds;
  EXPECT_EQ(ProgressLine("score", {.items = 600, .resumed = 500, .total = 1000, .share = 0.6, .elapsed = seconds(10)}),
            "score  [████████████        ]  60%  600/1000 items  10.0 items/s  ETA 0:40");
  EXPECT_THAT(ProgressLine("score", {.items = 500, .resumed = 500, .total = 1000, .share = 0.5, .elapsed = seconds(1)}),
              Not(HasSubstr("ETA")));
}

TEST(ProgressTest, ANarrowLineKeepsTheCountAndTheTimeLeft) {
  const JobState state{.items = 3000, .total = 10000, .share = 0.3, .elapsed = std::chrono::milliseconds(9600)};
  EXPECT_EQ(ProgressLine("score", state, 79),
            "score  [██████              ]  30%  3000/10000 items  312.5 items/s  ETA 0:22");
  EXPECT_EQ(ProgressLine("score", state, 70), "score  [███       ]  30%  3000/10000 items  312.5 items/s  ETA 0:22");
  EXPECT_EQ(ProgressLine("score", state, 39), "30%  3000/10000  312.5/s  ETA 0:22");
  EXPECT_EQ(ProgressLine("score", state, 21), "3000/10000  ETA 0:22");
  EXPECT_EQ(ProgressLine("score", state, 6), "3000/1");
}

TEST(ProgressTest, NothingIsDrawnWhereThereIsNoTerminal) {
  CommandRig rig;
  { Progress("score", rig.environment()).Update(1, 1); }
  EXPECT_EQ(rig.err(), "");
  rig.environment().err_is_terminal = true;
  { Progress("score", rig.environment()).Update(1, 1); }
  EXPECT_THAT(rig.err(), HasSubstr("1 items"));
  EXPECT_TRUE(rig.err().ends_with("\r\x1b[K")) << "the line must be cleared at the end";
}

}  // namespace
}  // namespace logitd::cli

// What is shown: escaped text, widths, tables, bars, colours, progress.
#include <cmath>
#include <limits>

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

TEST(ProgressTest, TheLineTellsShareRateAndTimeLeft) {
  using std::chrono::seconds;
  EXPECT_EQ(ProgressLine("score", 30, 250, 1000, seconds(10)),
            "score  [█████               ]  25%  30 items  3.0 items/s  ETA 0:30");
  EXPECT_EQ(ProgressLine("score", 30, 250, std::nullopt, seconds(10)), "score  30 items  3.0 items/s");
  EXPECT_THAT(ProgressLine("score", 1, 1, 10000, seconds(1)), HasSubstr("ETA 2:46:39"));
  EXPECT_THAT(ProgressLine("score", 0, 0, 1000, seconds(0)), Not(HasSubstr("ETA")));
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

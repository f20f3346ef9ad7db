#include "client/cli/arguments.h"

#include "client/cli/help_text.h"
#include "client/logitd/client_error.h"
#include "gmock/gmock.h"

namespace logitd::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Arguments Make(const std::string& positionals = "TEXT...") {
  return Arguments({.name = "test",
                    .positionals = positionals,
                    .summary = "Tests.",
                    .examples = "logit test a\n",
                    .groups = {{"Flags",
                                {{"--number", "", "X", "a number"},
                                 {"--list", "", "IDS", "ids", /*repeatable=*/true},
                                 {.name = "--on", .help = "no value"},
                                 {.name = "--when", .value = "WHEN", .help = "a choice", .choices = {"now", "later"}},
                                 {"-n", "", "N", "a short one"}}}}});
}

TEST(ArgumentsTest, PositionalTextArrivesAsItIs) {
  Arguments arguments = Make();
  const std::vector<std::string> texts = {
      "", "{}", "[1,2]", "%%", "++", "-", "-5 below zero", "-1", "- a list item", " leading", "a\nb", "\xe2\x82\xac"};
  ASSERT_TRUE(arguments.Parse(texts).ok());
  EXPECT_EQ(arguments.positionals(), texts);
}

TEST(ArgumentsTest, TwoDashesEndTheFlags) {
  Arguments arguments = Make();
  ASSERT_TRUE(arguments.Parse({"--on", "--", "--number", "--"}).ok());
  EXPECT_TRUE(arguments.Has("--on"));
  EXPECT_FALSE(arguments.Has("--number"));
  EXPECT_THAT(arguments.positionals(), ElementsAre("--number", "--"));
}

TEST(ArgumentsTest, AFlagTakesTheNextArgumentWhateverItLooksLike) {
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"--number", "-1"}, {"--number=-1"}, {"--number", "-1", "--on"}, {"x", "--number", "-1"}}) {
    Arguments arguments = Make();
    ASSERT_TRUE(arguments.Parse(args).ok());
    EXPECT_EQ(arguments.Get<double>("--number").value(), -1.0);
  }
  Arguments arguments = Make();
  ASSERT_TRUE(arguments.Parse({"--number", "--on", "-n4"}).ok());
  EXPECT_EQ(arguments.Value("--number"), "--on");
  EXPECT_EQ(arguments.Get<int32_t>("-n").value(), 4);
}

TEST(ArgumentsTest, AnEmptyValueIsAValue) {
  Arguments arguments = Make();
  ASSERT_TRUE(arguments.Parse({"--list=", "--number", "3"}).ok());
  EXPECT_TRUE(arguments.Has("--list"));
  EXPECT_EQ(arguments.Get<double>("--number").value(), 3.0);
  const auto ids = arguments.Get<std::vector<int32_t>>("--list");
  ASSERT_TRUE(ids.ok() && ids->has_value());
  EXPECT_THAT(**ids, IsEmpty());
}

TEST(ArgumentsTest, WhatIsWrongIsNamed) {
  const struct {
    std::vector<std::string> args;
    const char* message;
  } cases[] = {
      {{"--nmber", "1"}, "unknown flag --nmber (did you mean --number?); `logit test --help`"},
      {{"--nmber=1"}, "unknown flag --nmber (did"},
      {{"-x"}, "unknown flag -x"},
      {{"--number"}, "--number needs a value: --number X"},
      {{"--on=1"}, "--on takes no value, got \"1\""},
      {{"--number", "1", "--number", "2"}, "--number is given twice"},
      {{"a", "\xff"}, "argument 2 is not valid UTF-8"},
      {{"--list", "\xff"}, "the value of --list is not valid UTF-8"},
  };
  for (const auto& c : cases) {
    Arguments arguments = Make();
    const absl::Status status = arguments.Parse(c.args);
    EXPECT_TRUE(client::IsInputError(status));
    EXPECT_NE(client::ErrorMessageOf(status).field(), "");
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST(ArgumentsTest, AFlagWithChoicesTakesNoOtherValue) {
  Arguments arguments = Make();
  EXPECT_EQ(arguments.Parse({"--when", "never"}).message(), "--when must be now or later, got \"never\"");
  EXPECT_TRUE(Make().Parse({"--when", "later"}).ok());
}

TEST(ArgumentsTest, ACommandWithoutTextRefusesText) {
  Arguments arguments = Make("");
  EXPECT_THAT(std::string(arguments.Parse({"surplus"}).message()), HasSubstr("unexpected argument \"surplus\""));
}

TEST(ArgumentsTest, MalformedValuesNameFlagValueAndWhatIsExpected) {
  Arguments arguments = Make();
  ASSERT_TRUE(arguments.Parse({"--number", "1x", "-n", "2147483648", "--list", "1,,2"}).ok());
  const absl::Status number = arguments.Get<double>("--number").status();
  EXPECT_EQ(number.message(), "--number must be a number, got \"1x\"");
  const v1::Error error = client::ErrorMessageOf(number);
  EXPECT_EQ(error.field(), "--number");
  EXPECT_EQ(error.value(), "1x");
  EXPECT_EQ(error.bound(), "a number");
  EXPECT_THAT(std::string(arguments.Get<int32_t>("-n").status().message()), HasSubstr("integer of 32 bits"));
  EXPECT_THAT(std::string(arguments.Get<std::vector<int32_t>>("--list").status().message()), HasSubstr("token ids"));
}

TEST(ArgumentsTest, SeedsReachFromZeroTo64Bits) {
  for (const auto& [text, value] : std::vector<std::pair<const char*, std::optional<uint64_t>>>{
           {"0", 0}, {"18446744073709551615", ~uint64_t{0}}, {"18446744073709551616", {}}, {"-1", {}}}) {
    Arguments arguments = Make();
    ASSERT_TRUE(arguments.Parse({"--number", text}).ok());
    const auto parsed = arguments.Get<uint64_t>("--number");
    EXPECT_EQ(parsed.ok(), value.has_value()) << text;
    if (parsed.ok()) {
      EXPECT_EQ(*parsed, value);
    }
  }
}

TEST(ArgumentsTest, AnAliasIsTheSameFlag) {
  const auto make = [] {
    return Arguments({.name = "test",
                      .groups = {{"Flags",
                                  {{.name = "--help", .help = "print this", .alias = "-h"},
                                   {.name = "--tokens", .help = "list them", .alias = "--verbose"}}}}});
  };
  for (const char* name : {"-h", "--help"}) {
    Arguments arguments = make();
    ASSERT_TRUE(arguments.Parse({name}).ok());
    EXPECT_TRUE(arguments.Has("--help"));
  }
  Arguments arguments = make();
  EXPECT_FALSE(arguments.Parse({"--tokens", "--verbose"}).ok()) << "given twice";
  EXPECT_THAT(HelpText(make().command(), 0),
              HasSubstr("  -h, --help           print this\n  --tokens, --verbose  list them\n"));
}

TEST(ArgumentsTest, HelpIsAsWideAsTheTerminal) {
  const Command command = {
      .name = "test",
      .positionals = "TEXT",
      .summary = "One two three four five six.",
      .examples = "logit test \"a\"\n",
      .groups = {{"Flags", {{"--a-flag", "", "X", "what it does, in so many words that they need a second line"}}}}};
  EXPECT_THAT(HelpText(command, 44), HasSubstr("  --a-flag X  what it does, in so many words\n"
                                               "              that they need a second line\n"));
  EXPECT_THAT(HelpText(command, 20), HasSubstr("  --a-flag X\n"
                                               "      what it does,\n"
                                               "      in so many\n"));
  EXPECT_THAT(HelpText(command, 20), HasSubstr("One two three four\nfive six.\n"));
}

TEST(ArgumentsTest, HelpListsFlagsAndExamples) {
  const std::string help = HelpText(Make().command(), 0);
  for (const char* part :
       {"Usage: logit test [FLAGS] TEXT...", "--number X", "a short one", "logit test a", "Exit codes:"}) {
    EXPECT_THAT(help, HasSubstr(part));
  }
}

}  // namespace
}  // namespace logitd::cli

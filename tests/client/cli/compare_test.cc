// `logit compare`: what a server may answer wrongly, sentences, the page, the plots.
#include <cmath>
#include <limits>

#include "absl/strings/str_split.h"
#include "client/cli/compare_continuations.h"
#include "client/cli/compare_page.h"
#include "client/cli/compare_words.h"
#include "client/cli/json_object.h"
#include "client/cli/token_text.h"
#include "tests/client/cli/command_rig.h"
#include "tests/client/logitd/npy_bytes.h"

namespace logitd::cli {
namespace {

using comparison::DuelOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Contender Named(const char* name, std::vector<std::string> tokens) { return {name, std::move(tokens)}; }

TEST(CompareWordsTest, TheLossThatManyGainsDoNotMakeUpFor) {
  const auto duel = DuelOf({-6.0, -1.0, -1.0}, {-2.0, -1.5, -1.5}, 0);
  EXPECT_THAT(DuelWords(duel, Named("A", {"a", "b", "c"}), Named("B", {"x", "y", "z"}), /*same_tokens=*/false),
              ElementsAre("A wins token by token, with the likelier token at 2 of 3 positions, but loses in total: "
                          "-8.000000 against -5.000000, by 3.000000 nats.",
                          "Its gains are small, and one loss is large: at position 0 its token a costs 6.000000 nats, "
                          "and x in B 2.000000: 4.000000 nats more.",
                          "Position 0 decides: without it A would not lose."));
}

TEST(CompareWordsTest, OneTokenUnderTwoModels) {
  const auto duel = DuelOf({-1.0, -3.0}, {-2.0, -1.0}, 0);
  EXPECT_THAT(
      DuelWords(duel, Named("A", {"a", "b"}), Named("B", {"a", "b"}), /*same_tokens=*/true),
      ElementsAre("Each has the larger log-prob at 1 position. B wins in total: -3.000000 against -4.000000, by "
                  "1.000000 nats.",
                  "A is ahead until position 1, by 1.000000 nats. There b costs it 3.000000 nats, and B "
                  "1.000000: 2.000000 nats more, and the lead is lost.",
                  "Position 1 decides: without it A would not lose."));
}

TEST(CompareWordsTest, NobodyWins) {
  EXPECT_THAT(
      DuelWords(DuelOf({-1.0}, {-1.0}, 0), Named("A", {"a"}), Named("B", {"b"}), false),
      ElementsAre("Nobody wins in total: both sums are -1.000000. Each has the likelier token at 0 positions."));
  EXPECT_THAT(DuelWords(DuelOf({}, {}, 0), Named("A", {}), Named("B", {}), false),
              ElementsAre("There is no token to compare."));
}

TEST(JsonObjectTest, MembersKeepTheirOrderAndNumbersTheirBits) {
  JsonObject object;
  object.Number("tenth", 0.1).Text("text", "a\"b\n").Number("none", std::nullopt).Number("least", -HUGE_VAL);
  object.Bytes("bytes", "\xff").Bool("yes", true).Json("list", JsonNumbers({1, 2.5}));
  EXPECT_EQ(object.Done(),
            "{\"tenth\":0.10000000000000001,\"text\":\"a\\\"b\\n\",\"least\":\"-Infinity\",\"bytes\":\"/w==\","
            "\"yes\":true,\"list\":[1,2.5]}");
  EXPECT_EQ(JsonObject().Done(), "{}");
}

TEST(ComparePageTest, TextIsEscapedEverywhere) {
  const std::string evil = "</script><b onclick=\"x\">&'";
  CompareReport report{.title = evil, .answers = {evil}};
  report.tables.push_back({.heading = evil, .columns = {{evil, Table::kLeft}}, .rows = {{{evil}}}, .note = evil});
  report.plots.push_back({.heading = evil,
                          .x_label = evil,
                          .y_label = evil,
                          .kind = Plot::kBars,
                          .series = {{evil, {{0, 1}}}},
                          .names = {evil}});
  const std::string page = ReportPage(report);
  EXPECT_THAT(page, Not(HasSubstr("</script>")));
  EXPECT_THAT(page, Not(HasSubstr("<b onclick")));
  EXPECT_EQ(EscapeHtml("<&>\"'"), "&lt;&amp;&gt;&quot;&#39;");
}

TEST(ComparePageTest, LongTablesAreCutAndSaySo) {
  CompareReport report;
  report.tables.push_back({.heading = "long", .columns = {{"n"}}});
  for (size_t i = 0; i < kMaxPageRows + 1; ++i) report.tables[0].rows.push_back({{std::to_string(i)}});
  EXPECT_THAT(ReportPage(report), HasSubstr("The first 2000 of 2001 rows"));
}

TEST(PlotSvgTest, ValuesThatAreNotFiniteAreLeftOut) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (const Plot::Kind kind : {Plot::kLines, Plot::kBars}) {
    Plot plot{.heading = "h", .x_label = "x", .y_label = "y", .kind = kind};
    plot.series = {{"a", {{0, 1}, {1, kInf}, {2, -kInf}, {3, 1}}}, {"b", {}}};
    const std::string svg = PlotSvg(plot);
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, Not(HasSubstr(">-0<"))) << "zero has no sign";
    plot.series = {{"a", {{0, kInf}}}};
    EXPECT_THAT(PlotSvg(plot), HasSubstr("no finite value"));
  }
}

TEST(PlotSvgTest, LargeAndTinyValuesHaveMarks) {
  for (const double value : {0.0, 1e-300, 1e-9, 1.0, 12345.0, 1e300}) {
    const std::string svg =
        PlotSvg({.heading = "h", .x_label = "x", .y_label = "y", .series = {{"a", {{0, 0}, {1, value}}}}});
    EXPECT_LT(svg.size(), 10'000u) << value;
    EXPECT_THAT(svg, Not(HasSubstr("nan"))) << value;
  }
}

TEST(CompareTest, AReplyWithoutTokensIsAnErrorAndNoCrash) {
  CommandRig rig;
  v1::ScoreResponse response;
  response.mutable_item()->add_continuations();
  EXPECT_CALL(rig.scoring(), ScoreRaw).WillOnce([&](grpc::ClientContext*, const v1::ScoreRequest& request) {
    EXPECT_EQ(request.record().top_n(), 5);
    EXPECT_TRUE(request.record().rank());
    EXPECT_TRUE(request.record().entropy());
    return new ScriptedReader<v1::ScoreResponse>({response});
  });
  EXPECT_EQ(rig.Run({"compare", "a", "b", "c"}), kExitRefused);
  EXPECT_THAT(rig.err(), HasSubstr("1 of 2 continuations"));
}

TEST(CompareTest, TwoContinuationsWithoutTokensAreTheSame) {
  CommandRig rig;
  v1::ScoreResponse response;
  response.mutable_item()->add_continuations();
  response.mutable_item()->add_continuations();
  EXPECT_CALL(rig.scoring(), ScoreRaw).WillOnce([&](grpc::ClientContext*, const v1::ScoreRequest&) {
    return new ScriptedReader<v1::ScoreResponse>({response});
  });
  EXPECT_EQ(rig.Run({"compare", "a", "b", "c"}), kExitOk);
  EXPECT_THAT(rig.out(), HasSubstr("are the same 0 tokens"));
}

// A token of each continuation, with numbers of their widest kind.
v1::ScoreResponse WideResponse() {
  v1::ScoreResponse response;
  for (const char* text : {" a token of some length", " ein anderes, \u5f88\u957f\u7684"}) {
    v1::ScoredSequence& score = *response.mutable_item()->add_continuations()->mutable_score();
    for (int i = 0; i < 3; ++i) {
      v1::TokenRecord& token = *score.add_tokens();
      token.set_token_id((text[1] == 'a' ? 10 : 20) + i);
      token.set_token_bytes(text);
      token.set_position(i);
      token.set_model_log_prob(i == 2 && text[1] == 'a' ? -12345.678901 : -0.5 - i);
      token.set_rank(1 + i);
      token.set_model_entropy(0.1);
      token.mutable_top()->add_token_ids(7);
      token.mutable_top()->add_model_log_probs(-0.01);
      token.mutable_top()->add_token_bytes(" most likely");
    }
    score.set_byte_count(30);
  }
  return response;
}

TEST(CompareTest, TheReportFitsTheTerminal) {
  const CompareReport report = CompareContinuations(WideResponse(), {"\"one\"", "\"other\""}, {});
  const std::string whole = ReportText(report, Style());
  for (const char* part : {"-12345.678901", "confident of another token", "continuation 1 wins token by token",
                           "decides", "They part at once"}) {
    EXPECT_THAT(whole, HasSubstr(part));
  }
  for (const int width : {50, 80, 120}) {
    const std::string text = ReportText(report, Style(false, width));
    for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
      EXPECT_LE(DisplayWidth(line), width) << line;
    }
    EXPECT_THAT(text, HasSubstr("-12345.678901")) << "no number is left out";
  }
}

TEST(CompareTest, FilesNeedNoServer) {
  const client::TemporaryFile rows(client::SavedArray("<f4", "(1, 2)", client::RawBytes<float>({1, 2})));
  CommandRig rig;
  EXPECT_EQ(rig.Run({"compare", "--logits", rows.path(), "--against-logits", rows.path()}), kExitOk);
  EXPECT_THAT(rig.out(), HasSubstr("every divergence is 0"));
}

}  // namespace
}  // namespace logitd::cli

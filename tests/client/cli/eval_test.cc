#include <cmath>
#include <filesystem>
#include <fstream>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "client/cli/eval_item.h"
#include "client/cli/eval_metrics.h"
#include "gmock/gmock.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::_;
using ::testing::DoAll;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Return;
using ::testing::SetArgPointee;

TEST(EvalMetricsTest, EachNormalisationMayChooseAnother) {
  // Sums -4, -6, -9 over 4, 12, 12 characters and 4, 12, 36 bytes: 0 wins by sum, 1 by character, 2 by byte.
  const std::vector<double> sums = {-4, -6, -9};
  EvalItem item{.answer = 0, .character_counts = {4, 12, 12}, .byte_counts = {4, 12, 36}};
  for (int answer = 0; answer < 3; ++answer) {
    item.answer = answer;
    const ChoiceOutcome outcome = Judge(item, sums);
    EXPECT_EQ(outcome.acc, answer == 0);
    EXPECT_EQ(outcome.acc_norm, answer == 1);
    EXPECT_EQ(outcome.acc_bytes, answer == 2);
  }
  // Of equal choices the first wins.
  item = {.answer = 0, .character_counts = {2, 1}, .byte_counts = {2, 1}};
  EXPECT_TRUE(Judge(item, {-2, -2}).acc);
  EXPECT_TRUE(Judge(item, {-2, -1}).acc_norm);
}

double ErrorOf(const std::vector<Metric>& metrics, const std::string& name) {
  for (const Metric& metric : metrics) {
    if (metric.name == name) return metric.standard_error;
  }
  return NAN;
}

TEST(EvalMetricsTest, TheBootstrapErrorIsThatOfTheMean) {
  std::vector<ChoiceOutcome> choices;
  for (int i = 0; i < 400; ++i) choices.push_back({.acc = i % 4 == 0, .acc_norm = i % 2 == 0, .acc_bytes = true});
  const std::vector<Metric> metrics = MetricsOf(choices, {}, 4000, 7);
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_EQ(metrics[0].name, "acc");
  EXPECT_EQ(metrics[0].value, 0.25);
  // sqrt(p (1 - p) / n), to within the error of 4,000 resamples: 5 in 100 are 4.5 standard errors.
  EXPECT_NEAR(ErrorOf(metrics, "acc"), std::sqrt(0.25 * 0.75 / 400), 0.05 * std::sqrt(0.25 * 0.75 / 400));
  EXPECT_NEAR(ErrorOf(metrics, "acc_norm"), std::sqrt(0.5 * 0.5 / 400), 0.05 * std::sqrt(0.5 * 0.5 / 400));
  EXPECT_EQ(ErrorOf(metrics, "acc_bytes"), 0);
  // The same seed gives the same error, another one another.
  EXPECT_EQ(ErrorOf(MetricsOf(choices, {}, 4000, 7), "acc"), ErrorOf(metrics, "acc"));
  EXPECT_NE(ErrorOf(MetricsOf(choices, {}, 4000, 8), "acc"), ErrorOf(metrics, "acc"));
}

TEST(EvalMetricsTest, PerplexityIsOfAllTokensTogether) {
  const std::vector<Metric> metrics = MetricsOf({},
                                                {{.sum = -3, .token_count = 2, .byte_count = 5, .is_greedy = true},
                                                 {.sum = -1, .token_count = 6, .byte_count = 11}},
                                                1000, 0);
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_EQ(metrics[0].value, 0.5);
  EXPECT_DOUBLE_EQ(metrics[1].value, std::exp(4.0 / 8));
  EXPECT_DOUBLE_EQ(metrics[2].value, 4 / (16 * std::numbers::ln2));
  EXPECT_GT(metrics[1].standard_error, 0);
}

TEST(EvalItemTest, ABadItemIsNamedWithItsKey) {
  const struct {
    const char* line;
    const char* field;
    const char* words;
  } cases[] = {
      {R"({"context":"a"})", "item", "one of three kinds"},
      {R"({"context":"a","choices":["b"],"text":"c","answer":0})", "item", "one of three kinds"},
      {R"({"context":"a","choices":[],"answer":0})", "choices", "a list of texts"},
      {R"({"context":"a","choices":["b",""],"answer":0})", "choices[1]", "at least one character"},
      {R"({"context":"a","choices":["b",2],"answer":0})", "choices[1]", "a text"},
      {R"({"context":"a","choices":["b","c"]})", "answer", "is missing"},
      {R"({"context":"a","choices":["b","c"],"answer":2})", "answer", "in [0, 2), got 2"},
      {R"({"context":"a","choices":["b","c"],"answer":-1})", "answer", "answer must be in [0, 2), got -1"},
      {R"({"context":"a","choices":["b","c"],"answer":0.5})", "answer", "in [0, 2)"},
      {R"({"context":"a","choices":["b","c"],"gold":"d"})", "gold", "gold must be one of the choices, got \"d\""},
      {R"({"context":"a","choices":["b","b"],"answer":"b"})", "answer", "an index"},
      {R"({"context":"a","choices":["b","c"],"answer":0,"gold":1})", "gold", "left out"},
      {R"({"contxt":"a","choices":["b","c"],"answer":0})", "contxt", "unknown key"},
      {R"({"context":"a","text":"b"})", "text", "without context"},
      {R"({"context":"a","continuation":"b","answer":0})", "answer", "beside choices"},
      {R"({"id":7,"text":"b"})", "id", "a text"},
      {"nonsense", "in", "is not an item of eval in JSON"},
      {"[1]", "in", "is not an item of eval in JSON"},
      {"", "in", "is blank: it must hold an item of eval"},
  };
  for (const auto& c : cases) {
    v1::ScoreItem score;
    EvalItem item;
    const auto error = ReadEvalItem({.text = c.line, .number = 9, .byte_count = 1}, "items.jsonl", " ", &score, &item);
    ASSERT_TRUE(error.has_value()) << c.line;
    EXPECT_EQ(error->error.field(), c.field) << c.line;
    EXPECT_THAT(error->error.message(), HasSubstr(c.words));
    EXPECT_THAT(error->error.message(), HasSubstr("line 9 of items.jsonl"));
  }
}

TEST(EvalItemTest, TheDelimiterIsScoredButCountsInNoLength) {
  v1::ScoreItem score;
  EvalItem item;
  const std::string line = R"({"id":"q","context":"c","choices":["é€","b"],"answer":"b"})";
  ASSERT_FALSE(ReadEvalItem({.text = line, .number = 1, .byte_count = 1}, "f", " ", &score, &item).has_value());
  EXPECT_EQ(score.id(), "q");
  EXPECT_EQ(score.continuations(0).text(), " é€");
  EXPECT_EQ(score.continuations(0).uncounted_prefix_bytes(), 1);
  EXPECT_EQ(item.answer, 1);
  EXPECT_THAT(item.character_counts, ElementsAre(2, 1));
  EXPECT_THAT(item.byte_counts, ElementsAre(5, 1));
}

// A file of items, and a server that scores them.
class EvalRun {
 public:
  EvalRun() {
    char folder[] = "/tmp/logitd-eval-test-XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    v1::GetServerInfoResponse server;
    server.set_numerics_version(1);
    EXPECT_CALL(rig_.server(), GetServerInfo).WillRepeatedly(DoAll(SetArgPointee<2>(server), Return(grpc::Status::OK)));
    v1::ListModelsResponse models;
    models.add_models()->mutable_model()->set_name("m");
    models.mutable_models(0)->mutable_model()->set_model_fingerprint("print");
    EXPECT_CALL(rig_.models(), ListModels).WillRepeatedly(DoAll(SetArgPointee<2>(models), Return(grpc::Status::OK)));
    // Each continuation's sum is minus its bytes. A text that holds "bad" fails; one that holds "never" is impossible.
    EXPECT_CALL(rig_.scoring(), ScoreRaw).WillRepeatedly([this](grpc::ClientContext*, const v1::ScoreRequest& request) {
      EXPECT_EQ(request.tokenization().boundary(), v1::BOUNDARY_LM_EVAL);
      std::vector<v1::ScoreResponse> responses;
      for (int i = 0; i < request.items_size(); ++i) {
        v1::ScoreResponse response;
        response.set_item_index(i);
        response.set_id(request.items(i).id());
        response.mutable_provenance()->set_model_fingerprint("print");
        response.mutable_provenance()->set_numerics_version(1);
        if (request.items(i).has_rolling()) {
          // -4 over two tokens.
          v1::ScoredSequence& score = *response.mutable_item()->mutable_rolling()->mutable_score();
          const std::string& text = request.items(i).rolling().input().text();
          if (text.find("never") == std::string::npos) score.mutable_totals()->set_cumulative_model_log_prob(-4);
          windows_.push_back(request.items(i).rolling().window());
          score.mutable_totals()->set_token_count(2);
          score.set_byte_count(static_cast<int>(request.items(i).rolling().input().text().size()));
        }
        for (const v1::Continuation& continuation : request.items(i).continuations()) {
          v1::ScoredContinuation& scored = *response.mutable_item()->add_continuations();
          if (continuation.text().find("bad") != std::string::npos) {
            *scored.mutable_error() = MakeError(3, v1::ERROR_REASON_FIELD_REQUIRED, "items[0].continuations[0]");
            continue;
          }
          const auto bytes = static_cast<int>(continuation.text().size());
          if (continuation.text().find("never") == std::string::npos) {
            scored.mutable_score()->mutable_totals()->set_cumulative_model_log_prob(-bytes);
          }
          scored.mutable_score()->mutable_totals()->set_token_count(2);
          scored.mutable_score()->set_byte_count(bytes - continuation.uncounted_prefix_bytes());
        }
        responses.push_back(response);
      }
      return new ScriptedReader<v1::ScoreResponse>(responses);
    });
  }
  ~EvalRun() { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& text) {
    std::ofstream(folder_ + "/items.jsonl") << text;
    return folder_ + "/items.jsonl";
  }

  const std::string& folder() const { return folder_; }
  int Run(const std::vector<std::string>& args) { return rig_.Run(args); }
  std::string out() const { return rig_.out(); }
  std::string err() const { return rig_.err(); }
  // Of each text that was scored.
  const std::vector<int32_t>& windows() const { return windows_; }

 private:
  CommandRig rig_;
  std::string folder_;
  std::vector<int32_t> windows_;
};

constexpr char kItems[] = R"({"context":"c","choices":["a","bbbb"],"answer":0}
{"context":"c","choices":["a","bbbb"],"answer":1}
{"context":"c","choices":["bad","b"],"answer":1}
{"text":"abcd"}
)";

TEST(EvalTest, MetricsOfAFileWithoutAnOutput) {
  EvalRun run;
  EXPECT_EQ(run.Run({"eval", run.Write(kItems), "--json"}), kExitItemFailed) << run.err();
  // acc: -2 beats -5. acc_norm: -5/4 beats -2/1.
  EXPECT_THAT(run.out(), HasSubstr("{\"items\":4,\"failed\":1,\"resumed\":0,"));
  EXPECT_THAT(run.out(), HasSubstr("{\"name\":\"acc\",\"value\":0.5,"));
  EXPECT_THAT(run.out(), HasSubstr("{\"name\":\"acc_norm\",\"value\":0.5,"));
  EXPECT_THAT(run.out(), HasSubstr(absl::StrCat("{\"name\":\"perplexity\",\"value\":7.38905609893065")));
  EXPECT_EQ(run.err(), "");
}

TEST(EvalTest, AnImpossibleChoiceLosesAndAnImpossibleTextFails) {
  EvalRun run;
  const std::string items = run.Write(R"({"context":"c","choices":["never","bbbb"],"answer":1}
{"context":"c","choices":["b","never"],"answer":1}
{"text":"never"}
{"context":"c","continuation":"never"}
)");
  const std::string out = run.folder() + "/out";
  EXPECT_EQ(run.Run({"eval", items, "--out", out, "--json"}), kExitItemFailed) << run.err();
  EXPECT_THAT(run.out(), HasSubstr("{\"name\":\"acc\",\"value\":0.5,"));
  EXPECT_THAT(run.out(), HasSubstr("\"failed\":2,"));
  std::ifstream file(out);
  std::string lines[4];
  for (std::string& line : lines) std::getline(file, line);
  EXPECT_THAT(lines[0],
              HasSubstr("\"acc\":true,\"acc_norm\":true,\"acc_bytes\":true,\"answer\":1,\"sums\":[\"-Infinity\",-5]"));
  EXPECT_THAT(lines[2], HasSubstr("\"field\":\"text\""));
  EXPECT_THAT(lines[3], HasSubstr("continuation has a token of probability zero, so its perplexity is infinite"));
  EXPECT_THAT(lines[3], HasSubstr("ERROR_REASON_NORMALIZATION_UNDEFINED"));
}

TEST(EvalTest, TheWindowIsThatOfEveryText) {
  EvalRun run;
  const std::string items = run.Write("{\"text\":\"abcd\"}\n{\"text\":\"ef\"}\n");
  EXPECT_EQ(run.Run({"eval", items, "--window", "64", "--out", run.folder() + "/out"}), kExitOk) << run.err();
  EXPECT_THAT(run.windows(), ElementsAre(64, 64));
  EvalRun other;
  EXPECT_EQ(other.Run({"eval", items, "--window", "32", "--out", run.folder() + "/out", "--resume"}), kExitUsage);
  EXPECT_THAT(other.err(), HasSubstr("belongs to another window_rule"));
}

TEST(EvalTest, ATableForPeople) {
  EvalRun run;
  EXPECT_EQ(run.Run({"eval", run.Write(kItems)}), kExitItemFailed) << run.err();
  EXPECT_THAT(run.out(), HasSubstr("metric            value  standard error\n"));
  EXPECT_THAT(run.out(), HasSubstr("acc            0.500000"));
  EXPECT_THAT(run.out(), HasSubstr("4 items, 1 failed"));
}

TEST(EvalTest, AResumedFileHasTheSameMetrics) {
  EvalRun run;
  const std::string out = run.folder() + "/out";
  const std::string items = run.Write(kItems);
  EXPECT_EQ(run.Run({"eval", items, "--out", out, "--json"}), kExitItemFailed) << run.err();
  std::ifstream file(out);
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line,
            R"({"item_index":0,"id":"","acc":true,"acc_norm":false,"acc_bytes":false,"answer":0,"sums":[-2,-5]})");
  // Half of it is lost.
  std::filesystem::resize_file(out, std::filesystem::file_size(out) / 2);
  const std::string first = run.out().substr(run.out().find("\"metrics\""));
  EvalRun second;
  EXPECT_EQ(second.Run({"eval", items, "--out", out, "--resume", "--json"}), kExitItemFailed) << second.err();
  EXPECT_EQ(second.out().substr(second.out().find("\"metrics\"")), first);
  // With nothing left to do, too.
  EvalRun done;
  EXPECT_EQ(done.Run({"eval", items, "--out", out, "--resume", "--json"}), kExitItemFailed) << done.err();
  EXPECT_EQ(done.out().substr(done.out().find("\"metrics\"")), first);
  // The delimiter is an option on which the answers depend.
  EvalRun third;
  EXPECT_EQ(third.Run({"eval", items, "--out", out, "--resume", "--delimiter", "", "--json"}), kExitUsage);
  EXPECT_THAT(third.err(), HasSubstr("belongs to another delimiter"));
}

TEST(EvalTest, UsageErrors) {
  EvalRun run;
  EXPECT_EQ(run.Run({"eval"}), kExitUsage);
  EvalRun second;
  EXPECT_EQ(second.Run({"eval", "x", "--resume"}), kExitUsage);
  EvalRun third;
  EXPECT_EQ(third.Run({"eval", "x", "--resamples", "1"}), kExitUsage);
  EvalRun fourth;
  EXPECT_EQ(fourth.Run({"eval", "/nobody"}), kExitUsage);
  EXPECT_THAT(fourth.err(), HasSubstr("cannot read /nobody"));
}

}  // namespace
}  // namespace logitd::cli

#include "server/handlers/boundary.h"

#include <string>
#include <vector>

#include "core/distribution.h"
#include "core/limits.h"
#include "core/scorer.h"
#include "tests/server/in_process.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::FakeModelOptions;
using logitd::testing::FakeRow;
using logitd::testing::FakeTokens;
using logitd::testing::kFakeBos;
using logitd::testing::Parse;
using ::testing::ElementsAre;

// Sums over the fake model's own rows, without a server.
double LogProbOf(std::vector<TokenId> context, const std::vector<TokenId>& targets) {
  Scorer scorer(RecordOptions{}, std::nullopt);
  Distribution distribution;
  double sum = 0;
  for (const TokenId target : targets) {
    sum += *scorer.Score(FakeRow(context), target, distribution, StepContext())->model_log_prob;
    context.push_back(target);
  }
  return sum;
}

std::vector<TokenId> TokensOf(const v1::ScoredContinuation& continuation) {
  std::vector<TokenId> ids;
  for (const v1::TokenRecord& token : continuation.score().tokens()) ids.push_back(token.token_id());
  return ids;
}

// "joint 2 spans 1 implicit 0 context-changed text-changed": a report in one line.
std::string Show(const v1::BoundaryReport& report) {
  std::string out = v1::Boundary_Name(report.rule()).substr(std::string("BOUNDARY_").size());
  out += " after " + std::to_string(report.context_token_count());
  if (report.token_spans_boundary()) out += " spans " + std::to_string(report.spanning_bytes());
  if (report.moved_space_count() > 0) out += " moved " + std::to_string(report.moved_space_count());
  if (report.has_implicit_context_token_id()) out += " implicit " + std::to_string(report.implicit_context_token_id());
  if (report.context_tokens_changed()) out += " context-changed";
  if (report.text_changed()) out += " text-changed";
  return out;
}

struct Case {
  const char* context;
  const char* continuation;
  const char* options;
  // What is scored, made by hand from the fake vocabulary.
  std::vector<TokenId> context_ids;
  std::vector<TokenId> token_ids;
  const char* report;
};

class BoundaryTest : public logitd::testing::InProcessServer {
 protected:
  void Check(const std::vector<Case>& cases) {
    for (const Case& test : cases) {
      SCOPED_TRACE(std::string(test.context) + " + " + test.continuation + "  " + test.options);
      v1::ScoreRequest request;
      *request.mutable_tokenization() = Parse<v1::TokenizationOptions>(test.options);
      v1::ScoreItem& item = *request.add_items();
      item.mutable_context()->set_text(test.context);
      v1::Continuation& continuation = *item.add_continuations();
      continuation.set_text(test.continuation);
      const v1::ScoredContinuation scored = ScoreOne(request.ShortDebugString());
      EXPECT_EQ(TokensOf(scored), test.token_ids);
      EXPECT_EQ(Show(scored.boundary()), test.report);
      EXPECT_NEAR(scored.score().totals().cumulative_model_log_prob(), LogProbOf(test.context_ids, test.token_ids),
                  1e-9);
      EXPECT_EQ(scored.score().byte_count(), static_cast<int64_t>(std::string(test.continuation).size()))
          << "the continuation's own";
    }
  }
};

std::vector<TokenId> operator+(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_F(BoundaryTest, JointTokensSpellTheText) {
  Attach();
  const std::vector<TokenId> bos = {kFakeBos};
  Check({
      {"the", " cat.", "", FakeTokens("the"), FakeTokens(" cat") + FakeTokens("."), "JOINT after 1"},
      // "at" is one token, and no other is left for the context.
      {"a", "t", "", bos, FakeTokens("at"), "JOINT after 1 spans 1 implicit 0 context-changed"},
      {"a", "t.", "boundary: BOUNDARY_JOINT", bos, FakeTokens("at."),
       "JOINT after 1 spans 1 implicit 0 context-changed"},
      {"a", "t", "add_special_tokens: true", bos, FakeTokens("at"), "JOINT after 1 spans 1 context-changed"},
      {"the ", "cat", "", FakeTokens("the"), FakeTokens(" cat"), "JOINT after 1 spans 1 context-changed"},
      {" ", "cat", "", bos, FakeTokens(" cat"), "JOINT after 1 spans 1 implicit 0 context-changed"},
      {"   ", "x", "", FakeTokens("   "), FakeTokens("x"), "JOINT after 3"},
      // The token that spans takes two of the context's with it.
      {"at t", "he", "", FakeTokens("at"), FakeTokens(" the"), "JOINT after 1 spans 2 context-changed"},
      // A character of two tokens.
      {"c", "\xC3\xA9", "", FakeTokens("c"), FakeTokens("\xC3\xA9"), "JOINT after 1"},
  });
}

TEST_F(BoundaryTest, SeparateTokensMeetAsTheyAre) {
  Attach();
  Check({
      {"a", "t", "boundary: BOUNDARY_SEPARATE", FakeTokens("a"), FakeTokens("t"), "SEPARATE after 1"},
      {"the ", "cat", "boundary: BOUNDARY_SEPARATE", FakeTokens("the "), FakeTokens("cat"), "SEPARATE after 2"},
  });
}

TEST_F(BoundaryTest, LmEvalLeavesOutAsManyTokensAsTheContextHas) {
  Attach();
  const std::string at = "boundary: BOUNDARY_LM_EVAL";
  Check({
      {"the ", "cat", at.c_str(), FakeTokens("the"), FakeTokens(" cat"), "LM_EVAL after 1 moved 1"},
      // Scored as "a.".
      {"a", "t.", at.c_str(), FakeTokens("a"), FakeTokens("."), "LM_EVAL after 1 spans 1 context-changed text-changed"},
      // The harness's context has no token then, and the prefix token stands for it.
      {"  ", "x", at.c_str(), {kFakeBos}, FakeTokens("  x"), "LM_EVAL after 1 moved 2 implicit 0"},
      {"  ",
       "x",
       "boundary: BOUNDARY_LM_EVAL add_special_tokens: true",
       {kFakeBos},
       FakeTokens("  x"),
       "LM_EVAL after 1 moved 2"},
  });
  const auto vanished = ScoreOne(
      R"(items { context { text: "a" } continuations { text: "t" } }
         tokenization { boundary: BOUNDARY_LM_EVAL })");
  EXPECT_EQ(Describe(vanished.error()), "BOUNDARY_TOKEN of items[0].continuations[0].text");
}

TEST_F(BoundaryTest, WhiteSpaceIsWhatPythonStrips) {
  // Python 3.11: [c for c in map(chr, range(0x110000)) if c.isspace()].
  const std::string spaces =
      "\t\n\v\f\r\x1c\x1d\x1e\x1f \xC2\x85\xC2\xA0\xE1\x9A\x80\xE2\x80\x80\xE2\x80\x81\xE2\x80\x82\xE2\x80\x83"
      "\xE2\x80\x84\xE2\x80\x85\xE2\x80\x86\xE2\x80\x87\xE2\x80\x88\xE2\x80\x89\xE2\x80\x8A\xE2\x80\xA8\xE2\x80\xA9"
      "\xE2\x80\xAF\xE2\x81\x9F\xE3\x80\x80";
  EXPECT_EQ(StrippedSize("a b" + spaces), 3u);
  EXPECT_EQ(StrippedSize(spaces), 0u);
  EXPECT_EQ(StrippedSize(""), 0u);
  // Zero-width space, byte order mark, a lone continuation byte.
  for (const std::string kept : {"a\xE2\x80\x8B", "a\xEF\xBB\xBF", "a\x80"}) EXPECT_EQ(StrippedSize(kept), kept.size());
}

TEST_F(BoundaryTest, SpaceBeforeATextIsNotTheTexts) {
  FakeModelOptions options;
  options.space_prefix = true;
  Attach(options);
  Check({
      {"the", " cat", "", FakeTokens(" the"), FakeTokens(" cat"), "JOINT after 1"},
      // Text "  cat": the first space is the tokenizer's, the second the context's.
      {" ", "cat", "", FakeTokens(" "), FakeTokens(" cat"), "JOINT after 1 spans 1 context-changed"},
      {"", "cat", "", {kFakeBos}, FakeTokens(" cat"), "JOINT after 1"},
      {"the", "cat", "boundary: BOUNDARY_SEPARATE", FakeTokens(" the"), FakeTokens("cat"), "SEPARATE after 1"},
      {"the", "cat", "boundary: BOUNDARY_LM_EVAL", FakeTokens(" the"), FakeTokens("cat"), "LM_EVAL after 1"},
      // After a control token a text begins; in the midst of one the space is not in the text.
      {"<s>", "cat", "parse_special_tokens: true", {kFakeBos}, FakeTokens(" cat"), "JOINT after 1"},
      {"the<s>", "cat", "parse_special_tokens: true", FakeTokens(" the") + std::vector<TokenId>{kFakeBos},
       FakeTokens(" cat"), "JOINT after 2 text-changed"},
  });
}

TEST_F(BoundaryTest, TextAfterIdsGoesOn) {
  FakeModelOptions options;
  options.space_prefix = true;
  options.adds_bos = true;
  Attach(options);
  for (const std::string rule : {"JOINT", "SEPARATE", "LM_EVAL"}) {
    const auto scored = ScoreOne(
        "items { context { tokens { token_ids: [5, 6] } } continuations { "
        "text: \"at.\" } } tokenization { boundary: BOUNDARY_" +
        rule + " }");
    EXPECT_EQ(TokensOf(scored), FakeTokens("at."));
    EXPECT_EQ(Show(scored.boundary()), "SEPARATE after 2");
  }
  const auto ids = ScoreOne(
      R"(items { context { text: "the " } continuations { tokens { token_ids: [5, 6] } } }
         tokenization { boundary: BOUNDARY_LM_EVAL })");
  EXPECT_NEAR(ids.score().totals().cumulative_model_log_prob(),
              LogProbOf(std::vector<TokenId>{kFakeBos} + FakeTokens(" the "), {5, 6}), 1e-9)
      << "the space at the context's end has nowhere to move to";
}

TEST_F(BoundaryTest, NamesOfControlTokensHaveTheirBytes) {
  Attach();
  const std::vector<TokenId> bos = {kFakeBos};
  Check({
      // Without the names' bytes this span would be missed ...
      {"<s>a", "t", "parse_special_tokens: true", bos, FakeTokens("at"), "JOINT after 1 spans 1 context-changed"},
      // ... and one would be invented here.
      {"<s>x", "the", "parse_special_tokens: true", bos + FakeTokens("x"), FakeTokens("the"), "JOINT after 2"},
      {"a<s>", "t", "parse_special_tokens: true", FakeTokens("a") + bos, FakeTokens("t"), "JOINT after 2"},
  });
}

TEST_F(BoundaryTest, TokenizerThatChangesTextIsReported) {
  FakeModelOptions options;
  options.changes_text = true;
  Attach(options);
  const std::vector<TokenId> bos = {kFakeBos};
  Check({
      {"THE", " CAT", "", FakeTokens("the"), FakeTokens(" cat"), "JOINT after 1 text-changed"},
      {"the", " CAT", "boundary: BOUNDARY_SEPARATE", FakeTokens("the"), FakeTokens(" cat"),
       "SEPARATE after 1 text-changed"},
      {"the", " CAT", "boundary: BOUNDARY_LM_EVAL", FakeTokens("the"), FakeTokens(" cat"),
       "LM_EVAL after 1 text-changed"},
      {"a", "T", "", bos, FakeTokens("at"), "JOINT after 1 implicit 0 context-changed text-changed"},
      // One unknown token stands for both.
      {"12", "34", "", bos, bos, "JOINT after 1 implicit 0 context-changed text-changed"},
      {"", "THE", "", bos, FakeTokens("the"), "JOINT after 1 text-changed"},
  });
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(Score(R"(items { context { text: "THE" } continuations { text: "a" } }
                       items { context { text: "the" } continuations { text: "a" } })",
                    &responses)
                  .ok());
  EXPECT_TRUE(responses[0].item().tokenization().text_changed());
  EXPECT_FALSE(responses[1].item().has_tokenization());
}

TEST_F(BoundaryTest, DoubledBosIsReportedWhereverATextBegins) {
  FakeModelOptions options;
  options.adds_bos = true;
  Attach(options);
  const std::string parse = " { parse_special_tokens: true }";
  std::vector<v1::ScoreResponse> scored;
  ASSERT_TRUE(Score(R"(items { context { text: "<s>the" } continuations { text: "a" } }
                       items { context { text: "the" } continuations { text: "<s>a" } }
                       items { continuations { text: "<s>a" } }
                       tokenization)" +
                        parse,
                    &scored)
                  .ok());
  EXPECT_TRUE(scored[0].item().tokenization().doubled_bos());
  EXPECT_FALSE(scored[1].item().has_tokenization());
  EXPECT_TRUE(scored[2].item().tokenization().doubled_bos()) << "BOS stands for the empty context already";

  // The harness takes the continuation's own BOS for the context.
  const auto own = ScoreOne(R"(items { continuations { text: "<s>a" } }
                               tokenization { parse_special_tokens: true boundary: BOUNDARY_LM_EVAL })");
  EXPECT_EQ(TokensOf(own), FakeTokens("a"));

  std::vector<v1::RankResponse> ranked;
  ASSERT_TRUE(
      Rank(R"(items { context { text: "<s>the" } candidates { text: "a" } } tokenization)" + parse, &ranked).ok());
  EXPECT_TRUE(ranked[0].item().tokenization().doubled_bos());
  EXPECT_EQ(ranked[0].item().candidates(0).boundary().rule(), v1::BOUNDARY_JOINT);

  std::vector<v1::GenerateResponse> generated;
  ASSERT_TRUE(
      Generate(Parse<v1::GenerateRequest>(R"(prompt { text: "<s>the" } stop { max_tokens: 1 } tokenization)" + parse),
               &generated)
          .ok());
  EXPECT_TRUE(generated[0].started().tokenization().doubled_bos());

  v1::TokenizeResponse tokens;
  ASSERT_TRUE(models_
                  ->Tokenize(Context().get(),
                             Parse<v1::TokenizeRequest>(R"(texts: ["<s>the", "the<s>"] tokenization)" + parse), &tokens)
                  .ok());
  EXPECT_TRUE(tokens.texts(0).tokenization().doubled_bos());
  EXPECT_FALSE(tokens.texts(1).has_tokenization());
  // Ids are as they are given.
  generated.clear();
  ASSERT_TRUE(Generate(Parse<v1::GenerateRequest>("prompt { tokens { token_ids: [0, 0, 5] } } stop { max_tokens: 1 }"),
                       &generated)
                  .ok());
  EXPECT_FALSE(generated[0].started().has_tokenization());
}

TEST_F(BoundaryTest, ContextOfCandidatesWithSumsIsNotRead) {
  Attach();
  std::vector<v1::RankResponse> ranked;
  const auto request = Parse<v1::RankRequest>(
      R"(items { context { tokens { token_ids: 99 } } candidates { sums { sum_model_log_prob: -2 token_count: 1 } } }
         items { context { text: "the" } candidates { text: "a" } })");
  ASSERT_TRUE(Rank(request, &ranked).ok());
  EXPECT_EQ(ReplyTo(0, ranked).item().candidates(0).sum(), -2);
  EXPECT_EQ(ReplyTo(1, ranked).usage().prompt_token_count(), 1);
}

TEST_F(BoundaryTest, ContextsThatDifferShareWhatTheyBeginWith) {
  for (const bool fork : {true, false}) {
    SCOPED_TRACE(fork ? "forks" : "no forks");
    FakeModelOptions options;
    options.fork = fork;
    options.name = fork ? "forks" : "plain";
    auto& model = Attach(options);
    std::vector<v1::ScoreResponse> responses;
    ASSERT_TRUE(
        Score(
            R"(items { context { text: "the cat and the " } continuations { text: "dog" } continuations { text: "mat." }
                           continuations { text: "x" } continuations { text: "dog" } }
                         model: ")" +
                options.name + "\"",
            &responses)
            .ok());
    const auto context = FakeTokens("the cat and the");
    const auto space = FakeTokens(" ");
    ASSERT_EQ(context.size(), 4u);
    const auto& scored = responses[0].item().continuations();
    EXPECT_NEAR(scored[0].score().totals().cumulative_model_log_prob(), LogProbOf(context, FakeTokens(" dog")), 1e-9);
    EXPECT_NEAR(scored[1].score().totals().cumulative_model_log_prob(), LogProbOf(context, FakeTokens(" mat.")), 1e-9);
    EXPECT_NEAR(scored[2].score().totals().cumulative_model_log_prob(), LogProbOf(context + space, FakeTokens("x")),
                1e-9);
    EXPECT_EQ(scored[3].score().SerializeAsString(), scored[0].score().SerializeAsString());
    EXPECT_EQ(responses[0].item().context_token_count(), 5);
    EXPECT_EQ(scored[0].boundary().context_token_count(), 4);
    // The 4 tokens that all begin with, 1 more of " mat.", and 1 more of the context of the third. Without forks the
    // first, which needs nothing more, goes along with one of the others.
    EXPECT_EQ(model.token_count(), fork ? 4 + 1 + 1 : 5 + 5);
    EXPECT_EQ(responses[0].usage().evaluated_token_count(), model.token_count());
    fake_.reset();
  }
}

TEST_F(BoundaryTest, IdsAfterAContextThatEndsInSpacesKeepThem) {
  Attach();
  const auto score = [&](const std::string& continuations) {
    std::vector<v1::ScoreResponse> responses;
    EXPECT_TRUE(Score("items { context { text: \"the  \" } " + continuations + "} items { context { text: \"  \" } " +
                          continuations + "} tokenization { boundary: BOUNDARY_LM_EVAL }",
                      &responses)
                    .ok());
    return responses;
  };
  const std::string ids = "continuations { tokens { token_ids: 5 } } ";
  // The rule is about texts: without any, the contexts are what they are.
  const auto alone = score(ids);
  EXPECT_EQ(alone[0].item().context_token_count(), 3);
  EXPECT_EQ(alone[1].item().context_token_count(), 2);
  EXPECT_FALSE(alone[1].item().has_implicit_context_token_id());
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(alone[i].item().continuations(0).has_boundary());
  // Beside a text, to which the spaces move, the report says what the ids are scored after.
  const auto mixed = score(ids + "continuations { text: \"x\" } ");
  EXPECT_EQ(mixed[0].item().context_token_count(), 1);
  EXPECT_EQ(mixed[1].item().context_token_count(), 1);
  EXPECT_EQ(mixed[1].item().implicit_context_token_id(), kFakeBos);
  for (const auto& responses : {alone, mixed}) {
    EXPECT_NEAR(responses[0].item().continuations(0).score().totals().cumulative_model_log_prob(),
                LogProbOf(FakeTokens("the  "), {5}), 1e-9);
    EXPECT_NEAR(responses[1].item().continuations(0).score().totals().cumulative_model_log_prob(),
                LogProbOf(FakeTokens("  "), {5}), 1e-9);
  }
  EXPECT_EQ(Show(mixed[0].item().continuations(0).boundary()), "SEPARATE after 3 context-changed");
  EXPECT_EQ(Show(mixed[1].item().continuations(0).boundary()), "SEPARATE after 2 context-changed");
  EXPECT_EQ(Show(mixed[0].item().continuations(1).boundary()), "LM_EVAL after 1 moved 2");
}

TEST_F(BoundaryTest, ANameInTheTextIsNotTakenForATokenBehindIt) {
  // [the][</s>][</s>]: the name is the first of the two, the tokenizer has added the second.
  FakeModelOptions options;
  options.adds_eos = true;
  Attach(options);
  const std::string parse = "parse_special_tokens: true";
  const std::vector<TokenId> eos = {testing::kFakeEos};
  Check({
      {"the", " cat", "", FakeTokens("the"), FakeTokens(" cat") + eos, "JOINT after 1 context-changed"},
      {"the", "</s>", parse.c_str(), FakeTokens("the"), eos + eos, "JOINT after 1 context-changed"},
      {"the</s>", "</s>", parse.c_str(), FakeTokens("the") + eos, eos + eos, "JOINT after 2 context-changed"},
      {"</s>", "</s>", parse.c_str(), eos, eos + eos, "JOINT after 1 context-changed"},
  });
  fake_.reset();
  options.name = "both";
  options.adds_bos = true;
  Attach(options);
  const std::vector<TokenId> bos = {kFakeBos};
  Check({
      {"<s>", "<s>a", parse.c_str(), bos + bos, bos + FakeTokens("a") + eos, "JOINT after 2 context-changed"},
      {"</s>", "</s>", parse.c_str(), bos + eos, eos + eos, "JOINT after 2 context-changed"},
  });
}

}  // namespace
}  // namespace logitd::server

// Texts of Score and Rank that cannot be tokenised, do not survive it, or cannot fit: each costs itself alone.
#include <string>
#include <vector>

#include "core/limits.h"
#include "server/handlers/item_tokens.h"
#include "server/models/text_outcomes.h"
#include "tests/server/in_process.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::FakeModelOptions;
using logitd::testing::FakeTokens;
using logitd::testing::Parse;

std::vector<TokenId> TokensOf(const v1::ScoredContinuation& continuation) {
  std::vector<TokenId> ids;
  for (const v1::TokenRecord& token : continuation.score().tokens()) ids.push_back(token.token_id());
  return ids;
}

class RefusedTextsTest : public logitd::testing::InProcessServer {};

TEST_F(RefusedTextsTest, TextThatEndsTheTokenizerIsRefusedAlone) {
  FakeModelOptions options;
  options.fatal_text = "zz";
  Attach(options);
  for (const std::string rule : {"JOINT", "SEPARATE", "LM_EVAL"}) {
    SCOPED_TRACE(rule);
    std::vector<v1::ScoreResponse> responses;
    ASSERT_TRUE(Score(R"(items { context { text: "the" } continuations { text: " zz" }
                             continuations { text: " cat" } }
                         items { context { text: "zz" } continuations { text: "a" } }
                         items { context { tokens { token_ids: 5 } } continuations { text: "zz" } continuations { text: "a" } }
                         tokenization { boundary: BOUNDARY_)" +
                          rule + " }",
                      &responses)
                    .ok());
    ASSERT_EQ(responses.size(), 3u);
    const auto& first = responses[0].item().continuations();
    EXPECT_EQ(Describe(first[0].error()), "TOKENIZER_FAILED of items[0].continuations[0].text");
    EXPECT_EQ(TokensOf(first[1]), FakeTokens(" cat"));
    EXPECT_EQ(Describe(responses[1].item().error()), "TOKENIZER_FAILED of items[1].context.text");
    const auto& last = responses[2].item().continuations();
    EXPECT_EQ(Describe(last[0].error()), "TOKENIZER_FAILED of items[2].continuations[0].text");
    EXPECT_EQ(TokensOf(last[1]), FakeTokens("a"));
  }
}

TEST_F(RefusedTextsTest, TextThatCannotBeTokenisedIsRefusedAlone) {
  // The fake vocabulary has no token for a digit. More such texts than may end the tokenizer: these end nothing.
  Attach();
  for (const std::string rule : {"JOINT", "SEPARATE", "LM_EVAL"}) {
    SCOPED_TRACE(rule);
    std::string items = R"(items { context { text: "c4t" } continuations { text: "a" } }
                           items { context { text: "the" } )";
    for (int i = 0; i < 2 * kMaxFailedTexts; ++i) items += R"(continuations { text: " 7" } )";
    items += R"(continuations { text: " cat" } }
                items { continuations { text: "9" } continuations { text: "a" } })";
    std::vector<v1::ScoreResponse> responses;
    const grpc::Status status = Score(items + " tokenization { boundary: BOUNDARY_" + rule + " }", &responses);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(responses.size(), 3u);
    EXPECT_EQ(Describe(responses[0].item().error()), "MALFORMED_MESSAGE of items[0].context.text");
    EXPECT_EQ(responses[0].item().error().message(),
              "items[0].context.text: byte 52 has no token in the fake vocabulary");
    const auto& second = responses[1].item().continuations();
    for (int i = 0; i < 2 * kMaxFailedTexts; ++i) {
      EXPECT_EQ(Describe(second[i].error()),
                "MALFORMED_MESSAGE of items[1].continuations[" + std::to_string(i) + "].text");
    }
    EXPECT_EQ(TokensOf(second[2 * kMaxFailedTexts]), FakeTokens(" cat"));
    const auto& third = responses[2].item().continuations();
    EXPECT_EQ(Describe(third[0].error()), "MALFORMED_MESSAGE of items[2].continuations[0].text");
    EXPECT_EQ(TokensOf(third[1]), FakeTokens("a"));
  }
  std::vector<v1::RankResponse> ranked;
  const auto request = Parse<v1::RankRequest>(
      R"(items { context { text: "the" } candidates { text: "a" }
                 candidates { text: "7" } }
         items { context { text: "8" } candidates { text: "a" } })");
  ASSERT_TRUE(Rank(request, &ranked).ok());
  EXPECT_EQ(ReplyTo(0, ranked).item().candidates(0).place(), 1);
  EXPECT_EQ(Describe(ReplyTo(0, ranked).item().candidates(1).error()),
            "MALFORMED_MESSAGE of items[0].candidates[1].text");
  EXPECT_EQ(Describe(ReplyTo(1, ranked).item().error()), "MALFORMED_MESSAGE of items[1].context.text");
}

TEST_F(RefusedTextsTest, TextsThatEndTheTokenizerAreCountedByRequest) {
  FakeModelOptions options;
  options.fatal_text = "zz";
  Attach(options);
  const auto score = [&](int fatal, const std::string& rule) {
    // Contexts, joined and separate texts are tokenised in different calls.
    std::string items;
    for (int i = 0; i < fatal; ++i) {
      items += i % 2 == 0 ? R"(items { context { text: "zz" } continuations { text: "a" } } )"
                          : R"(items { continuations { text: "zz" } } )";
    }
    std::vector<v1::ScoreResponse> responses;
    return Score(items + "tokenization { boundary: BOUNDARY_" + rule + " }", &responses);
  };
  for (const std::string rule : {"JOINT", "SEPARATE", "LM_EVAL"}) {
    for (int round = 0; round < 3; ++round) EXPECT_TRUE(score(kMaxFailedTexts, rule).ok());
    const grpc::Status status = score(kMaxFailedTexts + 1, rule);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), ::testing::HasSubstr("more than 4 texts of this request have ended"));
  }
}

TEST_F(RefusedTextsTest, ContextThatIsTooLongIsRefusedOnce) {
  for (const std::string rule : {"SEPARATE", "LM_EVAL", "JOINT"}) {
    SCOPED_TRACE(rule);
    FakeModelOptions options;
    options.name = rule;
    options.context_length = 4;
    std::vector<std::string> texts;
    options.on_text = [&](const std::string& text) { texts.push_back(text); };
    Attach(options);
    std::vector<v1::ScoreResponse> responses;
    ASSERT_TRUE(Score(R"(items { context { text: "xyxyx" } continuations { text: "y" }
                                 continuations { text: "z" } }
                         items { context { tokens { token_ids: [5, 6, 7, 8, 9] } } continuations { text: "q" } }
                         items { context { text: "xyxy" } continuations { text: "z" } }
                         tokenization { boundary: BOUNDARY_)" +
                          rule + " } model: \"" + rule + "\"",
                      &responses)
                    .ok());
    EXPECT_EQ(Describe(responses[1].item().error()), "CONTEXT_LENGTH_EXCEEDED of items[1].context.tokens");
    EXPECT_EQ(responses[1].item().error().value(), "5");
    EXPECT_TRUE(responses[2].item().continuations(0).has_score());
    if (rule == "JOINT") {
      // It might have left less of the context.
      EXPECT_EQ(Describe(responses[0].item().continuations(0).error()),
                "CONTEXT_LENGTH_EXCEEDED of items[0].continuations[0].text");
      EXPECT_THAT(texts, ::testing::Not(::testing::Contains("q")));
    } else {
      EXPECT_EQ(Describe(responses[0].item().error()), "CONTEXT_LENGTH_EXCEEDED of items[0].context.text");
      EXPECT_THAT(texts, ::testing::UnorderedElementsAre("xyxyx", "xyxy", "a", rule == "SEPARATE" ? "z" : "xyxyz"));
    }
    fake_.reset();
  }
}

TEST_F(RefusedTextsTest, TextThatCannotFitIsNotTokenised) {
  // The longest fake token has four bytes. Were these texts tokenised, they would end the tokenizer.
  FakeModelOptions options;
  options.fatal_text = "zzzz";
  options.tokens_spell_text = true;
  options.context_length = 8;
  Attach(options);
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(Score("items { context { text: \"" + std::string(33, 'z') +
                        "\" } continuations { text: \"a\" } } "
                        "items { context { text: \"a\" } continuations { text: \"" +
                        std::string(36, 'z') + "\" } continuations { text: \"b\" } }",
                    &responses)
                  .ok());
  EXPECT_EQ(Describe(responses[0].item().error()), "CONTEXT_LENGTH_EXCEEDED of items[0].context.text");
  const auto& second = responses[1].item().continuations();
  EXPECT_EQ(Describe(second[0].error()), "CONTEXT_LENGTH_EXCEEDED of items[1].continuations[0].text");
  EXPECT_EQ(TokensOf(second[1]), FakeTokens("b"));
}

TEST_F(RefusedTextsTest, TextsAreCountedBeforeTheyAreJoined) {
  Attach();
  constexpr int kContinuations = 1000;
  constexpr int64_t kContextBytes = 1 << 20;
  v1::ScoreRequest request;
  v1::ScoreItem& item = *request.add_items();
  item.mutable_context()->set_text(std::string(kContextBytes, 'a'));
  for (int i = 0; i < kContinuations; ++i) {
    item.add_continuations()->set_text("a");
  }
  const auto context = Context();
  const auto reader = scoring_->Score(context.get(), request);
  v1::ScoreResponse response;
  EXPECT_FALSE(reader->Read(&response));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(Describe(status), "LIMIT_EXCEEDED of items");
  EXPECT_EQ(logitd::testing::ErrorOf(status)->value(),
            std::to_string(kContextBytes + kContinuations * (kContextBytes + 1)));
}

}  // namespace
}  // namespace logitd::server

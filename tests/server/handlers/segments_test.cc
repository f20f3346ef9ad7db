// Prompts and contexts in segments, with the fake model's tokenizer: a token a word, BOS and EOS by their names.
#include "server/handlers/segments.h"

#include "core/limits.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::ErrorOf;
using logitd::testing::FakeModelOptions;
using logitd::testing::FakeTokens;
using logitd::testing::kFakeBos;
using logitd::testing::kFakeEos;
using logitd::testing::Parse;
using ::testing::ElementsAreArray;

std::vector<TokenId> Joined(std::initializer_list<std::vector<TokenId>> lists) {
  std::vector<TokenId> out;
  for (const auto& list : lists) out.insert(out.end(), list.begin(), list.end());
  return out;
}

class SegmentsTest : public logitd::testing::InProcessServer {
 protected:
  // Attaches a model that keeps the tokens of the first batch it is asked for.
  void AttachRecorder(FakeModelOptions options = {}) {
    options.before_batch = [this](const v1::RunBatch& batch) {
      const auto& ids = batch.work(0).append_token_ids();
      if (prompt_.empty()) prompt_.assign(ids.begin(), ids.end());
    };
    Attach(options);
  }

  // The tokens of a prompt.
  std::vector<TokenId> PromptOf(const std::string& prompt, const std::string& more = "") {
    prompt_.clear();
    Completions("prompt { " + prompt + " } stop { max_tokens: 1 } evaluation { no_cache: true } " + more);
    return prompt_;
  }
  std::string Refused(const std::string& prompt, const std::string& more = "") {
    std::vector<v1::GenerateResponse> responses;
    return Describe(Generate(Parse<v1::GenerateRequest>("prompt { " + prompt + " } " + more), &responses));
  }

  std::vector<TokenId> prompt_;
};

// The fake vocabulary has no token for "<": a mark that is not parsed is refused.
TEST_F(SegmentsTest, MarksAreParsedAndTextOfOthersIsNot) {
  AttachRecorder();
  EXPECT_THAT(PromptOf("segments { text: '<s>the' parse_special_tokens: true } segments { text: 'the cat' } "
                       "segments { text: '</s>' parse_special_tokens: true }"),
              ElementsAreArray(Joined({{kFakeBos}, FakeTokens("the"), FakeTokens("the cat"), {kFakeEos}})));
  EXPECT_EQ(Refused("segments { text: '<s>the' parse_special_tokens: true } segments { text: 'the</s>' }"),
            "MALFORMED_MESSAGE of prompt.segments[1].text");
  // Unset: as the options say, for all that do not say otherwise.
  const std::string parse = "tokenization { parse_special_tokens: true }";
  EXPECT_THAT(PromptOf("segments { text: '<s>' } segments { text: 'the' parse_special_tokens: false }", parse),
              ElementsAreArray(Joined({{kFakeBos}, FakeTokens("the")})));
  EXPECT_EQ(Refused("segments { text: '<s>' } segments { text: '<s>' parse_special_tokens: false }", parse),
            "MALFORMED_MESSAGE of prompt.segments[1].text");
  // A mark in two halves is none.
  EXPECT_EQ(Refused("segments { text: 'a<' } segments { text: 's>' }", parse),
            "MALFORMED_MESSAGE of prompt.segments[0].text");
}

TEST_F(SegmentsTest, OnlyTheFirstTextBegins) {
  FakeModelOptions options;
  options.space_prefix = true;
  options.adds_bos = true;
  options.adds_eos = true;
  AttachRecorder(options);
  const std::vector<TokenId> bos = {kFakeBos};
  EXPECT_THAT(PromptOf("segments { text: 'the' } segments { text: 'cat' } segments { text: ' sat.' }"),
              ElementsAreArray(Joined({bos, FakeTokens(" the"), FakeTokens("cat"), FakeTokens(" sat.")})));
  // Empty pieces are left out, first of all.
  EXPECT_THAT(
      PromptOf("segments { text: '' } segments { tokens { } } segments { text: 'the' } segments { text: 'cat' }"),
      ElementsAreArray(Joined({bos, FakeTokens(" the"), FakeTokens("cat")})));
  EXPECT_THAT(PromptOf("segments { text: 'the' }", "tokenization { add_special_tokens: false }"),
              ElementsAreArray(FakeTokens(" the")));
  // Nothing is put before ids, nor before a text after them.
  EXPECT_THAT(PromptOf("segments { tokens { token_ids: [9, 8] } } segments { text: 'cat' } "
                       "segments { tokens { token_ids: 7 } }"),
              ElementsAreArray(Joined({{9, 8}, FakeTokens("cat"), {7}})));
}

TEST_F(SegmentsTest, WhatIsDoubledOrChangedIsReported) {
  FakeModelOptions options;
  options.adds_bos = true;
  options.changes_text = true;
  AttachRecorder(options);
  const auto report = [&](const std::string& prompt) {
    std::vector<v1::GenerateResponse> responses;
    EXPECT_TRUE(
        Generate(Parse<v1::GenerateRequest>("prompt { " + prompt + " } stop { max_tokens: 1 }"), &responses).ok());
    const v1::TokenizationReport& said = responses[0].started().tokenization();
    return std::pair(said.text_changed(), said.doubled_bos());
  };
  EXPECT_EQ(report("segments { text: 'the' } segments { text: 'cat' }"), std::pair(false, false));
  EXPECT_EQ(report("segments { text: 'the' } segments { text: 'CAT' }"), std::pair(true, false));
  EXPECT_EQ(report("segments { text: '<s>' parse_special_tokens: true } segments { text: 'cat' }"),
            std::pair(false, true));
}

TEST_F(SegmentsTest, WhatIsWrongIsNamed) {
  Attach();
  EXPECT_EQ(Refused("segments { text: 'a' } text: 'a'"), "FIELDS_EXCLUSIVE of prompt.segments");
  EXPECT_EQ(Refused("segments { text: 'a' } tokens { token_ids: 5 }"), "FIELDS_EXCLUSIVE of prompt.segments");
  EXPECT_EQ(Refused("segments { text: 'a' } segments { parse_special_tokens: true }"),
            "FIELD_REQUIRED of prompt.segments[1]");
  EXPECT_EQ(Refused("segments { tokens { token_ids: 5 } parse_special_tokens: false }"),
            "FIELDS_EXCLUSIVE of prompt.segments[0].parse_special_tokens");
  EXPECT_EQ(Refused("segments { text: 'a' } segments { tokens { token_ids: [5, 64] } }"),
            "TOKEN_ID_OUT_OF_RANGE of prompt.segments[1].tokens.token_ids[1]");
  EXPECT_EQ(Refused("segments { text: 'a' } segments { text: '7' } segments { text: '8' }"),
            "MALFORMED_MESSAGE of prompt.segments[1].text");
  EXPECT_EQ(Refused("segments { text: '' }"), "EMPTY_PROMPT of prompt");
  EXPECT_EQ(Refused(""), "FIELD_REQUIRED of prompt");
  std::string many;
  for (int i = 0; i <= kMaxSegments; ++i) many += "segments { text: 'a' } ";
  std::vector<v1::GenerateResponse> responses;
  const auto status = Generate(Parse<v1::GenerateRequest>("prompt { " + many + " }"), &responses);
  EXPECT_EQ(ErrorOf(status).value_or(v1::Error()).limit(), "max_segments");
}

TEST_F(SegmentsTest, ContextInSegmentsCountsAsIds) {
  Attach();
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(
      Score("items { context { segments { text: '<s>' parse_special_tokens: true } segments { text: 'the cat' } } "
            "continuations { text: ' cat' } continuations { tokens { token_ids: 5 } } } "
            "items { context { segments { text: '7' } } continuations { text: 'a' } } "
            "items { context { text: 'a' segments { text: 'a' } } continuations { text: 'a' } } "
            "items { context { segments { text: '' } } continuations { text: 'a' } } ",
            &responses)
          .ok());
  ASSERT_EQ(responses.size(), 4u);
  const auto context = Joined({{kFakeBos}, FakeTokens("the cat")});
  EXPECT_EQ(responses[0].item().context_token_count(), static_cast<int>(context.size()));
  const v1::ScoredContinuation& text = responses[0].item().continuations(0);
  EXPECT_EQ(text.boundary().rule(), v1::BOUNDARY_SEPARATE);
  std::string ids;
  for (const TokenId id : context) ids += (ids.empty() ? "" : ", ") + std::to_string(id);
  const auto alone =
      ScoreOne("items { context { tokens { token_ids: [" + ids + "] } } continuations { text: ' cat' } }");
  EXPECT_EQ(text.score().SerializeAsString(), alone.score().SerializeAsString());
  EXPECT_EQ(Describe(responses[1].item().error()), "MALFORMED_MESSAGE of items[1].context.segments[0].text");
  EXPECT_EQ(Describe(responses[2].item().error()), "FIELDS_EXCLUSIVE of items[2].context.segments");
  EXPECT_EQ(responses[3].item().implicit_context_token_id(), kFakeBos);
}

}  // namespace
}  // namespace logitd::server

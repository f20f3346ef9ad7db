#include "client/http/logprob_lists.h"

#include <limits>

#include "client/http/strict_json.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

TokenTexts Texts() { return TokenTexts(std::make_shared<TokenNames>(TokenNames{{2, "</s>"}}), false); }

v1::TokenRecord RecordOf(int32_t id, const std::string& bytes, double log_prob) {
  v1::TokenRecord record;
  record.set_token_id(id);
  record.set_token_bytes(bytes);
  record.set_log_prob_state(v1::LOG_PROB_STATE_PRESENT);
  record.set_model_log_prob(log_prob);
  return record;
}

void AddTop(int32_t id, const std::string& bytes, double log_prob, int32_t rank, v1::TokenRecord& record) {
  record.mutable_top()->add_token_ids(id);
  record.mutable_top()->add_token_bytes(bytes);
  record.mutable_top()->add_model_log_probs(log_prob);
  record.mutable_top()->add_ranks(rank);
}

v1::TokenRecord FirstRecord() {
  v1::TokenRecord record;
  record.set_token_id(4);
  record.set_token_bytes("The");
  record.set_log_prob_state(v1::LOG_PROB_STATE_FIRST_TOKEN);
  return record;
}

TEST(LogprobListsTest, TheFirstTokenOfAPromptHasNull) {
  const TokenTexts texts = Texts();
  LogprobLists lists(texts, 1);
  lists.Add(FirstRecord(), 0);
  EXPECT_EQ(lists.Take(), R"({"tokens":["The"],"token_logprobs":[null],"top_logprobs":[null],"text_offset":[0]})");
}

TEST(LogprobListsTest, TheTokenItselfIsAlwaysAmongTheTop) {
  const TokenTexts texts = Texts();
  LogprobLists lists(texts, 1);
  v1::TokenRecord record = RecordOf(7, " cat", -9.25);
  AddTop(8, " dog", -0.5, 1, record);
  lists.Add(record, 3);
  EXPECT_EQ(
      lists.Take(),
      R"({"tokens":[" cat"],"token_logprobs":[-9.25],"top_logprobs":[{" dog":-0.5," cat":-9.25}],"text_offset":[3]})");
}

TEST(LogprobListsTest, EqualNumbersAreWrittenEqually) {
  const TokenTexts texts = Texts();
  LogprobLists lists(texts, 2);
  v1::TokenRecord record = RecordOf(2, "", -0.12345678901234567);
  AddTop(2, "", -0.12345678901234567, 1, record);
  AddTop(8, "x", -3, 2, record);
  lists.Add(record, 0);
  const Json json = *ParseJson(lists.Take());
  EXPECT_EQ(json["tokens"][0], "</s>");
  EXPECT_EQ(json["token_logprobs"][0], json["top_logprobs"][0]["</s>"]);
  EXPECT_EQ(json["top_logprobs"][0].size(), 2u);
}

TEST(LogprobListsTest, OfEqualTextsTheMoreLikelyTokenStands) {
  const TokenTexts texts = Texts();
  LogprobLists lists(texts, 2);
  // Two tokens may spell the same text: a word, and its bytes.
  v1::TokenRecord record = RecordOf(20, "A", -4);
  AddTop(9, "A", -1, 1, record);
  AddTop(8, "x", -2, 2, record);
  lists.Add(record, 0);
  EXPECT_EQ(lists.Take(),
            R"({"tokens":["A"],"token_logprobs":[-4.0],"top_logprobs":[{"A":-1.0,"x":-2.0}],"text_offset":[0]})");
}

TEST(LogprobListsTest, WhatIsImpossibleIsNullAndNoAlternative) {
  const TokenTexts texts = Texts();
  LogprobLists lists(texts, 2);
  v1::TokenRecord record = RecordOf(7, "a", 0);
  record.clear_model_log_prob();
  record.set_log_prob_state(v1::LOG_PROB_STATE_EXCLUDED);
  AddTop(8, "x", -0.5, 1, record);
  AddTop(9, "y", -std::numeric_limits<double>::infinity(), 2, record);
  lists.Add(record, 0);
  EXPECT_EQ(lists.Take(), R"({"tokens":["a"],"token_logprobs":[null],"top_logprobs":[{"x":-0.5}],"text_offset":[0]})");
}

TEST(PromptLogprobsTest, TheActualTokenComesFirst) {
  const TokenTexts texts = Texts();
  v1::ScoredPrompt prompt;
  *prompt.add_tokens() = FirstRecord();
  v1::TokenRecord& record = *prompt.add_tokens();
  record = RecordOf(7, " cat", -9.25);
  record.set_rank(5);
  AddTop(8, " dog", -0.5, 1, record);
  AddTop(9, " sun", -1.5, 2, record);
  EXPECT_EQ(
      PromptLogprobs(prompt, 1, texts),
      R"([null,{"7":{"logprob":-9.25,"rank":5,"decoded_token":" cat"},"8":{"logprob":-0.5,"rank":1,"decoded_token":" dog"}}])");
  EXPECT_EQ(PromptLogprobs(prompt, 0, texts), R"([null,{"7":{"logprob":-9.25,"rank":5,"decoded_token":" cat"}}])");
}

TEST(PromptLogprobsTest, ATokenAmongTheTopIsWrittenOnce) {
  const TokenTexts texts = Texts();
  v1::ScoredPrompt prompt;
  v1::TokenRecord& record = *prompt.add_tokens();
  record = RecordOf(9, " sun", -1.5);
  record.set_rank(2);
  AddTop(8, " dog", -0.5, 1, record);
  AddTop(9, " sun", -1.5, 2, record);
  EXPECT_EQ(
      PromptLogprobs(prompt, 2, texts),
      R"([{"9":{"logprob":-1.5,"rank":2,"decoded_token":" sun"},"8":{"logprob":-0.5,"rank":1,"decoded_token":" dog"}}])");
}

}  // namespace
}  // namespace logitd::http

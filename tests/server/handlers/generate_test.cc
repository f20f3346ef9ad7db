#include "server/handlers/generate.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <thread>

#include "core/decoder.h"
#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::EqualsProto;
using logitd::testing::FakeModelOptions;
using logitd::testing::FakeOutcome;
using logitd::testing::FakeRow;
using logitd::testing::FakeTokens;
using logitd::testing::IsOk;
using logitd::testing::Parse;

class GenerateTest : public logitd::testing::InProcessServer {
 protected:
  grpc::Status Refused(const std::string& request) {
    std::vector<v1::GenerateResponse> responses;
    return Generate(Parse<v1::GenerateRequest>(request), &responses);
  }
};

// What the same decoder makes of the same rows, without a server.
std::vector<TokenRecord> Expected(std::vector<TokenId> tokens, const DecoderConfig& config) {
  Decoder decoder(config, std::make_shared<const std::vector<TokenId>>(tokens), {}, SequenceSums());
  Distribution distribution;
  std::vector<TokenRecord> records;
  while (true) {
    const auto step = decoder.Advance(decoder.position(), FakeRow(tokens), distribution);
    EXPECT_THAT(step, IsOk());
    records.push_back(*step->token);
    if (step->finish) return records;
    tokens.push_back(step->token->token_id);
  }
}

TEST_F(GenerateTest, CompletionsAreWhatTheDecoderMakesOfTheModelsRows) {
  auto& model = Attach();
  const v1::GenerateFinal final = Completions(R"(prompt { text: "the cat" } n: 4 first_sequence_key: 10
      sampling { temperature: 0.7 top_p: 0.9 seed: 7 } stop { max_tokens: 12 ignore_eos: true } record { rank: true entropy: true })");
  ASSERT_EQ(final.completions_size(), 4);
  std::set<std::string> texts;
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    const v1::Completion& completion = final.completions(i);
    DecoderConfig config;
    config.sampling.temperature = 0.7;
    config.sampling.top_p = 0.9;
    config.seed = 7;
    config.sequence_key = 10 + static_cast<uint64_t>(i);
    config.stop.max_tokens = 12;
    const auto expected = Expected(FakeTokens("the cat"), config);
    ASSERT_EQ(completion.tokens_size(), static_cast<int>(expected.size()));
    double sum = 0;
    for (size_t t = 0; t < expected.size(); ++t) {
      const v1::TokenRecord& token = completion.tokens(static_cast<int>(t));
      EXPECT_EQ(token.token_id(), expected[t].token_id);
      EXPECT_EQ(token.model_log_prob(), *expected[t].model_log_prob);
      EXPECT_EQ(token.sampling_log_prob(), *expected[t].sampling_log_prob);
      EXPECT_TRUE(token.has_rank());
      EXPECT_TRUE(token.has_model_entropy());
      sum += token.model_log_prob();
    }
    EXPECT_NEAR(completion.totals().cumulative_model_log_prob(), sum, 1e-12);
    EXPECT_EQ(completion.sequence_key(), config.sequence_key);
    EXPECT_EQ(completion.finish().reason(), v1::FINISH_REASON_MAX_TOKENS);
    texts.insert(completion.text());
  }
  EXPECT_EQ(texts.size(), 4u);
  EXPECT_EQ(final.seed(), 7u);
  EXPECT_EQ(final.usage().generated_token_count(), 48);
  // The prompt is evaluated once, whatever n is.
  EXPECT_EQ(model.token_count(), static_cast<int64_t>(FakeTokens("the cat").size()) + 4 * 11);
  EXPECT_EQ(final.usage().evaluated_token_count(), model.token_count());
  EXPECT_EQ(final.usage().scored_token_count(), 0) << "nothing was given";
  EXPECT_GE(model.largest_batch(), 4);
}

TEST_F(GenerateTest, PromptIsScoredWithTheEvaluationThatACompletionBeginsWith) {
  for (const bool records : {true, false}) {
    for (const int n : {1, 2}) {
      SCOPED_TRACE(std::string(records ? "records" : "rows") + ", n " + std::to_string(n));
      FakeModelOptions options;
      options.records = records;
      options.name = (records ? "records" : "rows") + std::to_string(n);
      auto& model = Attach(options);
      const std::string ids = "3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22";
      const std::string request = "prompt { tokens { token_ids: [2, " + ids + "] } } n: " + std::to_string(n) +
                                  " stop { max_tokens: 3 ignore_eos: true } sampling { seed: 5 } model: \"" +
                                  options.name + "\" ";
      const v1::GenerateFinal plain = Completions(request);
      const int64_t before = model.token_count();
      std::vector<v1::GenerateResponse> responses;
      const std::string record = "{ rank: true entropy: true top_n: 2 named_token_ids: 30 }";
      ASSERT_TRUE(Generate(Parse<v1::GenerateRequest>(request + "prompt_record " + record), &responses).ok());
      EXPECT_EQ(model.token_count() - before, 21 + 2 * n) << "nothing is evaluated twice";
      ASSERT_TRUE(responses[0].has_started());
      ASSERT_TRUE(responses[1].has_prompt());
      for (size_t i = 2; i + 1 < responses.size(); ++i) EXPECT_TRUE(responses[i].has_delta());
      const v1::GenerateFinal& final = responses.back().final();
      EXPECT_EQ(final.prompt().SerializeAsString(), responses[1].prompt().SerializeAsString());
      EXPECT_EQ(final.usage().evaluated_token_count(), 21 + 2 * n);
      EXPECT_EQ(final.usage().scored_token_count(), 20);
      for (int c = 0; c < n; ++c) {
        EXPECT_EQ(final.completions(c).SerializeAsString(), plain.completions(c).SerializeAsString());
      }
      // The same numbers as Score gives for all after the first.
      auto scored = ScoreOne("items { context { tokens { token_ids: 2 } } continuations { tokens { token_ids: [" + ids +
                             "] } } } record " + record + " model: \"" + options.name + "\"");
      ASSERT_EQ(final.prompt().tokens_size(), 21);
      v1::TokenRecord first;
      first.set_token_id(2);
      first.set_token_bytes(std::string(logitd::testing::FakeTokenBytes(2)));
      first.set_origin(v1::TOKEN_ORIGIN_GIVEN);
      first.set_log_prob_state(v1::LOG_PROB_STATE_FIRST_TOKEN);
      EXPECT_EQ(final.prompt().tokens(0).SerializeAsString(), first.SerializeAsString());
      for (int t = 0; t < 20; ++t) {
        v1::TokenRecord token = final.prompt().tokens(t + 1);
        EXPECT_EQ(token.position(), t + 1);
        token.set_position(t);
        EXPECT_EQ(token.SerializeAsString(), scored.score().tokens(t).SerializeAsString()) << t;
      }
      EXPECT_EQ(final.prompt().totals().SerializeAsString(), scored.score().totals().SerializeAsString());
      fake_.reset();
    }
  }
}

TEST_F(GenerateTest, NothingIsChosenWhereNothingIsAskedFor) {
  auto& model = Attach();
  const std::string request = "prompt { tokens { token_ids: [5, 6, 7] } } stop { max_tokens: 0 } n: 2 ";
  std::vector<v1::GenerateResponse> responses;
  ASSERT_TRUE(Generate(Parse<v1::GenerateRequest>(request), &responses).ok());
  EXPECT_EQ(model.token_count(), 0) << "there is nothing to evaluate for";
  ASSERT_EQ(responses.size(), 4u) << "started, two deltas, final";
  EXPECT_THAT(responses.back().final().usage(), EqualsProto("prompt_token_count: 3"));
  for (const v1::Completion& completion : responses.back().final().completions()) {
    EXPECT_EQ(completion.finish().reason(), v1::FINISH_REASON_MAX_TOKENS);
    EXPECT_EQ(completion.tokens_size(), 0);
    EXPECT_EQ(completion.text(), "");
    EXPECT_EQ(completion.totals().token_count(), 0);
    EXPECT_FALSE(completion.totals().has_cumulative_model_log_prob());
  }
  responses.clear();
  ASSERT_TRUE(Generate(Parse<v1::GenerateRequest>(request + "prompt_record { } stream: false"), &responses).ok());
  ASSERT_EQ(responses.size(), 2u);
  EXPECT_EQ(model.token_count(), 2) << "the last token's row is not needed";
  EXPECT_EQ(responses.back().final().prompt().tokens_size(), 3);
  EXPECT_THAT(responses.back().final().usage(),
              EqualsProto("prompt_token_count: 3 scored_token_count: 2 evaluated_token_count: 2"));
  // A prompt of one token has no log-prob at all; without records there are sums.
  const v1::GenerateFinal one = Completions(
      "prompt { tokens { token_ids: 5 } } stop { max_tokens: 1 } prompt_record { layout: RECORD_LAYOUT_NONE }");
  EXPECT_THAT(one.prompt(), EqualsProto("totals { token_count: 0 }"));
  EXPECT_EQ(one.usage().evaluated_token_count(), 1);
}

TEST_F(GenerateTest, WhatAPromptCannotHaveIsRefused) {
  Attach({.context_length = 2000});
  const auto refused = [&](const std::string& more) {
    std::vector<v1::GenerateResponse> responses;
    const std::string outcome =
        Describe(Generate(Parse<v1::GenerateRequest>("prompt { text: 'a' } " + more), &responses));
    EXPECT_TRUE(responses.empty());
    return outcome;
  };
  EXPECT_EQ(refused("prompt_record { sampling_log_prob: true }"),
            "FIELD_OUT_OF_RANGE of prompt_record.sampling_log_prob");
  EXPECT_EQ(refused("prompt_record { kept_set: true }"), "FIELD_OUT_OF_RANGE of prompt_record.kept_set");
  EXPECT_EQ(refused("prompt_record { draw: true }"), "FIELD_OUT_OF_RANGE of prompt_record.draw");
  EXPECT_EQ(refused("prompt_record { named_token_ids: 64 }"),
            "TOKEN_ID_OUT_OF_RANGE of prompt_record.named_token_ids[0]");
  EXPECT_EQ(refused("stop { max_tokens: -1 }"), "FIELD_OUT_OF_RANGE of stop.max_tokens");
  EXPECT_EQ(refused("stop { max_tokens: 0 min_tokens: 1 }"), "FIELD_OUT_OF_RANGE of stop.min_tokens");
  // 1,100 tokens with 1,000 names each.
  auto many = Parse<v1::GenerateRequest>("stop { max_tokens: 1 } prompt_record { }");
  many.mutable_prompt()->mutable_tokens()->mutable_token_ids()->Resize(1100, 5);
  many.mutable_prompt_record()->mutable_named_token_ids()->Resize(1000, 5);
  std::vector<v1::GenerateResponse> responses;
  const auto status = Generate(many, &responses);
  EXPECT_EQ(Describe(status), "LIMIT_EXCEEDED of prompt_record.top_n");
  EXPECT_TRUE(responses.empty());
}

TEST_F(GenerateTest, ABadRowOfThePromptFailsTheCall) {
  FakeModelOptions options;
  options.outcome = [](std::span<const TokenId> tokens) {
    return tokens.back() == 13 ? FakeOutcome::kNan : FakeOutcome::kRow;
  };
  for (const bool records : {true, false}) {
    options.records = records;
    options.name = records ? "records" : "rows";
    Attach(options);
    std::vector<v1::GenerateResponse> responses;
    EXPECT_EQ(
        Describe(Generate(Parse<v1::GenerateRequest>("prompt { tokens { token_ids: [5, 13, 6] } } prompt_record { } "
                                                     "stop { max_tokens: 1 } model: \"" +
                                                     options.name + "\""),
                          &responses)),
        "MODEL_OUTPUT_INVALID of ");
    fake_.reset();
  }
}

TEST_F(GenerateTest, WithoutForksThePromptCostsAgainForEachCompletion) {
  FakeModelOptions options;
  options.fork = false;
  auto& model = Attach(options);
  const v1::GenerateFinal final =
      Completions("prompt { tokens { token_ids: [5, 6, 7] } } n: 3 stop { max_tokens: 4 ignore_eos: true }");
  EXPECT_EQ(final.usage().evaluated_token_count(), 3 * (3 + 3));
  EXPECT_EQ(model.token_count(), 3 * (3 + 3));
}

TEST_F(GenerateTest, PenaltiesSeeThePromptAndTheCompletion) {
  Attach();
  const std::string request = R"(prompt { text: "the cat" } n: 2 stop { max_tokens: 16 ignore_eos: true } sampling {
      temperature: 0.8 seed: 7 repetition_penalty: 1.8 presence_penalty: 0.5 no_repeat_ngram_size: 2)";
  const v1::GenerateFinal final = Completions(request + " }");
  DecoderConfig config;
  config.sampling.temperature = 0.8;
  config.sampling.repetition_penalty = 1.8;
  config.sampling.presence_penalty = 0.5;
  config.sampling.no_repeat_ngram_size = 2;
  config.seed = 7;
  config.stop.max_tokens = 16;
  for (int i = 0; i < 2; ++i) {
    SCOPED_TRACE(i);
    config.sequence_key = static_cast<uint64_t>(i);
    const auto expected = Expected(FakeTokens("the cat"), config);
    ASSERT_EQ(final.completions(i).tokens_size(), static_cast<int>(expected.size()));
    for (size_t t = 0; t < expected.size(); ++t) {
      EXPECT_EQ(final.completions(i).tokens(static_cast<int>(t)).token_id(), expected[t].token_id) << t;
      EXPECT_EQ(final.completions(i).tokens(static_cast<int>(t)).sampling_log_prob(), *expected[t].sampling_log_prob);
    }
  }
  // The prompt matters: the first row is the same without it.
  const v1::GenerateFinal output_alone = Completions(request + " repetition_scope: PENALTY_SCOPE_OUTPUT }");
  EXPECT_NE(output_alone.completions(0).tokens(0).sampling_log_prob(),
            final.completions(0).tokens(0).sampling_log_prob());
}

TEST_F(GenerateTest, ASeedIsDrawnWhereThereIsChanceAndElseItIsZero) {
  Attach();
  const std::string request = "prompt { text: \"a\" } stop { max_tokens: 1 } sampling { ";
  const std::string xtc = "temperature: 0 xtc { probability: 0.5 } ";
  EXPECT_NE(Completions(request + "temperature: 0.7 }").seed(), 0u);
  EXPECT_EQ(Completions(request + "temperature: 0 }").seed(), 0u);
  EXPECT_EQ(Completions(request + xtc + "}").seed(), 0u) << "XTC comes after the temperature";
  const std::string llama_cpp = "stage_order { preset: STAGE_PRESET_LLAMA_CPP } ";
  EXPECT_NE(Completions(request + xtc + llama_cpp + "}").seed(), 0u) << "XTC comes before";
  EXPECT_EQ(Completions(request + xtc + llama_cpp + "seed: 6 }").seed(), 6u);
}

TEST_F(GenerateTest, CompletionIsTheSameAloneAsAmongOthers) {
  Attach();
  const std::string common = "prompt { text: \"a\" } sampling { temperature: 1.3 seed: 3 } stop { max_tokens: 8 } ";
  const v1::GenerateFinal together = Completions(common + "n: 3");
  for (int i = 0; i < 3; ++i) {
    v1::Completion alone = Completions(common + "first_sequence_key: " + std::to_string(i)).completions(0);
    alone.set_index(i);
    EXPECT_EQ(alone.SerializeAsString(), together.completions(i).SerializeAsString());
  }
}

TEST_F(GenerateTest, ManyCompletionsRunInWavesAndForksAreOptional) {
  FakeModelOptions options;
  options.max_sequences = 6;
  Attach(options);
  const std::string request =
      "prompt { text: \"cat\" } n: 9 sampling { temperature: 0.9 seed: 1 } stop { max_tokens: 5 }";
  // All but what it costs, for without forks the prompt is read for each completion, and the model's name.
  const auto bytes_of = [](v1::GenerateFinal final) {
    final.mutable_usage()->clear_evaluated_token_count();
    final.clear_provenance();
    return final.SerializeAsString();
  };
  const std::string in_waves = bytes_of(Completions(request));
  fake_.reset();
  options.max_sequences = 1;
  options.name = "single";
  Attach(options);
  EXPECT_EQ(bytes_of(Completions(request + " model: \"single\"")), in_waves);
  fake_.reset();
  options.fork = false;
  options.name = "unforked";
  Attach(options);
  EXPECT_EQ(bytes_of(Completions(request + " model: \"unforked\"")), in_waves);
}

TEST_F(GenerateTest, DeltasAddUpToTheFinalCompletion) {
  Attach();
  const auto request = Parse<v1::GenerateRequest>(
      "prompt { text: \"the\" } n: 2 sampling { temperature: 2 seed: 9 } stop { max_tokens: 30 ignore_eos: true }");
  std::vector<v1::GenerateResponse> responses;
  ASSERT_TRUE(Generate(request, &responses).ok());
  ASSERT_GE(responses.size(), 3u);
  EXPECT_TRUE(responses.front().has_started());
  EXPECT_EQ(responses.front().started().provenance().precision().empty(), false);
  ASSERT_TRUE(responses.back().has_final());
  for (const v1::Completion& completion : responses.back().final().completions()) {
    std::string text;
    std::vector<int32_t> tokens;
    double last_sum = 0;
    for (const v1::GenerateResponse& response : responses) {
      if (!response.has_delta() || response.delta().index() != completion.index()) continue;
      text += response.delta().text();
      for (const v1::TokenRecord& token : response.delta().tokens()) tokens.push_back(token.token_id());
      last_sum = response.delta().totals().cumulative_model_log_prob();
    }
    EXPECT_EQ(text, completion.text());
    EXPECT_EQ(last_sum, completion.totals().cumulative_model_log_prob());
    ASSERT_EQ(tokens.size(), 30u);
    for (int i = 0; i < 30; ++i) EXPECT_EQ(tokens[i], completion.tokens(i).token_id());
  }
}

TEST_F(GenerateTest, WithoutRecordsThereAreNoTokensInDeltasEither) {
  for (const bool choice : {false, true}) {
    Attach({.choice = choice});
    std::vector<v1::GenerateResponse> responses;
    ASSERT_TRUE(
        Generate(Parse<v1::GenerateRequest>("prompt { text: \"the cat\" } record { layout: RECORD_LAYOUT_NONE } "
                                            "stop { max_tokens: 9 ignore_eos: true }"),
                 &responses)
            .ok());
    std::string text;
    for (const v1::GenerateResponse& response : responses) {
      EXPECT_TRUE(response.delta().tokens().empty());
      text += response.delta().text();
    }
    const v1::GenerateFinal& final = responses.back().final();
    EXPECT_EQ(text, final.completions(0).text());
    EXPECT_TRUE(final.completions(0).tokens().empty());
    EXPECT_EQ(final.completions(0).totals().token_count(), 9);
    EXPECT_LT(final.completions(0).totals().cumulative_model_log_prob(), 0);
  }
}

// Whoever reads the last message alone has all of it.
TEST_F(GenerateTest, TheFinalMessageSaysWhatItsNumbersDependOn) {
  Attach({.batch_tolerance_nats = 0.25});
  std::vector<v1::GenerateResponse> responses;
  ASSERT_TRUE(
      Generate(Parse<v1::GenerateRequest>("prompt { text: \"the cat\" } stop { max_tokens: 1 }"), &responses).ok());
  EXPECT_EQ(responses.back().final().provenance().batch_tolerance_nats(), 0.25);
  EXPECT_THAT(responses.back().final().provenance(), EqualsProto(responses.front().started().provenance()));
}

TEST_F(GenerateTest, WithoutStreamThereAreNoDeltas) {
  Attach();
  std::vector<v1::GenerateResponse> responses;
  ASSERT_TRUE(
      Generate(Parse<v1::GenerateRequest>("prompt { text: \"a\" } stream: false stop { max_tokens: 3 }"), &responses)
          .ok());
  EXPECT_EQ(responses.size(), 2u);
}

TEST_F(GenerateTest, StopTokenIsInTheTokensButNotInTheText) {
  Attach();
  const v1::GenerateFinal free =
      Completions("prompt { text: \"cat\" } sampling { temperature: 0 } stop { max_tokens: 5 ignore_eos: true }");
  const int32_t third = free.completions(0).tokens(2).token_id();
  const v1::GenerateFinal stopped =
      Completions("prompt { text: \"cat\" } sampling { temperature: 0 } stop { ignore_eos: true stop_token_ids: " +
                  std::to_string(third) + " }");
  const v1::Completion& completion = stopped.completions(0);
  EXPECT_EQ(completion.finish().reason(), v1::FINISH_REASON_STOP_TOKEN);
  EXPECT_EQ(completion.finish().stop_token_id(), third);
  const v1::TokenRecord& last = completion.tokens(completion.tokens_size() - 1);
  EXPECT_EQ(last.token_id(), third);
  EXPECT_EQ(completion.totals().token_count(), completion.tokens_size());
  std::string text;
  for (int i = 0; i + 1 < completion.tokens_size(); ++i) text += completion.tokens(i).token_bytes();
  EXPECT_EQ(completion.raw_bytes().empty() ? completion.text() : completion.raw_bytes(), text);
}

TEST_F(GenerateTest, FullContextFinishes) {
  FakeModelOptions options;
  options.context_length = 10;
  Attach(options);
  std::string prompt = "prompt { tokens { token_ids: [";
  for (int i = 0; i < 10; ++i) prompt += std::string(i == 0 ? "" : ",") + "5";
  const v1::GenerateFinal final = Completions(prompt + "] } } stop { ignore_eos: true }");
  EXPECT_EQ(final.completions(0).tokens_size(), 1) << "a full prompt still has a next token";
  EXPECT_EQ(final.completions(0).finish().reason(), v1::FINISH_REASON_CONTEXT_FULL);
  EXPECT_EQ(Describe(Refused(prompt + ",5] } }")), "CONTEXT_LENGTH_EXCEEDED of prompt");
  const v1::GenerateFinal shorter = Completions("prompt { tokens { token_ids: [5, 6, 7] } } stop { ignore_eos: true }");
  EXPECT_EQ(shorter.completions(0).tokens_size(), 8);
}

// A runner in little memory: its whole cache holds less than the context length.
TEST_F(GenerateTest, ACacheSmallerThanTheContextFinishes) {
  FakeModelOptions options;
  options.context_length = 64;
  options.max_cached_tokens = 10;
  Attach(options);
  const std::string unbounded = "] } } stop { ignore_eos: true }";
  const v1::GenerateFinal final = Completions("prompt { tokens { token_ids: [5, 6, 7" + unbounded);
  // 7 tokens are fed behind the prompt, and one more is chosen.
  EXPECT_EQ(final.completions(0).tokens_size(), 8);
  EXPECT_EQ(final.completions(0).finish().reason(), v1::FINISH_REASON_CONTEXT_FULL);
  const std::string full = "prompt { tokens { token_ids: [5, 5, 5, 5, 5, 5, 5, 5, 5, 5";
  EXPECT_EQ(Completions(full + unbounded).completions(0).tokens_size(), 1);
  const grpc::Status refused = Refused(full + ", 5] } } stop { max_tokens: 100 }");
  EXPECT_EQ(Describe(refused), "LIMIT_EXCEEDED of prompt");
  EXPECT_THAT(refused.error_message(), ::testing::HasSubstr("[1, 10] tokens"));
}

TEST_F(GenerateTest, BadInputIsNamedAndTheServerLives) {
  Attach();
  const struct {
    const char* request;
    const char* error;
  } cases[] = {
      {"", "FIELD_REQUIRED of prompt"},
      {"prompt { }", "FIELD_REQUIRED of prompt"},
      {"prompt { text: \"\" }", "EMPTY_PROMPT of prompt.text"},
      {"prompt { tokens { } }", "EMPTY_PROMPT of prompt"},
      {"prompt { tokens { token_ids: 64 } }", "TOKEN_ID_OUT_OF_RANGE of prompt.tokens.token_ids[0]"},
      {"prompt { tokens { token_ids: -1 } }", "TOKEN_ID_OUT_OF_RANGE of prompt.tokens.token_ids[0]"},
      {"prompt { text: \"a\" } n: 0", "FIELD_OUT_OF_RANGE of n"},
      {"prompt { text: \"a\" } n: 129", "LIMIT_EXCEEDED of n"},
      {"prompt { text: \"a\" } first_sequence_key: 72057594037927936", "FIELD_OUT_OF_RANGE of first_sequence_key"},
      {"prompt { text: \"a\" } sampling { temperature: -1 }", "FIELD_OUT_OF_RANGE of sampling.temperature"},
      {"prompt { text: \"a\" } sampling { temperature: nan }", "FIELD_OUT_OF_RANGE of sampling.temperature"},
      {"prompt { text: \"a\" } sampling { temperature: 1e9 }", "FIELD_OUT_OF_RANGE of sampling.temperature"},
      {"prompt { text: \"a\" } stop { max_tokens: 2147483647 }", "LIMIT_EXCEEDED of stop.max_tokens"},
      {"prompt { text: \"a\" } sampling { allowed_tokens { ids { } } }",
       "EMPTY_TOKEN_SET of sampling.allowed_tokens.ids.token_ids"},
      {"prompt { text: \"a\" } model: \"other\"", "MODEL_NOT_FOUND of model"},
      {"prompt { text: \"a\" } numerics_version: 7", "NUMERICS_VERSION_MISMATCH of numerics_version"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.request);
    EXPECT_EQ(Describe(Refused(test.request)), test.error);
  }
  EXPECT_EQ(Completions("prompt { text: \"a\" } stop { max_tokens: 1 }").completions_size(), 1);
}

TEST_F(GenerateTest, BadRowOfTheModelIsTheModelsFault) {
  FakeModelOptions options;
  options.outcome = [](std::span<const TokenId> tokens) {
    return tokens.size() >= 4 ? FakeOutcome::kNan : FakeOutcome::kRow;
  };
  Attach(options);
  const grpc::Status status =
      Refused("prompt { tokens { token_ids: [5, 6] } } sampling { temperature: 0 } stop { ignore_eos: true }");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(Describe(status), ::testing::StartsWith("MODEL_OUTPUT_INVALID"));
}

TEST_F(GenerateTest, WithoutAModelCallsAreUnavailable) {
  const grpc::Status status = Refused("prompt { text: \"a\" }");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Describe(status), "MODEL_UNAVAILABLE of ");
}

TEST_F(GenerateTest, CancelledCallReleasesItsSequences) {
  auto& model = Attach();
  const auto context = Context();
  const auto reader = generation_->Generate(
      context.get(),
      Parse<v1::GenerateRequest>("prompt { text: \"a\" } n: 4 stop { ignore_eos: true } sampling { temperature: 1 }"));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  context->TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // Its caches go with the next batch: after one more call, only that call's own may be left, and what it keeps.
  const std::string again = "prompt { text: \"a\" } stop { max_tokens: 2 } sampling { temperature: 0 }";
  Completions(again);
  Completions(again);
  EXPECT_LE(model.open_sequence_count(), 2);
}

TEST_F(GenerateTest, LostRunnerEndsItsCallsAndAnotherOneServes) {
  FakeModelOptions options;
  std::atomic<int> batches = 0;
  options.before_batch = [&](const v1::RunBatch&) { ++batches; };
  options.context_length = 4000;
  Attach(options);
  const auto context = Context();
  const auto reader = generation_->Generate(
      context.get(), Parse<v1::GenerateRequest>("prompt { text: \"a\" } stop { max_tokens: 3000 ignore_eos: true }"));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  ASSERT_TRUE(reader->Read(&response));
  fake_.reset();
  while (reader->Read(&response)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Describe(status), "RUNNER_LOST of ");
  Attach();
  EXPECT_EQ(Completions("prompt { text: \"a\" } stop { max_tokens: 1 }").completions_size(), 1);
}

}  // namespace
}  // namespace logitd::server

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::_;
using ::testing::DoAll;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Return;
using ::testing::SaveArg;

v1::GenerateResponse Response(const std::string& text) {
  v1::GenerateResponse response;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response)) << text;
  return response;
}

// Two tokens: " Paris" (-0.5) and a stop token (-0.25).
constexpr char kFinal[] = R"pb(
  final {
    completions {
      text: " Paris"
      tokens {
        token_id: 42
        token_bytes: " Paris"
        position: 0
        log_prob_state: LOG_PROB_STATE_PRESENT
        model_log_prob: -0.5
        sampling_log_prob: 0
        rank: 1
      }
      tokens {
        token_id: 2
        position: 1
        log_prob_state: LOG_PROB_STATE_PRESENT
        model_log_prob: -0.25
        sampling_log_prob: 0
        rank: 1
      }
      totals { token_count: 2 cumulative_model_log_prob: -0.75 cumulative_sampling_log_prob: 0 }
      finish { reason: FINISH_REASON_STOP_TOKEN stop_token_id: 2 }
    }
    seed: 7
  })pb";

class CompleteTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> args, std::vector<v1::GenerateResponse> responses,
          grpc::Status status = grpc::Status::OK) {
    EXPECT_CALL(rig_.generation(), GenerateRaw)
        .WillOnce(DoAll(SaveArg<1>(&request_),
                        Return(new ScriptedReader<v1::GenerateResponse>(std::move(responses), std::move(status)))));
    args.insert(args.begin(), "complete");
    return rig_.Run(args);
  }

  CommandRig rig_;
  v1::GenerateRequest request_;
};

TEST_F(CompleteTest, EveryFlagReachesItsField) {
  EXPECT_EQ(Run({"a",
                 "--model",
                 "m",
                 "-n",
                 "4",
                 "--best-of",
                 "8",
                 "--best-by",
                 "gnmt",
                 "--gnmt-alpha",
                 "0.6",
                 "--stop",
                 "\nUser:",
                 "--time-limit",
                 "1500",
                 "--stop",
                 " a=b,c ",
                 "--temperature",
                 "0.8",
                 "--top-k",
                 "40",
                 "--top-p",
                 "0.9",
                 "--min-p",
                 "0.05",
                 "--seed",
                 "18446744073709551615",
                 "--max-tokens",
                 "2147483647",
                 "--min-tokens",
                 "3",
                 "--stop-token-ids",
                 "1,2",
                 "--ignore-eos",
                 "--allowed-tokens",
                 "5,6",
                 "--banned-tokens",
                 "6",
                 "--rank",
                 "--entropy",
                 "--top-n",
                 "3",
                 "--first-sequence-key",
                 "9",
                 "--add-special-tokens",
                 "false",
                 "--parse-special-tokens"},
                {Response("final {}")}),
            kExitOk)
      << rig_.err();
  v1::GenerateRequest wanted;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        model: "m"
        prompt { text: "a" }
        tokenization { add_special_tokens: false parse_special_tokens: true }
        n: 4
        first_sequence_key: 9
        sampling {
          temperature: 0.8
          top_k: 40
          top_p: 0.9
          min_p: 0.05
          seed: 18446744073709551615
          allowed_tokens { ids { token_ids: [ 5, 6 ] } }
          banned_tokens { ids { token_ids: 6 } }
        }
        stop {
          stop_token_ids: [ 1, 2 ]
          ignore_eos: true
          min_tokens: 3
          max_tokens: 2147483647
          stop_strings: [ "\nUser:", " a=b,c " ]
          time_limit_ms: 1500
        }
        record { rank: true entropy: true top_n: 3 }
        stream: true
        best_of: 8
        best_by: NORMALIZATION_GNMT
        gnmt_alpha: 0.6
      )pb",
      &wanted));
  EXPECT_EQ(request_.DebugString(), wanted.DebugString());
}

TEST_F(CompleteTest, ColumnsThatAreAskedForImplyTheTableOfTokens) {
  EXPECT_EQ(Run({"a", "--rank"}, {Response(kFinal)}), kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr("position  token id"));
}

TEST_F(CompleteTest, WhatIsNotGivenIsNotSent) {
  EXPECT_EQ(Run({""}, {Response("final {}")}), kExitOk);
  v1::GenerateRequest wanted;
  wanted.mutable_prompt()->set_text("");
  wanted.set_stream(true);
  EXPECT_EQ(request_.DebugString(), wanted.DebugString()) << "the empty prompt is the server's to refuse";
}

TEST_F(CompleteTest, TheJsonHasEachPartOnce) {
  const std::string started = "started { provenance { model: 'm' } tokenization { doubled_bos: true } }";
  const auto count = [&](const std::string& name) {
    const std::string out = rig_.out();
    int found = 0;
    for (size_t at = out.find(name); at != std::string::npos; at = out.find(name, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(Run({"a", "--json"},
                {Response(started), Response("final { provenance { model: 'm' } completions { text: 'b' } }")}),
            kExitOk);
  EXPECT_EQ(count("\"provenance\""), 1) << rig_.out();
  EXPECT_EQ(count("\"tokenization\""), 1) << rig_.out();
}

TEST_F(CompleteTest, PromptsComeAsTokensOrFromStandardInput) {
  EXPECT_EQ(Run({"--prompt-tokens", "1,2"}, {Response("final {}")}), kExitOk);
  EXPECT_THAT(request_.prompt().tokens().token_ids(), ElementsAre(1, 2));
}

TEST_F(CompleteTest, ADashReadsStandardInput) {
  rig_.SetInput("two\nlines");
  EXPECT_EQ(Run({"-"}, {Response("final {}")}), kExitOk);
  EXPECT_EQ(request_.prompt().text(), "two\nlines");
}

TEST(CompleteInputTest, OneNewlineAtTheEndIsNotThePrompts) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n", "a"},
      {"a\r\n", "a"},
      {"a\n\n", "a\n"},
      {"a\r\n\r\n", "a\r\n"},
      {"a \n", "a "},
      {"a\r", "a\r"},
      {"\n", ""},
      {"", ""},
      {"\xEF\xBB\xBF"
       "a\n",
       "a"},
      {"a\xEF\xBB\xBF", "a\xEF\xBB\xBF"},
      {"\r\n", ""},
  };
  for (const auto& [input, prompt] : cases) {
    CommandRig rig;
    rig.SetInput(input);
    v1::GenerateRequest request;
    EXPECT_CALL(rig.generation(), GenerateRaw)
        .WillOnce(
            DoAll(SaveArg<1>(&request), Return(new ScriptedReader<v1::GenerateResponse>({Response("final {}")}))));
    EXPECT_EQ(rig.Run({"complete", "-"}), kExitOk);
    EXPECT_EQ(request.prompt().text(), prompt) << input;
  }
  // An argument is the text as it is.
  CommandRig rig;
  v1::GenerateRequest request;
  EXPECT_CALL(rig.generation(), GenerateRaw)
      .WillOnce(DoAll(SaveArg<1>(&request), Return(new ScriptedReader<v1::GenerateResponse>({Response("final {}")}))));
  EXPECT_EQ(rig.Run({"complete", "a\n"}), kExitOk);
  EXPECT_EQ(request.prompt().text(), "a\n");
}

TEST_F(CompleteTest, InAPipeTextAndSummaryArePlain) {
  EXPECT_EQ(Run({"The capital of France is"}, {Response(kFinal)}), kExitOk);
  EXPECT_EQ(rig_.out(),
            " Paris\n\n"
            "finish reason: stop_token 2\n"
            "tokens: 2\n"
            "cumulative model log-prob: -0.750000\n"
            "cumulative sampling log-prob: 0.000000\n"
            "perplexity: 1.454991\n"
            "seed: 7, sequence key: 0\n");
}

TEST_F(CompleteTest, TokensAreListedWithARunningSum) {
  EXPECT_EQ(Run({"a", "--tokens"}, {Response(kFinal)}), kExitOk);
  EXPECT_THAT(rig_.out(),
              HasSubstr("position  token id  text       model log-prob  sampling log-prob  rank  running sum\n"
                        "       0        42  \" Paris\"        -0.500000           0.000000     1    -0.500000\n"
                        "       1         2  (control)       -0.250000           0.000000     1    -0.750000\n"));
}

TEST_F(CompleteTest, JsonIsOneLine) {
  EXPECT_EQ(Run({"a", "--json"}, {Response("started { seed: 7 }"), Response(kFinal)}), kExitOk);
  EXPECT_EQ(rig_.out().find('\n'), rig_.out().size() - 1);
  EXPECT_THAT(rig_.out(), HasSubstr("\"cumulative_model_log_prob\":-0.75"));
  EXPECT_THAT(rig_.out(), HasSubstr("\"seed\":\"7\""));
}

TEST_F(CompleteTest, OnATerminalTokensAreColouredAsTheyCome) {
  rig_.environment().out_is_terminal = true;
  EXPECT_EQ(Run({"is"}, {Response(R"pb(delta {
                                         text: " Paris"
                                         tokens { model_log_prob: -0.01 }
                                       })pb"),
                         Response(R"pb(delta {
                                         text: "\033[2J"
                                         tokens { model_log_prob: -9 }
                                       })pb"),
                         Response(kFinal)}),
            kExitOk);
  EXPECT_TRUE(request_.stream());
  EXPECT_THAT(rig_.out(), HasSubstr("\x1b[2mis\x1b[0m\x1b[38;5;35m Paris\x1b[0m\x1b[38;5;160m\\x1b[2J\x1b[0m\n"));
  EXPECT_THAT(rig_.out(), HasSubstr("model log-prob: "));
}

TEST_F(CompleteTest, NoColorOnATerminalMeansNoEscapes) {
  rig_.environment().out_is_terminal = true;
  rig_.SetVariable("NO_COLOR", "1");
  EXPECT_EQ(Run({"is", "--tokens"}, {Response(R"pb(delta {
                                                     text: " Paris"
                                                     tokens { model_log_prob: -0.01 }
                                                   })pb"),
                                     Response(kFinal)}),
            kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr("is Paris\n"));
  EXPECT_THAT(rig_.out(), Not(HasSubstr("\x1b")));
}

TEST_F(CompleteTest, TheBestAreShownOnATerminalThoughNothingWasStreamed) {
  rig_.environment().out_is_terminal = true;
  EXPECT_EQ(Run({"a", "--best-of", "3", "--color", "never"}, {Response("started {}"), Response(kFinal)}), kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr(" Paris"));
}

TEST_F(CompleteTest, TheStopStringIsNamed) {
  v1::GenerateResponse response = Response(kFinal);
  v1::Finish& finish = *response.mutable_final()->mutable_completions(0)->mutable_finish();
  finish.Clear();
  finish.set_reason(v1::FINISH_REASON_STOP_STRING);
  finish.set_stop_string_index(1);
  finish.set_cut_byte_count(0);
  EXPECT_EQ(Run({"a", "--stop", "x", "--stop", "y"}, {response}), kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr("finish reason: stop_string 1\n"));
}

TEST_F(CompleteTest, StreamedCompletionsDoNotInterleave) {
  rig_.environment().out_is_terminal = true;
  rig_.SetVariable("NO_COLOR", "1");
  const char* kFinish = "finish { reason: FINISH_REASON_MAX_TOKENS }";
  EXPECT_EQ(Run({"P:", "-n", "2"},
                {Response(R"pb(delta { index: 1 text: "b1" })pb"), Response(R"pb(delta { index: 0 text: "a1" })pb"),
                 Response(std::string(R"pb(delta { index: 1 text: "b2")pb") + kFinish + "}"),
                 Response(std::string(R"pb(delta { index: 0 text: "a2")pb") + kFinish + "}"),
                 Response("delta { index: 77 text: \"not asked for\" }"), Response("final {}")}),
            kExitOk);
  EXPECT_EQ(rig_.out(), "completion 0\nP:a1a2\n\ncompletion 1\nP:b1b2\n");
}

TEST_F(CompleteTest, AFailedCompletionIsShownAndExitsWith1) {
  const std::string failed = R"pb(
    final {
      completions {
        index: 0
        text: "ok"
        finish { reason: FINISH_REASON_MAX_TOKENS }
      }
      completions {
        index: 1
        error { code: 14 reason: ERROR_REASON_RUNNER_LOST message: "the runner was lost" }
      }
    })pb";
  EXPECT_EQ(Run({"a", "-n", "2"}, {Response(failed)}), kExitItemFailed);
  EXPECT_THAT(rig_.out(), HasSubstr("finish reason: max_tokens"));
  EXPECT_THAT(rig_.out(), HasSubstr("failed: the runner was lost"));
}

// Two completions, one of them done, when the server shuts down.
std::vector<v1::GenerateResponse> CutShort() {
  return {Response("started { seed: 7 }"), Response(R"pb(delta {
                                                           index: 0
                                                           text: " Par"
                                                           tokens { token_id: 5 model_log_prob: -0.5 }
                                                           totals { token_count: 1 cumulative_model_log_prob: -0.5 }
                                                         })pb"),
          Response(R"pb(delta {
                          index: 1
                          text: " Rome"
                          tokens { token_id: 6 model_log_prob: -1 }
                          totals { token_count: 1 cumulative_model_log_prob: -1 }
                          finish { reason: FINISH_REASON_MAX_TOKENS }
                        })pb"),
          Response(R"pb(delta {
                          index: 0
                          text: "is"
                          tokens { token_id: 8 position: 1 model_log_prob: -0.25 }
                          totals { token_count: 2 cumulative_model_log_prob: -0.75 }
                        })pb")};
}

v1::Error ShutsDown() {
  v1::Error error;
  error.set_code(14);
  error.set_reason(v1::ERROR_REASON_DRAINING);
  error.set_message("the server shuts down");
  return error;
}

TEST_F(CompleteTest, WhatCameBeforeTheCallEndedIsShown) {
  EXPECT_EQ(Run({"is", "-n", "2", "--first-sequence-key", "3"}, CutShort(), Refusal(ShutsDown())), kExitRefused);
  EXPECT_EQ(rig_.out(),
            "completion 0\n Paris\n\nfailed: the server shuts down\ntokens: 2\ncumulative model log-prob: -0.750000\n"
            "cumulative sampling log-prob: -\nperplexity: 1.454991\nseed: 7, sequence key: 3\n\n"
            "completion 1\n Rome\n\nfinish reason: max_tokens\ntokens: 1\ncumulative model log-prob: -1.000000\n"
            "cumulative sampling log-prob: -\nperplexity: 2.718282\nseed: 7, sequence key: 4\n");
  EXPECT_EQ(rig_.err(), "logit: the server shuts down\n");
}

TEST_F(CompleteTest, JsonHasWhatCameInTheFormOfTheFinalMessage) {
  EXPECT_EQ(Run({"is", "-n", "3", "--json"}, CutShort(), Refusal(ShutsDown())), kExitRefused);
  EXPECT_THAT(rig_.out(), HasSubstr("\"text\":\" Paris\""));
  EXPECT_THAT(rig_.out(), HasSubstr("\"text\":\" Rome\""));
  EXPECT_THAT(rig_.out(), HasSubstr("\"index\":2"));
  size_t errors = 0;
  for (size_t at = 0; (at = rig_.out().find("\"reason\":\"ERROR_REASON_DRAINING\"", at)) != std::string::npos; ++at) {
    ++errors;
  }
  EXPECT_EQ(errors, 2u) << "completion 1 had ended";
  EXPECT_THAT(rig_.err(), HasSubstr("{\"error\":{\"code\":14,\"reason\":\"ERROR_REASON_DRAINING\""));
}

TEST_F(CompleteTest, OnATerminalTheEndIsToldBelowWhatWasStreamed) {
  rig_.environment().out_is_terminal = true;
  rig_.SetVariable("NO_COLOR", "1");
  const grpc::Status late(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  EXPECT_EQ(Run({"is"}, CutShort(), late), kExitUnreachable);
  EXPECT_THAT(rig_.out(), HasSubstr("is Paris\n\nfailed: no complete answer from logitd at "));
  EXPECT_THAT(rig_.err(), HasSubstr("within --timeout"));
}

TEST_F(CompleteTest, ALostConnectionIsNotOneThatWasNeverThere) {
  const grpc::Status lost(grpc::StatusCode::UNAVAILABLE, "Socket closed");
  EXPECT_EQ(Run({"is"}, CutShort(), lost), kExitUnreachable);
  EXPECT_THAT(rig_.out(), HasSubstr(" Paris\n"));
  EXPECT_EQ(rig_.err(), "logit: the connection to logitd at 127.0.0.1:50051 was lost (Socket closed)\n");
}

TEST_F(CompleteTest, AnInterruptShowsWhatCameAndExitsWith130) {
  rig_.Interrupt();
  EXPECT_EQ(Run({"is"}, CutShort(), grpc::Status(grpc::StatusCode::CANCELLED, "")), kExitInterrupted);
  EXPECT_THAT(rig_.out(), HasSubstr(" Paris\n\nfailed: interrupted\ntokens: 2\n"));
  EXPECT_EQ(rig_.err(), "logit: interrupted\n");
}

TEST_F(CompleteTest, PackedAlternativesAreShownLikeliestFirst) {
  v1::GenerateResponse response = Response(kFinal);
  v1::PackedAlternatives& packed =
      *response.mutable_final()->mutable_completions(0)->mutable_tokens(0)->mutable_packed_top();
  const double log_probs[] = {-2, -0.5, -1};
  packed.set_count(3);
  packed.set_model_log_probs(std::string(reinterpret_cast<const char*>(log_probs), sizeof(log_probs)));
  EXPECT_EQ(Run({"a", "--top-n", "3", "--packed-top"}, {response}), kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr("  1 -0.500000  2 -1.000000  0 -2.000000\n"));
}

TEST_F(CompleteTest, ARefusalExitsWith3) {
  EXPECT_EQ(Run({""}, {}, Refusal(MakeError(3, v1::ERROR_REASON_EMPTY_PROMPT, "prompt"))), kExitRefused);
  EXPECT_EQ(rig_.err(), "logit: prompt is wrong\n");
}

}  // namespace
}  // namespace logitd::cli

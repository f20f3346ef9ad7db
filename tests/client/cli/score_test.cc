#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Not;

v1::ScoreResponse Response(const std::string& text) {
  v1::ScoreResponse response;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response)) << text;
  return response;
}

// Continuation 0 wins two positions of three, continuation 1 wins in total.
constexpr char kParadox[] = R"pb(
  item {
    continuations {
      score {
        tokens { token_id: 10 token_bytes: " a" position: 0 model_log_prob: -1 rank: 1 model_entropy: 2 }
        tokens { token_id: 11 token_bytes: "b" position: 1 model_log_prob: -1 rank: 1 model_entropy: 2 }
        tokens { token_id: 12 token_bytes: "c" position: 2 model_log_prob: -9 rank: 80 model_entropy: 2 }
        totals { token_count: 3 cumulative_model_log_prob: -11 }
        is_greedy: false
      }
    }
    continuations {
      score {
        tokens { token_id: 20 token_bytes: " x" position: 0 model_log_prob: -1.5 rank: 2 model_entropy: 2 }
        tokens { token_id: 21 token_bytes: "y" position: 1 model_log_prob: -1.5 rank: 2 model_entropy: 2 }
        tokens { token_id: 22 token_bytes: "z" position: 2 model_log_prob: -1.5 rank: 2 model_entropy: 2 }
        totals { token_count: 3 cumulative_model_log_prob: -4.5 }
        is_greedy: true
      }
    }
  })pb";

class ScoreTest : public ::testing::Test {
 protected:
  using Answer = std::function<std::vector<v1::ScoreResponse>(const v1::ScoreRequest&)>;

  // Runs the command; the server gives every request what `answer` says.
  int Run(std::vector<std::string> args, const Answer& answer) {
    EXPECT_CALL(rig_.scoring(), ScoreRaw)
        .WillRepeatedly([this, answer](grpc::ClientContext*, const v1::ScoreRequest& request) {
          requests_.push_back(request);
          return new ScriptedReader<v1::ScoreResponse>(answer(request));
        });
    args.insert(args.begin(), "score");
    return rig_.Run(args);
  }

  CommandRig rig_;
  std::vector<v1::ScoreRequest> requests_;
};

std::vector<v1::ScoreResponse> Paradox(const v1::ScoreRequest&) { return {Response(kParadox)}; }

// Scores each item with minus the length of its context text, last item first.
std::vector<v1::ScoreResponse> MinusContextLength(const v1::ScoreRequest& request) {
  std::vector<v1::ScoreResponse> responses;
  for (int i = request.items_size() - 1; i >= 0; --i) {
    v1::ScoreResponse response;
    response.set_item_index(i);
    response.mutable_item()->add_continuations()->mutable_score()->mutable_totals()->set_cumulative_model_log_prob(
        -static_cast<double>(request.items(i).context().text().size()));
    responses.push_back(response);
  }
  return responses;
}

std::string Line(const std::string& context) {
  return "{\"context\":{\"text\":\"" + context + "\"},\"continuations\":[{\"text\":\"b\"}]}\n";
}

TEST_F(ScoreTest, TextAndTokensReachTheRequest) {
  EXPECT_EQ(Run({"ctx", " a", "", "--continuation-tokens", "7,8", "--continuation-tokens", "", "--temperature", "0.7",
                 "--allowed-tokens", "1,2", "--top-n", "2", "--boundary", "separate"},
                Paradox),
            kExitOk);
  v1::ScoreRequest wanted;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        items {
          context { text: "ctx" }
          continuations { text: " a" }
          continuations { text: "" }
          continuations { tokens { token_ids: [ 7, 8 ] } }
          continuations { tokens {} }
        }
        record { top_n: 2 }
        sampling {
          temperature: 0.7
          allowed_tokens { ids { token_ids: [ 1, 2 ] } }
        }
        tokenization { boundary: BOUNDARY_SEPARATE }
      )pb",
      &wanted));
  EXPECT_EQ(requests_.at(0).DebugString(), wanted.DebugString());
}

TEST_F(ScoreTest, WithContextTokensAllTextsAreContinuations) {
  EXPECT_EQ(Run({"--context-tokens", "1,2", " a", " b"}, Paradox), kExitOk);
  EXPECT_EQ(requests_.at(0).items(0).continuations_size(), 2);
}

TEST_F(ScoreTest, SummaryIsATable) {
  EXPECT_EQ(Run({"ctx", " abc", " xyz"}, Paradox), kExitOk);
  EXPECT_EQ(rig_.out(),
            "   continuation  tokens  model log-prob  per token  perplexity  greedy\n"
            "0  \" abc\"             3      -11.000000  -3.666667   39.121284  no\n"
            "1  \" xyz\"             3       -4.500000  -1.500000    4.481689  yes\n");
}

TEST_F(ScoreTest, ExplanationShowsWhoWinsTokenByTokenAndWhoInTotal) {
  EXPECT_EQ(Run({"ctx", " abc", " xyz", "--explain"}, Paradox), kExitOk);
  EXPECT_TRUE(requests_.at(0).record().rank());
  EXPECT_TRUE(requests_.at(0).record().entropy());
  for (const char* part : {
           "continuation 0: \" abc\"\n"
           "position  token id  text  model log-prob  rank   entropy  running sum\n"
           "       0        10  \" a\"       -1.000000     1  2.000000    -1.000000\n"
           "       1        11  \"b\"        -1.000000     1  2.000000    -2.000000\n"
           "       2        12  \"c\"        -9.000000    80  2.000000   -11.000000\n",
           "position  continuation 0  continuation 1  winner\n"
           "       0       -1.000000       -1.500000  0\n"
           "       1       -1.000000       -1.500000  0\n"
           "       2       -9.000000       -1.500000  1\n"
           "positions won: continuation 0: 2, continuation 1: 1\n",
           "continuation 1 wins in total: continuation 0: -11.000000, continuation 1: -4.500000\n",
       }) {
    EXPECT_THAT(rig_.out(), HasSubstr(part));
  }
}

TEST_F(ScoreTest, AnExcludedTokenIsNamedAndEndsTheSum) {
  const char* excluded = R"pb(
    item {
      continuations {
        score {
          tokens { token_id: 1 position: 0 log_prob_state: LOG_PROB_STATE_EXCLUDED model_log_prob: -2 }
          tokens { token_id: 2 position: 1 log_prob_state: LOG_PROB_STATE_EXCLUDED }
          tokens {
            token_id: 3
            position: 2
            log_prob_state: LOG_PROB_STATE_PRESENT
            model_log_prob: -1
            sampling_log_prob: -1
          }
          totals { token_count: 3 }
        }
      }
    })pb";
  EXPECT_EQ(Run({"a", "b", "--explain"}, [&](const auto&) { return std::vector{Response(excluded)}; }), kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr("position  token id  text       model log-prob  sampling log-prob  running sum\n"
                                    "       0         1  (control)       -2.000000           excluded    -2.000000\n"
                                    "       1         2  (control)        excluded           excluded            -\n"
                                    "       2         3  (control)       -1.000000          -1.000000            -\n"));
  EXPECT_THAT(rig_.out(), HasSubstr("0  \"b\"                3        excluded          -           -  -\n"));
}

TEST_F(ScoreTest, ATokenExcludedByTheStagesAloneKeepsTheModelsSum) {
  const char* excluded = R"pb(
    item {
      continuations {
        score {
          tokens { token_id: 1 position: 0 log_prob_state: LOG_PROB_STATE_EXCLUDED model_log_prob: -2 }
          totals { token_count: 1 cumulative_model_log_prob: -2 }
        }
      }
    })pb";
  EXPECT_EQ(Run({"a", "b", "--top-k", "1"}, [&](const auto&) { return std::vector{Response(excluded)}; }), kExitOk);
  EXPECT_EQ(rig_.out(),
            "   continuation  tokens  model log-prob  sampling log-prob  per token  perplexity  greedy\n"
            "0  \"b\"                1       -2.000000           excluded  -2.000000    7.389056  -\n");
}

TEST_F(ScoreTest, AFailedContinuationIsNamedAndExitsWith1) {
  const char* failed = R"pb(
    item {
      continuations { score { totals { token_count: 1 cumulative_model_log_prob: -1 } } }
      continuations { error { code: 3 reason: ERROR_REASON_EMPTY_CONTINUATION message: "it has no token" } }
    })pb";
  EXPECT_EQ(Run({"a", "b", ""}, [&](const auto&) { return std::vector{Response(failed)}; }), kExitItemFailed);
  EXPECT_THAT(rig_.out(), HasSubstr("continuation 1: error: it has no token (EMPTY_CONTINUATION)\n"));
  EXPECT_THAT(rig_.out(), HasSubstr("1  \"\"                 -               -          -           -  -\n"));
}

TEST_F(ScoreTest, JsonIsOneObject) {
  EXPECT_EQ(Run({"a", "b", "--json"}, Paradox), kExitOk);
  EXPECT_THAT(rig_.out(), ::testing::StartsWith("{\"item_index\":0,") /* zeros are printed */);
  EXPECT_EQ(rig_.out().find('\n'), rig_.out().size() - 1);
}

TEST_F(ScoreTest, ItemsOfStandardInputAreAnsweredInOrderInBoundedRequests) {
  std::string input;
  std::string wanted;
  for (int i = 0; i < 70; ++i) {
    input += Line(std::string(i % 7, 'a'));
    wanted += std::to_string(i) + "\t" + (i % 7 == 0 ? "0" : "-" + std::to_string(i % 7)) + ".000000\n";
  }
  rig_.SetInput(input);
  EXPECT_EQ(Run({}, MinusContextLength), kExitOk);
  EXPECT_EQ(rig_.out(), wanted);
  ASSERT_EQ(requests_.size(), 3u);
  EXPECT_EQ(requests_[0].items_size(), 32);
  EXPECT_EQ(requests_[2].items_size(), 6);
}

TEST_F(ScoreTest, JsonLinesCarryTheIndexInTheWholeInput) {
  std::string input;
  for (int i = 0; i < 40; ++i) input += Line("a");
  rig_.SetInput(input);
  EXPECT_EQ(Run({"-", "--json"}, MinusContextLength), kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr("\"item_index\":39,"));
}

TEST_F(ScoreTest, ALineThatIsNoItemHasItsErrorInItsPlace) {
  rig_.SetInput(Line("a") + "nonsense\n" + Line("aa"));
  EXPECT_EQ(Run({}, MinusContextLength), kExitItemFailed);
  EXPECT_EQ(rig_.out(), "0\t-1.000000\n1\terror:MALFORMED_MESSAGE\n2\t-2.000000\n");
  EXPECT_THAT(rig_.err(), ::testing::MatchesRegex("item 1: line 2[^\n]+\n"));
}

TEST_F(ScoreTest, EveryFailureOfStandardInputHasItsMessageOnStandardError) {
  const v1::ScoreResponse failed = Response(R"pb(
    item {
      continuations { score { totals { token_count: 1 cumulative_model_log_prob: -1 } } }
      continuations { error { code: 3 reason: ERROR_REASON_EMPTY_CONTINUATION message: "it has no token" } }
    })pb");
  rig_.SetInput(Line("a") + "{\n{\n");
  EXPECT_EQ(Run({}, [&](const auto&) { return std::vector{failed}; }), kExitItemFailed);
  EXPECT_THAT(rig_.err(),
              ::testing::MatchesRegex("item 0, continuation 1: it has no token\nitem 1: [^\n]+\nitem 2: [^\n]+\n"));
}

TEST_F(ScoreTest, JsonLinesHaveTheirErrorsInThem) {
  rig_.SetInput("{\n");
  EXPECT_EQ(rig_.Run({"score", "--json"}), kExitItemFailed);
  EXPECT_EQ(rig_.err(), "");
}

TEST_F(ScoreTest, HelpDoesNotOfferTemperature0) {
  EXPECT_EQ(rig_.Run({"score", "--help"}), kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr("in [1e-4, 1e6]"));
  EXPECT_THAT(rig_.out(), Not(HasSubstr("0: the most likely")));
}

TEST_F(ScoreTest, AnItemThatIsNotAnsweredIsAnError) {
  rig_.SetInput(Line("a") + Line("b"));
  EXPECT_EQ(Run({}, [](const v1::ScoreRequest&) { return std::vector{v1::ScoreResponse()}; }), kExitRefused);
  EXPECT_THAT(rig_.err(), HasSubstr("answered 1 of 2 items"));
}

TEST_F(ScoreTest, ATerminalOnStandardInputIsNotRead) {
  EXPECT_EQ(rig_.Run({"score"}), kExitUsage);
  EXPECT_THAT(rig_.err(), HasSubstr("CONTEXT is missing"));
}

}  // namespace
}  // namespace logitd::cli

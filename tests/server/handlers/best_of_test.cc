// Generate: best_of.
#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/handlers/best_completions.h"
#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::EqualsProto;
using logitd::testing::FakeModelOptions;
using logitd::testing::FakeOutcome;
using logitd::testing::Parse;
using ::testing::ElementsAre;

class BestOfTest : public logitd::testing::InProcessServer {
 protected:
  std::string Refused(const std::string& request) {
    std::vector<v1::GenerateResponse> responses;
    const grpc::Status status =
        Generate(Parse<v1::GenerateRequest>("prompt { text: 'a' } stop { max_tokens: 3 } " + request), &responses);
    EXPECT_EQ(responses.empty(), !status.ok());
    return Describe(status);
  }
};

std::vector<int> Indices(const google::protobuf::RepeatedPtrField<v1::Completion>& completions) {
  std::vector<int> indices;
  for (const v1::Completion& completion : completions) indices.push_back(completion.index());
  return indices;
}

TEST_F(BestOfTest, TheBestOfAllAreReturnedBestFirst) {
  Attach();
  const std::string request =
      "prompt { text: 'the cat' } first_sequence_key: 40 sampling { temperature: 2 seed: 8 } stop { max_tokens: 12 } ";
  const v1::GenerateFinal all = Completions(request + "n: 9");
  const struct {
    const char* by;
    double (*value)(const v1::Completion&);
  } cases[] = {
      {"", [](const v1::Completion& c) { return c.totals().cumulative_model_log_prob() / c.totals().token_count(); }},
      {"best_by: NORMALIZATION_PER_TOKEN",
       [](const v1::Completion& c) { return c.totals().cumulative_model_log_prob() / c.totals().token_count(); }},
      {"best_by: NORMALIZATION_SUM", [](const v1::Completion& c) { return c.totals().cumulative_model_log_prob(); }},
      {"best_by: NORMALIZATION_PER_BYTE",
       [](const v1::Completion& c) { return c.totals().cumulative_model_log_prob() / c.byte_count(); }},
      {"best_by: NORMALIZATION_GNMT gnmt_alpha: 2.5",
       [](const v1::Completion& c) {
         return c.totals().cumulative_model_log_prob() / std::pow((5.0 + c.totals().token_count()) / 6, 2.5);
       }},
  };
  std::set<std::vector<int>> orders;
  for (const auto& test : cases) {
    SCOPED_TRACE(test.by);
    std::vector<int> expected(9);
    for (int i = 0; i < 9; ++i) expected[i] = i;
    for (const v1::Completion& completion : all.completions()) ASSERT_GT(completion.byte_count(), 0);
    std::sort(expected.begin(), expected.end(),
              [&](int a, int b) { return test.value(all.completions(a)) > test.value(all.completions(b)); });
    for (const int n : {1, 3, 9}) {
      std::vector<v1::GenerateResponse> responses;
      ASSERT_TRUE(Generate(Parse<v1::GenerateRequest>(request + "best_of: 9 n: " + std::to_string(n) + " " + test.by),
                           &responses)
                      .ok());
      ASSERT_EQ(responses.size(), 2u) << "started and final";
      const v1::GenerateFinal& best = responses[1].final();
      ASSERT_EQ(best.completions_size(), n);
      for (int i = 0; i < n; ++i) EXPECT_THAT(best.completions(i), EqualsProto(all.completions(expected[i])));
      EXPECT_EQ(best.usage().generated_token_count(), all.usage().generated_token_count()) << "all of them cost";
      // The prompt may be cached by now.
      EXPECT_EQ(best.usage().evaluated_token_count() + best.usage().cached_token_count(),
                all.usage().evaluated_token_count() + all.usage().cached_token_count());
    }
    orders.insert(expected);
  }
  EXPECT_GE(orders.size(), 2u) << "choose another seed: the values must not agree";
}

TEST_F(BestOfTest, CompletionsWithoutAValueComeLast) {
  const auto completions = [] {
    v1::GenerateFinal final;
    const auto add = [&](const std::string& text) {
      *final.add_completions() =
          Parse<v1::Completion>("index: " + std::to_string(final.completions_size()) + " " + text);
    };
    add("error { message: 'lost' } totals { token_count: 2 cumulative_model_log_prob: -1 }");
    add("totals { token_count: 0 }");
    add("totals { token_count: 2 cumulative_model_log_prob: -4 } byte_count: 2 character_count: 2");
    add("totals { token_count: 4 cumulative_model_log_prob: -5 } byte_count: 8");
    add("totals { token_count: 1 cumulative_model_log_prob: -2 }");
    add("totals { token_count: 2 cumulative_model_log_prob: -4 } byte_count: 8 character_count: 2");
    return final;
  };
  const auto best = [&](Normalization by) {
    v1::GenerateFinal final = completions();
    KeepBest({by, by == Normalization::kGnmt ? std::optional(2.0) : std::nullopt}, 6, *final.mutable_completions());
    return Indices(final.completions());
  };
  EXPECT_THAT(best(Normalization::kSum), ElementsAre(4, 2, 5, 3, 1, 0)) << "of equals the lower index";
  EXPECT_THAT(best(Normalization::kPerToken), ElementsAre(3, 2, 4, 5, 1, 0));
  // -5 / (9/6)^2, -2 / 1, -4 / (7/6)^2.
  EXPECT_THAT(best(Normalization::kGnmt), ElementsAre(4, 3, 2, 5, 1, 0));
  EXPECT_THAT(best(Normalization::kPerByte), ElementsAre(5, 3, 2, 1, 4, 0));
  EXPECT_THAT(best(Normalization::kPerCharacter), ElementsAre(2, 5, 1, 3, 4, 0));
  v1::GenerateFinal two = completions();
  KeepBest({Normalization::kSum}, 2, *two.mutable_completions());
  EXPECT_THAT(Indices(two.completions()), ElementsAre(4, 2));
}

TEST_F(BestOfTest, NothingIsBestOfNothing) {
  Attach();
  const v1::GenerateFinal final = Completions("prompt { text: 'a' } stop { max_tokens: 0 } n: 2 best_of: 5");
  EXPECT_THAT(Indices(final.completions()), ElementsAre(0, 1));
}

TEST_F(BestOfTest, BadInputIsNamed) {
  Attach();
  EXPECT_EQ(Refused("n: 3 best_of: 2"), "FIELD_OUT_OF_RANGE of best_of");
  EXPECT_EQ(Refused("best_of: 0"), "FIELD_OUT_OF_RANGE of best_of");
  EXPECT_EQ(Refused("best_of: 129"), "LIMIT_EXCEEDED of best_of");
  EXPECT_EQ(Refused("best_of: 2 best_by: NORMALIZATION_PMI"), "FIELD_OUT_OF_RANGE of best_by");
  EXPECT_EQ(Refused("best_of: 2 best_by: NORMALIZATION_COMBINED"), "FIELD_OUT_OF_RANGE of best_by");
  EXPECT_EQ(Refused("best_of: 2 best_by: NORMALIZATION_GNMT"), "FIELD_REQUIRED of gnmt_alpha");
  EXPECT_EQ(Refused("best_of: 2 gnmt_alpha: 1"), "FIELD_REQUIRED of best_by");
  EXPECT_EQ(Refused("best_of: 2 best_by: NORMALIZATION_SUM gnmt_alpha: 1"), "FIELD_REQUIRED of best_by");
  EXPECT_EQ(Refused("gnmt_alpha: 1"), "FIELD_REQUIRED of best_of");
  EXPECT_EQ(Refused("best_of: 2 best_by: NORMALIZATION_GNMT gnmt_alpha: 10.5"), "FIELD_OUT_OF_RANGE of gnmt_alpha");
  EXPECT_EQ(Refused("best_of: 2 best_by: NORMALIZATION_GNMT gnmt_alpha: nan"), "FIELD_OUT_OF_RANGE of gnmt_alpha");
  EXPECT_EQ(Refused("best_by: NORMALIZATION_SUM"), "FIELD_REQUIRED of best_of");
  EXPECT_EQ(Refused("best_of: 2 record { model_log_prob: false }"), "FIELD_OUT_OF_RANGE of record.model_log_prob");
  EXPECT_EQ(Refused("best_of: 2 first_sequence_key: 72057594037927935"), "FIELD_OUT_OF_RANGE of first_sequence_key");
  EXPECT_EQ(Refused("best_of: 2 n: 1 first_sequence_key: 72057594037927934"), "OK");
}

TEST_F(BestOfTest, WithoutBytesThereIsNoValueByBytes) {
  FakeModelOptions options;
  options.vocabulary = false;
  Attach(options);
  const std::string request =
      "prompt { tokens { token_ids: 5 } } stop { max_tokens: 3 } best_of: 2 best_by: NORMALIZATION_";
  for (const char* by : {"PER_BYTE", "PER_CHARACTER"}) {
    std::vector<v1::GenerateResponse> responses;
    EXPECT_EQ(Describe(Generate(Parse<v1::GenerateRequest>(request + by), &responses)),
              "VOCABULARY_UNAVAILABLE of best_by");
  }
  EXPECT_EQ(Completions(request + "SUM").completions_size(), 1);
}

}  // namespace
}  // namespace logitd::server

#include "server/handlers/fit_strengths.h"

#include <cmath>

#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::EqualsProto;
using logitd::testing::ErrorOf;
using logitd::testing::Parse;

class FitStrengthsTest : public logitd::testing::InProcessServer {
 protected:
  grpc::Status Fit(const v1::FitStrengthsRequest& request, v1::FitStrengthsResponse* response) {
    return fitting_->FitStrengths(Context().get(), request, response);
  }
  grpc::Status Fit(const std::string& request) {
    v1::FitStrengthsResponse response;
    return Fit(Parse<v1::FitStrengthsRequest>(request), &response);
  }
  v1::FitStrengthsResponse Fitted(const std::string& request) {
    v1::FitStrengthsResponse response;
    const grpc::Status status = Fit(Parse<v1::FitStrengthsRequest>(request), &response);
    EXPECT_TRUE(status.ok()) << Describe(status) << ": " << status.error_message();
    return response;
  }
};

TEST_F(FitStrengthsTest, StrengthsAreTheOddsOfTwo) {
  const v1::FitStrengthsResponse fit =
      Fitted("item_count: 2 rankings { item_indices: [0, 1] count: 3 } rankings { item_indices: [1, 0] }");
  ASSERT_EQ(fit.log_strengths_size(), 2);
  EXPECT_NEAR(fit.log_strengths(0), std::log(3) / 2, 1e-14);
  EXPECT_NEAR(fit.log_strengths(1), -std::log(3) / 2, 1e-14);
  EXPECT_NEAR(fit.standard_errors(0), std::sqrt(1 / (4 * 0.75 * 0.25)) / 2, 1e-12);
  EXPECT_NEAR(fit.log_likelihood(), 3 * std::log(0.75) + std::log(0.25), 1e-13);
  EXPECT_NEAR(fit.equal_log_likelihood(), 4 * std::log(0.5), 1e-13);
  EXPECT_GT(fit.mm_step_count(), 0);
  EXPECT_GT(fit.newton_step_count(), 0);
  EXPECT_LE(fit.last_newton_step(), 1e-9);
  EXPECT_EQ(fit.provenance().numerics_version(), 1);
  EXPECT_FALSE(fit.provenance().has_model());
}

TEST_F(FitStrengthsTest, PlacesGiveTheOrder) {
  const v1::FitStrengthsResponse plain =
      Fitted("item_count: 3 rankings { item_indices: [2, 0, 1] } rankings { item_indices: [1, 0, 2] count: 2 }");
  v1::FitStrengthsResponse placed = Fitted(
      "item_count: 3 rankings { item_indices: [0, 1, 2] places: [4, 9, 1] } "
      "rankings { item_indices: [0, 1, 2] places: [2, 1, 3] count: 2 }");
  EXPECT_THAT(placed, EqualsProto(plain.ShortDebugString()));
}

TEST_F(FitStrengthsTest, TiesAreRefusedOrBrokenByIndex) {
  const std::string rankings =
      "item_count: 3 rankings { item_indices: [2, 1, 0] } rankings { item_indices: [2, 0, 1] places: [2, 1, 2] }";
  for (const char* ties : {"", " ties: ORDER_TIES_REFUSE"}) {
    const grpc::Status status = Fit(rankings + ties);
    EXPECT_EQ(Describe(status), "ORDER_INVALID of rankings[1].places[0]");
    EXPECT_EQ(status.error_message(),
              "rankings[1].places[0] must be another place than that of item 1 (ties are refused unless the request "
              "says how to break them), got 2");
  }
  const v1::FitStrengthsResponse broken = Fitted(rankings + " ties: ORDER_TIES_BY_INDEX");
  const v1::FitStrengthsResponse plain =
      Fitted("item_count: 3 rankings { item_indices: [2, 1, 0] } rankings { item_indices: [0, 1, 2] }");
  EXPECT_THAT(broken, EqualsProto(plain.ShortDebugString()));
}

TEST_F(FitStrengthsTest, WrongRequestsAreRefusedByName) {
  const std::string good = " rankings { item_indices: [0, 1, 2] } rankings { item_indices: [2, 1, 0] } ";
  struct Case {
    std::string request;
    const char* error;
  };
  const Case cases[] = {
      {"", "FIELD_OUT_OF_RANGE of item_count"},
      {"item_count: 1" + good, "FIELD_OUT_OF_RANGE of item_count"},
      {"item_count: -3" + good, "FIELD_OUT_OF_RANGE of item_count"},
      {"item_count: 1001" + good, "LIMIT_EXCEEDED of item_count"},
      {"item_count: 3", "NO_CANDIDATES of rankings"},
      {"item_count: 3 rankings { }" + good, "ORDER_INVALID of rankings[0].item_indices"},
      {"item_count: 3 rankings { item_indices: 2 }" + good, "ORDER_INVALID of rankings[0].item_indices"},
      {"item_count: 3" + good + "rankings { item_indices: [1, 1] }", "ORDER_INVALID of rankings[2].item_indices[1]"},
      {"item_count: 3" + good + "rankings { item_indices: [1, 3] }", "ORDER_INVALID of rankings[2].item_indices[1]"},
      {"item_count: 3" + good + "rankings { item_indices: [1, 1] places: [1, 1] }",
       "ORDER_INVALID of rankings[2].item_indices[1]"},
      {"item_count: 3" + good + "rankings { item_indices: [1, 0] places: 1 }",
       "FIELD_OUT_OF_RANGE of rankings[2].places"},
      {"item_count: 3" + good + "rankings { item_indices: [1, 0] places: [0, 1] }",
       "FIELD_OUT_OF_RANGE of rankings[2].places[0]"},
      {"item_count: 3" + good + "rankings { item_indices: [1, 0] count: 0 }",
       "FIELD_OUT_OF_RANGE of rankings[2].count"},
      {"item_count: 4" + good, "STRENGTHS_UNDEFINED of rankings"},
      {"item_count: 3 rankings { item_indices: [0, 1, 2] }", "STRENGTHS_UNDEFINED of rankings"},
      {"item_count: 3 numerics_version: 99" + good, "NUMERICS_VERSION_MISMATCH of numerics_version"}};
  for (const Case& test_case : cases) {
    SCOPED_TRACE(test_case.request);
    EXPECT_EQ(Describe(Fit(test_case.request)), test_case.error);
  }
  v1::FitStrengthsRequest unknown = Parse<v1::FitStrengthsRequest>("item_count: 3" + good);
  unknown.set_ties(static_cast<v1::OrderTies>(7));
  v1::FitStrengthsResponse response;
  EXPECT_EQ(Describe(Fit(unknown, &response)), "UNKNOWN_ENUM_VALUE of ties");
}

TEST_F(FitStrengthsTest, ItemsThatAlwaysWinOrLoseAreNamed) {
  const grpc::Status status =
      Fit("item_count: 4 rankings { item_indices: [1, 0, 2, 3] } rankings { item_indices: [1, 2, 0, 3] }");
  const auto error = ErrorOf(status);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->reason(), v1::ERROR_REASON_STRENGTHS_UNDEFINED);
  EXPECT_EQ(error->message(),
            "rankings must compare every group of items with the rest, with wins and losses: item 1 wins every "
            "comparison with the others; item 3 loses every one");
  EXPECT_EQ(error->value(), "1, 3");
}

TEST_F(FitStrengthsTest, TooManyPlacesAreRefusedBeforeAnyWork) {
  v1::FitStrengthsRequest request;
  request.set_item_count(1000);
  for (int i = 0; i < 1049; ++i) {
    v1::GivenRanking& ranking = *request.add_rankings();
    ranking.add_item_indices(i % 1000);
    ranking.set_others_below(true);
  }
  v1::FitStrengthsResponse response;
  const grpc::Status status = Fit(request, &response);
  EXPECT_EQ(Describe(status), "LIMIT_EXCEEDED of rankings");
  EXPECT_EQ(ErrorOf(status)->limit(), "max_ranked_items");
}

TEST_F(FitStrengthsTest, ACallThatIsGivenUpEndsBetweenTwoSteps) {
  // The largest request: seconds of work.
  v1::FitStrengthsRequest request;
  request.set_item_count(1000);
  for (int i = 0; i < 1048; ++i) {
    v1::GivenRanking& ranking = *request.add_rankings();
    for (int j = 0; j < 1000; ++j) ranking.add_item_indices(i % 2 == 0 ? (j + i) % 1000 : (2999 - j - i) % 1000);
  }
  const auto context = Context();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
  v1::FitStrengthsResponse response;
  const auto start = std::chrono::steady_clock::now();
  const grpc::Status status = fitting_->FitStrengths(context.get(), request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << Describe(status);
  // The server is free soon afterwards: a drain waits for its calls.
  server_->Drain(std::chrono::seconds(30));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace logitd::server

#include "server/handlers/applied_calibration.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/calibration.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::FakeModelOptions;

class AppliedCalibrationTest : public logitd::testing::InProcessServer {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.calibrations["half"] = {{CalibrationKind::kTemperature, 3, 3, {0.5}, {}}};
    options.calibrations["pair"] = {{CalibrationKind::kVectorScaling, 2, 2, {0.5, 2}, {1, -1}}};
    options.calibrations["per token"] = {{CalibrationKind::kTemperature, 3, 3, {2}, {}}, Normalization::kPerToken};
    options.calibrations["gnmt"] = {{CalibrationKind::kTemperature, 3, 3, {2}, {}}, Normalization::kGnmt, 0.6};
    Start(options);
  }
  std::string RankRefused(const std::string& fields) {
    std::vector<v1::RankResponse> responses;
    return Describe(Rank(kSums + fields, &responses));
  }

  const std::string kSums = R"(items {
      candidates { sums { sum_model_log_prob: -4 token_count: 4 } }
      candidates { sums { sum_model_log_prob: -2 token_count: 1 } }
      candidates { sums { sum_model_log_prob: -3 token_count: 2 } } } )";
};

double Softmax(const std::vector<double>& z, size_t k) {
  double total = 0;
  for (const double value : z) total += std::exp(value);
  return std::exp(z[k]) / total;
}

TEST_F(AppliedCalibrationTest, RankGivesCalibratedProbabilitiesBesideItsOwn) {
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank(kSums + "calibration: 'half'", &responses).ok());
  const v1::RankedItem& item = responses[0].item();
  for (int k = 0; k < 3; ++k) {
    const auto at = static_cast<size_t>(k);
    EXPECT_NEAR(item.candidates(k).calibrated_probability(), Softmax({-2, -1, -1.5}, at), 1e-12);
    EXPECT_NEAR(item.candidates(k).calibrated_log_prob(), std::log(Softmax({-2, -1, -1.5}, at)), 1e-12);
    EXPECT_NEAR(item.candidates(k).candidate_probability(), Softmax({-4, -2, -3}, at), 1e-12);
  }
  EXPECT_EQ(responses[0].provenance().calibration(), "half");
  responses.clear();
  ASSERT_TRUE(Rank(kSums, &responses).ok());
  EXPECT_FALSE(responses[0].item().candidates(0).has_calibrated_probability());
  EXPECT_FALSE(responses[0].provenance().has_calibration());
}

TEST_F(AppliedCalibrationTest, RankChecksTheScoreThatItIsOf) {
  EXPECT_EQ(RankRefused("calibration: 'none'"), "CALIBRATION_NOT_FOUND of calibration");
  EXPECT_EQ(RankRefused("calibration: 'half' order_by: NORMALIZATION_PER_TOKEN"), "CALIBRATION_MISMATCH of order_by");
  EXPECT_EQ(RankRefused("calibration: 'per token'"), "CALIBRATION_MISMATCH of order_by");
  EXPECT_EQ(RankRefused("calibration: 'per token' order_by: NORMALIZATION_PER_TOKEN"), "OK");
  EXPECT_EQ(RankRefused("calibration: 'gnmt' order_by: NORMALIZATION_GNMT gnmt_alpha: 0.6"), "OK");
  EXPECT_EQ(RankRefused("calibration: 'gnmt' order_by: NORMALIZATION_GNMT gnmt_alpha: 0.7"),
            "CALIBRATION_MISMATCH of gnmt_alpha");
  EXPECT_EQ(RankRefused("calibration: 'half' winner_only: true"), "FIELDS_EXCLUSIVE of winner_only");
}

TEST_F(AppliedCalibrationTest, AnotherNumberOfCandidatesIsAnErrorOfTheItem) {
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank(kSums + "calibration: 'pair' items { candidates { sums { sum_model_log_prob: -4 token_count: 4 } } "
                           "candidates { sums { sum_model_log_prob: -1 token_count: 4 } } }",
                   &responses)
                  .ok());
  const v1::Error error = ReplyTo(0, responses).item().error();
  EXPECT_EQ(Describe(error), "CALIBRATION_MISMATCH of items[0].candidates");
  EXPECT_EQ(error.message(),
            "items[0].candidates must be 2 elements, one for each label, got 3, for the calibration \"pair\"");
  EXPECT_EQ(error.value(), "3");
  // The other item is answered: scales 0.5 and 2, offsets 1 and -1.
  EXPECT_NEAR(ReplyTo(1, responses).item().candidates(0).calibrated_probability(), Softmax({-1, -3}, 0), 1e-12);
}

TEST_F(AppliedCalibrationTest, ScoreTakesTheContinuationsOfAnItem) {
  Attach();
  const std::string items = R"(items { context { text: "the" } continuations { text: " cat" }
      continuations { text: " sat." } } )";
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(Score(items + "calibration: 'pair'", &responses).ok());
  ASSERT_EQ(responses.size(), 1u);
  const v1::ScoredItem& item = responses[0].item();
  std::vector<double> sums;
  for (const auto& part : item.continuations()) sums.push_back(part.score().totals().cumulative_model_log_prob());
  const std::vector<double> z = {0.5 * sums[0] + 1, 2 * sums[1] - 1};
  EXPECT_NEAR(item.continuations(0).calibrated_probability(), Softmax(z, 0), 1e-12);
  EXPECT_NEAR(item.continuations(1).calibrated_probability(), Softmax(z, 1), 1e-12);
  EXPECT_EQ(responses[0].provenance().calibration(), "pair");

  responses.clear();
  ASSERT_TRUE(Score(items + "calibration: 'half'", &responses).ok());
  EXPECT_EQ(Describe(responses[0].item().error()), "CALIBRATION_MISMATCH of items[0].continuations");
  responses.clear();
  ASSERT_TRUE(Score("items { rolling { input { text: 'the cat' } } } calibration: 'half'", &responses).ok());
  EXPECT_EQ(Describe(responses[0].item().error()), "FIELDS_EXCLUSIVE of items[0].rolling");
  EXPECT_EQ(Describe(Score(items + "calibration: 'none'", &responses)), "CALIBRATION_NOT_FOUND of calibration");
  EXPECT_EQ(Describe(Score(items + "calibration: 'gnmt'", &responses)), "CALIBRATION_MISMATCH of calibration");
  EXPECT_EQ(Describe(Score(items + "calibration: 'pair' sampling { temperature: 0.7 }", &responses)),
            "FIELDS_EXCLUSIVE of calibration");
  EXPECT_EQ(Describe(Score(items + "calibration: 'pair' record { model_log_prob: false }", &responses)),
            "FIELD_REQUIRED of record.model_log_prob");
}

TEST_F(AppliedCalibrationTest, DecideTakesTheLogProbsOfItsOptions) {
  Attach();
  const std::string item = R"(items { context { text: "the" } predicate { if_true { text: " cat" log_offset: 2 }
      if_false { text: " sat." } } } temperature: 0.5 )";
  std::vector<v1::DecideResponse> responses;
  ASSERT_TRUE(Decide(item + "calibration: 'pair'", &responses).ok());
  ASSERT_EQ(responses.size(), 1u);
  const v1::DecidedItem& decided = responses[0].item();
  const std::vector<double> z = {0.5 * decided.options(0).log_prob() + 1, 2 * decided.options(1).log_prob() - 1};
  EXPECT_NEAR(decided.options(0).calibrated_probability(), Softmax(z, 0), 1e-12);
  EXPECT_NEAR(decided.options(1).calibrated_log_prob(), std::log(Softmax(z, 1)), 1e-12);
  EXPECT_NEAR(decided.options(0).probability(),
              Softmax({2 * (decided.options(0).log_prob() + 2), 2 * decided.options(1).log_prob()}, 0), 1e-12);
  EXPECT_EQ(responses[0].provenance().calibration(), "pair");
  responses.clear();
  ASSERT_TRUE(Decide(item + "calibration: 'half'", &responses).ok());
  EXPECT_EQ(Describe(responses[0].item().error()), "CALIBRATION_MISMATCH of items[0]");
  EXPECT_EQ(Describe(Decide(item + "calibration: 'per token'", &responses)), "CALIBRATION_MISMATCH of calibration");
}

TEST_F(AppliedCalibrationTest, ServerInfoListsThemByName) {
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(info_->GetServerInfo(Context().get(), {}, &info).ok());
  ASSERT_EQ(info.calibrations_size(), 4);
  EXPECT_EQ(info.calibrations(0).name(), "gnmt");
  EXPECT_EQ(info.calibrations(0).gnmt_alpha(), 0.6);
  EXPECT_EQ(info.calibrations(1).name(), "half");
  EXPECT_EQ(info.calibrations(1).kind(), v1::CALIBRATION_KIND_TEMPERATURE);
  EXPECT_EQ(info.calibrations(1).label_count(), 3);
  EXPECT_EQ(info.calibrations(1).score(), v1::NORMALIZATION_SUM);
}

}  // namespace
}  // namespace logitd::server

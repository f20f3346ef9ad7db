// A sparse row is the dense row with -inf elsewhere: the same bits of everything that is computed from it.
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/decoder.h"
#include "core/distribution.h"
#include "core/row_statistics.h"
#include "core/scorer.h"
#include "core/stage_report.h"
#include "core/token_record.h"
#include "core/top_tokens.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/matchers.h"
#include "tests/testing/random_stages.h"
#include "tests/testing/reference.h"
#include "tests/testing/samplers.h"
#include "tests/testing/sparse_row.h"
#include "tests/testing/weights.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::KeptOf;
using ::logitd::testing::MakeRandomOrderStep;
using ::logitd::testing::MakeRandomStep;
using ::logitd::testing::MakeRow;
using ::logitd::testing::RandomStep;
using ::logitd::testing::Sampler;
using ::logitd::testing::Samplers;
using ::logitd::testing::SparseRow;
using ::logitd::testing::WeightsOf;

constexpr float kInf = std::numeric_limits<float>::infinity();

class SparseRowsTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(SparseRowsTest);

std::vector<uint64_t> IntegersOf(const Draw& draw) {
  return {static_cast<uint64_t>(draw.token_id), draw.uniform, draw.total_weight, draw.interval_start, draw.weight};
}

void ExpectSame(const std::vector<TokenAlternative>& found, const std::vector<TokenAlternative>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].token_id, expected[i].token_id) << i;
    ASSERT_EQ(found[i].model_log_prob, expected[i].model_log_prob) << i;
    ASSERT_EQ(found[i].sampling_log_prob, expected[i].sampling_log_prob) << i;
    ASSERT_EQ(found[i].rank, expected[i].rank) << i;
  }
}

void ExpectSame(const TokenRecord& found, const TokenRecord& expected) {
  EXPECT_EQ(found.token_id, expected.token_id);
  EXPECT_EQ(found.state, expected.state);
  EXPECT_EQ(found.model_log_prob, expected.model_log_prob);
  EXPECT_EQ(found.sampling_log_prob, expected.sampling_log_prob);
  EXPECT_EQ(found.rank, expected.rank);
  EXPECT_EQ(found.model_entropy, expected.model_entropy);
  EXPECT_EQ(found.model_log_sum_exp, expected.model_log_sum_exp);
  EXPECT_EQ(found.kept_count, expected.kept_count);
  EXPECT_EQ(found.kept_mass, expected.kept_mass);
  ASSERT_EQ(found.draw.has_value(), expected.draw.has_value());
  if (found.draw) {
    EXPECT_EQ(IntegersOf(*found.draw), IntegersOf(*expected.draw));
  }
  ExpectSame(found.top, expected.top);
  ExpectSame(found.named, expected.named);
}

// All of it, of tokens that are listed and that are not.
std::vector<RecordOptions> Records(int32_t vocab_size) {
  RecordOptions all{.rank = true, .entropy = true, .kept_set = true, .draw = true};
  for (TokenId id = 0; id < vocab_size; id += 1 + vocab_size / 40) all.named_token_ids.push_back(id);
  all.top_n = std::min(vocab_size, 5);
  RecordOptions many = all;
  many.top_n = vocab_size - vocab_size / 3;
  RecordOptions whole = all;
  whole.rank = false;
  whole.top_n = vocab_size;
  whole.top_layout = TopLayout::kWholeVocabulary;
  return {all, many, whole};
}

void ExpectSameReports(const std::vector<StageReport>& found, const std::vector<StageReport>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].stage, expected[i].stage);
    EXPECT_EQ(found[i].kept_before, expected[i].kept_before);
    EXPECT_EQ(found[i].kept_after, expected[i].kept_after);
    EXPECT_EQ(found[i].removed_mass, expected[i].removed_mass);
  }
}

// `dense` with `params`, and what is listed of it.
void ExpectSameSteps(const std::vector<float>& dense, const LogitsRow& sparse, const SamplingParams& params,
                     const StepContext& context, Distribution& of_dense, Distribution& of_sparse) {
  const auto dense_reports = ReportStages(dense, params, context, of_dense);
  const auto sparse_reports = ReportStages(sparse, params, context, of_sparse);
  const absl::Status status = dense_reports.status();
  ASSERT_EQ(sparse_reports.status(), status);
  if (status.ok()) ExpectSameReports(*sparse_reports, *dense_reports);
  ASSERT_EQ(of_sparse.Assign(sparse, params, context, {.kept_mass = true}), status);
  ASSERT_EQ(of_dense.Assign(dense, params, context, {.kept_mass = true}), status);
  if (!status.ok()) return;
  ASSERT_EQ(KeptOf(of_sparse), KeptOf(of_dense));
  ASSERT_EQ(WeightsOf(of_sparse), WeightsOf(of_dense));
  EXPECT_EQ(of_sparse.argmax(), of_dense.argmax());
  EXPECT_EQ(of_sparse.max(), of_dense.max());
  EXPECT_EQ(of_sparse.CountKept(), of_dense.CountKept());
  EXPECT_EQ(of_sparse.KeptMass(), of_dense.KeptMass());
  EXPECT_EQ(of_sparse.Entropy(), of_dense.Entropy());
  for (TokenId t = 0; t < sparse.vocab_size(); ++t) ASSERT_EQ(of_sparse.LogProb(t), of_dense.LogProb(t)) << t;
  // As many draws as find the ends of the row.
  for (uint64_t i = 0; i <= 32; ++i) {
    const uint64_t u = i == 32 ? ~uint64_t{0} : i << 59;
    ASSERT_EQ(IntegersOf(of_sparse.DrawToken(u)), IntegersOf(of_dense.DrawToken(u)));
  }
  for (const RecordOptions& options : Records(sparse.vocab_size())) {
    DecoderConfig config{.sampling = params, .record = options, .seed = 7, .sequence_key = 3};
    config.stop.max_tokens = 1 << 20;
    const auto prompt = std::make_shared<const std::vector<TokenId>>(context.prompt.begin(), context.prompt.end());
    const std::vector<TokenId> output(context.output.begin(), context.output.end());
    const auto position = static_cast<int32_t>(output.size());
    const auto dense_step =
        Decoder(config, prompt, output, SequenceSums{}).Advance(position, LogitsRow(dense), of_dense);
    const auto sparse_step = Decoder(config, prompt, output, SequenceSums{}).Advance(position, sparse, of_sparse);
    ASSERT_EQ(sparse_step.status(), dense_step.status());
    if (!dense_step.ok()) continue;
    ASSERT_EQ(sparse_step->token.has_value(), dense_step->token.has_value());
    if (dense_step->token) ExpectSame(*sparse_step->token, *dense_step->token);
  }
}

TEST_P(SparseRowsTest, EveryStageInEveryOrderGivesTheSameBits) {
  Distribution of_dense, of_sparse;
  int excluded = 0, chosen = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomStep step = seed % 2 == 0 ? MakeRandomOrderStep(seed) : MakeRandomStep(StagePreset::kLogitd, seed);
    SCOPED_TRACE(std::to_string(seed) + " " + step.Describe());
    // Few of them are left in some.
    for (size_t i = 0; i < step.row.size() && seed % 3 == 0; ++i) {
      if (i % 7 != seed % 7 && i > 0) step.row[i] = -kInf;
    }
    if (seed % 5 == 0) step.params.temperature = 0;
    const SparseRow sparse(step.row, seed % 4);
    excluded += static_cast<int>(step.row.size() - sparse.row().slots().size());
    ExpectSameSteps(step.row, sparse.row(), step.params, step.context(), of_dense, of_sparse);
    if (HasFatalFailure()) return;
    chosen += of_dense.Assign(step.row, step.params, step.context()).ok();
  }
  EXPECT_GT(excluded, 10'000);
  EXPECT_GT(chosen, 200);
}

// More slots than are kept as a list, in a vocabulary of several blocks.
TEST_P(SparseRowsTest, ManySlotsGiveTheSameBits) {
  constexpr int32_t kVocabSize = 20'011;
  Distribution of_dense, of_sparse;
  for (double sigma : {0.5, 3.0}) {
    for (int32_t kept_one_in : {2, 300}) {
      std::vector<float> dense = MakeRow(kVocabSize, sigma, 5);
      for (int32_t i = 0; i < kVocabSize; ++i) {
        if ((i / 3) % kept_one_in != 0) dense[i] = -kInf;
      }
      const SparseRow sparse(dense, 50);
      for (const Sampler& sampler : Samplers(kVocabSize)) {
        SCOPED_TRACE(sampler.name);
        ExpectSameSteps(dense, sparse.row(), sampler.params, {}, of_dense, of_sparse);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(SparseRowsTest, GreedysCandidatesAreSlots) {
  const std::vector<float> dense = {-kInf, 1, -kInf, 5, 4, -kInf};
  const SparseRow sparse(dense);
  Distribution distribution;
  const std::vector<TokenId> excluded = {0, 3};
  ASSERT_THAT(distribution.Assign(sparse.row(), {.temperature = 0}, {.excluded = excluded}), IsOk());
  EXPECT_EQ(distribution.argmax(), 4);
  // The slots of 1, 3 and 4.
  EXPECT_TRUE(distribution.IsCandidate(0));
  EXPECT_FALSE(distribution.IsCandidate(1));
  EXPECT_TRUE(distribution.IsCandidate(2));
}

TEST_P(SparseRowsTest, TargetsAreScoredTheSame) {
  std::vector<float> dense = MakeRow(500, 2, 9);
  for (size_t i = 0; i < dense.size(); i += 2) dense[i] = -kInf;
  const SparseRow sparse(dense);
  Distribution distribution;
  for (const std::optional<SamplingParams>& params :
       {std::optional<SamplingParams>(),
        std::optional<SamplingParams>(SamplingParams{.temperature = 0.7, .top_k = 40})}) {
    for (const RecordOptions& options : Records(500)) {
      Scorer of_dense(options, params), of_sparse(options, params);
      for (TokenId target : {0, 1, 250, 499}) {
        ASSERT_OK_AND_ASSIGN(const TokenRecord expected, of_dense.Score(dense, target, distribution));
        ASSERT_OK_AND_ASSIGN(const TokenRecord found, of_sparse.Score(sparse.row(), target, distribution));
        ExpectSame(found, expected);
      }
      EXPECT_EQ(of_sparse.is_greedy(), of_dense.is_greedy());
      const TokenId argmax = ReadRow(dense)->argmax;
      EXPECT_TRUE(Scorer(options, params).Score(sparse.row(), argmax, distribution).ok());
      Scorer greedy(options, params);
      ASSERT_THAT(greedy.Score(sparse.row(), argmax, distribution), IsOk());
      EXPECT_TRUE(greedy.is_greedy());
      EXPECT_THAT(greedy.Score(sparse.row(), 500, distribution), HasReason(ErrorReason::kTokenIdOutOfRange));
    }
  }
}

TEST_P(SparseRowsTest, ErrorsNameTheTokenNotTheSlot) {
  const std::vector<TokenId> ids = {2, 7, 9};
  const std::vector<float> not_a_number = {1, std::numeric_limits<float>::quiet_NaN(), 2},
                           excluded = {-kInf, -kInf, -kInf}, usual = {1, 2, 3};
  Distribution distribution;
  const auto both = [&](const LogitsRow& row, const SamplingParams& params) {
    const absl::Status status = distribution.Assign(row, params, {});
    if (params.subset == nullptr) {
      EXPECT_EQ(ReadRow(row).status(), status);
    }
    return status;
  };
  const absl::Status wrong = both(LogitsRow::Sparse(not_a_number, ids, 10), {});
  ASSERT_THAT(wrong, HasReason(ErrorReason::kNonFiniteLogit));
  EXPECT_EQ(DetailOf(wrong).token_id, 7);
  EXPECT_THAT(both(LogitsRow::Sparse(excluded, ids, 10), {}), HasReason(ErrorReason::kNoFiniteLogit));
  EXPECT_THAT(both(LogitsRow::Sparse({}, {}, 10), {.top_k = 2}), HasReason(ErrorReason::kNoFiniteLogit));
  // None of the allowed tokens is listed.
  const auto subset = std::make_shared<const VocabSubset>(*VocabSubset::Of(10, std::vector<TokenId>{0, 1, 8}));
  EXPECT_THAT(both(LogitsRow::Sparse(usual, ids, 10), {.subset = subset}), HasReason(ErrorReason::kAllTokensExcluded));
  EXPECT_THAT(both(LogitsRow::Sparse(excluded, ids, 10), {.subset = subset}), HasReason(ErrorReason::kNoFiniteLogit));
}

}  // namespace
}  // namespace logitd

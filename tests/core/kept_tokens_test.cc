// Random sequences of operations against a sorted vector (KeptModel): whether the tokens are a mask or a list, cut or
// settled, summed or not, is never to show. What is asked between the operations is random too, for every question
// moves that state on.
#include "core/kept_tokens.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/exact_math.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

// The same by its definition: every token of the row that is left, in order.
class KeptModel {
 public:
  KeptModel(LogitsView row, const TokenMask& mask, std::span<const TokenId> banned) : row_(row) {
    const std::set<TokenId> out(banned.begin(), banned.end());
    for (TokenId t : testing::SortedTokens(row)) {
      const bool in_mask = mask.Contains(t);
      if (in_mask && row[t] > -kInf && !out.contains(t)) kept_.push_back(t);
    }
  }

  const std::vector<TokenId>& in_order() const { return kept_; }
  std::vector<TokenId> ascending() const {
    std::vector<TokenId> ids = kept_;
    std::sort(ids.begin(), ids.end());
    return ids;
  }
  void SetTemperature(double temperature) { temperature_ = temperature; }
  float max() const { return row_[kept_[0]] + 0.0f; }
  uint64_t Weight(TokenId t) const { return kernels::Weight(row_[t], max(), kernels::ExpConstants(temperature_)); }
  uint64_t TotalWeight() const {
    uint64_t total = 0;
    for (TokenId t : kept_) total += Weight(t);
    return total;
  }
  double Entropy() const {
    std::vector<float> logits;
    for (TokenId t : kept_) logits.push_back(row_[t]);
    const kernels::EntropySums sums = kernels::kScalarKernels.sum_entropy(logits.data(), logits.size(), nullptr, max(),
                                                                          kernels::ExpConstants(temperature_));
    return LogOfWeight(sums.weights) + static_cast<double>(sums.terms) / static_cast<double>(sums.weights);
  }

  void KeepFirst(size_t count, bool ties) {
    count = std::min(count, kept_.size());
    while (ties && count < kept_.size() && row_[kept_[count]] == row_[kept_[count - 1]]) ++count;
    kept_.resize(count);
  }
  void KeepMass(uint64_t target, bool ties) {
    uint64_t mass = 0;
    size_t count = 0;
    while (count == 0 || mass < target) mass += Weight(kept_[count++]);
    KeepFirst(count, ties);
  }
  void KeepUpTo(float logit, TokenId token_id) {
    std::erase_if(kept_, [&](TokenId t) { return row_[t] < logit || (row_[t] == logit && t > token_id); });
  }
  void KeepAtLeast(float lowest) {
    const TokenId first = kept_[0];
    KeepUpTo(lowest, std::numeric_limits<TokenId>::max());
    if (kept_.empty()) kept_ = {first};
  }
  void Remove(const std::vector<TokenId>& ids) {
    std::erase_if(kept_, [&](TokenId t) { return std::binary_search(ids.begin(), ids.end(), t); });
  }

 private:
  LogitsView row_;
  double temperature_ = 1;
  std::vector<TokenId> kept_;
};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t Bits() { return engine_(); }
  uint64_t Below(uint64_t bound) { return engine_() % bound; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  double Uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

 private:
  std::mt19937_64 engine_;
};

std::vector<TokenId> VisitedBy(const KeptTokens& kept) {
  std::vector<TokenId> ids;
  kept.ForEach([&](TokenId t) { ids.push_back(t); });
  return ids;
}

// One question, number `which`, and the answer that the model gives.
constexpr int kQuestionCount = 8;
void ExpectAnswer(int which, const KeptModel& model, LogitsView row, Random& random, KeptTokens& kept) {
  const std::vector<TokenId>& tokens = model.in_order();
  const TokenId some = tokens[random.Below(tokens.size())];
  switch (which) {
    case 0:
      ASSERT_EQ(kept.Count(), static_cast<int32_t>(tokens.size()));
      return;
    case 1:
      ASSERT_EQ(kept.TotalWeight(), model.TotalWeight());
      ASSERT_EQ(kept.LogTotal(), LogOfWeight(model.TotalWeight()));
      ASSERT_EQ(kept.LogProb(some),
                (double{row[some]} - double{model.max()}) / kept.temperature() - LogOfWeight(model.TotalWeight()));
      return;
    case 2:
      ASSERT_EQ(kept.Entropy(), model.Entropy());
      return;
    case 3: {
      std::vector<bool> is_kept(row.size());
      for (TokenId t : tokens) is_kept[t] = true;
      for (TokenId t = 0; t < static_cast<TokenId>(row.size()); ++t) {
        ASSERT_EQ(kept.Contains(t), is_kept[t]) << t;
        ASSERT_EQ(kept.Weight(t), is_kept[t] ? model.Weight(t) : 0) << t;
      }
      return;
    }
    case 4:
      ASSERT_EQ(VisitedBy(kept), model.ascending());
      return;
    case 5: {
      const TokenMask& mask = kept.Mask();
      std::vector<TokenId> ids;
      for (TokenId t = 0; t < static_cast<TokenId>(row.size()); ++t) {
        if (mask.Contains(t) && row[t] > -kInf) ids.push_back(t);
      }
      ASSERT_EQ(ids, model.ascending());
      return;
    }
    case 6: {
      float low = row[tokens[random.Below(tokens.size())]], high = row[some];
      if (low > high) std::swap(low, high);
      if (random.OneIn(3)) high = kLargest;
      const TokenList& between = kept.Between(low, high);
      std::vector<TokenId> expected;
      for (TokenId t : model.ascending()) {
        if (low <= row[t] && row[t] <= high) expected.push_back(t);
      }
      ASSERT_EQ(std::vector<TokenId>(between.ids().begin(), between.ids().end()), expected);
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(between.logits()[i], row[expected[i]]);
        ASSERT_EQ(between.weights()[i], model.Weight(expected[i]));
      }
      return;
    }
    case 7: {
      const uint64_t u = random.OneIn(4) ? ~uint64_t{0} : random.Bits();
      const uint64_t total = model.TotalWeight();
      const uint64_t r = static_cast<uint64_t>((static_cast<unsigned __int128>(u) * total) >> 64);
      uint64_t before = 0;
      for (TokenId t : model.ascending()) {
        const uint64_t weight = model.Weight(t);
        if (r < before + weight) {
          const Draw draw = kept.DrawToken(u);
          ASSERT_EQ(draw.token_id, t);
          ASSERT_EQ(draw.interval_start, before);
          ASSERT_EQ(draw.weight, weight);
          ASSERT_EQ(draw.total_weight, total);
          return;
        }
        before += weight;
      }
      FAIL() << "no interval holds " << r;
    }
  }
}

// One operation on both. Its name, for messages.
std::string Operate(LogitsView row, Random& random, KeptModel& model, KeptTokens& kept) {
  const std::vector<TokenId>& tokens = model.in_order();
  const size_t place = random.Below(random.OneIn(2) ? tokens.size() : std::min<size_t>(tokens.size(), 40));
  const bool ties = random.OneIn(3);
  switch (random.Below(7)) {
    case 0: {
      kept.KeepFirst(static_cast<int32_t>(place) + 1, ties);
      model.KeepFirst(place + 1, ties);
      return "first " + std::to_string(place + 1) + (ties ? " with ties" : "");
    }
    case 1: {
      const double p =
          random.OneIn(8) ? 0 : (random.OneIn(2) ? random.Uniform() : 1 - std::exp2(-20 * random.Uniform()));
      const auto target_of = [p](uint64_t total) {
        return std::min(static_cast<uint64_t>(static_cast<double>(total) * p), total);
      };
      const uint64_t target = target_of(model.TotalWeight());
      model.KeepMass(target, ties);
      if (random.OneIn(2)) {
        kept.KeepShare(target_of, ties);
        return "share " + std::to_string(p) + (ties ? " with ties" : "");
      }
      kept.KeepMass(target, ties);
      return "mass " + std::to_string(p) + (ties ? " with ties" : "");
    }
    case 2: {
      const float lowest = random.OneIn(8) ? row[tokens[0]] + 1 : row[tokens[place]];
      kept.KeepAtLeast(lowest);
      model.KeepAtLeast(lowest);
      return "at least " + std::to_string(lowest);
    }
    case 3: {
      const Cut cut{row[tokens[place]], tokens[place]};
      kept.KeepUpTo(cut);
      model.KeepUpTo(cut.logit, cut.token_id);
      return "up to place " + std::to_string(place);
    }
    case 4: {
      std::vector<TokenId> removed;
      const uint64_t one_in = random.OneIn(2) ? 3 : tokens.size() / 4 + 2;
      for (TokenId t : model.ascending()) {
        if (random.OneIn(one_in)) removed.push_back(t);
      }
      // The maximum, so that another one comes.
      if (random.OneIn(3) && !std::binary_search(removed.begin(), removed.end(), tokens[0])) {
        removed.insert(std::lower_bound(removed.begin(), removed.end(), tokens[0]), tokens[0]);
      }
      if (removed.size() == tokens.size()) removed.pop_back();
      kept.Remove(removed);
      model.Remove(removed);
      return "without " + std::to_string(removed.size());
    }
    case 5: {
      const double temperature = std::exp2(random.Uniform() * 6 - 3);
      kept.SetTemperature(temperature);
      model.SetTemperature(temperature);
      return "temperature " + std::to_string(temperature);
    }
    default:
      return "nothing";
  }
}

struct NamedRow {
  std::string name;
  std::vector<float> logits;
};

std::vector<NamedRow> RowsOf(size_t n, uint64_t seed) {
  const int32_t size = static_cast<int32_t>(n);
  std::vector<NamedRow> rows = {{"narrow", testing::MakeRow(size, 0.3, seed)},
                                {"wide", testing::MakeRow(size, 3, seed + 1)},
                                {"equal", std::vector<float>(n, -1.5f)}};
  std::vector<float> row = testing::MakeRow(size, 1.2, seed + 2);
  for (float& x : row) x = std::round(x);
  rows.push_back({"heavy ties", row});
  row = testing::MakeRow(size, 1, seed + 3);
  for (size_t i = 0; i < n; i += 3) row[i] = -kInf;
  row[n / 2] = 9;
  rows.push_back({"holes and a peak", row});
  return rows;
}

// Of every `one_in`-th token or so; one_in 0: no mask at all.
TokenMask MaskOf(size_t n, uint64_t one_in, Random& random) {
  if (one_in == 0) return {};
  TokenMask mask;
  mask.AssignNone(n);
  for (size_t i = 0; i < n; ++i) {
    if (random.OneIn(one_in)) mask.Set(static_cast<TokenId>(i));
  }
  mask.Set(static_cast<TokenId>(n / 2));  // finite in every row
  return mask;
}

class KeptTokensTest : public testing::EveryTarget {
 protected:
  // Operations on one row until a token or so is left, with questions between.
  void RunSequence(const NamedRow& row, uint64_t one_in, uint64_t seed, int asked_one_in, KeptTokens& kept) {
    Random random(seed);
    const TokenMask mask = MaskOf(row.logits.size(), one_in, random);
    std::vector<TokenId> banned;
    for (uint64_t i = random.Below(4); i > 0 && row.logits.size() > 10; --i) {
      const TokenId t = static_cast<TokenId>(random.Below(row.logits.size()));
      if (static_cast<size_t>(t) != row.logits.size() / 2) banned.push_back(t);
    }
    KeptModel model(row.logits, mask, banned);
    const kernels::RowScan scan = kept.Reset(row.logits, mask, banned);
    ASSERT_EQ(scan.finite_count, static_cast<int32_t>(model.in_order().size()));
    std::string trace = row.name + ", " + std::to_string(row.logits.size()) + " tokens, mask 1 in " +
                        std::to_string(one_in) + ", seed " + std::to_string(seed) + ":";
    const int operations = 1 + static_cast<int>(random.Below(6));
    for (int i = 0; i < operations; ++i) {
      trace += " " + Operate(row.logits, random, model, kept) + ";";
      SCOPED_TRACE(trace);
      ASSERT_EQ(kept.max(), model.max());
      ASSERT_EQ(kept.argmax(), model.in_order()[0]);
      for (int which = 0; which < kQuestionCount; ++which) {
        if (!random.OneIn(asked_one_in)) continue;
        ASSERT_NO_FATAL_FAILURE(ExpectAnswer(which, model, row.logits, random, kept)) << "question " << which;
      }
    }
    SCOPED_TRACE(trace);
    const int first = static_cast<int>(random.Below(kQuestionCount));
    for (int i = 0; i < kQuestionCount; ++i) {
      const int which = (first + i) % kQuestionCount;
      ASSERT_NO_FATAL_FAILURE(ExpectAnswer(which, model, row.logits, random, kept)) << "question " << which;
    }
  }
};
LOGITD_ON_EVERY_TARGET(KeptTokensTest);

TEST_P(KeptTokensTest, AnySequenceOnSmallRowsIsTheModels) {
  KeptTokens kept;
  uint64_t seed = 1;
  for (size_t n : {1, 2, 65, 257, 1500}) {
    for (const NamedRow& row : RowsOf(n, n)) {
      for (uint64_t one_in : {0, 1, 2, 9}) {
        for (int i = 0; i < 25; ++i) ASSERT_NO_FATAL_FAILURE(RunSequence(row, one_in, ++seed, 4, kept));
      }
    }
  }
}

// More tokens than a list has.
TEST_P(KeptTokensTest, AnySequenceOnLargeRowsIsTheModels) {
  KeptTokens kept;
  uint64_t seed = 1000000;
  for (size_t n : {4097, 12000, 30001}) {
    for (const NamedRow& row : RowsOf(n, n)) {
      for (uint64_t one_in : {0, 1, 2, 40}) {
        for (int i = 0; i < 6; ++i) ASSERT_NO_FATAL_FAILURE(RunSequence(row, one_in, ++seed, 8, kept));
      }
    }
  }
}

// A mask of all tokens is a list at once; without one the tokens stay a mask until a cut.
TEST_P(KeptTokensTest, AListAndAMaskOfTheSameTokensGiveTheSameAnswers) {
  for (const NamedRow& row : RowsOf(4000, 3)) {
    const TokenMask all(std::vector<uint64_t>(63, ~uint64_t{0}));
    for (double temperature : {0.4, 1.7}) {
      SCOPED_TRACE(row.name + " at " + std::to_string(temperature));
      KeptTokens mask, list;
      mask.Reset(row.logits, {}, {});
      list.Reset(row.logits, all, {});
      const std::vector<TokenId> removed = {7, 8, 2000, 3999};
      for (KeptTokens* kept : {&mask, &list}) {
        kept->SetTemperature(temperature);
        kept->Remove(removed);
      }
      EXPECT_EQ(mask.Count(), list.Count());
      EXPECT_EQ(mask.TotalWeight(), list.TotalWeight());
      EXPECT_EQ(mask.Entropy(), list.Entropy());
      EXPECT_EQ(VisitedBy(mask), VisitedBy(list));
      for (uint64_t u : {uint64_t{0}, uint64_t{1} << 62, uint64_t{3} << 62, ~uint64_t{0}}) {
        EXPECT_EQ(mask.DrawToken(u).token_id, list.DrawToken(u).token_id);
      }
    }
  }
}

// The cut is worked into the mask by way of what ties with its last token: that is nobody's answer.
TEST_P(KeptTokensTest, TheTokensBetweenTwoLogitsAreNotThoseOfTheCutBefore) {
  std::vector<float> row(20000, 1.0f);
  row[777] = 9;
  KeptTokens kept;
  kept.Reset(row, {}, {});
  kept.SetTemperature(0.7);
  kept.KeepFirst(10000);
  const TokenList& between = kept.Between(8, kLargest);
  EXPECT_THAT(between.ids(), ElementsAre(777));
  EXPECT_EQ(kept.Count(), 10000);
}

TEST_P(KeptTokensTest, ACutThatKeepsMoreThanAnEarlierOneDoesNothing) {
  const std::vector<float> row = testing::MakeRow(20000, 0.5, 4);
  const std::vector<TokenId> sorted = testing::SortedTokens(row);
  for (size_t first : {100, 9000}) {
    KeptTokens kept;
    kept.Reset(row, {}, {});
    kept.SetTemperature(1.3);
    kept.KeepUpTo({row[sorted[first]], sorted[first]});
    kept.KeepUpTo({row[sorted[first + 500]], sorted[first + 500]});
    EXPECT_EQ(kept.Count(), static_cast<int32_t>(first) + 1);
    kept.KeepUpTo({row[sorted[first - 50]], sorted[first - 50]});
    EXPECT_EQ(kept.Count(), static_cast<int32_t>(first) - 49);
  }
}

TEST_P(KeptTokensTest, HasNothingWhereTheRowOrTheSetsLeaveNothing) {
  KeptTokens kept;
  const std::vector<float> empty(70, -kInf);
  EXPECT_EQ(kept.Reset(empty, {}, {}).argmax, -1);
  std::vector<float> row(70, 1.0f);
  const TokenMask none(std::vector<uint64_t>{0, 0});
  EXPECT_EQ(kept.Reset(row, none, {}).argmax, -1);
  row[69] = kInf;
  EXPECT_EQ(kept.Reset(row, {}, {}).first_non_finite, 69);
  // It may be reset after that.
  row[69] = 2;
  EXPECT_EQ(kept.Reset(row, {}, {}).argmax, 69);
  kept.SetTemperature(0.5);
  EXPECT_EQ(kept.Count(), 70);
}

}  // namespace
}  // namespace logitd

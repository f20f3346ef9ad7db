// One item of Rank on its way from the request to its reply.
//
//   ItemRanking ranking(item, "items[3]", options);
//   if (!ranking.for_model().empty()) {
//     ... score these candidates ...
//     ranking.TakeScores(input, scores, record, vocabulary);
//   }
//   v1::RankedItem reply = ranking.Finish();
//
// One thread.
#ifndef LOGITD_SERVER_HANDLERS_ITEM_RANKING_H_
#define LOGITD_SERVER_HANDLERS_ITEM_RANKING_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/ranker.h"
#include "core/token_record.h"
#include "core/vocabulary.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/handlers/applied_calibration.h"
#include "server/handlers/continuation_scores.h"
#include "server/handlers/item_tokens.h"
#include "server/models/served_model.h"

namespace logitd::server {

struct RankOptions {
  Normalization order_by = Normalization::kSum;
  double inverse_temperature = 1;
  std::optional<double> gnmt_alpha;
  bool winner_only = false;
  // Give the probability of the returned order.
  bool wants_order = false;
  // The places of the top whose probability is also given. Unset: none.
  std::optional<int32_t> order_top_count;
  // Of the score order_by.
  AppliedCalibration calibration = {};
};

class ItemRanking {
 public:
  // Reads the parts of an item that need no model. `item` and `options` outlive it. `field`: the item's path.
  // `unconditional_context`: the item's or the request's; null: none.
  ItemRanking(const v1::RankItem& item, std::string field, const v1::Input* unconditional_context,
              const RankOptions& options);

  const std::string& field() const { return field_; }
  // Null: none.
  const v1::Input* unconditional_context() const { return unconditional_context_; }
  // The candidates that the model scores, in order.
  const std::vector<int>& for_model() const { return for_model_; }
  // The scores of the other candidates, in order.
  std::vector<CandidateScore> given_scores() const;

  // Adds the alternatives of its candidates to `input`, the continuations of for_model(). An error of an alternative
  // becomes its candidate's.
  void AddAlternatives(const ServedModel& model, ItemInput& input);
  // Takes the scores of for_model() and of the alternatives.
  void TakeScores(const ItemInput& input, const std::vector<ContinuationScore>& scores, const RecordOptions& record,
                  const Vocabulary& vocabulary);
  // Takes the scores of for_model() after the unconditional context. `conditional`: the input of TakeScores.
  void TakeUnconditional(const ItemInput& input, const ItemInput& conditional,
                         const std::vector<ContinuationScore>& scores);
  // Orders the candidates.
  v1::RankedItem Finish();

 private:
  // The alternatives of a candidate: continuations of the item's input.
  struct Alternatives {
    size_t first = 0;
    size_t count = 0;
  };

  absl::Status Read();
  void SetError(const absl::Status& status);
  std::vector<std::optional<double>> ValuesOf(Normalization by) const;
  // Whether every candidate that is scored has a value under `by`.
  bool IsDefined(Normalization by) const;
  absl::Status Order();
  void WriteNumbers();
  void AddOrdering(Normalization by, const Ordering& ordering);
  // REQUIRES: orderings[0] is that of order_by.
  void WriteOrderProbabilities();

  const v1::RankItem& message_;
  const std::string field_;
  const v1::Input* const unconditional_context_;
  const RankOptions& options_;
  // The candidates, with their errors so far; or the item's own error.
  v1::RankedItem item_;
  // Of each candidate, where it has one.
  std::vector<std::optional<CandidateScore>> scores_;
  std::vector<int> for_model_;
  // Parallel to for_model_; empty: there are none.
  std::vector<Alternatives> alternatives_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_ITEM_RANKING_H_

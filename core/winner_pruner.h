// Finds out early which candidates cannot have the best value, so that nobody evaluates them to their end.
//
//   WinnerPruner pruner({.by = Normalization::kPerToken});
//   const size_t a = pruner.Add({.token_count = 2}), b = pruner.Add({.token_count = 3});
//   pruner.AddToken(a, -0.5);
//   pruner.AddToken(a, -0.5);        // complete: -0.5 a token
//   pruner.AddToken(b, -9);          // at most -3 a token, whatever follows
//   pruner.CanWin(b);                // false
//
// Log-probs are never above 0, so the tokens so far bound the value from above: for a mean, S so far / L of the whole.
// A candidate is given up only if this bound is below the value of a complete one even
// - if every log-prob is off by the tolerance, against both, and
// - by more than 2^-40 of that value, which covers the rounding of the sums.
// So equal values are never told apart here, and the winner is that of a complete evaluation.
//
// Thread-compatible.
#ifndef LOGITD_CORE_WINNER_PRUNER_H_
#define LOGITD_CORE_WINNER_PRUNER_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "core/compensated_sum.h"
#include "core/ranker.h"

namespace logitd {

class WinnerPruner {
 public:
  struct Options {
    // kSum, kPerToken, kPerByte, kPerCharacter or kGnmt: values that grow with the sum.
    Normalization by = Normalization::kSum;
    // For kGnmt, [0, 10].
    std::optional<double> gnmt_alpha = std::nullopt;
    // How far a token's log-prob may be from that of another evaluation, nats, >= 0.
    double tolerance = 0;
  };

  explicit WinnerPruner(const Options& options) : options_(options) {}

  // Adds a candidate with these counts, none of whose tokens is known, and returns its number, from 0. `log_prob` is
  // not looked at.
  size_t Add(const CandidateScore& counts);
  // Adds a candidate that is complete: its sum is exact.
  void AddComplete(const CandidateScore& score);

  // The next token of a candidate. Range: log_prob <= 0; -inf: the candidate is not possible.
  // REQUIRES: fewer than its token_count have come.
  void AddToken(size_t candidate, double log_prob);
  // Whether the candidate may yet have the best value, or is equal to it. A candidate without a value under `by` always
  // may: it is not the pruner's to judge.
  bool CanWin(size_t candidate) const;

 private:
  struct Candidate {
    CandidateScore counts;
    CompensatedSum sum;
    int32_t tokens = 0;
    bool is_possible = true;
  };

  // The value if the sum were `log_prob`.
  std::optional<double> ValueOf(const CandidateScore& counts, double log_prob) const;

  const Options options_;
  std::vector<Candidate> candidates_;
  // A complete candidate has at least this value.
  double best_ = -std::numeric_limits<double>::infinity();
};

}  // namespace logitd

#endif  // LOGITD_CORE_WINNER_PRUNER_H_

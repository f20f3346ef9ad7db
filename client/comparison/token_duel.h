// Two sequences of log-probs, position by position: who wins token by token, who wins in total, and why.
//
//   const LogProbs first = {-0.93, -0.98, -9.70};
//   const Duel duel = DuelOf(first, {-1.21, -2.59, -4.79}, /*first_position=*/0);
//   duel.token_winner;        // kFirst: it has the likelier token at 2 of 3 positions
//   duel.total_winner;        // kSecond: -8.60 against -11.60
//   duel.lead_lost_at;        // 2: there the first one loses its lead for good
//   duel.deciding_positions;  // {2}: without it the first one would win
//
// A log-prob of -inf is a token of probability zero; the sum of its sequence is then -inf. Where both sequences are
// -inf there is no difference. No value is ever NaN. Thread-safe.
#ifndef LOGITD_CLIENT_COMPARISON_TOKEN_DUEL_H_
#define LOGITD_CLIENT_COMPARISON_TOKEN_DUEL_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace logitd::comparison {

// ln p of the token at each position, in [-inf, 0]. Unset: there is no token, or none that was scored.
using LogProbs = std::vector<std::optional<double>>;

enum class Side { kNone, kFirst, kSecond };

// The other one of the two. REQUIRES: not kNone.
inline Side OtherSide(Side side) { return side == Side::kFirst ? Side::kSecond : Side::kFirst; }

struct DuelPosition {
  // The log-probs, nats. Unset: the sequence has no token there.
  std::optional<double> first;
  std::optional<double> second;
  // first - second, where a missing token counts as 0. Unset: both are -inf.
  std::optional<double> difference;
  // The sums of the log-probs up to here.
  double first_sum = 0;
  double second_sum = 0;
  // first_sum - second_sum. Unset: both are -inf.
  std::optional<double> sum_difference;
};

struct Duel {
  std::vector<DuelPosition> positions;
  // Positions from first_position on that both have: where the first one's token is likelier, where the second one's
  // is, and where both are equally likely.
  int32_t first_wins = 0;
  int32_t second_wins = 0;
  int32_t ties = 0;
  // The one that wins more positions. kNone: they win equally many.
  Side token_winner = Side::kNone;
  // The one with the larger sum. kNone: the sums are equal, or both are -inf.
  Side total_winner = Side::kNone;
  // By how much: >= 0, +inf if the loser's sum is -inf. Unset: both are -inf.
  std::optional<double> total_margin;
  // The position at which the loser in total loses its lead for the last time. Unset: it never leads, or nobody wins.
  std::optional<int32_t> lead_lost_at;
  // The lead that it has just before that position, nats.
  double lead_before_loss = 0;
  // The fewest positions without which the winner in total would not win, the one that counts most first; of equal ones
  // the earliest. Empty: nobody wins.
  std::vector<int32_t> deciding_positions;
};

// Shapes: any lengths; the shorter one has no token at the last positions. `first_position`: where the two part; tokens
// before it are the same for both. Time: O(n log n).
Duel DuelOf(const LogProbs& first, const LogProbs& second, int32_t first_position);

// The number of positions at their beginning at which two sequences of token ids are equal.
int32_t SharedLength(std::span<const int32_t> first, std::span<const int32_t> second);

}  // namespace logitd::comparison

#endif  // LOGITD_CLIENT_COMPARISON_TOKEN_DUEL_H_

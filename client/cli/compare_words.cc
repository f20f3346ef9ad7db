#include "client/cli/compare_words.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/table.h"

namespace logitd::cli {
namespace {

using comparison::Duel;
using comparison::DuelPosition;
using comparison::OtherSide;
using comparison::Side;

// A sentence names at most this many positions.
constexpr size_t kNamedPositions = 6;

// The two contenders of a duel, by side.
class Story {
 public:
  Story(const Duel& duel, const Contender& first, const Contender& second, bool same_tokens)
      : duel_(duel), first_(first), second_(second), same_tokens_(same_tokens) {}

  std::vector<std::string> Tell() const {
    std::vector<std::string> sentences = {Outcome()};
    if (duel_.total_winner == Side::kNone) return sentences;
    if (const std::string turn = Turn(); !turn.empty()) sentences.push_back(turn);
    if (const std::string rest = LongerOne(); !rest.empty()) sentences.push_back(rest);
    sentences.push_back(Deciders());
    return sentences;
  }

 private:
  const Contender& Of(Side side) const { return side == Side::kFirst ? first_ : second_; }
  const std::string& Name(Side side) const { return Of(side).name; }
  static std::optional<double> At(const DuelPosition& position, Side side) {
    return side == Side::kFirst ? position.first : position.second;
  }
  double Sum(Side side) const {
    const DuelPosition& last = duel_.positions.back();
    return side == Side::kFirst ? last.first_sum : last.second_sum;
  }
  int32_t Wins(Side side) const { return side == Side::kFirst ? duel_.first_wins : duel_.second_wins; }
  int32_t Contested() const { return duel_.first_wins + duel_.second_wins + duel_.ties; }
  std::string Token(Side side, int32_t position) const {
    const std::vector<std::string>& tokens = Of(side).tokens;
    return position < static_cast<int32_t>(tokens.size()) ? tokens[position] : "its token";
  }

  std::string ByTokens(Side side) const {
    return absl::StrCat(same_tokens_ ? "with the larger log-prob at " : "with the likelier token at ", Wins(side),
                        " of ", Count(Contested(), "position"));
  }
  // "-8.597665 against -11.602060, by 3.004395 nats"
  std::string Totals(Side side) const {
    return absl::StrCat(ShowNumber(Sum(side)), " against ", ShowNumber(Sum(OtherSide(side))), ", by ",
                        ShowNumber(*duel_.total_margin), " nats");
  }

  std::string Outcome() const {
    const Side total = duel_.total_winner;
    const Side tokens = duel_.token_winner;
    if (duel_.positions.empty()) return "There is no token to compare.";
    if (total == Side::kNone && !duel_.total_margin) {
      return "Neither wins: both have a token of probability zero, so both sums are -inf.";
    }
    const std::string even =
        absl::StrCat(same_tokens_ ? "Each has the larger log-prob at " : "Each has the likelier token at ",
                     Count(duel_.first_wins, "position"));
    if (total == Side::kNone) {
      return absl::StrCat(
          "Nobody wins in total: both sums are ", ShowNumber(Sum(Side::kFirst)), ". ",
          tokens == Side::kNone ? even : absl::StrCat(Name(tokens), " wins token by token, ", ByTokens(tokens)), ".");
    }
    if (*duel_.total_margin == HUGE_VAL) {
      const Side loser = OtherSide(total);
      const int32_t position = duel_.deciding_positions.empty() ? 0 : duel_.deciding_positions.front();
      return absl::StrCat(Name(total), " wins in total, because ", same_tokens_ ? "" : "it is possible, and ",
                          Name(loser), same_tokens_ ? " gives " : " has the token ", Token(loser, position),
                          same_tokens_ ? " probability zero at position " : ", of probability zero, at position ",
                          position, ": its sum is -inf, against ", ShowNumber(Sum(total)), ".");
    }
    if (tokens == Side::kNone) {
      return absl::StrCat(Contested() == 0 ? "" : absl::StrCat(even, ". "), Name(total),
                          " wins in total: ", Totals(total), ".");
    }
    if (tokens == total) {
      return absl::StrCat(Name(total), " wins token by token, ", ByTokens(tokens), ", and in total: ", Totals(total),
                          ".");
    }
    return absl::StrCat(Name(tokens), " wins token by token, ", ByTokens(tokens),
                        ", but loses in total: ", ShowNumber(Sum(tokens)), " against ", ShowNumber(Sum(total)), ", by ",
                        ShowNumber(*duel_.total_margin), " nats.");
  }

  // "its token " zoo" costs 9.695461 nats, and " morning" 4.794455: 4.901006 nats more"
  std::string Costs(Side loser, int32_t position) const {
    const DuelPosition& at = duel_.positions[position];
    const Side winner = OtherSide(loser);
    if (!At(at, loser)) return absl::StrCat(Name(winner), " gains ", ShowNumber(std::abs(*at.difference)), " nats");
    const std::string loss = absl::StrCat(ShowNumber(-*At(at, loser)), " nats");
    if (!At(at, winner)) {
      return absl::StrCat("its token ", Token(loser, position), " costs ", loss, ", after the end of ", Name(winner));
    }
    const std::string cost = same_tokens_
                                 ? absl::StrCat(Token(loser, position), " costs it ", loss, ", and ", Name(winner))
                                 : absl::StrCat("its token ", Token(loser, position), " costs ", loss, ", and ",
                                                Token(winner, position), " in ", Name(winner));
    return absl::StrCat(cost, " ", ShowNumber(-*At(at, winner)), ": ", ShowNumber(std::abs(*at.difference)),
                        " nats more");
  }

  // Where the loser in total loses its lead; or, if it wins token by token without ever leading, the loss that its
  // gains do not make up for.
  std::string Turn() const {
    const Side loser = OtherSide(duel_.total_winner);
    if (*duel_.total_margin == HUGE_VAL) return "";
    if (duel_.lead_lost_at) {
      return absl::StrCat(Name(loser), " is ahead until position ", *duel_.lead_lost_at, ", by ",
                          ShowNumber(duel_.lead_before_loss), " nats. There ", Costs(loser, *duel_.lead_lost_at),
                          ", and the lead is lost.");
    }
    if (duel_.token_winner != loser || duel_.deciding_positions.empty()) return "";
    const int32_t position = duel_.deciding_positions.front();
    return absl::StrCat("Its gains are small, and one loss is large: at position ", position, " ",
                        Costs(loser, position), ".");
  }

  // The tokens of the longer one that have no opposite.
  std::string LongerOne() const {
    int32_t count = 0;
    double cost = 0;
    Side longer = Side::kNone;
    for (const DuelPosition& position : duel_.positions) {
      if (position.first.has_value() == position.second.has_value()) continue;
      longer = position.first ? Side::kFirst : Side::kSecond;
      cost -= *At(position, longer);
      ++count;
    }
    if (count == 0) return "";
    return absl::StrCat(Name(longer), " has ", Count(count, "token"), " more, which cost", count == 1 ? "s " : " ",
                        ShowNumber(cost), " nats.");
  }

  std::string Deciders() const {
    const std::vector<int32_t>& deciding = duel_.deciding_positions;
    const std::string& loser = Name(OtherSide(duel_.total_winner));
    if (deciding.size() == 1) {
      return absl::StrCat("Position ", deciding[0], " decides: without it ", loser, " would not lose.");
    }
    const auto differs = [](const DuelPosition& position) { return position.difference.value_or(0) != 0; };
    if (std::all_of(duel_.positions.begin(), duel_.positions.end(), differs) &&
        deciding.size() == duel_.positions.size()) {
      return absl::StrCat("Every position counts: only without all of them would ", loser, " not lose.");
    }
    const size_t named = std::min(deciding.size(), kNamedPositions);
    const std::vector<int32_t> shown(deciding.begin(), deciding.begin() + static_cast<std::ptrdiff_t>(named));
    return absl::StrCat("Positions ", absl::StrJoin(shown, ", "),
                        named < deciding.size() ? absl::StrCat(" and ", deciding.size() - named, " more") : "",
                        " decide together: without them ", loser, " would not lose.");
  }

  const Duel& duel_;
  const Contender& first_;
  const Contender& second_;
  const bool same_tokens_;
};

}  // namespace

std::string Count(int64_t count, const std::string& noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

std::string PartingWords(const Contender& first, const Contender& second, int32_t shared) {
  const auto first_length = static_cast<int32_t>(first.tokens.size());
  const auto second_length = static_cast<int32_t>(second.tokens.size());
  if (shared == first_length && shared == second_length) {
    return absl::StrCat(first.name, " and ", second.name, " are the same ", Count(shared, "token"), ".");
  }
  if (shared == first_length || shared == second_length) {
    const Contender& shorter = shared == first_length ? first : second;
    const Contender& longer = shared == first_length ? second : first;
    return absl::StrCat(shorter.name, " is the beginning of ", longer.name, ": they part at position ", shared,
                        ", where it ends.");
  }
  return absl::StrCat(
      shared == 0 ? "They part at once"
                  : absl::StrCat("They share ", Count(shared, "token"), " and part at position ", shared),
      ": ", first.tokens[shared], " in ", first.name, ", ", second.tokens[shared], " in ", second.name, ".");
}

std::vector<std::string> DuelWords(const Duel& duel, const Contender& first, const Contender& second,
                                   bool same_tokens) {
  return Story(duel, first, second, same_tokens).Tell();
}

std::string ConfidentWords(const ConfidentToken& token, const std::string& who, const std::string& where,
                           double confidence) {
  const bool is_sure = token.top_probability >= confidence;
  const std::string rank = token.given_rank > 0 ? absl::StrCat(", rank ", token.given_rank) : "";
  return absl::StrCat(
      "At position ", token.position, " ", who,
      is_sure ? absl::StrCat(" is confident of ", token.top, " (probability ", ShowNumber(token.top_probability), ")")
              : absl::StrCat(" has few tokens in mind (entropy ", ShowNumber(token.entropy), " nats, most likely ",
                             token.top, " with ", ShowNumber(token.top_probability), ")"),
      ", but ", token.given, " stands there", where, " (",
      token.given_log_prob == -HUGE_VAL ? "excluded"
                                        : absl::StrCat("probability ", ShowNumber(token.given_probability), rank,
                                                       ", a cost of ", ShowNumber(-token.given_log_prob), " nats"),
      ").");
}

}  // namespace logitd::cli

#include "client/comparison/aligned_bits.h"

#include <cmath>

#include "core/compensated_sum.h"

namespace logitd::comparison {
namespace {

constexpr double kLn2 = 0x1.62e42fefa39efp-1;

// One model's way through the text.
class Walk {
 public:
  explicit Walk(std::span<const TokenOfText> tokens) : tokens_(tokens) {}

  bool at_end() const { return next_ == tokens_.size(); }
  int64_t byte() const { return byte_; }
  int32_t next() const { return static_cast<int32_t>(next_); }
  double bits() const { return impossible_count_ > 0 ? BitsOf(-HUGE_VAL) : BitsOf(log_prob_.value()); }

  void Take() {
    const TokenOfText& token = tokens_[next_++];
    byte_ += token.byte_count;
    if (token.log_prob == -HUGE_VAL) {
      ++impossible_count_;
    } else {
      log_prob_.Add(token.log_prob);
    }
  }
  // Takes the tokens without bytes that stand here.
  void TakeEmpty() {
    while (!at_end() && tokens_[next_].byte_count == 0) Take();
  }

 private:
  std::span<const TokenOfText> tokens_;
  size_t next_ = 0;
  int64_t byte_ = 0;
  CompensatedSum log_prob_;
  int32_t impossible_count_ = 0;
};

// The bits of some tokens.
double BitsOfTokens(std::span<const TokenOfText> tokens) {
  Walk walk(tokens);
  while (!walk.at_end()) walk.Take();
  return walk.bits();
}

}  // namespace

double BitsOf(double log_prob) { return log_prob == 0 ? 0 : -log_prob / kLn2; }

std::optional<std::vector<AlignedPiece>> AlignBits(std::span<const TokenOfText> first,
                                                   std::span<const TokenOfText> second) {
  std::vector<AlignedPiece> pieces;
  Walk one(first);
  Walk other(second);
  while (!one.at_end() && !other.at_end()) {
    AlignedPiece piece;
    piece.begin = one.byte();
    piece.first_begin_token = one.next();
    piece.second_begin_token = other.next();
    // Only the first piece may begin with them.
    one.TakeEmpty();
    other.TakeEmpty();
    // The one that is behind goes on, until both are at a border.
    do {
      Walk& behind = one.byte() <= other.byte() ? one : other;
      if (behind.at_end()) return std::nullopt;
      behind.Take();
    } while (one.byte() != other.byte());
    one.TakeEmpty();
    other.TakeEmpty();
    piece.end = one.byte();
    piece.first_token_count = one.next() - piece.first_begin_token;
    piece.second_token_count = other.next() - piece.second_begin_token;
    piece.first_bits = BitsOfTokens(first.subspan(piece.first_begin_token, piece.first_token_count));
    piece.second_bits = BitsOfTokens(second.subspan(piece.second_begin_token, piece.second_token_count));
    piece.first_running_bits = one.bits();
    piece.second_running_bits = other.bits();
    pieces.push_back(piece);
  }
  if (one.at_end() != other.at_end()) return std::nullopt;
  return pieces;
}

}  // namespace logitd::comparison

#include "core/truncation.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <span>

#include "core/exact_math.h"

namespace logitd {
namespace {

// An unsigned integer that falls as the logit rises, so that the order of a truncation, (logit descending, id
// ascending), is the order of (key, id). Both zeros give one key.
uint32_t DescendingKey(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);
  return bits & 0x80000000 ? bits : ~(bits | 0x80000000);
}

float LogitOfKey(uint32_t key) { return std::bit_cast<float>(key & 0x80000000 ? key : ~key & 0x7FFFFFFF); }

// Calls visit(token_id, logit) for the kept tokens, ids ascending, until it returns false.
template <typename Visit>
void VisitKept(const Distribution& distribution, Visit visit) {
  const LogitsView row = distribution.row();
  const std::span<const uint64_t> mask = distribution.mask();
  constexpr float kExcluded = -std::numeric_limits<float>::infinity();
  for (size_t start = 0; start < row.size(); start += 64) {
    const size_t end = std::min(row.size(), start + 64);
    const uint64_t word = mask.empty() ? ~uint64_t{0} : mask[start / 64];
    if (word == ~uint64_t{0}) {
      for (size_t i = start; i < end; ++i) {
        if (row[i] > kExcluded && !visit(static_cast<TokenId>(i), row[i])) return;
      }
      continue;
    }
    // The last word may have bits beyond the row.
    for (uint64_t rest = word; rest != 0; rest &= rest - 1) {
      const size_t i = start + std::countr_zero(rest);
      if (i >= end) break;
      if (row[i] > kExcluded && !visit(static_cast<TokenId>(i), row[i])) return;
    }
  }
}

// The last token of the shortest prefix whose sum of mass(token_id) reaches `target`; the last token of all if none
// does. Found digit by digit of the keys, a histogram of masses each: three passes, and one more to tell equal logits
// apart. No sort, no memory but the histogram. Time: O(vocab_size).
template <typename Mass>
Cut ShortestPrefix(const Distribution& distribution, uint64_t target, Mass mass) {
  constexpr int kDigitBits[] = {11, 11, 10};
  std::array<uint64_t, 2048> histogram;
  uint64_t before = 0;  // mass of the keys below `prefix`
  uint32_t prefix = 0;  // the digits found so far
  int low_bits = 32;    // number of bits not found yet
  for (int digit_bits : kDigitBits) {
    low_bits -= digit_bits;
    histogram.fill(0);
    const uint32_t digit_mask = (uint32_t{1} << digit_bits) - 1;
    // 64 bits wide: in the first pass every key belongs, which is a shift by 32.
    const int known_shift = low_bits + digit_bits;
    VisitKept(distribution, [&](TokenId token_id, float logit) {
      const uint64_t key = DescendingKey(logit);
      if (key >> known_shift == prefix) histogram[(key >> low_bits) & digit_mask] += mass(token_id);
      return true;
    });
    uint32_t digit = 0;
    uint32_t last_used = 0;
    uint64_t sum = before;
    uint64_t before_last_used = before;
    for (; digit <= digit_mask; ++digit) {
      if (histogram[digit] == 0) continue;
      last_used = digit;
      before_last_used = sum;
      sum += histogram[digit];
      if (sum >= target) break;
    }
    before = before_last_used;
    prefix = (prefix << digit_bits) | last_used;
  }
  Cut cut;
  cut.logit = LogitOfKey(prefix);
  uint64_t sum = before;
  VisitKept(distribution, [&](TokenId token_id, float logit) {
    if (logit != cut.logit) return true;
    cut.token_id = token_id;
    sum += mass(token_id);
    return sum < target;
  });
  return cut;
}

}  // namespace

void KeepTopK(int32_t k, Distribution& distribution) {
  if (k >= distribution.kept_count()) return;
  distribution.Truncate(ShortestPrefix(distribution, static_cast<uint64_t>(k), [](TokenId) { return uint64_t{1}; }));
}

uint64_t TopPMass(uint64_t total_weight, double p) {
  // The factor lets a p that is meant as a fraction (0.9 of 10 equal tokens) reach it although the double is larger.
  const double reduced = p * (1 - 0x1p-40);
  if (!(reduced > 0)) return 0;
  // reduced = mantissa 2^-shift, mantissa < 2^53.
  int exponent = 0;
  const uint64_t mantissa = static_cast<uint64_t>(std::ldexp(std::frexp(reduced, &exponent), 53));
  const int shift = 53 - exponent;
  const unsigned __int128 product = static_cast<unsigned __int128>(total_weight) * mantissa;
  if (shift >= 128) return product != 0;
  const unsigned __int128 floor = product >> shift;
  return static_cast<uint64_t>(floor) + ((floor << shift) != product);
}

void KeepTopP(double p, Distribution& distribution) {
  const uint64_t target = TopPMass(distribution.total_weight(), p);
  const std::span<const uint64_t> weights = distribution.weights();
  // Often the first token is enough; P = 0 keeps it too.
  if (weights[distribution.argmax()] >= target) {
    distribution.Truncate(Cut{distribution.max(), distribution.argmax()});
    return;
  }
  distribution.Truncate(
      ShortestPrefix(distribution, target, [weights](TokenId token_id) { return weights[token_id]; }));
}

void KeepMinP(double min_p, Distribution& distribution) {
  const double bound = distribution.temperature() * Log(min_p);
  const double max = distribution.max();
  const auto keeps = [bound, max](float logit) { return static_cast<double>(logit) - max >= bound; };
  // The last key that is kept: `keeps` is monotone, so it is found by halving, 32 times.
  uint32_t kept = DescendingKey(distribution.max());
  uint32_t not_kept = DescendingKey(-std::numeric_limits<float>::infinity());
  while (not_kept - kept > 1) {
    const uint32_t middle = kept + (not_kept - kept) / 2;
    (keeps(LogitOfKey(middle)) ? kept : not_kept) = middle;
  }
  Cut cut;
  cut.logit = LogitOfKey(kept);
  distribution.Truncate(cut);
}

}  // namespace logitd

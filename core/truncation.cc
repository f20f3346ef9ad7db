#include "core/truncation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/exact_math.h"
#include "core/kernels/row_kernels.h"
#include "core/logit_order.h"

namespace logitd {
namespace {

// floor(weight factor), exactly, and whether something was cut off. Range: factor in [0, 1].
struct ExactProduct {
  uint64_t floor;
  bool has_rest;
};
ExactProduct Multiply(uint64_t weight, double factor) {
  if (!(factor > 0)) return {0, false};
  // factor = mantissa 2^-shift, mantissa < 2^53.
  int exponent = 0;
  const uint64_t mantissa = static_cast<uint64_t>(std::ldexp(std::frexp(factor, &exponent), 53));
  const int shift = 53 - exponent;
  const unsigned __int128 product = static_cast<unsigned __int128>(weight) * mantissa;
  if (shift >= 128) return {0, product != 0};
  const unsigned __int128 floor = product >> shift;
  return {static_cast<uint64_t>(floor), (floor << shift) != product};
}

// The lowest logit with (x - max) >= bound; +inf if not even max is one.
float LowestAtLeast(double bound, float max) {
  const double row_max = max;
  if (bound > 0) return std::numeric_limits<float>::infinity();
  return LowestLogit(max, [=](float logit) { return static_cast<double>(logit) - row_max >= bound; });
}

// The lowest logit whose log-prob is at least `log_prob`.
float LowestOfLogProb(double log_prob, KeptTokens& kept) {
  return LowestAtLeast(kept.temperature() * (log_prob + kept.LogTotal()), kept.max());
}

}  // namespace

void KeepTopK(int32_t k, TieRule ties, KeptTokens& kept) { kept.KeepFirst(k, ties == TieRule::kKeepAll); }

uint64_t TopPMass(uint64_t total_weight, double p, TopPBoundary boundary) {
  if (boundary == TopPBoundary::kExceeded) return Multiply(total_weight, p).floor + 1;
  if (boundary == TopPBoundary::kAscending) return total_weight - Multiply(total_weight, 1 - p).floor;
  // The factor lets a p that is meant as a fraction (0.9 of 10 equal tokens) reach it although the double is larger.
  const ExactProduct product = Multiply(total_weight, p * (1 - 0x1p-40));
  return product.floor + product.has_rest;
}

void KeepTopP(double p, TopPBoundary boundary, KeptTokens& kept) {
  kept.KeepShare([=](uint64_t total_weight) { return TopPMass(total_weight, p, boundary); },
                 boundary == TopPBoundary::kMassAbove);
}

void KeepMinP(double min_p, KeptTokens& kept) {
  kept.KeepAtLeast(LowestAtLeast(kept.temperature() * Log(min_p), kept.max()));
}

void KeepEpsilon(double epsilon, KeptTokens& kept) { kept.KeepAtLeast(LowestOfLogProb(Log(epsilon), kept)); }

void KeepEta(double eta, KeptTokens& kept) {
  const double log_eta = Log(eta);
  kept.KeepAtLeast(LowestOfLogProb(std::min(log_eta, 0.5 * log_eta - kept.Entropy()), kept));
}

float LowestOfSigma(double n, KeptTokens& kept) {
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  const LogitsView row = kept.row();
  const uint64_t* mask = kept.Mask().bits();
  const float max = kept.max();
  const float range = std::min(max - kernels.min_finite(row.data(), row.size(), mask), kLargestLogit);
  // range <= 2^exponent. Not less than 2^-100, so that the scale is a normal f32.
  int exponent = 0;
  const float fraction = std::frexp(range, &exponent);
  if (fraction == 0.5f) --exponent;
  exponent = range == 0 ? -100 : std::max(exponent, -100);
  const float scale = std::ldexp(1.0f, kernels::kSpreadBits - exponent);
  const kernels::SpreadSums sums = kernels.sum_spread(row.data(), row.size(), mask, max, scale);
  // variance = (N sum(q^2) - sum(q)^2) / N^2, the difference exact.
  const unsigned __int128 count = static_cast<unsigned __int128>(kept.Count());
  const unsigned __int128 difference =
      count * sums.squares - static_cast<unsigned __int128>(sums.values) * static_cast<unsigned __int128>(sums.values);
  const double size = static_cast<double>(kept.Count());
  const double sigma =
      std::ldexp(std::sqrt(static_cast<double>(difference) / (size * size)), exponent - kernels::kSpreadBits);
  return LowestAtLeast(-n * sigma, max);
}

void KeepTypical(double p, TopPBoundary boundary, TieRule ties, TruncationSpace& space, KeptTokens& kept) {
  using Candidate = TruncationSpace::Candidate;
  const uint64_t target = TopPMass(kept.TotalWeight(), p, boundary);
  const double entropy = kept.Entropy();
  const double log_total = kept.LogTotal();
  const double max = kept.max();
  const TokenList& tokens = kept.Between(-kLargestLogit, kLargestLogit);
  std::vector<Candidate>& candidates = space.candidates;
  candidates.clear();
  // As many as there are and no more: growing would double 24 bytes a token.
  candidates.reserve(tokens.size());
  const auto candidate_of = [&](size_t i) {
    const double logit = tokens.logits()[i];
    const double distance = std::abs((log_total - (logit - max) / kept.temperature()) - entropy);
    return Candidate{distance, PackToken(tokens.logits()[i], tokens.ids()[i]), tokens.weights()[i]};
  };
  for (size_t i = 0; i < tokens.size(); ++i) candidates.push_back(candidate_of(i));

  // The last one kept is in [begin, end); `before` is the mass of what comes before begin.
  auto begin = candidates.begin();
  auto end = candidates.end();
  uint64_t before = 0;
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end);
    uint64_t mass = before;
    for (auto it = begin; it != middle; ++it) mass += it->weight;
    if (mass >= target) {
      end = middle;
    } else {
      begin = middle;
      before = mass;
    }
  }
  const Candidate last = *begin;
  space.removed.clear();
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Candidate candidate = candidate_of(i);
    const bool keeps = ties == TieRule::kKeepAll ? candidate.distance <= last.distance : !(last < candidate);
    if (!keeps) space.removed.push_back(tokens.ids()[i]);
  }
  kept.Remove(space.removed);
}

void ExcludeTopChoices(double threshold, TruncationSpace& space, KeptTokens& kept) {
  const TokenList& choices = kept.Between(LowestOfLogProb(Log(threshold), kept), kLargestLogit);
  if (choices.size() < 2) return;
  uint64_t last = 0;
  for (size_t i = 0; i < choices.size(); ++i) last = std::max(last, PackToken(choices.logits()[i], choices.ids()[i]));
  space.removed.clear();
  for (TokenId token_id : choices.ids()) {
    if (token_id != UnpackToken(last).token_id) space.removed.push_back(token_id);
  }
  kept.Remove(space.removed);
}

}  // namespace logitd

#include "core/truncation.h"

#include <cmath>
#include <limits>

#include "core/exact_math.h"
#include "core/prefix_search.h"

namespace logitd {

void KeepTopK(int32_t k, Distribution& distribution) {
  if (k >= distribution.kept_count()) return;
  if (k == 1) {
    distribution.Truncate(Cut{distribution.max(), distribution.argmax()});
    return;
  }
  distribution.Truncate(distribution.FindCut(Distribution::Mass::kTokens, static_cast<uint64_t>(k)));
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
  // Often the first token is enough; P = 0 keeps it too.
  if (distribution.weights()[distribution.argmax()] >= target) {
    distribution.Truncate(Cut{distribution.max(), distribution.argmax()});
    return;
  }
  distribution.Truncate(distribution.FindCut(Distribution::Mass::kWeights, target));
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

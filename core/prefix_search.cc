// A prefix is found in a row of V logits without sorting it:
//
//   block maxima   | 6.1 | 2.0 | 9.3 | 1.7 | ...        pass 1 left one for each block
//   FindInTopBlocks: gather the tokens above the r-th largest maximum; do they reach the target?  -> the cut is there
//   FindBySample:    sort 512 sampled logits; guess the logit g at which the target is reached
//
//        descending logits   [ surely in the prefix )[ around g )[ surely outside ]
//                              one pass adds it up    gathered,    never looked at
//                                                     sorted
//
//   The sum above plus the gathered masses either reach the target inside (done), or the bracket narrows (next round).
//   FindByBounds:    the same with bounds of the sum instead of the sum, if they give the same cut.
//
// A wrong guess costs another pass, never a wrong cut: masses are exact integers.
//
// Example: logits 6, 3, 0.5, 0.5 (ids 0 to 3), T = 1, top-p 0.95. Weights 4398046511104, 218965852160, 17973811200,
// 17973811200; total 4652959985664; target 4420311986377. Token 0 alone has less, tokens 0
// and 1 have 4617012363264: the cut is {3, id 1}. With top-k 3 each mass is 1 and the cut is {0.5, id 2}: of the two
// equal logits the lower id comes first.
//
// docs/adr/0008-what-is-kept.md has the reasons and the costs.
#include "core/prefix_search.h"

#include <algorithm>

namespace logitd {
namespace {

// At most this many tokens are sorted as they are.
constexpr size_t kFewTokens = 512;
// Top-p looks at the tokens above the 16th, then the 128th largest block maximum: a peaked row's nucleus is there.
constexpr size_t kTopBlocks[] = {16, 128};
// Bounds are computed only if a sample says that a nucleus of four times the first token's mass is enough.
constexpr uint64_t kPeak = uint64_t{4} << kernels::kWeightBits;
// If the first 16 blocks hold less than the target divided by this, the next 128 are skipped.
constexpr uint64_t kHopeless = 4;
// A sample of this many tokens is sorted. Tokens this far from the estimated place, on both sides, are looked at
// closely: more than the estimate's standard error, at its worst, so that one round is nearly always enough.
constexpr size_t kSampleSize = 512;
constexpr size_t kLeastStride = 8;
constexpr size_t kSampleReach = 16;
// The same for a list, which is looked at closely in turn.
constexpr size_t kListSampleSize = 256;
constexpr size_t kListSampleReach = 6;
// A prefix of less than this part of the row is small.
constexpr size_t kSmallShare = 5;

}  // namespace

void LogitSample::Sort(float max, const kernels::ExpConstants* constants) {
  sorter_.SortDescending(logits_.data(), logits_.size());
  masses_.assign(logits_.size(), 1);
  if (constants != nullptr) {
    kernels::ActiveKernels().weigh(logits_.data(), logits_.size(), max, *constants, masses_.data());
  }
}

size_t LogitSample::PlaceBefore(double beyond, double each) const {
  size_t place = size();
  while (place > 0 && beyond > 0) beyond -= each * static_cast<double>(masses_[--place]);
  return place;
}

uint64_t PrefixSearch::MassOf(float logit) const {
  return tokens_.constants == nullptr ? 1 : kernels::Weight(logit, tokens_.max, *tokens_.constants);
}

Prefix PrefixSearch::Find(const PrefixTokens& tokens, uint64_t target) {
  tokens_ = tokens;
  const bool weighed = tokens.constants != nullptr;
  Bracket bracket;
  if (static_cast<size_t>(tokens.count) <= kFewTokens) {
    list_.Clear();
    list_.Collect(tokens.row, mask(), tokens.block_max, bracket.lowest, bracket.highest);
    const uint64_t mass = weighed ? list_.Weigh(tokens.max, *tokens.constants) : list_.size();
    Prefix prefix = FindAmong(list_, mass, 0, target);
    prefix.is_in_list = true;
    return prefix;
  }
  if (!weighed) {
    // The k largest block maxima are k tokens.
    if (const auto prefix = FindInTopBlocks(target, target, bracket)) return *prefix;
  } else {
    for (size_t rank : kTopBlocks) {
      if (const auto prefix = FindInTopBlocks(rank, target, bracket)) return *prefix;
      if (list_.TotalWeight() < target / kHopeless) break;
    }
  }
  return FindBySample(target, bracket);
}

Prefix PrefixSearch::FindInList(const TokenList& list, float max, const kernels::ExpConstants* constants,
                                uint64_t total_mass, uint64_t target) {
  tokens_ = {.row = {}, .block_max = {}, .max = max, .constants = constants};
  return FindAmong(list, total_mass, 0, target);
}

std::optional<Prefix> PrefixSearch::FindByBounds(const PrefixTokens& tokens,
                                                 absl::FunctionRef<uint64_t(uint64_t)> target_of) {
  tokens_ = tokens;
  if (kTopBlocks[0] > tokens.block_max.size()) return std::nullopt;
  // Bounds help only if a few tokens hold nearly all the mass.
  const uint64_t estimate = EstimateMass();
  if (target_of(kPeak + estimate) > kPeak) return std::nullopt;
  const float bound = CollectTopBlocks(kTopBlocks[0]);
  // Many blocks have the maximum itself.
  if (list_.size() == 0) return std::nullopt;
  const uint64_t above = list_.Weigh(tokens.max, *tokens.constants);
  // The sample often doubles the mass of a tail in which few tokens weigh much.
  if (target_of(above + estimate / 2) > above) return std::nullopt;
  const kernels::WeightBounds rest = kernels::ActiveKernels().bound_below(
      tokens.row.data(), tokens.row.size(), mask().bits(), NextAbove(bound), tokens.max, *tokens.constants);
  const uint64_t highest_target = target_of(above + rest.at_most);
  if (highest_target > above) return std::nullopt;
  // Of all targets in between, the prefix that reaches the lowest and the highest is the shortest.
  Prefix prefix = FindAmong(list_, above, 0, target_of(above + rest.at_least));
  if (prefix.mass < highest_target) return std::nullopt;
  prefix.is_in_list = true;
  return prefix;
}

uint64_t PrefixSearch::EstimateMass() {
  const size_t stride = std::max<size_t>(1, tokens_.row.size() / kSampleSize);
  float logits[kSampleSize];
  uint64_t weights[kSampleSize];
  size_t count = 0;
  for (size_t i = stride / 2; i < tokens_.row.size() && count < kSampleSize; i += stride) {
    logits[count] = tokens_.row[i];
    count += mask().Contains(static_cast<TokenId>(i));
  }
  if (count == 0) return 0;
  return kernels::ActiveKernels().weigh(logits, count, tokens_.max, *tokens_.constants, weights) * stride;
}

float PrefixSearch::CollectTopBlocks(size_t rank) {
  // By halving: counting a few hundred floats takes less time than one mispredicted branch or two.
  const float bound = LowestLogit(tokens_.max, [&](float logit) {
    return static_cast<size_t>(kernels::ActiveKernels().count_greater(tokens_.block_max.data(),
                                                                      tokens_.block_max.size(), nullptr, logit)) < rank;
  });
  list_.Clear();
  list_.Collect(tokens_.row, mask(), tokens_.block_max, NextAbove(bound), kLargestLogit);
  return bound;
}

std::optional<Prefix> PrefixSearch::FindInTopBlocks(size_t rank, uint64_t target, Bracket& bracket) {
  list_.Clear();
  if (rank > tokens_.block_max.size()) return std::nullopt;
  const float bound = CollectTopBlocks(rank);
  const bool weighed = tokens_.constants != nullptr;
  Above above{static_cast<int32_t>(list_.size()),
              weighed ? list_.Weigh(tokens_.max, *tokens_.constants) : list_.size()};
  if (above.mass >= target) {
    Prefix prefix = FindAmong(list_, above.mass, 0, target);
    prefix.is_in_list = true;
    return prefix;
  }
  const bool is_top = above.count == 0;
  block_sums_.assign(kernels::SumBlockCount(tokens_.row.size()), 0);
  if (auto prefix = FindTie(bound, target, above)) {
    // The sums of the tokens above are not known by blocks.
    prefix->has_block_sums = is_top && weighed;
    return prefix;
  }
  bracket.highest = NextBelow(bound);
  return std::nullopt;
}

std::optional<Prefix> PrefixSearch::FindTie(float logit, uint64_t target, Above& above) {
  const uint64_t mass = MassOf(logit);
  if (mass == 0) return std::nullopt;
  const size_t n = tokens_.row.size();
  const uint64_t wanted = (target - above.mass + mass - 1) / mass;
  uint64_t found = 0;
  places_.resize(std::max(places_.size(), kernels::kSumBlockSize + kernels::kCollectPadding));
  for (size_t start = 0; start < n; start += kernels::kSumBlockSize) {
    const size_t end = std::min(n, start + kernels::kSumBlockSize);
    const size_t first_block = start / kernels::kBlockSize;
    const size_t last_block = (end - 1) / kernels::kBlockSize;
    const auto has_none = [logit](float block_max) { return block_max < logit; };
    if (std::all_of(&tokens_.block_max[first_block], &tokens_.block_max[last_block] + 1, has_none)) continue;
    const size_t count =
        kernels::ActiveKernels().collect(tokens_.row.data(), start, end, mask().bits(), logit, logit, places_.data());
    const uint64_t taken = std::min<uint64_t>(count, wanted - found);
    block_sums_[start / kernels::kSumBlockSize] += taken * mass;
    found += taken;
    if (found == wanted) {
      return Prefix{.cut = {logit, places_[taken - 1]},
                    .count = above.count + static_cast<int32_t>(wanted),
                    .mass = above.mass + wanted * mass,
                    .has_block_sums = tokens_.constants != nullptr};
    }
  }
  above.count += static_cast<int32_t>(found);
  above.mass += found * mass;
  return std::nullopt;
}

Prefix PrefixSearch::FindBySample(uint64_t target, Bracket bracket) {
  const bool weighed = tokens_.constants != nullptr;
  const double each = TakeSample(bracket);
  const size_t size = sample_.size();
  const size_t guess = sample_.PlaceBefore(static_cast<double>(tokens_.total_mass - target), each);
  // Each round either finds the cut or takes a part off the bracket; a reach beyond the sample takes all of it.
  for (size_t reach = kSampleReach;; reach *= 3) {
    float highest = guess < reach ? bracket.highest : std::min(bracket.highest, sample_.At(guess - reach));
    float lowest = guess + reach >= size ? bracket.lowest : std::max(bracket.lowest, sample_.At(guess + reach));
    // A small prefix is gathered as a whole: cheaper than a pass that weighs everything above.
    const bool is_small = weighed && (guess + reach) * kSmallShare < size;
    if (is_small) highest = kLargestLogit;
    if (guess >= reach / 2 && guess + reach / 2 < size) {
      // Many equal logits: they are counted, not gathered.
      const float middle = sample_.At(guess);
      if (bracket.lowest <= middle && middle <= bracket.highest &&
          (sample_.At(guess - reach / 2) == middle || sample_.At(guess + reach / 2) == middle)) {
        lowest = highest = middle;
      }
    }
    if (lowest > highest) {
      lowest = bracket.lowest;
      highest = bracket.highest;
    }
    Above above = SumAbove(highest);
    if (above.mass >= target) {
      bracket.lowest = NextAbove(highest);
      continue;
    }
    if (lowest == highest) {
      if (const auto prefix = FindTie(lowest, target, above)) return *prefix;
    } else {
      list_.Clear();
      list_.Collect(tokens_.row, mask(), tokens_.block_max, lowest, highest);
      const uint64_t mass = weighed ? list_.Weigh(tokens_.max, *tokens_.constants) : list_.size();
      if (above.mass + mass >= target) {
        Prefix prefix = FindAmong(list_, mass, above.mass, target);
        prefix.is_in_list = above.count == 0;
        if (prefix.is_in_list) return prefix;
        prefix.count = above.count + AddToBlockSums(prefix.cut);
        prefix.has_block_sums = weighed;
        return prefix;
      }
    }
    bracket.highest = NextBelow(lowest);
  }
}

int32_t PrefixSearch::AddToBlockSums(const Cut& cut) {
  const std::span<const TokenId> ids = list_.ids();
  uint64_t count = 0;
  for (size_t i = 0; i < list_.size();) {
    const TokenId block = ids[i] / static_cast<TokenId>(kernels::kSumBlockSize);
    const TokenId end = (block + 1) * static_cast<TokenId>(kernels::kSumBlockSize);
    uint64_t sum = 0;
    for (; i < list_.size() && ids[i] < end; ++i) {
      const uint64_t keeps = cut.Keeps(list_.logits()[i], ids[i]);
      sum += list_.weights()[i] & -keeps;
      count += keeps;
    }
    block_sums_[static_cast<size_t>(block)] += sum;
  }
  return static_cast<int32_t>(count);
}

PrefixSearch::Above PrefixSearch::SumAbove(float logit) {
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  const size_t n = tokens_.row.size();
  block_sums_.assign(kernels::SumBlockCount(n), 0);
  if (logit >= tokens_.max) return {};
  if (tokens_.constants == nullptr) {
    const int32_t count = kernels.count_greater(tokens_.row.data(), n, mask().bits(), logit);
    return {count, static_cast<uint64_t>(count)};
  }
  const kernels::Mass mass = kernels.sum_between(tokens_.row.data(), n, mask().bits(), tokens_.block_max.data(), logit,
                                                 -kExcludedLogit, tokens_.max, *tokens_.constants, block_sums_.data());
  return {mass.count, mass.weight};
}

double PrefixSearch::TakeSample(const Bracket& bracket) {
  sample_.Clear();
  const size_t stride = std::max(kLeastStride, tokens_.row.size() / kSampleSize);
  for (size_t i = stride / 2; i < tokens_.row.size(); i += stride) {
    if (!mask().Contains(static_cast<TokenId>(i))) continue;
    const float logit = tokens_.row[i];
    if (bracket.lowest <= logit && logit <= bracket.highest) sample_.Add(logit);
  }
  sample_.Sort(tokens_.max, tokens_.constants);
  return static_cast<double>(stride);
}

Prefix PrefixSearch::FindAmong(const TokenList& list, uint64_t mass, uint64_t above, uint64_t target) {
  const std::span<const float> logits = list.logits();
  // The cut is among the tokens at these places.
  const Bracket bracket = list.size() > kFewTokens ? Narrow(list, mass, target, above) : Bracket();
  places_.resize(std::max(places_.size(), list.size() + kernels::kCollectPadding));
  const size_t count = kernels::ActiveKernels().collect(logits.data(), 0, list.size(), nullptr, bracket.lowest,
                                                        bracket.highest, places_.data());
  // Sorting a few by vectors takes less time than selecting among them by branches that cannot be predicted.
  sample_.Clear();
  for (size_t i = 0; i < count; ++i) sample_.Add(logits[static_cast<size_t>(places_[i])]);
  sample_.Sort(tokens_.max, tokens_.constants);
  size_t last = 0;
  for (; above + sample_.MassAt(last) < target; ++last) above += sample_.MassAt(last);
  // Among equal logits those of lower ids come first.
  const float logit = sample_.At(last);
  size_t first = last;
  while (first > 0 && sample_.At(first - 1) == logit) --first;
  size_t equal_before = last - first;
  const int32_t* place = places_.data();
  while (logits[static_cast<size_t>(*place)] != logit || equal_before-- > 0) ++place;
  // Never -0.
  return {.cut = {logit + 0.0f, list.ids()[static_cast<size_t>(*place)]}, .mass = above + sample_.MassAt(last)};
}

PrefixSearch::Bracket PrefixSearch::Narrow(const TokenList& list, uint64_t mass, uint64_t target, uint64_t& above) {
  // Where a sample of the list says that the cut is.
  sample_.Clear();
  const size_t stride = list.size() / kListSampleSize;
  for (size_t i = 0; i < kListSampleSize; ++i) sample_.Add(list.logits()[stride / 2 + i * stride]);
  sample_.Sort(tokens_.max, tokens_.constants);
  const size_t guess = sample_.PlaceBefore(static_cast<double>(above + mass - target), static_cast<double>(stride));
  const float bounds[kernels::kBoundCount] = {
      sample_.At(guess - std::min(guess, 3 * kListSampleReach)), sample_.At(guess - std::min(guess, kListSampleReach)),
      sample_.At(guess + kListSampleReach), sample_.At(guess + 3 * kListSampleReach)};
  uint64_t sums[kernels::kBoundCount];
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  const float* logits = list.logits().data();
  if (tokens_.constants != nullptr) {
    kernels.sum_at_least(logits, list.size(), list.weights().data(), bounds, sums);
  } else {
    for (size_t j = 0; j < kernels::kBoundCount; ++j) {
      sums[j] = static_cast<uint64_t>(kernels.count_greater(logits, list.size(), nullptr, NextBelow(bounds[j])));
    }
  }
  Bracket bracket;
  uint64_t before = 0;
  for (size_t j = 0; j < kernels::kBoundCount; ++j) {
    if (above + sums[j] >= target) {
      bracket.lowest = std::max(bracket.lowest, bounds[j]);
    } else {
      bracket.highest = std::min(bracket.highest, NextBelow(bounds[j]));
      before = std::max(before, sums[j]);
    }
  }
  above += before;
  return bracket;
}

}  // namespace logitd

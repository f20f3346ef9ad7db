#include "core/prefix_search.h"

#include <algorithm>
#include <functional>

namespace logitd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// So few tokens are selected from at once.
constexpr size_t kFewTokens = 512;
// Top-p looks at the tokens above the 16th, then the 128th largest block maximum: a peaked row's nucleus is there.
constexpr size_t kTopBlocks[] = {16, 128};
// If the first look finds less than this part of the target, a second is not worth its time.
constexpr uint64_t kHopeless = 4;
// A sample of this many tokens is sorted. Tokens this far from the estimated place, on both sides, are looked at
// closely: more than the estimate's standard error, at its worst, so that one round is nearly always enough.
constexpr size_t kSampleSize = 512;
constexpr size_t kSampleReach = 16;
// The same for a list, which is looked at closely in turn.
constexpr size_t kListSampleSize = 64;
constexpr size_t kListSampleReach = 3;

}  // namespace

uint64_t PrefixSearch::MassOf(float logit) const {
  return tokens_.constants == nullptr ? 1 : kernels::Weight(logit, tokens_.max, *tokens_.constants);
}

Prefix PrefixSearch::Find(const PrefixTokens& tokens, uint64_t target) {
  tokens_ = tokens;
  const bool weighed = tokens.constants != nullptr;
  Bracket bracket;
  if (static_cast<size_t>(tokens.count) <= kFewTokens) {
    list_.Clear();
    list_.Collect(tokens.row, tokens.mask, tokens.block_max, bracket.lowest, bracket.highest);
    if (weighed) list_.Weigh(tokens.max, *tokens.constants);
    return FindAmong(list_, weighed, {}, target);
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

Prefix PrefixSearch::FindInList(const TokenList& list, bool weighed, uint64_t target) {
  return FindAmong(list, weighed, {}, target);
}

std::optional<Prefix> PrefixSearch::FindInTopBlocks(size_t rank, uint64_t target, Bracket& bracket) {
  list_.Clear();
  if (rank > tokens_.block_max.size()) return std::nullopt;
  block_order_.assign(tokens_.block_max.begin(), tokens_.block_max.end());
  const auto place = block_order_.begin() + static_cast<ptrdiff_t>(rank - 1);
  std::nth_element(block_order_.begin(), place, block_order_.end(), std::greater<>());
  const float bound = *place;
  if (bound == -kInfinity) return std::nullopt;

  const bool weighed = tokens_.constants != nullptr;
  list_.Collect(tokens_.row, tokens_.mask, tokens_.block_max, NextAbove(bound), std::numeric_limits<float>::max());
  Above above{static_cast<int32_t>(list_.size()),
              weighed ? list_.Weigh(tokens_.max, *tokens_.constants) : list_.size()};
  if (above.mass >= target) return FindAmong(list_, weighed, {}, target);
  const bool is_top = above.count == 0;
  block_sums_.assign(kernels::SumBlockCount(tokens_.row.size()), 0);
  if (auto prefix = FindTie(bound, target, above)) {
    // The sums of what is above are not known by blocks.
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
        kernels::ActiveKernels().collect(tokens_.row.data(), start, end, mask(), logit, logit, places_.data());
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
  TakeSample(bracket);
  const size_t guess = EstimatePlace(target);
  const auto logit_at = [this](size_t place) { return sample_[place]; };
  // Each round either finds the cut or takes a part off the bracket; a reach beyond the sample takes all of it.
  for (size_t reach = kSampleReach;; reach *= 3) {
    float highest = guess < reach ? bracket.highest : std::min(bracket.highest, logit_at(guess - reach));
    float lowest = guess + reach >= sample_.size() ? bracket.lowest : std::max(bracket.lowest, logit_at(guess + reach));
    if (guess < sample_.size() && guess >= reach / 2 && guess + reach / 2 < sample_.size()) {
      // Many equal logits: they are counted, not gathered.
      const float middle = logit_at(guess);
      if (bracket.lowest <= middle && middle <= bracket.highest &&
          (logit_at(guess - reach / 2) == middle || logit_at(guess + reach / 2) == middle)) {
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
      list_.Collect(tokens_.row, tokens_.mask, tokens_.block_max, lowest, highest);
      const uint64_t mass = weighed ? list_.Weigh(tokens_.max, *tokens_.constants) : list_.size();
      if (above.mass + mass >= target) {
        Prefix prefix = FindAmong(list_, weighed, above, target);
        if (weighed) AddToBlockSums(prefix.cut);
        prefix.has_block_sums = weighed;
        return prefix;
      }
    }
    bracket.highest = NextBelow(lowest);
  }
}

void PrefixSearch::AddToBlockSums(const Cut& cut) {
  const std::span<const TokenId> ids = list_.ids();
  for (size_t i = 0; i < list_.size();) {
    const TokenId block = ids[i] / static_cast<TokenId>(kernels::kSumBlockSize);
    const TokenId end = (block + 1) * static_cast<TokenId>(kernels::kSumBlockSize);
    uint64_t sum = 0;
    for (; i < list_.size() && ids[i] < end; ++i) {
      sum += list_.weights()[i] & -static_cast<uint64_t>(cut.Keeps(list_.logits()[i], ids[i]));
    }
    block_sums_[static_cast<size_t>(block)] += sum;
  }
}

PrefixSearch::Above PrefixSearch::SumAbove(float logit) {
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  const size_t n = tokens_.row.size();
  block_sums_.assign(kernels::SumBlockCount(n), 0);
  if (logit >= tokens_.max) return {};
  if (tokens_.constants == nullptr) {
    const int32_t count = kernels.count_greater(tokens_.row.data(), n, mask(), logit);
    return {count, static_cast<uint64_t>(count)};
  }
  const kernels::Mass mass = kernels.sum_between(tokens_.row.data(), n, mask(), tokens_.block_max.data(), logit,
                                                 kInfinity, tokens_.max, *tokens_.constants, block_sums_.data());
  return {mass.count, mass.weight};
}

void PrefixSearch::TakeSample(const Bracket& bracket) {
  sample_.clear();
  const size_t stride = std::max<size_t>(1, tokens_.row.size() / kSampleSize);
  for (size_t i = stride / 2; i < tokens_.row.size(); i += stride) {
    if (!tokens_.mask.empty() && !((tokens_.mask[i / 64] >> (i % 64)) & 1)) continue;
    const float logit = tokens_.row[i];
    if (bracket.lowest <= logit && logit <= bracket.highest) sample_.push_back(logit);
  }
  std::sort(sample_.begin(), sample_.end(), std::greater<>());
  sample_mass_.assign(sample_.size(), 1);
  if (tokens_.constants == nullptr) return;
  kernels::ActiveKernels().weigh(sample_.data(), sample_.size(), tokens_.max, *tokens_.constants, sample_mass_.data());
}

size_t PrefixSearch::EstimatePlace(uint64_t target) const {
  // From the end, because what is beyond the cut are many tokens of small mass, which a sample estimates well.
  const double stride = static_cast<double>(tokens_.row.size()) / kSampleSize;
  double beyond = static_cast<double>(tokens_.total_mass - target);
  size_t place = sample_.size();
  while (place > 0 && beyond > 0) beyond -= std::max(1.0, stride) * static_cast<double>(sample_mass_[--place]);
  return place;
}

Prefix PrefixSearch::FindAmong(const TokenList& list, bool weighed, Above above, uint64_t target) {
  uint64_t mass = above.mass;
  TakeCandidates(list, weighed, target, mass);
  // The cut is in [begin, end); `mass` is that of what comes before begin.
  auto begin = candidates_.begin();
  auto end = candidates_.end();
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end);
    uint64_t before = mass;
    for (auto it = begin; it != middle; ++it) before += it->mass;
    if (before >= target) {
      end = middle;
    } else {
      begin = middle;
      mass = before;
    }
  }
  Prefix prefix{.cut = UnpackToken(begin->packed), .count = above.count, .mass = mass + begin->mass};
  const Cut cut = prefix.cut;
  int32_t count = 0;
  for (size_t i = 0; i < list.size(); ++i) count += cut.Keeps(list.logits()[i], list.ids()[i]);
  prefix.count += count;
  return prefix;
}

void PrefixSearch::TakeCandidates(const TokenList& list, bool weighed, uint64_t target, uint64_t& mass) {
  candidates_.clear();
  const auto add = [&](size_t i) {
    candidates_.push_back({PackToken(list.logits()[i], list.ids()[i]), weighed ? list.weights()[i] : 1});
  };
  if (!weighed || list.size() <= kFewTokens) {
    for (size_t i = 0; i < list.size(); ++i) add(i);
    return;
  }
  // Where a sample of the list says that the cut is.
  Candidate sample[kListSampleSize];
  const size_t stride = list.size() / kListSampleSize;
  for (size_t i = 0; i < kListSampleSize; ++i) {
    const size_t place = stride / 2 + i * stride;
    sample[i] = {PackToken(list.logits()[place], list.ids()[place]), list.weights()[place]};
  }
  std::sort(sample, sample + kListSampleSize);
  size_t guess = 0;
  for (double missing = static_cast<double>(target - mass); guess + 1 < kListSampleSize && missing > 0; ++guess) {
    missing -= static_cast<double>(stride) * static_cast<double>(sample[guess].mass);
  }
  const auto logit_at = [&sample](size_t place) {
    return UnpackToken(sample[std::min(place, kListSampleSize - 1)].packed).logit;
  };
  const float bounds[kernels::kBoundCount] = {
      logit_at(guess - std::min(guess, 3 * kListSampleReach)), logit_at(guess - std::min(guess, kListSampleReach)),
      logit_at(guess + kListSampleReach), logit_at(guess + 3 * kListSampleReach)};
  uint64_t sums[kernels::kBoundCount];
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  kernels.sum_at_least(list.logits().data(), list.size(), list.weights().data(), bounds, sums);
  Bracket bracket;
  uint64_t before = 0;
  for (size_t j = 0; j < kernels::kBoundCount; ++j) {
    if (mass + sums[j] >= target) {
      bracket.lowest = std::max(bracket.lowest, bounds[j]);
    } else {
      bracket.highest = std::min(bracket.highest, NextBelow(bounds[j]));
      before = std::max(before, sums[j]);
    }
  }
  mass += before;
  places_.resize(std::max(places_.size(), list.size() + kernels::kCollectPadding));
  const size_t count =
      kernels.collect(list.logits().data(), 0, list.size(), nullptr, bracket.lowest, bracket.highest, places_.data());
  for (size_t i = 0; i < count; ++i) add(static_cast<size_t>(places_[i]));
}

}  // namespace logitd

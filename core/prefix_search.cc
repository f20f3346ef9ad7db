#include "core/prefix_search.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "core/kernels/row_kernels.h"

namespace logitd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// So few tokens are selected from at once.
constexpr int32_t kFewTokens = 512;
// Top-p looks at the tokens above the 16th, then the 128th largest block maximum: a peaked row's nucleus is there.
constexpr size_t kTopBlocks[] = {16, 128};
// If the first look finds less than this part of the target, a second is not worth its time.
constexpr uint64_t kHopeless = 4;
// A sample of this many tokens is sorted; sampling goes on until few of them are left in the bracket.
constexpr size_t kSampleSize = 512;
constexpr size_t kSampleLeft = 16;
// Bounds are taken this far, and three times as far, on both sides of the estimate: closer than its error costs another
// pass, farther more tokens to select from.
constexpr size_t kSampleReach = 8;
// More than a sample of 512 needs; any bracket, however wide, gives the right cut.
constexpr int kMaxRounds = 12;

float NextAbove(float logit) { return LogitOfKey(DescendingKey(logit) - 1); }
float NextBelow(float logit) { return LogitOfKey(DescendingKey(logit) + 1); }

uint64_t Pack(float logit, TokenId token_id) {
  return (uint64_t{DescendingKey(logit)} << 32) | static_cast<uint32_t>(token_id);
}
float LogitOf(uint64_t packed) { return LogitOfKey(static_cast<uint32_t>(packed >> 32)); }
TokenId IdOf(uint64_t packed) { return static_cast<TokenId>(packed & 0xFFFFFFFF); }

}  // namespace

uint32_t DescendingKey(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);
  // -0 has no key, so that neighbouring keys are neighbouring values.
  return bits & 0x80000000 ? bits - 1 : ~(bits | 0x80000000);
}

float LogitOfKey(uint32_t key) { return std::bit_cast<float>(key & 0x80000000 ? key + 1 : ~key & 0x7FFFFFFF); }

Cut PrefixSearch::Find(const PrefixTokens& tokens, uint64_t target) {
  tokens_ = tokens;
  ids_.resize(std::max(ids_.size(), tokens.row.size() + kernels::kCollectPadding));
  Bracket bracket;
  if (tokens.count > kFewTokens) {
    if (tokens.weights.empty()) {
      // The k largest block maxima are k tokens.
      if (const auto cut = FindInTopBlocks(target, target, bracket)) return *cut;
    } else {
      for (size_t rank : kTopBlocks) {
        if (const auto cut = FindInTopBlocks(rank, target, bracket)) return *cut;
        if (bracket.above < target / kHopeless) break;
      }
    }
    NarrowBySample(target, bracket);
  }
  Collect(bracket.lowest, bracket.highest);
  return bracket.lowest == bracket.highest ? SelectTie(target, bracket.above) : SelectFromIds(target, bracket.above);
}

std::optional<Cut> PrefixSearch::FindInTopBlocks(size_t rank, uint64_t target, Bracket& bracket) {
  if (rank > tokens_.block_max.size()) return std::nullopt;
  block_order_.assign(tokens_.block_max.begin(), tokens_.block_max.end());
  const auto place = block_order_.begin() + static_cast<ptrdiff_t>(rank - 1);
  std::nth_element(block_order_.begin(), place, block_order_.end(), std::greater<>());
  const float bound = *place;
  if (bound == -kInfinity || bound > bracket.highest) return std::nullopt;

  Collect(NextAbove(bound), bracket.highest);
  uint64_t mass = bracket.above;
  for (size_t i = 0; i < id_count_; ++i) mass += Mass(ids_[i]);
  if (mass >= target) return SelectFromIds(target, bracket.above);
  Collect(bound, bound);
  const uint64_t tie_mass = id_count_ == 0 ? 0 : id_count_ * Mass(ids_[0]);
  if (mass + tie_mass >= target) return SelectTie(target, mass);
  bracket.highest = NextBelow(bound);
  bracket.above = mass + tie_mass;
  return std::nullopt;
}

void PrefixSearch::NarrowBySample(uint64_t target, Bracket& bracket) {
  TakeSample(bracket);
  size_t begin = 0;
  size_t end = sample_.size();
  const size_t guess = EstimatePlace(target);
  for (int round = 0; round < kMaxRounds && end - begin > kSampleLeft && bracket.lowest != bracket.highest; ++round) {
    const auto logit_at = [&](size_t place) { return LogitOf(sample_[std::clamp(place, begin, end - 1)]); };
    if (round == 0) {
      // Near the estimate.
      const float bounds[kernels::kBoundCount] = {
          logit_at(guess - std::min(guess, 3 * kSampleReach)),
          logit_at(guess - std::min(guess, kSampleReach)),
          logit_at(guess + kSampleReach),
          logit_at(guess + 3 * kSampleReach),
      };
      NarrowBy(bounds, target, bracket);
    } else {
      // By quarters, and on both sides of the middle: that logit is outside the bracket then, or alone in it.
      const size_t quarter = (end - begin) / 4;
      const float middle = logit_at(begin + 2 * quarter);
      const float bounds[kernels::kBoundCount] = {logit_at(begin + quarter), NextAbove(middle), middle,
                                                  logit_at(begin + 3 * quarter)};
      NarrowBy(bounds, target, bracket);
    }
    while (begin < end && LogitOf(sample_[begin]) > bracket.highest) ++begin;
    while (begin < end && LogitOf(sample_[end - 1]) < bracket.lowest) --end;
  }
}

void PrefixSearch::NarrowBy(std::span<const float> bounds, uint64_t target, Bracket& bracket) const {
  uint64_t masses[kernels::kBoundCount];
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  if (tokens_.weights.empty()) {
    kernels.count_at_least(tokens_.row.data(), tokens_.row.size(), mask(), bounds.data(), masses);
  } else {
    kernels.sum_at_least(tokens_.row.data(), tokens_.row.size(), tokens_.weights.data(), bounds.data(), masses);
  }
  for (size_t i = 0; i < bounds.size(); ++i) {
    if (masses[i] >= target) {
      bracket.lowest = std::max(bracket.lowest, bounds[i]);
    } else {
      bracket.highest = std::min(bracket.highest, NextBelow(bounds[i]));
      bracket.above = std::max(bracket.above, masses[i]);
    }
  }
}

void PrefixSearch::TakeSample(const Bracket& bracket) {
  sample_.clear();
  const size_t stride = std::max<size_t>(1, tokens_.row.size() / kSampleSize);
  for (size_t i = stride / 2; i < tokens_.row.size(); i += stride) {
    if (!tokens_.mask.empty() && !((tokens_.mask[i / 64] >> (i % 64)) & 1)) continue;
    const float logit = tokens_.row[i];
    if (bracket.lowest <= logit && logit <= bracket.highest) sample_.push_back(Pack(logit, static_cast<TokenId>(i)));
  }
  std::sort(sample_.begin(), sample_.end());
}

size_t PrefixSearch::EstimatePlace(uint64_t target) const {
  // From the end, because what is beyond the cut are many tokens of small mass, which a sample estimates well.
  const double stride = static_cast<double>(tokens_.row.size()) / kSampleSize;
  double beyond = static_cast<double>(tokens_.total_mass - target);
  size_t place = sample_.size();
  while (place > 0 && beyond > 0) beyond -= std::max(1.0, stride) * static_cast<double>(Mass(IdOf(sample_[--place])));
  return place;
}

Cut PrefixSearch::SelectFromIds(uint64_t target, uint64_t above) {
  candidates_.clear();
  for (size_t i = 0; i < id_count_; ++i) candidates_.push_back(Pack(tokens_.row[ids_[i]], ids_[i]));
  // The cut is in [begin, end); `above` is the mass of what comes before begin.
  auto begin = candidates_.begin();
  auto end = candidates_.end();
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end);
    uint64_t mass = above;
    for (auto it = begin; it != middle; ++it) mass += Mass(IdOf(*it));
    if (mass >= target) {
      end = middle;
    } else {
      begin = middle;
      above = mass;
    }
  }
  return Cut{LogitOf(*begin), IdOf(*begin)};
}

Cut PrefixSearch::SelectTie(uint64_t target, uint64_t above) const {
  const TokenId token_id = ids_[(target - above - 1) / Mass(ids_[0])];
  return Cut{tokens_.row[token_id], token_id};
}

void PrefixSearch::Collect(float lowest, float highest) {
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  const size_t n = tokens_.row.size();
  id_count_ = 0;
  for (size_t block = 0; block < tokens_.block_max.size(); ++block) {
    if (tokens_.block_max[block] < lowest) continue;
    const size_t begin = block * kernels::kBlockSize;
    // Blocks in a row are one call.
    while (block + 1 < tokens_.block_max.size() && tokens_.block_max[block + 1] >= lowest) ++block;
    const size_t end = std::min(n, (block + 1) * kernels::kBlockSize);
    id_count_ += kernels.collect(tokens_.row.data(), begin, end, mask(), lowest, highest, ids_.data() + id_count_);
  }
}

}  // namespace logitd

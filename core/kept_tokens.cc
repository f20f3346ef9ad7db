#include "core/kept_tokens.h"

#include <algorithm>
#include <limits>

#include "core/exact_math.h"

namespace logitd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

// So many tokens are a list; in a large row, this part of it.
constexpr size_t kListSize = 4096;
constexpr size_t kListShare = 16;
// A bound that leaves no more than this part of the blocks leaves few tokens.
constexpr size_t kFewBlocksShare = 4;

// Tokens per word of a mask.
constexpr size_t kWordSize = 64;

size_t ListSize(size_t n) { return std::max(kListSize, n / kListShare); }

}  // namespace

kernels::RowScan KeptTokens::Reset(LogitsView row, std::span<const uint64_t> mask, std::span<const TokenId> banned,
                                   double temperature) {
  row_ = row;
  is_list_ = false;
  has_cut_ = false;
  has_mask_ = !mask.empty();
  if (has_mask_) mask_.assign(mask.begin(), mask.end());
  if (!banned.empty()) {
    MakeMask();
    for (TokenId token_id : banned) mask_[static_cast<size_t>(token_id) / 64] &= ~(uint64_t{1} << (token_id % 64));
  }
  block_max_.resize(kernels::BlockCount(row.size()));
  const kernels::RowScan scan =
      kernels::ActiveKernels().scan_row(row.data(), row.size(), mask_or_null(), block_max_.data());
  max_ = scan.max;
  argmax_ = scan.argmax;
  count_ = scan.finite_count;
  SetTemperature(temperature);
  if (scan.first_non_finite < 0 && argmax_ >= 0 && has_mask_ && static_cast<size_t>(count_) <= ListSize(row.size())) {
    MakeList(-kLargest);
  }
  return scan;
}

void KeptTokens::SetTemperature(double temperature) {
  temperature_ = temperature;
  constants_ = kernels::ExpConstants(temperature);
  is_summed_ = false;
}

bool KeptTokens::Contains(TokenId token_id) const {
  if (is_list_) return list_.Find(token_id) >= 0;
  const float logit = row_[static_cast<size_t>(token_id)];
  return InMask(token_id) && logit > -kInfinity && (!has_cut_ || cut_.Keeps(logit, token_id));
}

int32_t KeptTokens::count() {
  if (count_ < 0) Sum();
  return count_;
}

uint64_t KeptTokens::total_weight() {
  Sum();
  return total_weight_;
}

uint64_t KeptTokens::TotalWeightAt(double temperature) {
  if (temperature == temperature_) return total_weight();
  if (!is_list_) SettleCut();
  const LogitsView logits = is_list_ ? list_.logits() : row_;
  return kernels::ActiveKernels().sum_weights(logits.data(), logits.size(), is_list_ ? nullptr : mask_or_null(), max_,
                                              kernels::ExpConstants(temperature), nullptr);
}

void KeptTokens::Weigh(std::span<uint64_t> weights) {
  if (!is_list_) {
    for (size_t start = 0; start < row_.size(); start += kWordSize) WeighWord(start, &weights[start]);
    return;
  }
  Sum();
  std::ranges::fill(weights, 0);
  for (size_t i = 0; i < list_.size(); ++i) weights[static_cast<size_t>(list_.ids()[i])] = list_.weights()[i];
}

double KeptTokens::log_total() {
  Sum();
  return log_total_;
}

double KeptTokens::LogProb(TokenId token_id) {
  const double logit = row_[static_cast<size_t>(token_id)];
  return (logit - static_cast<double>(max_)) / temperature_ - log_total();
}

uint64_t KeptTokens::Weight(TokenId token_id) const {
  return Contains(token_id) ? kernels::Weight(row_[static_cast<size_t>(token_id)], max_, constants_) : 0;
}

double KeptTokens::Entropy() {
  kernels::EntropySums sums;
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  if (is_list_) {
    sums = kernels.sum_entropy(list_.logits().data(), list_.size(), nullptr, max_, constants_);
  } else {
    SettleCut();
    sums = kernels.sum_entropy(row_.data(), row_.size(), mask_or_null(), max_, constants_);
  }
  return LogOfWeight(sums.weights) + static_cast<double>(sums.terms) / static_cast<double>(sums.weights);
}

void KeptTokens::KeepFirst(int32_t k, bool ties) {
  if (k >= count()) return;
  Prefix prefix;
  if (k == 1) {
    prefix.cut = {max_, argmax_};
  } else if (is_list_) {
    prefix = search_.FindInList(list_, max_, nullptr, list_.size(), static_cast<uint64_t>(k));
  } else {
    SettleCut();
    prefix = search_.Find(Tokens(/*weighed=*/false), static_cast<uint64_t>(k));
    is_summed_ = false;
  }
  prefix.count = k;
  Keep(prefix, ties);
}

void KeptTokens::KeepMass(uint64_t target, bool ties) {
  Sum();
  // Often the first token is enough.
  if (kUnitWeight >= target) {
    Keep({.cut = {max_, argmax_}, .count = 1}, ties);
  } else if (is_list_) {
    Keep(search_.FindInList(list_, max_, &constants_, total_weight_, target), ties);
  } else {
    SettleCut();
    Keep(search_.Find(Tokens(/*weighed=*/true), target), ties);
  }
}

void KeptTokens::KeepShare(absl::FunctionRef<uint64_t(uint64_t)> target_of, bool ties) {
  // Among few the sum takes less time than what would spare it.
  if (!is_summed_ && !is_list_ && !has_cut_ && static_cast<size_t>(count_) > kListSize) {
    if (const auto prefix = search_.FindByBounds(Tokens(/*weighed=*/true), target_of)) {
      return Keep(*prefix, ties);
    }
  }
  KeepMass(target_of(total_weight()), ties);
}

void KeptTokens::KeepAtLeast(float lowest) { KeepUpTo(lowest > max_ ? Cut{max_, argmax_} : Cut{.logit = lowest}); }

void KeptTokens::KeepUpTo(const Cut& cut) {
  if (is_list_) {
    list_.Filter([cut](float logit, TokenId token_id) { return cut.Keeps(logit, token_id); });
    count_ = static_cast<int32_t>(list_.size());
    if (is_summed_) SetTotal(list_.TotalWeight());
    return;
  }
  if (has_cut_ && !(cut_.Keeps(cut.logit, cut.token_id))) return;  // what is there is less already
  const auto is_in = [&cut](float block_max) { return block_max >= cut.logit; };
  const size_t blocks = static_cast<size_t>(std::count_if(block_max_.begin(), block_max_.end(), is_in));
  has_cut_ = true;
  cut_ = cut;
  is_summed_ = false;
  count_ = -1;
  if (blocks * kFewBlocksShare <= block_max_.size() || blocks * kernels::kBlockSize <= kListSize) MakeList(cut.logit);
}

void KeptTokens::Keep(Prefix prefix, bool ties) {
  if (ties) prefix.cut.token_id = std::numeric_limits<TokenId>::max();
  if (!is_list_ && prefix.is_in_list && !ties) {
    std::swap(list_, search_.list());
    is_list_ = true;
    has_cut_ = false;
  }
  KeepUpTo(prefix.cut);
  if (is_list_ || ties) return;
  count_ = prefix.count;
  if (count_ >= 0 && static_cast<size_t>(count_) <= ListSize(row_.size())) {
    MakeList(prefix.cut.logit);
  } else if (prefix.has_block_sums) {
    std::swap(block_sums_, search_.block_sums());
    SetTotal(prefix.mass);
  }
}

void KeptTokens::SetTotal(uint64_t total_weight) {
  total_weight_ = total_weight;
  log_total_ = LogOfWeight(total_weight);
  is_summed_ = true;
}

void KeptTokens::Remove(std::span<const TokenId> token_ids) {
  if (token_ids.empty()) return;
  if (is_list_) {
    size_t i = 0;
    list_.Filter([&](float, TokenId token_id) {
      while (i < token_ids.size() && token_ids[i] < token_id) ++i;
      return i == token_ids.size() || token_ids[i] != token_id;
    });
    count_ = static_cast<int32_t>(list_.size());
  } else {
    SettleCut();
    MakeMask();
    for (TokenId token_id : token_ids) mask_[static_cast<size_t>(token_id) / 64] &= ~(uint64_t{1} << (token_id % 64));
  }
  is_summed_ = false;
  Rescan();
}

void KeptTokens::Rescan() {
  if (is_list_) {
    Cut first;
    for (size_t i = 0; i < list_.size(); ++i) {
      if (list_.logits()[i] > first.logit) first = {list_.logits()[i] + 0.0f, list_.ids()[i]};
    }
    max_ = first.logit;
    argmax_ = first.token_id;
    return;
  }
  const kernels::RowScan scan =
      kernels::ActiveKernels().scan_row(row_.data(), row_.size(), mask_or_null(), block_max_.data());
  max_ = scan.max;
  argmax_ = scan.argmax;
  count_ = scan.finite_count;
}

const TokenList& KeptTokens::Between(float lowest, float highest) {
  // It works in between_ too.
  if (!is_list_) SettleCut();
  between_.Clear();
  if (is_list_) {
    between_.Collect(list_, lowest, highest);
  } else {
    between_.Collect(row_, mask(), block_max_, lowest, highest);
  }
  between_.Weigh(max_, constants_);
  return between_;
}

std::span<const uint64_t> KeptTokens::Mask() {
  if (is_list_) {
    mask_.assign((row_.size() + 63) / 64, 0);
    has_mask_ = true;
    for (TokenId token_id : list_.ids()) mask_[static_cast<size_t>(token_id) / 64] |= uint64_t{1} << (token_id % 64);
  } else {
    SettleCut();
    MakeMask();
  }
  return mask_;
}

Draw KeptTokens::DrawToken(uint64_t uniform) {
  Sum();
  const uint64_t r = static_cast<uint64_t>((static_cast<unsigned __int128>(uniform) * total_weight_) >> 64);
  uint64_t before = 0;
  if (is_list_) {
    const std::span<const uint64_t> weights = list_.weights();
    for (size_t i = 0;; ++i) {
      if (r - before < weights[i]) return {list_.ids()[i], uniform, total_weight_, before, weights[i]};
      before += weights[i];
    }
  }
  size_t block = 0;
  while (r - before >= block_sums_[block]) before += block_sums_[block++];
  // A word of the mask at a time: only the last one is looked at token by token.
  for (size_t start = block * kernels::kSumBlockSize;; start += kWordSize) {
    uint64_t weights[kWordSize];
    const uint64_t sum = WeighWord(start, weights);
    if (r - before >= sum) {
      before += sum;
      continue;
    }
    for (size_t i = 0;; ++i) {
      if (r - before < weights[i]) {
        return {static_cast<TokenId>(start + i), uniform, total_weight_, before, weights[i]};
      }
      before += weights[i];
    }
  }
}

uint64_t KeptTokens::WeighWord(size_t start, uint64_t* weights) const {
  const size_t count = std::min(kWordSize, row_.size() - start);
  const uint64_t sum = kernels::ActiveKernels().weigh(row_.data() + start, count, max_, constants_, weights);
  const uint64_t word = has_mask_ ? mask_[start / kWordSize] : ~uint64_t{0};
  if (!has_cut_ && word == ~uint64_t{0}) return sum;
  uint64_t left = 0;
  for (size_t i = 0; i < count; ++i) {
    const bool is_cut = has_cut_ && !cut_.Keeps(row_[start + i], static_cast<TokenId>(start + i));
    weights[i] *= (word >> i) & uint64_t{!is_cut};
    left += weights[i];
  }
  return left;
}

void KeptTokens::MakeMask() {
  if (has_mask_) return;
  mask_.assign((row_.size() + 63) / 64, ~uint64_t{0});
  has_mask_ = true;
}

void KeptTokens::SettleCut() {
  if (!has_cut_) return;
  has_cut_ = false;
  MakeMask();
  count_ = kernels::ActiveKernels().keep_between(row_.data(), row_.size(), block_max_.data(), cut_.logit, kLargest,
                                                 mask_.data());
  if (cut_.token_id == std::numeric_limits<TokenId>::max()) return;
  // Tokens that tie with the last one and come after it.
  between_.Clear();
  const size_t first = static_cast<size_t>(cut_.token_id) / kernels::kBlockSize * kernels::kBlockSize;
  between_.Collect(row_, mask_, block_max_, cut_.logit, cut_.logit, first);
  for (TokenId token_id : between_.ids()) {
    if (token_id <= cut_.token_id) continue;
    mask_[static_cast<size_t>(token_id) / 64] &= ~(uint64_t{1} << (token_id % 64));
    --count_;
  }
}

void KeptTokens::MakeList(float lowest) {
  list_.Clear();
  lowest = std::max(lowest, -kLargest);
  if (has_cut_ && cut_.token_id != std::numeric_limits<TokenId>::max()) {
    // What ties with the last token and comes after it is not gathered, but for a block's rest.
    const size_t tie_end = (static_cast<size_t>(cut_.token_id) / kernels::kBlockSize + 1) * kernels::kBlockSize;
    list_.Collect(row_, mask(), block_max_, lowest, kLargest, 0, tie_end);
    list_.Collect(row_, mask(), block_max_, std::max(lowest, NextAbove(cut_.logit)), kLargest, tie_end);
    list_.Filter([cut = cut_](float logit, TokenId token_id) { return cut.Keeps(logit, token_id); });
  } else {
    list_.Collect(row_, mask(), block_max_, has_cut_ ? std::max(lowest, cut_.logit) : lowest, kLargest);
  }
  is_list_ = true;
  is_summed_ = false;
  has_cut_ = false;
  count_ = static_cast<int32_t>(list_.size());
}

void KeptTokens::Sum() {
  if (is_summed_ && count_ >= 0) return;
  if (is_list_) {
    SetTotal(list_.Weigh(max_, constants_));
    return;
  }
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  block_sums_.resize(kernels::SumBlockCount(row_.size()));
  if (has_cut_ && cut_.token_id == std::numeric_limits<TokenId>::max()) {
    const kernels::Mass mass =
        kernels.sum_between(row_.data(), row_.size(), mask_or_null(), block_max_.data(), NextBelow(cut_.logit),
                            kInfinity, max_, constants_, block_sums_.data());
    count_ = mass.count;
    SetTotal(mass.weight);
    return;
  }
  SettleCut();
  SetTotal(kernels.sum_weights(row_.data(), row_.size(), mask_or_null(), max_, constants_, block_sums_.data()));
}

PrefixTokens KeptTokens::Tokens(bool weighed) {
  return {.row = row_,
          .mask = mask(),
          .block_max = block_max_,
          .count = count_,
          .max = max_,
          .constants = weighed ? &constants_ : nullptr,
          .total_mass = weighed ? total_weight_ : static_cast<uint64_t>(count_)};
}

}  // namespace logitd

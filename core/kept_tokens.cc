// The kept tokens have one of two forms, and their weights are made when somebody asks:
//
//   Reset ----> kRow: mask + cut over the row --- few are left ---> kList: ids, logits, weights
//                 |  KeepUpTo only moves cut_;                        |  Filter in place
//                 |  SettleCut works it into the mask                 |
//                 v                                                   v
//               Sum: block_sums_ (1,024 tokens each)                Sum: the list's weights
//                 \______________________  total, count  ____________/
//
//   DrawToken: r = floor(u Z / 2^64); skip whole blocks, then whole words of 64 tokens, then tokens.
//
// Example: logits 6, 3, 0.5, 0.5, T = 1. Reset: kRow with every token, max 6. KeepAtLeast(1) leaves two tokens, so few
// that they become a list at once (ids 0 and 1); no weight was made. TotalWeight weighs them: 4398046511104 +
// 218965852160. A draw with r = 4400000000000 skips token 0's interval [0, 4398046511104) and takes token 1.
//
// docs/adr/0008-what-is-kept.md has the reasons.
#include "core/kept_tokens.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/exact_math.h"

namespace logitd {
namespace {

// At most this many tokens are stored as a list; in a large row, at most this part of the row.
constexpr size_t kListSize = 4096;
constexpr size_t kListShare = 16;
// A bound that leaves no more than this part of the blocks leaves few tokens.
constexpr size_t kFewBlocksShare = 4;

// Tokens per word of a mask.
constexpr size_t kWordSize = TokenMask::kWordBits;

size_t ListSize(size_t n) { return std::max(kListSize, n / kListShare); }

}  // namespace

kernels::RowScan KeptTokens::Reset(LogitsView row, const TokenMask& mask, std::span<const TokenId> banned,
                                   double temperature) {
  row_ = row;
  form_ = Form::kRow;
  cut_.reset();
  mask_ = mask;
  if (!banned.empty()) {
    MakeMask();
    for (TokenId token_id : banned) mask_.Clear(token_id);
  }
  block_max_.resize(kernels::BlockCount(row.size()));
  const kernels::RowScan scan =
      kernels::ActiveKernels().scan_row(row.data(), row.size(), mask_.bits(), block_max_.data());
  max_ = scan.max;
  argmax_ = scan.argmax;
  count_ = scan.finite_count;
  SetTemperature(temperature);
  if (scan.first_non_finite < 0 && argmax_ >= 0 && !mask_.is_every() &&
      static_cast<size_t>(*count_) <= ListSize(row.size())) {
    MakeList(-kLargestLogit);
  }
  return scan;
}

void KeptTokens::SetTemperature(double temperature) {
  temperature_ = temperature;
  constants_ = kernels::ExpConstants(temperature);
  sums_.reset();
}

bool KeptTokens::Contains(TokenId token_id) const {
  if (is_list()) return list_.Find(token_id) >= 0;
  const float logit = row_[static_cast<size_t>(token_id)];
  return mask_.Contains(token_id) && logit > kExcludedLogit && (!cut_ || cut_->Keeps(logit, token_id));
}

int32_t KeptTokens::Count() {
  if (!count_) Sum();
  return *count_;
}

uint64_t KeptTokens::TotalWeight() {
  Sum();
  return sums_->total_weight;
}

uint64_t KeptTokens::TotalWeightAt(double temperature) {
  if (temperature == temperature_) return TotalWeight();
  if (!is_list()) SettleCut();
  const LogitsView logits = is_list() ? list_.logits() : row_;
  return kernels::ActiveKernels().sum_weights(logits.data(), logits.size(), is_list() ? nullptr : mask_.bits(), max_,
                                              kernels::ExpConstants(temperature), nullptr);
}

void KeptTokens::Weigh(std::span<uint64_t> weights) {
  if (!is_list()) {
    for (size_t start = 0; start < row_.size(); start += kWordSize) WeighWord(start, &weights[start]);
    return;
  }
  Sum();
  std::ranges::fill(weights, 0);
  for (size_t i = 0; i < list_.size(); ++i) weights[static_cast<size_t>(list_.ids()[i])] = list_.weights()[i];
}

double KeptTokens::LogTotal() {
  Sum();
  return sums_->log_total;
}

double KeptTokens::LogProb(TokenId token_id) {
  const double logit = row_[static_cast<size_t>(token_id)];
  return (logit - static_cast<double>(max_)) / temperature_ - LogTotal();
}

uint64_t KeptTokens::Weight(TokenId token_id) const {
  return Contains(token_id) ? kernels::Weight(row_[static_cast<size_t>(token_id)], max_, constants_) : 0;
}

double KeptTokens::Entropy() {
  kernels::EntropySums sums;
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  if (is_list()) {
    sums = kernels.sum_entropy(list_.logits().data(), list_.size(), nullptr, max_, constants_);
  } else {
    SettleCut();
    sums = kernels.sum_entropy(row_.data(), row_.size(), mask_.bits(), max_, constants_);
  }
  return LogOfWeight(sums.weights) + static_cast<double>(sums.terms) / static_cast<double>(sums.weights);
}

void KeptTokens::KeepFirst(int32_t k, bool ties) {
  if (k >= Count()) return;
  Prefix prefix;
  if (k == 1) {
    prefix.cut = {max_, argmax_};
  } else if (is_list()) {
    prefix = search_.FindInList(list_, max_, nullptr, list_.size(), static_cast<uint64_t>(k));
  } else {
    SettleCut();
    prefix = search_.Find(Tokens(/*weighed=*/false), static_cast<uint64_t>(k));
    sums_.reset();
  }
  prefix.count = k;
  Keep(prefix, ties);
}

void KeptTokens::KeepMass(uint64_t target, bool ties) {
  Sum();
  // Often the first token is enough.
  if (kUnitWeight >= target) {
    Keep({.cut = {max_, argmax_}, .count = 1}, ties);
  } else if (is_list()) {
    Keep(search_.FindInList(list_, max_, &constants_, sums_->total_weight, target), ties);
  } else {
    SettleCut();
    Keep(search_.Find(Tokens(/*weighed=*/true), target), ties);
  }
}

void KeptTokens::KeepShare(absl::FunctionRef<uint64_t(uint64_t)> target_of, bool ties) {
  // Among few the sum takes less time than what would spare it.
  if (!sums_ && !is_list() && !cut_ && static_cast<size_t>(*count_) > kListSize) {
    if (const auto prefix = search_.FindByBounds(Tokens(/*weighed=*/true), target_of)) {
      return Keep(*prefix, ties);
    }
  }
  KeepMass(target_of(TotalWeight()), ties);
}

void KeptTokens::KeepAtLeast(float lowest) { KeepUpTo(lowest > max_ ? Cut{max_, argmax_} : Cut{.logit = lowest}); }

void KeptTokens::KeepUpTo(const Cut& cut) {
  if (is_list()) {
    list_.Filter([cut](float logit, TokenId token_id) { return cut.Keeps(logit, token_id); });
    count_ = static_cast<int32_t>(list_.size());
    if (sums_) SetTotal(list_.TotalWeight());
    return;
  }
  if (cut_ && !cut_->Keeps(cut.logit, cut.token_id)) return;  // what is there is less already
  const auto is_in = [&cut](float block_max) { return block_max >= cut.logit; };
  const size_t blocks = static_cast<size_t>(std::count_if(block_max_.begin(), block_max_.end(), is_in));
  cut_ = cut;
  sums_.reset();
  count_.reset();
  if (blocks * kFewBlocksShare <= block_max_.size() || blocks * kernels::kBlockSize <= kListSize) MakeList(cut.logit);
}

void KeptTokens::Keep(Prefix prefix, bool ties) {
  if (ties) prefix.cut.token_id = std::numeric_limits<TokenId>::max();
  if (!is_list() && prefix.is_in_list && !ties) {
    std::swap(list_, search_.list());
    UseList();
  }
  KeepUpTo(prefix.cut);
  if (is_list() || ties) return;
  count_ = prefix.count;
  if (count_ && static_cast<size_t>(*count_) <= ListSize(row_.size())) {
    MakeList(prefix.cut.logit);
  } else if (prefix.has_block_sums) {
    std::swap(block_sums_, search_.block_sums());
    SetTotal(prefix.mass);
  }
}

void KeptTokens::SetTotal(uint64_t total_weight) { sums_ = Sums{total_weight, LogOfWeight(total_weight)}; }

void KeptTokens::Remove(std::span<const TokenId> token_ids) {
  if (token_ids.empty()) return;
  if (is_list()) {
    size_t i = 0;
    list_.Filter([&](float, TokenId token_id) {
      while (i < token_ids.size() && token_ids[i] < token_id) ++i;
      return i == token_ids.size() || token_ids[i] != token_id;
    });
    count_ = static_cast<int32_t>(list_.size());
  } else {
    SettleCut();
    MakeMask();
    for (TokenId token_id : token_ids) mask_.Clear(token_id);
  }
  sums_.reset();
  Rescan();
}

void KeptTokens::Rescan() {
  if (is_list()) {
    Cut first;
    for (size_t i = 0; i < list_.size(); ++i) {
      if (list_.logits()[i] > first.logit) first = {list_.logits()[i] + 0.0f, list_.ids()[i]};
    }
    max_ = first.logit;
    argmax_ = first.token_id;
    return;
  }
  const kernels::RowScan scan =
      kernels::ActiveKernels().scan_row(row_.data(), row_.size(), mask_.bits(), block_max_.data());
  max_ = scan.max;
  argmax_ = scan.argmax;
  count_ = scan.finite_count;
}

const TokenList& KeptTokens::Between(float lowest, float highest) {
  // It works in between_ too.
  if (!is_list()) SettleCut();
  between_.Clear();
  if (is_list()) {
    between_.Collect(list_, lowest, highest);
  } else {
    between_.Collect(row_, mask_, block_max_, lowest, highest);
  }
  between_.Weigh(max_, constants_);
  return between_;
}

const TokenMask& KeptTokens::Mask() {
  if (is_list()) {
    mask_.AssignNone(row_.size());
    for (TokenId token_id : list_.ids()) mask_.Set(token_id);
  } else {
    SettleCut();
    MakeMask();
  }
  return mask_;
}

Draw KeptTokens::DrawToken(uint64_t uniform) {
  Sum();
  const uint64_t r = static_cast<uint64_t>((static_cast<unsigned __int128>(uniform) * sums_->total_weight) >> 64);
  uint64_t before = 0;
  if (is_list()) {
    const std::span<const uint64_t> weights = list_.weights();
    for (size_t i = 0;; ++i) {
      if (r - before < weights[i]) return {list_.ids()[i], uniform, sums_->total_weight, before, weights[i]};
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
        return {static_cast<TokenId>(start + i), uniform, sums_->total_weight, before, weights[i]};
      }
      before += weights[i];
    }
  }
}

uint64_t KeptTokens::WeighWord(size_t start, uint64_t* weights) const {
  const size_t count = std::min(kWordSize, row_.size() - start);
  const uint64_t sum = kernels::ActiveKernels().weigh(row_.data() + start, count, max_, constants_, weights);
  const uint64_t word = mask_.word(start / kWordSize);
  if (!cut_ && word == ~uint64_t{0}) return sum;
  uint64_t left = 0;
  for (size_t i = 0; i < count; ++i) {
    const bool is_cut = cut_ && !cut_->Keeps(row_[start + i], static_cast<TokenId>(start + i));
    weights[i] *= (word >> i) & uint64_t{!is_cut};
    left += weights[i];
  }
  return left;
}

void KeptTokens::MakeMask() {
  if (mask_.is_every()) mask_.AssignAll(row_.size());
}

void KeptTokens::SettleCut() {
  if (!cut_) return;
  const Cut cut = *std::exchange(cut_, std::nullopt);
  MakeMask();
  count_ = kernels::ActiveKernels().keep_between(row_.data(), row_.size(), block_max_.data(), cut.logit, kLargestLogit,
                                                 mask_.words().data());
  if (cut.token_id == std::numeric_limits<TokenId>::max()) return;
  // Tokens that tie with the last one and come after it.
  between_.Clear();
  const size_t first = static_cast<size_t>(cut.token_id) / kernels::kBlockSize * kernels::kBlockSize;
  between_.Collect(row_, mask_, block_max_, cut.logit, cut.logit, first);
  for (TokenId token_id : between_.ids()) {
    if (token_id <= cut.token_id) continue;
    mask_.Clear(token_id);
    --*count_;
  }
}

void KeptTokens::MakeList(float lowest) {
  list_.Clear();
  lowest = std::max(lowest, -kLargestLogit);
  if (cut_ && cut_->token_id != std::numeric_limits<TokenId>::max()) {
    // Tokens that tie with the last one and come after it are not gathered, except those of its block.
    const size_t tie_end = (static_cast<size_t>(cut_->token_id) / kernels::kBlockSize + 1) * kernels::kBlockSize;
    list_.Collect(row_, mask_, block_max_, lowest, kLargestLogit, 0, tie_end);
    list_.Collect(row_, mask_, block_max_, std::max(lowest, NextAbove(cut_->logit)), kLargestLogit, tie_end);
    list_.Filter([cut = *cut_](float logit, TokenId token_id) { return cut.Keeps(logit, token_id); });
  } else {
    list_.Collect(row_, mask_, block_max_, cut_ ? std::max(lowest, cut_->logit) : lowest, kLargestLogit);
  }
  UseList();
  sums_.reset();
}

void KeptTokens::UseList() {
  form_ = Form::kList;
  cut_.reset();
  count_ = static_cast<int32_t>(list_.size());
}

void KeptTokens::Sum() {
  if (sums_) return;
  if (is_list()) {
    SetTotal(list_.Weigh(max_, constants_));
    return;
  }
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  block_sums_.resize(kernels::SumBlockCount(row_.size()));
  if (cut_ && cut_->token_id == std::numeric_limits<TokenId>::max()) {
    const kernels::Mass mass =
        kernels.sum_between(row_.data(), row_.size(), mask_.bits(), block_max_.data(), NextBelow(cut_->logit),
                            -kExcludedLogit, max_, constants_, block_sums_.data());
    count_ = mass.count;
    SetTotal(mass.weight);
    return;
  }
  SettleCut();
  SetTotal(kernels.sum_weights(row_.data(), row_.size(), mask_.bits(), max_, constants_, block_sums_.data()));
}

PrefixTokens KeptTokens::Tokens(bool weighed) {
  return {.row = row_,
          .mask = &mask_,
          .block_max = block_max_,
          .count = *count_,
          .max = max_,
          .constants = weighed ? &constants_ : nullptr,
          .total_mass = !weighed ? static_cast<uint64_t>(*count_)
                        : sums_  ? sums_->total_weight
                                 : 0};
}

}  // namespace logitd

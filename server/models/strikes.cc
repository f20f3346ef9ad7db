#include "server/models/strikes.h"

#include <algorithm>
#include <random>
#include <utility>

namespace logitd::server {
namespace {

// Evaluations alone: 1, 8, 64, ... up to this.
constexpr int64_t kMostAlone = 4096;

uint64_t Seed() {
  static const uint64_t seed = [] {
    std::random_device random;
    return (static_cast<uint64_t>(random()) << 32) | random();
  }();
  return seed;
}

// The finaliser of SplitMix64: every bit of the value changes every bit of the result.
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

}  // namespace

void WorkFingerprint::AddToken(uint64_t value) { hash_ = Mix(hash_ ^ (value + 0x9e3779b97f4a7c15u)); }

void WorkFingerprint::AddSequence(std::span<const TokenId> tokens, std::span<const TokenId> new_tokens) {
  AddToken(Seed());
  // How many of the tokens have been evaluated already does not matter: the next runner evaluates all of them again.
  for (const TokenId token : tokens) AddToken(static_cast<uint32_t>(token));
  for (const TokenId token : new_tokens) AddToken(static_cast<uint32_t>(token));
  token_count_ += tokens.size() + new_tokens.size();
}

void SuspectMemory::ForgetOld() {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(entries_, [&](const auto& entry) { return entry.second.until <= now; });
  is_empty_ = entries_.empty();
}

bool SuspectMemory::MayKnow(size_t token_count) {
  if (is_empty_) return false;
  std::lock_guard lock(mutex_);
  ForgetOld();
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const auto& entry) { return entry.first.token_count() == token_count; });
}

SuspectMemory::Known SuspectMemory::Find(const WorkFingerprint& work) {
  std::lock_guard lock(mutex_);
  ForgetOld();
  const auto found = entries_.find(work);
  return found == entries_.end() ? Known() : found->second.known;
}

void SuspectMemory::Remember(const WorkFingerprint& work, int strikes, const std::string& signal) {
  std::lock_guard lock(mutex_);
  ForgetOld();
  if (!entries_.contains(work) && entries_.size() >= max_entries_) {
    // The least suspicious entry, and among equals the oldest.
    const auto least = std::min_element(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
      return std::pair(a.second.known.strikes, a.second.until) < std::pair(b.second.known.strikes, b.second.until);
    });
    if (least == entries_.end()) return;
    entries_.erase(least);
  }
  Entry& entry = entries_[work];
  entry.known.strikes = std::max(entry.known.strikes, strikes);
  entry.known.signal = signal;
  entry.until = std::chrono::steady_clock::now() + keep_time_;
  is_empty_ = false;
}

void SuspectMemory::Forget(const WorkFingerprint& work) {
  std::lock_guard lock(mutex_);
  entries_.erase(work);
  is_empty_ = entries_.empty();
}

void Strikes::Add() { Set(std::min(count_ + 1, is_alone() ? kStrikesToBeRefused : kStrikesToBeAlone)); }

void Strikes::StartWith(int count) { Set(std::max(count_, count)); }

void Strikes::Set(int count) {
  count_ = count;
  if (count_ < kStrikesToBeAlone || alone_left_ > 0) return;
  alone_left_ = std::min(int64_t{1} << std::min(3 * quarantines_, 60), kMostAlone);
  ++quarantines_;
}

void Strikes::OnSuccess() {
  if (alone_left_ == 0) return;
  --alone_left_;
  count_ = 0;
}

}  // namespace logitd::server

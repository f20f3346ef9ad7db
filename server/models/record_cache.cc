#include "server/models/record_cache.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

namespace logitd::server {
namespace {

// Hashes are polynomials modulo this prime.
constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;

uint64_t TimesPlus(uint64_t a, uint64_t b, uint64_t c) {
  const auto product = static_cast<unsigned __int128>(a) * b + c;
  const uint64_t folded = static_cast<uint64_t>(product & kPrime) + static_cast<uint64_t>(product >> 61);
  return folded >= kPrime ? folded - kPrime : folded;
}

// In [2, kPrime).
uint64_t RandomBase() {
  std::random_device source;
  const uint64_t bits = (static_cast<uint64_t>(source()) << 32) ^ source();
  return 2 + bits % (kPrime - 2);
}

// The table and the allocator's own bytes.
constexpr int64_t kOverhead = 32;
// Alternatives of a record that is worth keeping. A few records of a whole vocabulary would push out all others.
constexpr size_t kMostAlternatives = 128;

const TokenAlternative* FindToken(const std::vector<TokenAlternative>& alternatives, TokenId token) {
  const auto found = std::find_if(alternatives.begin(), alternatives.end(),
                                  [token](const TokenAlternative& other) { return other.token_id == token; });
  return found == alternatives.end() ? nullptr : &*found;
}

}  // namespace

void PathHash::AddValue(uint64_t value) {
  first_ = TimesPlus(first_, first_base_, value);
  second_ = TimesPlus(second_, second_base_, value);
}

RecordCache::RecordCache(int64_t max_bytes)
    : max_bytes_(max_bytes), first_base_(RandomBase()), second_base_(RandomBase()) {}

PathHash RecordCache::Begin(std::string_view model, std::string_view tenant) const {
  PathHash hash(first_base_, second_base_);
  // Lengths first, so that no two pairs of names are one string.
  for (const std::string_view name : {model, tenant}) {
    hash.AddValue(name.size() + 1);
    for (const char byte : name) hash.AddValue(static_cast<unsigned char>(byte) + uint64_t{1});
  }
  return hash;
}

std::optional<RowRecord> RecordCache::Find(const PathHash& hash, TokenId target, const RecordsWanted& wanted) {
  std::lock_guard lock(mutex_);
  const auto found = records_.find({hash.first_, hash.second_, target});
  if (found == records_.end()) return std::nullopt;
  const Kept& kept = found->second;
  if (wanted.ranks && kept.target_rank == 0) return std::nullopt;
  if (wanted.entropy && std::isnan(kept.entropy)) return std::nullopt;
  RowRecord record;
  record.log_sum_exp = kept.log_sum_exp;
  record.argmax = kept.argmax;
  record.target_log_prob = kept.target_log_prob;
  if (wanted.ranks) record.target_rank = kept.target_rank;
  if (wanted.entropy) record.entropy = kept.entropy;
  if (wanted.top_n > 0 || !wanted.named_token_ids.empty()) {
    if (kept.alternatives == nullptr || std::ssize(kept.alternatives->top) < wanted.top_n) return std::nullopt;
    const std::vector<TokenAlternative>& top = kept.alternatives->top;
    record.top.assign(top.begin(), top.begin() + wanted.top_n);
    for (const TokenId token : wanted.named_token_ids) {
      const TokenAlternative* const named = FindToken(kept.alternatives->named, token);
      if (named == nullptr || (wanted.ranks && !named->rank)) return std::nullopt;
      record.named.push_back(*named);
      if (!wanted.ranks) record.named.back().rank.reset();
    }
  }
  Unlink(*found);
  Link(*found);
  return record;
}

int64_t RecordCache::BytesOf(const Kept& kept) {
  int64_t bytes = static_cast<int64_t>(sizeof(Node)) + kOverhead;
  if (kept.alternatives != nullptr) {
    bytes +=
        static_cast<int64_t>(sizeof(Alternatives) + (kept.alternatives->top.size() + kept.alternatives->named.size()) *
                                                        sizeof(TokenAlternative));
  }
  return bytes;
}

void RecordCache::Put(const PathHash& hash, TokenId target, const RecordsWanted& wanted, const RowRecord& record) {
  if (record.top.size() + record.named.size() > kMostAlternatives) return;
  Kept kept;
  kept.log_sum_exp = record.log_sum_exp;
  kept.target_log_prob = record.target_log_prob;
  kept.entropy = record.entropy.value_or(std::numeric_limits<double>::quiet_NaN());
  kept.argmax = record.argmax;
  kept.target_rank = wanted.ranks ? record.target_rank.value_or(0) : 0;
  if (!record.top.empty() || !record.named.empty()) {
    kept.alternatives = std::make_unique<Alternatives>(Alternatives{record.top, record.named});
  }
  const int64_t bytes = BytesOf(kept);
  if (bytes > max_bytes_) return;
  std::lock_guard lock(mutex_);
  const auto [place, is_new] = records_.try_emplace({hash.first_, hash.second_, target});
  if (!is_new) {
    // The newer record answers the last question; the older one may have answered others.
    bytes_ -= BytesOf(place->second);
    Unlink(*place);
  }
  place->second = std::move(kept);
  Link(*place);
  bytes_ += bytes;
  EvictDownTo(max_bytes_);
}

void RecordCache::EvictDownTo(int64_t bytes) {
  while (bytes_ > bytes) {
    Node& node = *oldest_;
    bytes_ -= BytesOf(node.second);
    Unlink(node);
    records_.erase(records_.find(node.first));
  }
}

void RecordCache::Link(Node& node) {
  node.second.older = newest_;
  node.second.newer = nullptr;
  (newest_ == nullptr ? oldest_ : newest_->second.newer) = &node;
  newest_ = &node;
}

void RecordCache::Unlink(Node& node) {
  const Kept& kept = node.second;
  (kept.older == nullptr ? oldest_ : kept.older->second.newer) = kept.newer;
  (kept.newer == nullptr ? newest_ : kept.newer->second.older) = kept.older;
}

int64_t RecordCache::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

int64_t RecordCache::count() const {
  std::lock_guard lock(mutex_);
  return std::ssize(records_);
}

}  // namespace logitd::server

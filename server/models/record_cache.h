// Remembers the records of rows that runners have reduced, so that the same question is not evaluated again.
//
//   PathHash hash = cache.Begin(model, tenant);
//   for (TokenId token : tokens) hash.Add(token);            // the tokens that the row comes after
//   if (auto record = cache.Find(hash, target, wanted)) ...  // the record of `target` in that row
//
// A record is known by the model, the tenant, all tokens before it and its target. Tokens are compared by two hashes
// whose bases are random and secret: two different beginnings of n tokens are taken for the same with a probability
// below (n / 2^61)^2.
//
// At most max_bytes of records are kept, those that were used last. Thread-safe.
#ifndef LOGITD_SERVER_MODELS_RECORD_CACHE_H_
#define LOGITD_SERVER_MODELS_RECORD_CACHE_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/types.h"
#include "server/models/work.h"

namespace logitd::server {

// Stands for the tokens before a row.
class PathHash {
 public:
  // Appends a token. token >= 0.
  void Add(TokenId token) { AddValue(static_cast<uint64_t>(token) + 1); }

 private:
  friend class RecordCache;
  PathHash(uint64_t first_base, uint64_t second_base) : first_base_(first_base), second_base_(second_base) {}
  // REQUIRES: value < 2^60.
  void AddValue(uint64_t value);

  uint64_t first_base_;
  uint64_t second_base_;
  uint64_t first_ = 1;
  uint64_t second_ = 1;
};

class RecordCache {
 public:
  // max_bytes 0: nothing is ever kept.
  explicit RecordCache(int64_t max_bytes);

  // The hash of no tokens.
  PathHash Begin(std::string_view model, std::string_view tenant) const;
  // The record of `target` in the row after the hashed tokens, with all that `wanted` asks for, and nothing else.
  // wanted.targets is not looked at.
  std::optional<RowRecord> Find(const PathHash& hash, TokenId target, const RecordsWanted& wanted);
  // Keeps `record`, which has all that `wanted` asks for, unless it has very many alternatives.
  void Put(const PathHash& hash, TokenId target, const RecordsWanted& wanted, const RowRecord& record);

  int64_t max_bytes() const { return max_bytes_; }
  // The bytes of the kept records, and their number.
  int64_t bytes() const;
  int64_t count() const;

 private:
  struct Key {
    uint64_t first = 0;
    uint64_t second = 0;
    TokenId target = 0;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const { return key.first ^ (static_cast<uint64_t>(key.target) << 32); }
  };
  // The parts that few requests ask for.
  struct Alternatives {
    std::vector<TokenAlternative> top;
    std::vector<TokenAlternative> named;
  };
  struct Kept;
  // A record in its place, which it keeps: `older` and `newer` lead from one to the next. One piece of memory for each.
  using Node = std::pair<const Key, Kept>;
  struct Kept {
    double log_sum_exp = 0;
    double target_log_prob = 0;
    // NaN: not known.
    double entropy = 0;
    TokenId argmax = 0;
    // 0: not known.
    int32_t target_rank = 0;
    std::unique_ptr<Alternatives> alternatives;
    Node* older = nullptr;
    Node* newer = nullptr;
  };
  static int64_t BytesOf(const Kept& kept);
  // Makes it the one that was used last.
  void Link(Node& node);
  void Unlink(Node& node);
  void EvictDownTo(int64_t bytes);

  const int64_t max_bytes_;
  uint64_t first_base_;
  uint64_t second_base_;
  mutable std::mutex mutex_;
  std::unordered_map<Key, Kept, KeyHash> records_;
  // Null: there is no record.
  Node* oldest_ = nullptr;
  Node* newest_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_RECORD_CACHE_H_

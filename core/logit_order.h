// The order of tokens in every rule: by logit, descending, and among equal logits by id, ascending.
//
// Thread-safe: values and free functions.
#ifndef LOGITD_CORE_LOGIT_ORDER_H_
#define LOGITD_CORE_LOGIT_ORDER_H_

#include <bit>
#include <cstdint>
#include <limits>

#include "core/types.h"

namespace logitd {

// The logit of a token that may not be chosen, and the largest logit of the others.
inline constexpr float kExcludedLogit = -std::numeric_limits<float>::infinity();
inline constexpr float kLargestLogit = std::numeric_limits<float>::max();

// The last token, in this order, that a truncation keeps.
struct Cut {
  float logit = kExcludedLogit;
  TokenId token_id = std::numeric_limits<TokenId>::max();

  bool Keeps(float other_logit, TokenId other_id) const {
    // Without a branch, because the outcome cannot be predicted.
    return static_cast<bool>(static_cast<int>(other_logit > logit) |
                             (static_cast<int>(other_logit == logit) & static_cast<int>(other_id <= token_id)));
  }
};

// An unsigned integer that falls as the logit rises, so that (key, id) ascends in this order. Neighbouring keys are
// neighbouring f32 values; both zeros have one key. LogitOfKey is the inverse, and gives +0.
inline uint32_t DescendingKey(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);
  // -0 has no key, so that neighbouring keys are neighbouring values.
  return bits & 0x80000000 ? bits - 1 : ~(bits | 0x80000000);
}
inline float LogitOfKey(uint32_t key) { return std::bit_cast<float>(key & 0x80000000 ? key + 1 : ~key & 0x7FFFFFFF); }

inline float NextAbove(float logit) { return LogitOfKey(DescendingKey(logit) - 1); }
inline float NextBelow(float logit) { return LogitOfKey(DescendingKey(logit) + 1); }

// A token as one integer whose order is this order.
inline uint64_t PackToken(float logit, TokenId token_id) {
  return (uint64_t{DescendingKey(logit)} << 32) | static_cast<uint32_t>(token_id);
}
inline Cut UnpackToken(uint64_t packed) {
  return {LogitOfKey(static_cast<uint32_t>(packed >> 32)), static_cast<TokenId>(packed & 0xFFFFFFFF)};
}

// The smallest f32 for which keeps(logit) is true, `keeps` being monotone (true above, false below).
// REQUIRES: keeps(max) is true. Time: 32 calls.
template <class Keeps>
float LowestLogit(float max, const Keeps& keeps) {
  uint32_t kept = DescendingKey(max);
  uint32_t not_kept = DescendingKey(kExcludedLogit);
  while (not_kept - kept > 1) {
    const uint32_t middle = kept + (not_kept - kept) / 2;
    (keeps(LogitOfKey(middle)) ? kept : not_kept) = middle;
  }
  return LogitOfKey(kept);
}

}  // namespace logitd

#endif  // LOGITD_CORE_LOGIT_ORDER_H_

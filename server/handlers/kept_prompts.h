// The prompts that the sequences of a stream look at, each once, however many of them have it and whoever sent it.
//
//   SharedTokens prompt = prompts.Keep(tokens);      // equal tokens: the same vector
//   prompts.Release(std::move(prompt));              // the last one that has it drops it
//
// So a stream whose sequences share a prompt is resumed with the room that it had, also if the prompt comes several
// times. Thread-compatible.
#ifndef LOGITD_SERVER_HANDLERS_KEPT_PROMPTS_H_
#define LOGITD_SERVER_HANDLERS_KEPT_PROMPTS_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/types/span.h"
#include "core/decoder.h"
#include "core/types.h"

namespace logitd::server {

class KeptPrompts {
 public:
  bool Has(std::span<const TokenId> tokens) const { return prompts_.find(tokens) != prompts_.end(); }
  SharedTokens Keep(std::span<const TokenId> tokens) {
    const auto found = prompts_.find(tokens);
    if (found != prompts_.end()) return *found;
    return *prompts_.insert(std::make_shared<const std::vector<TokenId>>(tokens.begin(), tokens.end())).first;
  }
  // Whether it is dropped: nobody has it any more. Null is no prompt. REQUIRES: Keep() returned it.
  bool Release(SharedTokens prompt) {
    // Theirs and this one.
    if (prompt == nullptr || prompt.use_count() > 2) return false;
    prompts_.erase(prompts_.find(std::span<const TokenId>(*prompt)));
    return true;
  }

 private:
  static std::span<const TokenId> SpanOf(const SharedTokens& tokens) { return *tokens; }
  static std::span<const TokenId> SpanOf(std::span<const TokenId> tokens) { return tokens; }
  // Its seed is the process's, so that nobody can send prompts that all collide.
  struct Hash {
    using is_transparent = void;
    template <typename Tokens>
    size_t operator()(const Tokens& tokens) const {
      const std::span<const TokenId> span = SpanOf(tokens);
      return absl::HashOf(absl::MakeConstSpan(span.data(), span.size()));
    }
  };
  struct Equal {
    using is_transparent = void;
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return std::ranges::equal(SpanOf(a), SpanOf(b));
    }
  };

  std::unordered_set<SharedTokens, Hash, Equal> prompts_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_KEPT_PROMPTS_H_

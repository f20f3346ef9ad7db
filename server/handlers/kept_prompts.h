// The prompts that the stages of a stream's sequences look at. Equal prompts are stored once.
//
//   SharedTokens prompt = prompts.Keep(tokens);      // the same vector for equal tokens
//   prompts.Release(std::move(prompt));              // the last holder drops it
//
// So a stream whose sequences share a prompt needs the same room when it is resumed, even if the prompt is sent several
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
  // Gives `prompt` back. True: nobody holds it any more, and it is dropped. Null is no prompt. REQUIRES: Keep()
  // returned it.
  bool Release(SharedTokens prompt) {
    // This map's reference and the caller's.
    if (prompt == nullptr || prompt.use_count() > 2) return false;
    prompts_.erase(prompts_.find(std::span<const TokenId>(*prompt)));
    return true;
  }

 private:
  static std::span<const TokenId> SpanOf(const SharedTokens& tokens) { return *tokens; }
  static std::span<const TokenId> SpanOf(std::span<const TokenId> tokens) { return tokens; }
  // The hash has a seed of this process, so that nobody can send prompts that all collide.
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

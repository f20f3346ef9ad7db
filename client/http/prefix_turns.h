// Lets a prompt wait while another one that begins alike is evaluated, so that the server's cache has the beginning.
//
// A harness asks for the candidates of one context at once, each in a request of its own. Without turns each of them
// would evaluate the context, because the cache knows a beginning only when its evaluation has ended.
//
//   PrefixTurns::Turn turn = turns.Enter(scope, prompt, stop);   // waits for as long as it pays
//   ... the call ...
//   turn.SetEvaluated();                                         // the next ones find the prompt in the cache
//
// Only for calls that end with the prompt's evaluation: whoever waits for a long completion has no use of its
// beginning. Thread-safe.
#ifndef LOGITD_CLIENT_HTTP_PREFIX_TURNS_H_
#define LOGITD_CLIENT_HTTP_PREFIX_TURNS_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

namespace logitd::http {

class PrefixTurns {
  struct Prompt;

 public:
  // Bytes of a new beginning for which another prompt waits: 16 token ids, or a line of text.
  static constexpr size_t kWorthBytes = 64;
  // Longer prompts take no turns: they would be compared for too long.
  static constexpr size_t kMaxPromptBytes = size_t{128} << 10;
  // Evaluated prompts that are remembered, so that nobody waits for what the cache has.
  static constexpr size_t kRemembered = 64;
  static constexpr size_t kRememberedBytes = size_t{512} << 10;

  // A prompt in work. It may be moved, and ends once.
  class Turn {
   public:
    Turn(PrefixTurns* turns, std::shared_ptr<Prompt> prompt) : turns_(turns), prompt_(std::move(prompt)) {}
    Turn(Turn&& other) noexcept : turns_(other.turns_), prompt_(std::move(other.prompt_)) {}
    ~Turn() {
      if (prompt_ != nullptr) turns_->Leave(*prompt_);
    }

    void SetEvaluated();

   private:
    PrefixTurns* turns_;
    std::shared_ptr<Prompt> prompt_;
  };

  // max_wait: the longest wait of a prompt, after which it goes on.
  explicit PrefixTurns(std::chrono::milliseconds max_wait) : max_wait_(max_wait) {}

  // Waits for the prompts in work that evaluate at least kWorthBytes of the beginning of `prompt` that no remembered
  // one has. Ends at once if `stop` is requested. `scope`: whatever else must be equal for a cache to be shared.
  Turn Enter(std::string scope, std::string prompt, const std::stop_token& stop);

  // For tests.
  int waiting_count() const;

 private:
  struct Prompt {
    std::string scope;
    std::string bytes;
    // Bytes of the beginning that were evaluated before.
    size_t known = 0;
    bool is_evaluated = false;
    bool has_left = false;
    std::condition_variable_any left;
  };

  static size_t CommonBytes(const Prompt& a, const Prompt& b);
  // Whether `other` evaluates kWorthBytes of the beginning of `prompt` that neither found evaluated.
  static bool Leads(const Prompt& other, const Prompt& prompt);
  // The first prompt in work for which `prompt` should wait. REQUIRES: mutex_ is held.
  std::shared_ptr<Prompt> LeaderOf(Prompt& prompt) const;
  void Leave(Prompt& prompt);

  const std::chrono::milliseconds max_wait_;
  mutable std::mutex mutex_;
  std::list<std::shared_ptr<Prompt>> in_work_;
  std::deque<std::shared_ptr<Prompt>> remembered_;
  size_t remembered_bytes_ = 0;
  int waiting_ = 0;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_PREFIX_TURNS_H_

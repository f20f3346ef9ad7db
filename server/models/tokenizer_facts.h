// Facts about a model's tokenizer that the server has learned by asking it. They do not change while the model is
// served. Thread-safe.
#ifndef LOGITD_SERVER_MODELS_TOKENIZER_FACTS_H_
#define LOGITD_SERVER_MODELS_TOKENIZER_FACTS_H_

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "core/types.h"

namespace logitd::server {

class TokenizerFacts {
 public:
  // Names that are kept, more than any vocabulary has control tokens. Further names are asked for each time.
  static constexpr size_t kMaxNames = 1 << 14;
  // A longer text is not a name.
  static constexpr size_t kMaxNameBytes = 256;

  // The bytes that the tokenizer puts before a text. Unset: not asked yet.
  std::optional<std::string> text_prefix() const {
    std::lock_guard lock(mutex_);
    return text_prefix_;
  }
  void set_text_prefix(std::string prefix) {
    std::lock_guard lock(mutex_);
    text_prefix_ = std::move(prefix);
  }

  // The text that stands for a control token. Unset: not known.
  std::optional<std::string> Name(TokenId id) const {
    std::lock_guard lock(mutex_);
    const auto found = names_.find(id);
    return found == names_.end() ? std::nullopt : std::optional(found->second);
  }
  void SetName(TokenId id, std::string name) {
    std::lock_guard lock(mutex_);
    if (names_.size() < kMaxNames) names_.emplace(id, std::move(name));
  }

 private:
  mutable std::mutex mutex_;
  std::optional<std::string> text_prefix_;
  std::map<TokenId, std::string> names_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_TOKENIZER_FACTS_H_

#include "tests/testing/token_path.h"

#include <utility>

namespace logitd::testing {

TokenPath TokenPath::Fork(int64_t length) {
  if (!own_.empty()) {
    auto part = std::make_shared<Part>(Part{shared_, shared_size_, std::move(own_)});
    own_.clear();
    shared_size_ += static_cast<int64_t>(part->tokens.size());
    shared_ = std::move(part);
  }
  TokenPath fork;
  fork.shared_ = shared_;
  while (fork.shared_ != nullptr && fork.shared_->begin >= length) fork.shared_ = fork.shared_->before;
  fork.shared_size_ = length;
  return fork;
}

TokenId TokenPath::LastOfShared() const {
  return shared_->tokens[static_cast<size_t>(shared_size_ - 1 - shared_->begin)];
}

}  // namespace logitd::testing

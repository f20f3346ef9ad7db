// The tokens of a sequence that may share a prefix with others: a fork copies no token, and the tokens that several
// paths share are held once, 4 bytes each.
//
//   TokenPath path;
//   path.Append(7);
//   TokenPath fork = path.Fork(path.size());
//
// Not thread-safe, also between paths that share tokens.
#ifndef LOGITD_TESTS_TESTING_TOKEN_PATH_H_
#define LOGITD_TESTS_TESTING_TOKEN_PATH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/types.h"

namespace logitd::testing {

class TokenPath {
 public:
  int64_t size() const { return shared_size_ + static_cast<int64_t>(own_.size()); }
  // REQUIRES: size() > 0.
  TokenId last() const { return own_.empty() ? LastOfShared() : own_.back(); }

  void Append(TokenId token) { own_.push_back(token); }
  // A path of the first `length` tokens, [0, size()].
  TokenPath Fork(int64_t length);
  // Keeps the first `length` tokens, [0, size()].
  void Trim(int64_t length) { *this = Fork(length); }

 private:
  // Tokens that no longer change.
  struct Part {
    std::shared_ptr<const Part> before;
    // The tokens up to the end of `before`.
    int64_t begin = 0;
    std::vector<TokenId> tokens;
  };

  TokenId LastOfShared() const;

  std::shared_ptr<const Part> shared_;
  // Of `shared_`, the tokens that belong to this path: more than shared_->begin, or 0 with a null `shared_`.
  int64_t shared_size_ = 0;
  std::vector<TokenId> own_;
};

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_TOKEN_PATH_H_

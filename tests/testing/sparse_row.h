// What is listed of a dense row, for tests.
#ifndef LOGITD_TESTS_TESTING_SPARSE_ROW_H_
#define LOGITD_TESTS_TESTING_SPARSE_ROW_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/logits_row.h"
#include "core/types.h"

namespace logitd::testing {

// What is listed of a dense row, in memory of its own.
class SparseRow {
 public:
  // All that is not -inf, and of the rest one in `excluded_share` (0: none).
  explicit SparseRow(LogitsView dense, size_t excluded_share = 0) : vocab_size_(static_cast<int32_t>(dense.size())) {
    size_t excluded = 0;
    for (size_t i = 0; i < dense.size(); ++i) {
      const bool is_excluded = dense[i] == -INFINITY;
      if (is_excluded && (excluded_share == 0 || ++excluded % excluded_share != 0)) continue;
      ids_.push_back(static_cast<TokenId>(i));
      logits_.push_back(dense[i]);
    }
  }

  LogitsRow row() const { return LogitsRow::Sparse(logits_, ids_, vocab_size_); }

 private:
  int32_t vocab_size_;
  std::vector<TokenId> ids_;
  std::vector<float> logits_;
};

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_SPARSE_ROW_H_

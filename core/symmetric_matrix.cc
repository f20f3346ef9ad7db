#include "core/symmetric_matrix.h"

#include <cmath>

#include "base/status_macros.h"

namespace logitd {

absl::StatusOr<bool> SymmetricMatrix::Factorize(absl::FunctionRef<absl::Status()> check) {
  for (size_t i = 0; i < size_; ++i) {
    RETURN_IF_ERROR(check());
    double* const own = row(i);
    for (size_t j = 0; j <= i; ++j) {
      const double* const other = row(j);
      double rest = own[j];
      for (size_t k = 0; k < j; ++k) rest -= own[k] * other[k];
      if (j < i) {
        own[j] = rest / other[j];
        continue;
      }
      if (!(rest > 0) || std::isinf(rest)) return false;
      own[i] = std::sqrt(rest);
    }
  }
  return true;
}

void SymmetricMatrix::Solve(std::span<double> x) const {
  for (size_t i = 0; i < size_; ++i) {
    const double* const own = row(i);
    double rest = x[i];
    for (size_t k = 0; k < i; ++k) rest -= own[k] * x[k];
    x[i] = rest / own[i];
  }
  for (size_t i = size_; i-- > 0;) {
    const double* const own = row(i);
    x[i] /= own[i];
    for (size_t k = 0; k < i; ++k) x[k] -= own[k] * x[i];
  }
}

absl::StatusOr<std::vector<double>> SymmetricMatrix::InverseDiagonal(absl::FunctionRef<absl::Status()> check) const {
  // With matrix = L L', the inverse's diagonal has the squared lengths of the columns of L's inverse. That inverse is
  // made a column at a time: column c solves L x = e_c.
  std::vector<double> diagonal(size_);
  std::vector<double> column(size_);
  for (size_t c = 0; c < size_; ++c) {
    RETURN_IF_ERROR(check());
    double squares = 0;
    for (size_t i = c; i < size_; ++i) {
      const double* const own = row(i);
      double rest = i == c ? 1 : 0;
      for (size_t k = c; k < i; ++k) rest -= own[k] * column[k];
      column[i] = rest / own[i];
      squares += column[i] * column[i];
    }
    diagonal[c] = squares;
  }
  return diagonal;
}

}  // namespace logitd

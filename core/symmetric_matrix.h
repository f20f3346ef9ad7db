// A symmetric positive definite matrix of doubles: its Cholesky factor, solutions, and the diagonal of its inverse.
//
//   SymmetricMatrix matrix(2);
//   matrix.at(0, 0) = 2, matrix.at(1, 0) = 1, matrix.at(1, 1) = 2;
//   ASSIGN_OR_RETURN(const bool is_positive, matrix.Factorize([] { return absl::OkStatus(); }));
//   matrix.Solve(x);   // x becomes the solution of matrix * solution = x
//
// One fixed order of operations: the same bits everywhere. Thread-compatible.
#ifndef LOGITD_CORE_SYMMETRIC_MATRIX_H_
#define LOGITD_CORE_SYMMETRIC_MATRIX_H_

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd {

class SymmetricMatrix {
 public:
  // All zeros. Memory: 8 size^2 bytes.
  explicit SymmetricMatrix(size_t size) : size_(size), values_(size * size) {}

  size_t size() const { return size_; }
  // The element at (i, j), which is the one at (j, i).
  double& at(size_t i, size_t j) { return values_[std::max(i, j) * size_ + std::min(i, j)]; }

  // Replaces the matrix by its factor. False: it is not positive definite in doubles. `check` runs once a row; its
  // error ends the work. Cost: size^3 / 6 multiplications.
  absl::StatusOr<bool> Factorize(absl::FunctionRef<absl::Status()> check);
  // REQUIRES: Factorize gave true. Shapes: x [size].
  void Solve(std::span<double> x) const;
  // REQUIRES: Factorize gave true. The diagonal of the inverse, [size]. Cost: size^3 / 6.
  absl::StatusOr<std::vector<double>> InverseDiagonal(absl::FunctionRef<absl::Status()> check) const;

 private:
  double* row(size_t i) { return values_.data() + i * size_; }
  const double* row(size_t i) const { return values_.data() + i * size_; }

  size_t size_;
  // Row by row; the part below the diagonal, and the diagonal.
  std::vector<double> values_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_SYMMETRIC_MATRIX_H_

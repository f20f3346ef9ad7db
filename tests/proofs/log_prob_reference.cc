// The reference of log_prob_proof_test by itself, for log_prob_reference_check.py to judge.
//
//   log_prob_reference TEMPERATURE < ROW   ->   "HIGH LOW": ln of the sum of exp((x - max) / T), C99 hexadecimal
//
// ROW: little-endian f32 values on standard input, at least one of them finite.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tests/proofs/double_double.h"

int main(int argc, char** argv) {
  using logitd::proofs::DoubleDouble;
  if (argc != 2) {
    std::fprintf(stderr, "usage: log_prob_reference TEMPERATURE < ROW\n");
    return 2;
  }
  const double temperature = std::strtod(argv[1], nullptr);
  std::vector<float> row(1 << 20);
  row.resize(std::fread(row.data(), sizeof(float), row.size(), stdin));
  if (row.empty() || !(temperature > 0)) return 2;
  const double max = *std::max_element(row.begin(), row.end());
  DoubleDouble sum;
  for (float x : row) {
    if (std::isinf(x)) continue;
    const DoubleDouble difference = logitd::proofs::Quotient(logitd::proofs::Difference(x, max), temperature);
    if (difference.high > -100) sum = sum + Exp(difference);
  }
  const DoubleDouble log_sum = Log(sum);
  std::printf("%a %a\n", log_sum.high, log_sum.low);
}

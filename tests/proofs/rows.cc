#include "tests/proofs/rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

namespace logitd::proofs {

uint64_t RowRandom::Bits() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

double RowRandom::Bell() {
  // 16 bits each: one call of Bits() is enough, and a row of 2^18 tokens is made in a millisecond.
  const uint64_t bits = Bits();
  double sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<double>((bits >> (16 * i)) & 0xFFFF) + 0.5;
  return (sum * 0x1p-16 - 2) * 0x1.bb67ae8584caap+0;  // sqrt(3): the variance of the sum is 1/3
}

namespace {

double TemperatureOf(uint64_t index, RowRandom& random) {
  switch (index / kRowFamilyCount % 3) {
    case 0:
      return 1;
    case 1:
      return std::exp2(random.Uniform() * 33.2 - 13.2);  // within [1e-4, 1e6]
    default:
      return 0.3 + random.Uniform() * 2;
  }
}

// The distance is the next above a power of two that f32 cannot represent, so that rounding is largest relative to it;
// a small maximum keeps the bits that the subtraction loses.
void MakeWorstError(ProofRow& row, RowRandom& random) {
  const double steps = std::log(static_cast<double>(row.logits.size())) - 2 + random.Uniform() * 0.5;
  const float power = std::ldexp(1.0f, static_cast<int>(random.Bits() % 6));
  // max - x = power + (odd multiple of half a unit of power).
  const float half_unit = std::ldexp(power, -24);
  const float max = power / 2 + half_unit * (random.Bits() % 2 == 0 ? 1.0f : 3.0f);
  for (float& logit : row.logits) logit = -power / 2;
  row.logits[random.Bits() % row.logits.size()] = max;
  row.temperature = power / steps;
}

}  // namespace

ProofRow MakeProofRow(int32_t vocab_size, uint64_t index) {
  RowRandom random(index * 0x2545F4914F6CDD1D + static_cast<uint64_t>(vocab_size));
  ProofRow row;
  row.logits.resize(static_cast<size_t>(vocab_size));
  row.temperature = TemperatureOf(index, random);
  const auto family = static_cast<RowFamily>(index % kRowFamilyCount);
  const double range = std::exp2(random.Uniform() * 12 - 6);
  // A row that a temperature meets is one whose spread is of its order: half of the rows are.
  const double stretch = random.Bits() % 2 == 0 ? row.temperature : 1;
  for (size_t i = 0; i < row.logits.size(); ++i) {
    double x = 0;
    switch (family) {
      case RowFamily::kNarrow:
        x = random.Bell() * stretch;
        break;
      case RowFamily::kWide:
      case RowFamily::kPeaked:
        x = random.Bell() * 3 * stretch;
        break;
      case RowFamily::kVeryWide:
        x = random.Bell() * 30;
        break;
      case RowFamily::kEqual:
        x = range;
        break;
      case RowFamily::kRamp:
        x = range * stretch * static_cast<double>(i) / vocab_size;
        break;
      case RowFamily::kWithHoles:
        x = random.Bits() % 3 == 0 ? -std::numeric_limits<double>::infinity() : random.Bell() * 3 * stretch;
        break;
      case RowFamily::kHuge:
        x = random.Bell() * std::exp2(static_cast<double>(random.Bits() % 100));
        break;
      case RowFamily::kWorstError:
        break;
    }
    row.logits[i] = static_cast<float>(x);
  }
  if (family == RowFamily::kWorstError) MakeWorstError(row, random);
  if (family == RowFamily::kPeaked) {
    row.logits[random.Bits() % row.logits.size()] =
        static_cast<float>((std::log(static_cast<double>(vocab_size)) + 4.5) * stretch);
  }
  if (family == RowFamily::kWithHoles) row.logits[0] = 0;
  return row;
}

std::vector<float> MakeDistinctRow(int32_t vocab_size, double scale, uint64_t seed) {
  RowRandom random(seed);
  std::set<float> distinct;
  while (distinct.size() < static_cast<size_t>(vocab_size)) {
    distinct.insert(static_cast<float>(random.Bell() * scale) + 0.0f);
  }
  std::vector<float> row(distinct.begin(), distinct.end());
  for (size_t i = row.size(); i > 1; --i) std::swap(row[i - 1], row[random.Bits() % i]);
  return row;
}

}  // namespace logitd::proofs

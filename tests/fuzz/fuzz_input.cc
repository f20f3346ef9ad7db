#include "tests/fuzz/fuzz_input.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace logitd::fuzz {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Sizes where blocks, words and vectors end.
constexpr size_t kEdges[] = {1, 2, 8, 16, 63, 64, 65, 255, 256, 257, 511, 513, 1023, 1024, 1025, 2048, 2049};

}  // namespace

FuzzInput::FuzzInput(const uint8_t* data, size_t size) : data_(data), left_(size) {
  state_ = size;
  for (size_t i = 0; i < size; ++i) state_ = (state_ ^ data[i]) * 0x100000001B3;
}

uint64_t FuzzInput::Next() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

uint64_t FuzzInput::Bits() {
  if (left_ < sizeof(uint64_t)) return Next();
  uint64_t bits;
  std::memcpy(&bits, data_, sizeof(bits));
  data_ += sizeof(bits);
  left_ -= sizeof(bits);
  return bits;
}

size_t FuzzInput::RowSize() {
  return OneIn(2) ? kEdges[Below(std::size(kEdges))] : static_cast<size_t>(Below(3000)) + 1;
}

double FuzzInput::Temperature() {
  switch (Below(4)) {
    case 0:
      return 1;
    case 1:
      return std::clamp(std::exp2(Uniform() * 33.4 - 13.4), 1e-4, 1e6);
    default:
      return 0.2 + Uniform() * 2;
  }
}

std::vector<float> FuzzInput::Row(size_t n, bool finite) {
  std::vector<float> row(n);
  const uint64_t kind = Below(6);
  const double scale = std::exp2(Uniform() * 14 - 7);
  const uint64_t holes = OneIn(3) ? Below(4) + 2 : 0;
  for (float& x : row) {
    const uint64_t bits = Bits();
    const double bell =
        (static_cast<double>(std::popcount(bits)) - 32) / 4 + static_cast<double>(bits & 0xFFFF) * 0x1p-16;
    switch (kind) {
      case 0:
        x = std::bit_cast<float>(static_cast<uint32_t>(bits));
        break;
      case 1:  // many ties
        x = static_cast<float>(static_cast<int64_t>(bits % 7)) * 0.5f;
        break;
      case 2:
        x = static_cast<float>(bell * std::exp2(static_cast<double>(bits >> 32 & 127)));
        break;
      case 3:  // zeros of both signs and what is next to them
        x = std::bit_cast<float>(static_cast<uint32_t>(bits) & 0x80000007);
        break;
      default:
        x = static_cast<float>(bell * scale);
        break;
    }
    if (holes > 0 && (bits >> 40) % holes != 0) x = -kInfinity;
    if (finite && !(x < kInfinity)) x = 0;
  }
  if (OneIn(3)) row[Below(n)] = static_cast<float>(scale * 12);
  if (finite) {
    float& any = row[Below(n)];
    if (any == -kInfinity) any = 0;
  }
  return row;
}

std::vector<uint64_t> FuzzInput::Mask(size_t n) {
  std::vector<uint64_t> mask((n + 63) / 64);
  const uint64_t kind = Below(4);
  for (uint64_t& word : mask) {
    const uint64_t bits = Bits();
    word = kind == 0 ? bits : kind == 1 ? bits & Bits() & Bits() : (bits & 1) != 0 ? ~uint64_t{0} : 0;
  }
  return mask;
}

}  // namespace logitd::fuzz

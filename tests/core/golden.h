// Reads tests/golden/*.json (made by tests/golden/generate.py).
#ifndef LOGITD_TESTS_CORE_GOLDEN_H_
#define LOGITD_TESTS_CORE_GOLDEN_H_

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace logitd::testing {

inline nlohmann::json ReadGolden(const std::string& name) {
  std::ifstream file(std::string(LOGITD_GOLDEN_DIR) + "/" + name);
  EXPECT_TRUE(file) << "cannot read " << name;
  return nlohmann::json::parse(file);
}

// Numbers stand as text: hexadecimal where exact, decimal otherwise.
inline double Number(const nlohmann::json& text) { return std::strtod(text.get<std::string>().c_str(), nullptr); }

// The generator's linear congruential row: multiples of scale 2^-24, exact in f32.
inline std::vector<float> GeneratedRow(int32_t vocab_size, uint64_t seed, double scale) {
  std::vector<float> row(vocab_size);
  uint64_t state = seed;
  for (float& logit : row) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    logit = static_cast<float>(static_cast<double>(static_cast<int64_t>(state >> 40) - (1 << 23)) * scale * 0x1p-24);
  }
  return row;
}

// The logits of a case: given, or to be generated.
inline std::vector<float> GoldenRow(const nlohmann::json& row) {
  if (!row.contains("logits")) return GeneratedRow(row["vocab_size"], row["seed"], row["scale"]);
  std::vector<float> logits;
  for (const auto& logit : row["logits"]) logits.push_back(static_cast<float>(Number(logit)));
  return logits;
}

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_CORE_GOLDEN_H_

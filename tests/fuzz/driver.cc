// A fuzz target without a fuzzer: a fixed sequence of made-up inputs, for every run of the tests, and files, to see
// again what a fuzzer found.
//
//   kernels_fuzz [--runs N] [--first N] [FILE...]     without FILE: inputs number FIRST to FIRST + RUNS - 1
//
// LOGITD_LONG=1: a hundred times as many. The number of the input in work is said if the target ends the program.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/proofs/length.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

int64_t input_number = 0;

void SayNumber(int) {
  std::fprintf(stderr, "input number %lld: see it again with --first %lld --runs 1\n",
               static_cast<long long>(input_number), static_cast<long long>(input_number));
  std::_Exit(1);
}

// Input `number`: of no bytes to 4000, from SplitMix64. Some are sparse, for small numbers are found behind zeros.
std::vector<uint8_t> MakeInput(uint64_t number) {
  uint64_t state = number * 0x9E3779B97F4A7C15 + 1;
  const auto next = [&state] {
    uint64_t z = state += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  };
  std::vector<uint8_t> bytes(next() % 4 == 0 ? next() % 4000 : next() % 200);
  const bool sparse = next() % 4 == 0;
  for (uint8_t& byte : bytes) byte = sparse && next() % 8 != 0 ? 0 : static_cast<uint8_t>(next());
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  int64_t first = 0;
  int64_t runs = logitd::proofs::Count(2000, 200000);
  std::vector<const char*> files;
  for (int i = 1; i < argc; ++i) {
    const bool has_value = i + 1 < argc;
    if (has_value && std::strcmp(argv[i], "--runs") == 0) {
      runs = std::strtoll(argv[++i], nullptr, 10);
    } else if (has_value && std::strcmp(argv[i], "--first") == 0) {
      first = std::strtoll(argv[++i], nullptr, 10);
    } else {
      files.push_back(argv[i]);
    }
  }
  for (const char* path : files) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read %s\n", path);
      return 2;
    }
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  if (!files.empty()) return 0;
  std::signal(SIGABRT, SayNumber);
  for (input_number = first; input_number < first + runs; ++input_number) {
    const std::vector<uint8_t> bytes = MakeInput(static_cast<uint64_t>(input_number));
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::printf("%lld inputs\n", static_cast<long long>(runs));
}

// Files as numpy.save writes them, made here: tests do without numpy, and can write what numpy would not.
#ifndef LOGITD_TESTS_CLIENT_LOGITD_NPY_BYTES_H_
#define LOGITD_TESTS_CLIENT_LOGITD_NPY_BYTES_H_

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace logitd::client {

// Values as they lie in memory: little endian here.
template <typename Value>
std::string RawBytes(const std::vector<Value>& values) {
  std::string bytes(values.size() * sizeof(Value), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// A file of this format version with `header` as its dictionary. Padded with spaces to a multiple of 64, as numpy does.
inline std::string NpyBytes(const std::string& header, const std::string& values, int major = 1, int minor = 0) {
  const size_t length_bytes = major == 1 ? 2 : 4;
  std::string padded = header;
  while ((8 + length_bytes + padded.size() + 1) % 64 != 0) padded += ' ';
  padded += '\n';
  std::string out = "\x93NUMPY";
  out += static_cast<char>(major);
  out += static_cast<char>(minor);
  for (size_t i = 0; i < length_bytes; ++i) out += static_cast<char>(padded.size() >> (8 * i) & 0xff);
  return out + padded + values;
}

// numpy.save of an array of this type and shape, e.g. "<f4", "(2, 3)".
inline std::string SavedArray(const std::string& type, const std::string& shape, const std::string& values) {
  return NpyBytes("{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }", values);
}

// A file that is gone when the test ends.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& bytes) {
    char name[] = "/tmp/logitd-npy-test-XXXXXX";
    const int descriptor = mkstemp(name);
    EXPECT_GE(descriptor, 0);
    close(descriptor);
    path_ = name;
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace logitd::client

#endif  // LOGITD_TESTS_CLIENT_LOGITD_NPY_BYTES_H_

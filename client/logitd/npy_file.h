// Reads one array of a .npy file (numpy.save) front to back, in pieces: a file of many gigabytes takes the memory of
// one piece. Why it is written here: docs/adr/0006-npy-reader.md.
//
//   absl::StatusOr<NpyFile> file = NpyFile::Open({"--logits", path, NpyContent::kLogits}, environment.in);
//   file->shape();                                    // {16, 50257}
//   absl::Status status = file->Read(50257, bytes);   // the first row
//
// Strict: format versions 1.0, 2.0 and 3.0, little endian, the types of NpyContent; the file must be exactly as long as
// its shape says. Whatever is wrong is a usage error (arguments.h) that names the flag and the file, and says what to
// do where numpy can do it. An array in Fortran order is put into C order in memory, up to 1 GiB. One thread.
//
// Source: numpy's documentation of numpy.lib.format.
#ifndef LOGITD_CLIENT_LOGITD_NPY_FILE_H_
#define LOGITD_CLIENT_LOGITD_NPY_FILE_H_

#include <cstdint>
#include <istream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::client {

enum class NpyType { kF32, kF16, kBf16, kF64, kI32, kI64 };

// What an array is to hold, which says which types are taken: float32 and float16 and what NpySource.dtype says, or
// int32 and int64.
enum class NpyContent { kLogits, kTokenIds };

struct NpySource {
  // The flag, for errors.
  std::string flag;
  // "-": standard input.
  std::string path;
  NpyContent content = NpyContent::kLogits;
  // How logits are to be understood where the file leaves it open: "bf16" takes two-byte values for bfloat16 (numpy has
  // no such type: ml_dtypes' is saved as '<V2', a view as uint16), "f32" takes float64 values too, for the caller to
  // round. Empty: float32 and float16 as they are.
  std::string dtype = "";
};

class NpyFile {
 public:
  // `standard_in` must outlive this object if it is what is read.
  static absl::StatusOr<NpyFile> Open(const NpySource& source, std::istream& standard_in);

  NpyType type() const { return type_; }
  // Bytes of a value.
  int64_t value_bytes() const;
  // Each >= 0; their product times value_bytes() fits 63 bits.
  const std::vector<int64_t>& shape() const { return shape_; }
  // As numpy shows it: "(3, 5)", "(3,)".
  std::string ShowShape() const;

  // The next `count` values as they lie in the file, instead of what `bytes` held. REQUIRES: so many are left.
  absl::Status Read(int64_t count, std::string& bytes);
  // The next `count` values as token ids, instead of those that `ids` held. REQUIRES: type() is kI32 or kI64; at least
  // that many values are left.
  absl::Status ReadIds(int64_t count, std::vector<int32_t>& ids);
  // Leaves out the next `count` values. REQUIRES: so many are left.
  absl::Status Skip(int64_t count);

  // A usage error about this file: "--logits rows.npy: WHAT". `bound`: what it should be.
  absl::Status Error(std::string_view what, std::string_view bound = "") const;

 private:
  explicit NpyFile(const NpySource& source);

  absl::Status ReadHeader(const NpySource& source);
  // Compares the size of a regular file with its shape.
  absl::Status CheckSize(const std::string& path) const;
  // Reads the whole array, which is in Fortran order, and goes on with one in C order.
  absl::Status PutInCOrder();
  // Checks that nothing follows the last value.
  absl::Status CheckEnd();

  std::string flag_;
  std::string path_;
  // Null: standard input.
  std::unique_ptr<std::istream> file_;
  std::istream* in_ = nullptr;
  NpyType type_ = NpyType::kF32;
  bool is_fortran_order_ = false;
  std::vector<int64_t> shape_;
  int64_t values_left_ = 0;
  int64_t value_count_ = 0;
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_NPY_FILE_H_

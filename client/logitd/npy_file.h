// Reads one array of a .npy file (numpy.save) front to back, in pieces. A file of many gigabytes takes the memory of
// one piece. No library of Debian does this: docs/adr/0006-npy-reader.md.
//
//   absl::StatusOr<NpyFile> file = NpyFile::Open({"logits", path, NpyContent::kLogits}, std::cin);
//   file->shape();                                    // {16, 50257}
//   absl::Status status = file->Read(50257, bytes);   // the first row
//
// It takes format versions 1.0, 2.0 and 3.0, little endian, the types of NpyContent, and files that are exactly as long
// as their shape says. Errors are InputErrors (client_error.h) that name source and file, and tell how numpy can save
// the array right. An array in Fortran order is put into C order in memory, up to 1 GiB. One thread.
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

// The content that an array must have:
// - kLogits: float32, float16 and the type of NpySource.dtype;
// - kFloats: these and float64, as it is;
// - kTokenIds: int32 and int64.
enum class NpyContent { kLogits, kFloats, kTokenIds };

struct NpySource {
  // The name of this input in errors: a flag, a field.
  std::string flag;
  // "-": standard input.
  std::string path;
  NpyContent content = NpyContent::kLogits;
  // How to read logits whose type the file leaves open:
  // - "bf16": two-byte values are bfloat16, which numpy saves as '<V2' (ml_dtypes) or uint16 (a view);
  // - "f32": float64 values are taken too; the caller rounds them;
  // - "f16": float16 alone;
  // - empty: float32 and float16.
  std::string dtype = "";
};

class NpyFile {
 public:
  // Reads `standard_in` if the path is "-"; it must outlive this object then.
  static absl::StatusOr<NpyFile> Open(const NpySource& source, std::istream& standard_in);

  NpyType type() const { return type_; }
  // Bytes of a value.
  int64_t value_bytes() const;
  // Each >= 0; their product times value_bytes() fits 63 bits.
  const std::vector<int64_t>& shape() const { return shape_; }
  // As numpy shows it: "(3, 5)", "(3,)".
  std::string ShowShape() const;

  // Puts the next `count` values into `bytes`, as they lie in the file. REQUIRES: at least `count` values are left.
  absl::Status Read(int64_t count, std::string& bytes);
  // Puts the next `count` values into `ids`. REQUIRES: type() is kI32 or kI64; at least `count` values are left.
  absl::Status ReadIds(int64_t count, std::vector<int32_t>& ids);
  // Skips the next `count` values. REQUIRES: at least `count` values are left.
  absl::Status Skip(int64_t count);

  // An InputError about this file: "logits rows.npy: WHAT". `bound`: what WHAT should be.
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

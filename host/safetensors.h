// Reads safetensors files, and streams of that format, without trusting them.
//
//   ASSIGN_OR_RETURN(SafetensorsReader reader, SafetensorsReader::Open("model.safetensors"));
//   const SafetensorsTensor* weight = reader.header().Find("lm_head.weight");      // F16, [49152, 576]
//   RETURN_IF_ERROR(reader.Read(*weight, row_bytes, [&](std::string_view rows) { return Take(rows); }));
//   RETURN_IF_ERROR(reader.CheckUnchanged());
//
// The format: 8 bytes N (little endian), N bytes of JSON, and the bytes of the tensors.
//
//   {"lm_head.weight": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, "__metadata__": {"format": "pt"}}
//
// - The file is read, never mapped: if it shrinks, a read ends early, and that is an error.
// - The header is checked as the format's own library does: known keys, lengths that fit the shapes, tensors one after
//   the other without a gap, and a file that is exactly as long.
// - Nothing is allocated that is larger than the header, which is at most kMaxSafetensorsHeaderBytes.
//
// Source: https://github.com/huggingface/safetensors, "Format".
#ifndef LOGITD_HOST_SAFETENSORS_H_
#define LOGITD_HOST_SAFETENSORS_H_

#include <cstdint>
#include <ctime>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::host {

// The bound of the format's own library.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

struct SafetensorsTensor {
  // "F32", "F16", "BF16", "I64", ...
  std::string dtype;
  std::vector<uint64_t> shape;
  // Its bytes, from the beginning of all tensors' bytes.
  uint64_t begin = 0;
  uint64_t end = 0;

  uint64_t bytes() const { return end - begin; }
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsTensor, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> metadata;
  // Of all tensors.
  uint64_t data_bytes = 0;

  // Null: there is no such tensor.
  const SafetensorsTensor* Find(std::string_view name) const;
};

// "[49152, 576]".
std::string ShapeText(const std::vector<uint64_t>& shape);

// Parses the JSON of a header. Errors: INVALID_ARGUMENT, with a reason that continues "it is truncated or damaged: ".
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json);

// Which file of a sharded model holds each tensor: the `weight_map` of FILE.safetensors.index.json, at most 16 MiB. The
// values are names of files in its own folder.
// Errors: NOT_FOUND, INVALID_ARGUMENT, in one sentence that names the file.
absl::StatusOr<std::map<std::string, std::string, std::less<>>> ReadSafetensorsIndex(const std::string& path);

// Waiting for a stream.
struct StreamPatience {
  // True: nobody wants the stream any more. Asked at least every 100 ms.
  std::function<bool()> give_up = [] { return false; };
  // The longest silence of the other end.
  int silence_limit_ms = 120'000;
};

// Move-only; one thread. Owns its descriptor, and closes it.
class SafetensorsReader {
 public:
  // A regular file. Errors, in one sentence that names it: NOT_FOUND, or INVALID_ARGUMENT if it is no such file.
  static absl::StatusOr<SafetensorsReader> Open(const std::string& path, const StreamPatience& patience = {});
  // A pipe, of which `name` is the name in errors. Takes `fd`. Errors: as Open; UNAVAILABLE if it stays silent.
  static absl::StatusOr<SafetensorsReader> FromPipe(int fd, const std::string& name, const StreamPatience& patience);

  SafetensorsReader(SafetensorsReader&& other) noexcept;
  SafetensorsReader& operator=(SafetensorsReader&& other) noexcept;
  ~SafetensorsReader();

  const SafetensorsHeader& header() const { return header_; }

  // Gives the tensor's bytes to `take`, in pieces of about 1 MiB, each a multiple of `unit_bytes`. Stops at an error of
  // `take`, and returns it. Tensors must be read in ascending order of `begin`.
  // Errors: INVALID_ARGUMENT if the file ends early; UNAVAILABLE if it cannot be read; CANCELLED if given up.
  // REQUIRES: the tensor is one of header(); unit_bytes >= 1, and divides its bytes.
  absl::Status Read(const SafetensorsTensor& tensor, uint64_t unit_bytes,
                    absl::FunctionRef<absl::Status(std::string_view bytes)> take);

  // Of a file: it has the same size and times as when it was opened. Of a pipe: it ends here.
  // Errors: INVALID_ARGUMENT.
  absl::Status CheckUnchanged();

 private:
  SafetensorsReader(int fd, std::string name, const StreamPatience& patience)
      : fd_(fd), name_(std::move(name)), patience_(patience) {}

  absl::Status Error(const std::string& what) const;
  // "it is truncated or damaged: ..."
  absl::Status Damaged(const std::string& what) const;
  absl::Status ReadHeader();
  absl::Status ReadExactly(char* bytes, uint64_t size);
  // Waits until a pipe has bytes, or has ended.
  absl::Status AwaitBytes() const;
  absl::Status SkipTo(uint64_t place);

  int fd_ = -1;
  std::string name_;
  StreamPatience patience_;
  SafetensorsHeader header_;
  // Set: a file, of this size, last changed at these times.
  std::optional<uint64_t> file_bytes_;
  timespec modified_ = {};
  timespec changed_ = {};
  // Of the next byte, from the beginning of the tensors' bytes.
  uint64_t place_ = 0;
};

}  // namespace logitd::host

#endif  // LOGITD_HOST_SAFETENSORS_H_

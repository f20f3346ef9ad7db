// The header of a GGUF file: what it says about itself, without its weights and without llama.cpp.
//
//   ASSIGN_OR_RETURN(const GgufHeader header, ReadGgufHeader("model.gguf"));
//   header.Text("general.architecture")   // "llama"
//
// For both programs: logitd asks it before it starts a runner, and links no llama.cpp. What the tensors hold is the
// runner's to find out.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_HOST_GGUF_HEADER_H_
#define LOGITD_HOST_GGUF_HEADER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::host {

struct GgufHeader {
  uint32_t version = 0;
  uint64_t tensor_count = 0;
  // Every value but arrays, as text: numbers in decimal, "true" and "false". Strings beyond 4,096 bytes are empty.
  std::map<std::string, std::string> values;
  // Elements of every array.
  std::map<std::string, uint64_t> array_sizes;

  // "" if the key is not there.
  std::string Text(const std::string& key) const;
  // Unset if the key is not there, or not a whole number.
  std::optional<int64_t> Number(const std::string& key) const;
};

// Reads the keys. REQUIRES: the file begins with a GGUF header of version 2 or 3, little-endian.
// Errors: INVALID_ARGUMENT, what is wrong, as it continues "it is truncated or damaged: ".
absl::StatusOr<GgufHeader> ReadGgufHeader(const std::string& path);

// Whether the file is as long as the tensors that its header describes need, of the types that ggml has today; of
// others it is only asked where they begin. REQUIRES and errors: as ReadGgufHeader.
absl::Status CheckGgufTensors(const std::string& path);

}  // namespace logitd::host

#endif  // LOGITD_HOST_GGUF_HEADER_H_

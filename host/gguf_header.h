// Reads the header of a GGUF file, without its weights and without llama.cpp.
//
//   ASSIGN_OR_RETURN(const GgufHeader header, ReadGgufHeader("model.gguf"));
//   header.Text("general.architecture")   // "llama"
//
// logitd, which does not link llama.cpp, reads it before it starts a runner; logitd-llama reads it, too. Only the
// runner checks the content of the tensors.
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
  // Every value except arrays, as text: numbers in decimal, "true" and "false". Strings beyond 4,096 bytes are empty.
  std::map<std::string, std::string> values;
  // The number of elements of each array.
  std::map<std::string, uint64_t> array_sizes;

  // "" if the key is missing.
  std::string Text(const std::string& key) const;
  // Unset if the key is missing or its value is no integer.
  std::optional<int64_t> Number(const std::string& key) const;
};

// Reads the keys. REQUIRES: the file begins with a GGUF header of version 2 or 3, little-endian.
// Errors: INVALID_ARGUMENT, with a reason that continues "it is truncated or damaged: ".
absl::StatusOr<GgufHeader> ReadGgufHeader(const std::string& path);

// Checks that the file is as long as the tensors in its header need. Of tensors with types that today's ggml does not
// have, it checks only the beginning. REQUIRES and errors: as ReadGgufHeader.
absl::Status CheckGgufTensors(const std::string& path);

}  // namespace logitd::host

#endif  // LOGITD_HOST_GGUF_HEADER_H_

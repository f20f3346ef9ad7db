// The value of `--head`: a head's name, its file, and what the file does not say by itself.
//
//   NAME=FILE[,KEY=VALUE...]
//   lm=model.safetensors
//   labels=classifier.safetensors,weight=score.weight,bias=score.bias,layout=vd
//   smol=SmolLM2-135M-Instruct.Q4_1.gguf
//
// A file's name cannot have a comma. Thread-safe: free functions without state.
#ifndef LOGITD_SERVER_HEAD_SPEC_H_
#define LOGITD_SERVER_HEAD_SPEC_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::server {

// The most heads of a server: each is gigabytes for a large model.
inline constexpr size_t kMaxHeads = 16;

struct HeadSpec {
  std::string name;
  std::string file;
  // Names of tensors. Empty: those that models usually have.
  std::string weight = {};
  std::string bias = {};
  std::string norm = {};
  // The axes of the weight in the file.
  enum class Layout {
    // Not said: [V, d] where the tensor's name and shape leave no doubt.
    kUnknown,
    // [V, d], as PyTorch's Linear and embeddings.
    kTokensFirst,
    // [d, V].
    kDimensionsFirst
  };
  Layout layout = Layout::kUnknown;
  // Of the norm, in [0, 1].
  std::optional<double> norm_eps = std::nullopt;
  // Unset: as in a GGUF file, or none.
  std::optional<float> logit_scale = std::nullopt;
  std::optional<float> soft_cap = std::nullopt;

  bool is_gguf() const;
  // The index of a sharded safetensors model.
  bool is_index() const;
};

// Parses one value. Errors, which begin with `origin`: INVALID_ARGUMENT.
absl::StatusOr<HeadSpec> ParseHeadSpec(const std::string& origin, const std::string& text);
// Parses all values, and checks that no name is there twice. Errors: as ParseHeadSpec.
absl::StatusOr<std::vector<HeadSpec>> ParseHeadSpecs(const std::string& origin, const std::vector<std::string>& texts);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HEAD_SPEC_H_

// Finds the tensors of a head in safetensors files, and decides what their shapes mean.
//
//   weight [49152, 576] "lm_head.weight", bias [49152] "lm_head.bias"      ->  V = 49152, d = 576, [V, d]
//
// Which tensors, unless the spec names them: the first of lm_head.weight, output.weight, embed_out.weight and weight,
// with the bias beside it; else embeddings that serve as output matrix, too (tied). A shape that could be [V, d] or
// [d, V] is an error, never a guess: the spec's layout says it.
#ifndef LOGITD_SERVER_HEAD_TENSORS_H_
#define LOGITD_SERVER_HEAD_TENSORS_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/softmax_head.h"
#include "host/safetensors.h"
#include "server/head_spec.h"

namespace logitd::server {

// A tensor of a head in its file.
struct HeadTensor {
  std::string name;
  // Places in HeadTensors::files.
  size_t file = 0;
  host::SafetensorsTensor tensor;
};

struct HeadTensors {
  std::deque<host::SafetensorsReader> files;
  HeadTensor weight;
  std::optional<HeadTensor> bias;
  std::optional<HeadTensor> norm;
  SoftmaxHeadShape shape;
  // The weight is [V, d]; else [d, V].
  bool tokens_first = true;
  double norm_eps = 0;
  float logit_scale = 1;
  // 0: none.
  float soft_cap = 0;
  // The type of the weight in the model's file, for people.
  std::string source_dtype;
};

// Bytes of an element: F32, F16, BF16. REQUIRES: HeadTensors has such a tensor.
uint64_t SizeOfElement(const host::SafetensorsTensor& tensor);

// From the spec's file, or from those that its index names. Errors: those of SafetensorsReader::Open;
// INVALID_ARGUMENT, with both shapes and the axis where they disagree. REQUIRES: !spec.is_gguf().
absl::StatusOr<HeadTensors> FindHeadTensors(const HeadSpec& spec, const host::StreamPatience& patience);
// From the stream that `logitd-llama --write-head` wrote of a GGUF file: its metadata has the numbers.
// Errors: INVALID_ARGUMENT.
absl::StatusOr<HeadTensors> FindHeadTensors(host::SafetensorsReader stream);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HEAD_TENSORS_H_

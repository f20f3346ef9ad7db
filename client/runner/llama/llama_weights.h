// Provides the weights in the requested precision: the model file itself, or a converted copy in the cache folder.
//
// With quantised weights a token's log-prob depends on its batch (by tenths of a nat for a 4-bit model). f32 weights,
// cache and attention keep the difference near 1e-5, at the cost of one conversion; batch_tolerance.h measures it. A
// user's file is served as it is, because somebody chose its precision and f32 may not fit the memory. The default
// model is small and served in f32.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_WEIGHTS_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_WEIGHTS_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/runner/llama/model_file.h"

namespace logitd::runner {

// kNative: the file as it is. kAuto: kF32 for logitd's default model, kNative for any other.
enum class Precision { kAuto, kF32, kF16, kNative };

struct Weights {
  // The file to load.
  std::string path;
  // Every matrix is F32.
  bool all_f32 = false;
  // Every matrix of the original file is F32 or F16.
  bool all_f32_or_f16 = false;
  // The requested precision, with kAuto resolved.
  Precision precision = Precision::kNative;
  // SHA-256 of the original file, 32 bytes.
  std::string fingerprint;
};

// Finds or makes the weights of `file` in `precision`. A copy lies in `cache_dir`, named by the hash of the original
// and llama.cpp's version. It is written under another name, checked and then renamed, so that no process sees half a
// file. Processes that start together convert once: the others wait.
// Errors: kUnavailable (the cache folder cannot be written, or has no space), kInvalidArgument; one line that says what
// to do.
absl::StatusOr<Weights> PrepareWeights(const ModelFile& file, Precision precision, const std::string& cache_dir);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_WEIGHTS_H_

// The weights in the precision asked for: the model file itself, or a converted copy in the cache folder.
//
// Quantised weights make a token's log-prob depend on what it was batched with (tenths of a nat for a 4-bit model); f32
// weights, cache and attention keep it near 1e-5, and cost one conversion. batch_tolerance.h measures how far it is. A
// user's file is served as it is: somebody chose its precision, and f32 may not fit the memory. The default model is
// small, and f32.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_WEIGHTS_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_WEIGHTS_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/runner/llama/model_file.h"

namespace logitd::runner {

// kNative: the file as it is. kAuto: kF32 for logitd's default model, kNative for any other.
enum class Precision { kAuto, kF32, kF16, kNative };

struct Weights {
  // What to load.
  std::string path;
  // Every matrix is F32.
  bool all_f32 = false;
  // Every matrix is F32 or F16. Of the original file.
  bool all_f32_or_f16 = false;
  // What kAuto stood for; else what was asked for.
  Precision precision = Precision::kNative;
  // SHA-256 of the original file, 32 bytes.
  std::string fingerprint;
};

// Finds or makes the weights of `file` in `precision`. A copy lies in `cache_dir` under the hash of the original and
// llama.cpp's version; it is written under another name, checked and renamed, so that whoever sees it sees it whole.
// Processes that start together convert once: the others wait.
// Errors: kUnavailable (the cache folder cannot be written, no space), kInvalidArgument; one line that says what to do.
absl::StatusOr<Weights> PrepareWeights(const ModelFile& file, Precision precision, const std::string& cache_dir);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_WEIGHTS_H_

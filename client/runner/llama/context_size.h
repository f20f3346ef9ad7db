// Asks llama.cpp how much memory a llama_context would take, before the context is made.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_CONTEXT_SIZE_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_CONTEXT_SIZE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/runner/llama/memory_budget.h"
#include "llama.h"

namespace logitd::runner {

// The memory that a model needs. Opens the weights' file once more, and reads no weights.
//
// One thread.
class ContextSize {
 public:
  // `path`: the weights that will be loaded. Errors: INVALID_ARGUMENT, with llama.cpp's reason.
  static absl::StatusOr<ContextSize> Open(const std::string& path, bool f32);

  // The result's `context` refers to this object, which must outlive it.
  MemoryNeeds Needs() const;

 private:
  using ModelPointer = std::unique_ptr<llama_model, decltype(&llama_model_free)>;
  ContextSize(ModelPointer model, bool f32) : model_(std::move(model)), f32_(f32) {}

  int64_t ContextBytes(int64_t cells, int sequences) const;

  ModelPointer model_;
  bool f32_ = false;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_CONTEXT_SIZE_H_

#include "client/runner/llama/context_size.h"

#include <limits>
#include <optional>
#include <utility>

#include "client/runner/llama/context_params.h"
#include "client/runner/llama/llama_log.h"
#include "ggml-backend.h"
#include "llama-ext.h"

namespace logitd::runner {
namespace {

// llama.cpp's and the ledger's records of a cell: positions, sets of sequences, and nodes of ordered sets.
constexpr int64_t kBytesOfACell = 192;
// A token's text, bytes and attributes: in llama.cpp's vocabulary, in the tokenizer process's vocabulary, and in the
// message to the server.
constexpr int64_t kBytesOfAToken = 600;
// Threads' stacks, gRPC and the program itself.
constexpr int64_t kBytesOfAProcess = int64_t{64} << 20;

struct Breakdown {
  int64_t mapped_weights = 0;
  int64_t own_weights = 0;
  int64_t context = 0;
};

// REQUIRES: `model` was loaded without its weights. Unset: llama.cpp cannot make such a context.
std::optional<Breakdown> BreakdownOf(llama_model* model, const ContextShape& shape) {
  QuietLlamaLog quiet;
  const std::unique_ptr<llama_context, decltype(&llama_free)> context(
      llama_init_from_model(model, ContextParams(model, shape, /*threads=*/1)), &llama_free);
  if (context == nullptr) return std::nullopt;
  Breakdown total;
  for (const auto& [type, bytes] : llama_get_memory_breakdown(context.get())) {
    // Weights of the plain type stay in the file's pages; others, such as repacked ones, are copies.
    (type == ggml_backend_cpu_buffer_type() ? total.mapped_weights : total.own_weights) +=
        static_cast<int64_t>(bytes.model);
    total.context += static_cast<int64_t>(bytes.context + bytes.compute);
  }
  return total;
}

}  // namespace

absl::StatusOr<ContextSize> ContextSize::Open(const std::string& path, bool f32) {
  llama_model_params params = llama_model_default_params();
  params.no_alloc = true;
  params.load_mode = LLAMA_LOAD_MODE_NONE;
  TakeLastLlamaError();
  QuietLlamaLog quiet;
  ModelPointer model(llama_model_load_from_file(path.c_str(), params), &llama_model_free);
  if (model == nullptr) return absl::InvalidArgumentError(TakeLastLlamaError());
  return ContextSize(std::move(model), f32);
}

int64_t ContextSize::ContextBytes(int64_t cells, int sequences) const {
  // llama.cpp makes its records of cells even here. Beyond this many cells everything grows in proportion, so larger
  // numbers are computed and not tried.
  constexpr int64_t kMostCells = int64_t{1} << 19;
  const auto measured = [&](int64_t count) -> std::optional<int64_t> {
    const auto bytes = BreakdownOf(model_.get(), {count, sequences, f32_});
    if (!bytes) return std::nullopt;
    return bytes->context + count * kBytesOfACell;
  };
  if (cells <= kMostCells) return measured(cells).value_or(std::numeric_limits<int64_t>::max());
  const std::optional<int64_t> half = measured(kMostCells / 2);
  const std::optional<int64_t> whole = measured(kMostCells);
  if (!half || !whole) return std::numeric_limits<int64_t>::max();
  return *whole + (*whole - *half) / (kMostCells / 2) * (cells - kMostCells);
}

MemoryNeeds ContextSize::Needs() const {
  const int64_t vocab_size = llama_vocab_n_tokens(llama_model_get_vocab(model_.get()));
  const Breakdown bytes = BreakdownOf(model_.get(), {256, 1, f32_}).value_or(Breakdown{});
  MemoryNeeds needs;
  needs.mapped_weights = bytes.mapped_weights;
  needs.own_weights = bytes.own_weights;
  // The rows of a chunk count twice: in llama.cpp, and on their way to the server.
  needs.fixed =
      kBytesOfAProcess + vocab_size * (kBytesOfAToken + 2 * kChunkTokens * static_cast<int64_t>(sizeof(float)));
  needs.context = [this](int64_t cells, int sequences) { return ContextBytes(cells, sequences); };
  return needs;
}

}  // namespace logitd::runner

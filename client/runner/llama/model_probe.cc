#include "client/runner/llama/model_probe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/status_macros.h"
#include "client/runner/llama/llama_log.h"

namespace logitd::runner {
namespace {

// Ordinary tokens with text, far apart in the vocabulary: they have been trained, and are unlike each other. Fewer than
// two if the vocabulary has no more.
std::vector<llama_token> OrdinaryTokens(const llama_vocab* vocab) {
  const int32_t vocab_size = llama_vocab_n_tokens(vocab);
  std::vector<llama_token> tokens;
  constexpr int kTokens = 4;
  for (int i = 0; i < kTokens; ++i) {
    for (int32_t id = static_cast<int32_t>(int64_t{vocab_size} * (i + 1) / (kTokens + 2)); id < vocab_size; ++id) {
      const llama_token_attr attributes = llama_vocab_get_attr(vocab, id);
      constexpr int kSpecial = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN | LLAMA_TOKEN_ATTR_UNUSED;
      if ((attributes & kSpecial) != 0 || std::find(tokens.begin(), tokens.end(), id) != tokens.end()) continue;
      tokens.push_back(id);
      break;
    }
  }
  // For a vocabulary of a handful of tokens.
  for (int32_t id = 0; id < vocab_size && tokens.size() < kTokens; ++id) tokens.push_back(id);
  return tokens;
}

absl::StatusOr<std::vector<float>> RowAfter(llama_context* context, llama_token first, llama_token second, int size) {
  std::array<llama_token, 2> tokens = {first, second};
  TakeLastLlamaError();
  QuietLlamaLog quiet;
  if (llama_decode(context, llama_batch_get_one(tokens.data(), static_cast<int32_t>(tokens.size()))) != 0) {
    return absl::InvalidArgumentError("cannot be evaluated by llama.cpp: " + TakeLastLlamaError());
  }
  const float* row = llama_get_logits_ith(context, -1);
  if (row == nullptr) return absl::InvalidArgumentError("gives no logits, so it does not predict the next token");
  std::vector<float> copy(row, row + size);
  llama_memory_clear(llama_get_memory(context), /*data=*/false);
  return copy;
}

}  // namespace

absl::Status CheckProbedRow(const float* row, int size) {
  float least = std::numeric_limits<float>::infinity();
  float most = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < size; ++i) {
    if (std::isnan(row[i]) || row[i] == std::numeric_limits<float>::infinity()) {
      return absl::InvalidArgumentError(
          "gives logits that are not numbers, so its weights are damaged, or overflow in this precision");
    }
    if (std::isinf(row[i])) continue;
    least = std::min(least, row[i]);
    most = std::max(most, row[i]);
  }
  // With a single token every row is constant.
  if (least < most || (size == 1 && least == most)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "gives every token the same logit, as embedding models do, so it does not predict the next token");
}

bool CanCutCache(llama_context* context) {
  const std::vector<llama_token> ordinary = OrdinaryTokens(llama_model_get_vocab(llama_get_model(context)));
  std::array<llama_token, 2> tokens = {ordinary.front(), ordinary.back()};
  QuietLlamaLog quiet;
  if (llama_decode(context, llama_batch_get_one(tokens.data(), static_cast<int32_t>(tokens.size()))) != 0) return false;
  llama_memory_t memory = llama_get_memory(context);
  const bool can_cut = llama_memory_seq_rm(memory, 0, 1, -1);
  llama_memory_clear(memory, /*data=*/false);
  return can_cut;
}

absl::Status ProbeModel(llama_context* context) {
  const llama_vocab* vocab = llama_model_get_vocab(llama_get_model(context));
  const int vocab_size = llama_vocab_n_tokens(vocab);
  if (llama_get_memory(context) == nullptr) {
    return absl::InvalidArgumentError("remembers no tokens, so it does not predict the next token");
  }
  if (llama_pooling_type(context) != LLAMA_POOLING_TYPE_NONE) {
    return absl::InvalidArgumentError("pools its rows, as embedding models and rerankers do");
  }
  const std::vector<llama_token> tokens = OrdinaryTokens(vocab);
  const auto token = [&](size_t i) { return tokens[i % tokens.size()]; };
  ASSIGN_OR_RETURN(const std::vector<float> row, RowAfter(context, token(0), token(1), vocab_size));
  RETURN_IF_ERROR(CheckProbedRow(row.data(), vocab_size));
  ASSIGN_OR_RETURN(const std::vector<float> other, RowAfter(context, token(2), token(3), vocab_size));
  RETURN_IF_ERROR(CheckProbedRow(other.data(), vocab_size));
  if (vocab_size > 1 && row == other) {
    return absl::InvalidArgumentError(
        "gives the same logits after different texts, so it does not predict the next token");
  }
  return absl::OkStatus();
}

}  // namespace logitd::runner

// The last layer of a model, Softmax(H W + b): hidden states go in, rows of logits come out, and go where any row goes.
//
//   ASSIGN_OR_RETURN(SoftmaxHead::Builder builder, SoftmaxHead::Builder::Make({.vocab_size = 3, .hidden_size = 2}));
//   RETURN_IF_ERROR(builder.AddTokens(weights));  // W as [V, d], here 1, 2, 3, 4, 5, 6; in one or more pieces
//   ASSIGN_OR_RETURN(std::shared_ptr<const SoftmaxHead> head, std::move(builder).Build());
//   HiddenTile tile(head->hidden_size());
//   RETURN_IF_ERROR(tile.Add(hidden));            // 1, 10
//   float logits[3];
//   head->columns().ComputeLogits(tile, logits);  // 21, 43, 65
//
// For each token: logit = cap tanh(scale (h . w + b) / cap), where scale is 1 and cap is absent unless they are set.
// It holds one packed f32 copy of W. Immutable and thread-safe once built; the builder is thread-compatible.
//
// Source: docs/numerics.md, section 9 (order of additions, error); docs/adr/0023.
#ifndef LOGITD_CORE_SOFTMAX_HEAD_H_
#define LOGITD_CORE_SOFTMAX_HEAD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/head_columns.h"
#include "core/hidden_tile.h"

namespace logitd {

struct SoftmaxHeadShape {
  // V, in [1, kMaxVocabSize].
  int32_t vocab_size = 0;
  // d, in [1, kMaxHiddenSize].
  int32_t hidden_size = 0;
};

class SoftmaxHead {
 public:
  class Builder;

  int32_t vocab_size() const { return columns_.size(); }
  int32_t hidden_size() const { return columns_.hidden_size(); }
  // Of memory.
  size_t bytes() const;
  // All columns; Select gives those of a subset.
  const HeadColumns& columns() const { return columns_; }
  // For HiddenTile::Add, where hidden states come from before the norm. Null: the head has none.
  const OutputNorm* output_norm() const { return norm_ ? &*norm_ : nullptr; }

 private:
  SoftmaxHead(HeadColumns columns, std::optional<OutputNorm> norm)
      : columns_(std::move(columns)), norm_(std::move(norm)) {}

  HeadColumns columns_;
  std::optional<OutputNorm> norm_;
};

// Packs the weights as they come. After an error it may only be destroyed.
class SoftmaxHead::Builder {
 public:
  // Takes the head's memory: 4 bytes for each weight, V rounded up to a multiple of 16.
  // Errors: LIMIT_EXCEEDED (field "vocab_size"; "head": the system does not give that much memory), FIELD_OUT_OF_RANGE
  // (field "hidden_size").
  // A system may promise memory that it does not have: whoever reads a file compares bytes with the machine's first.
  static absl::StatusOr<Builder> Make(const SoftmaxHeadShape& shape);
  // Bytes that Make(shape) takes. REQUIRES: the shape is in range.
  static size_t BytesFor(const SoftmaxHeadShape& shape);

  Builder(Builder&&) noexcept;
  Builder& operator=(Builder&&) noexcept;
  ~Builder();

  // W comes in one of two orders, in pieces of any size:
  // - AddTokens: all weights of the next n tokens, [n, d]: source [V, d].
  // - AddDimensions: the weights of all tokens for the next n values of a hidden state, [n, V]: source [d, V].
  // Errors: FIELD_OUT_OF_RANGE: a weight is NaN or infinite (field "weights[token][k]"), or the piece ends beyond the
  // last token or dimension, or within one (field "weights").
  absl::Status AddTokens(std::span<const float> weights);
  absl::Status AddDimensions(std::span<const float> weights);

  // b, [V]. Errors: FIELD_OUT_OF_RANGE: not finite (field "bias[token]"), or not V values ("bias").
  absl::Status SetBias(std::span<const float> bias);
  // The logits are multiplied by it. Errors: FIELD_OUT_OF_RANGE unless finite and not 0 (field "logit_scale").
  absl::Status SetLogitScale(float scale);
  // Logits x become cap tanh(x / cap). Errors: FIELD_OUT_OF_RANGE unless finite and > 0 (field "soft_cap").
  absl::Status SetSoftCap(float cap);
  // Errors: FIELD_OUT_OF_RANGE: not finite (field "output_norm[k]"), or not d values ("output_norm"), or epsilon not in
  // [0, 1] ("output_norm_epsilon").
  absl::Status SetOutputNorm(std::span<const float> weight, double epsilon);

  // Errors: FIELD_OUT_OF_RANGE (field "weights") if fewer than all came, or some in one order and some in the other.
  absl::StatusOr<std::shared_ptr<const SoftmaxHead>> Build() &&;

 private:
  explicit Builder(std::unique_ptr<HeadPanels> panels);
  // That a piece of `size` weights is of at most `left` tokens or dimensions, each with `stride` weights.
  absl::Status CheckPiece(size_t size, size_t stride, size_t left) const;

  std::unique_ptr<HeadPanels> panels_;
  // Tokens or dimensions that came so far.
  size_t token_count_ = 0;
  size_t dimension_count_ = 0;
  std::optional<OutputNorm> norm_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_SOFTMAX_HEAD_H_

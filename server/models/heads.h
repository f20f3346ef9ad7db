// The heads that requests and runners may name: last layers of models, which turn hidden states into logits.
//
//   ASSIGN_OR_RETURN(const NamedHead* head, heads.Find(block.hidden().head(), "blocks[0].hidden.head"));
//   RETURN_IF_ERROR(CheckHidden(*head, "blocks[0].width", block.width(), "rows [2, 64]"));
//
// Made once, at the start (server/head_loader.h), and then immutable. Free of gRPC and protobuf; thread-safe.
#ifndef LOGITD_SERVER_MODELS_HEADS_H_
#define LOGITD_SERVER_MODELS_HEADS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/softmax_head.h"
#include "server/request_context.h"

namespace logitd::server {

// A head, and where it is from: see logitd.v1.HeadInfo.
struct NamedHead {
  std::string name;
  std::shared_ptr<const SoftmaxHead> head;
  std::string source_dtype = {};
  // 32 bytes.
  std::string fingerprint = {};
  std::string weight_name = {};
  bool has_bias = false;

  // "head lm (W [V = 49152, d = 576])", for errors.
  std::string ShapeText() const;
};

// Turns the rows of a runner into logits. Thread-safe.
class RunnerHead {
 public:
  virtual ~RunnerHead() = default;
  // The logits of hidden states. `norm`: applied first; null: none.
  // Shapes: hidden [rows, hidden_size]; the result [rows, vocab_size].
  // Errors: MODEL_OUTPUT_INVALID for a value that is not finite; CANCELLED, DEADLINE_EXCEEDED.
  virtual absl::StatusOr<std::vector<float>> LogitsOf(const SoftmaxHead& head, const OutputNorm* norm,
                                                      std::span<const float> hidden,
                                                      const RequestContext& context) const = 0;
};

class Heads {
 public:
  Heads() = default;
  // REQUIRES: no two names are equal.
  explicit Heads(std::vector<NamedHead> heads) : heads_(std::move(heads)) {}
  // Without any.
  static const Heads& None();

  // The head of this name; "" names the only one. `field`: the field that names it, for errors: HEAD_NOT_FOUND.
  absl::StatusOr<const NamedHead*> Find(std::string_view name, std::string_view field) const;
  const std::vector<NamedHead>& list() const { return heads_; }

 private:
  std::vector<NamedHead> heads_;
};

// Each checks one axis. Errors: HEAD_SHAPE_MISMATCH, with both shapes and the axis.
// - CheckHidden: rows of `width` values are the head's hidden states. `width_field`: the field of that number. `rows`:
//   the rows' shape, "rows [2, 64]".
// - CheckHeadVocabulary: the head gives `vocab_size` logits. `head_field`: the field that names the head.
absl::Status CheckHidden(const NamedHead& head, std::string_view width_field, int64_t width, std::string_view rows);
absl::Status CheckHeadVocabulary(const NamedHead& head, std::string_view head_field, int64_t vocab_size);
// FIELD_OUT_OF_RANGE of `field` if values before the output norm cannot be taken, because the head has none.
absl::Status CheckNorm(const NamedHead& head, bool before_output_norm, const std::string& field);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_HEADS_H_

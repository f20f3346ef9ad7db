#include "core/softmax_head.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/head_panels.h"

namespace logitd {
namespace {

using kernels::kPanelColumns;

std::string WeightField(size_t token, size_t k) {
  return Element(Element("weights", static_cast<int64_t>(token)), static_cast<int64_t>(k));
}

absl::Status CheckFinite(std::string_view field, std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return errors::OutOfRange(Element(field, static_cast<int64_t>(i)), values[i], "finite");
  }
  return absl::OkStatus();
}

// The system gives no memory for `field`.
absl::Status NoMemory(std::string_view field, size_t bytes) {
  return errors::LimitExceeded(field, static_cast<int64_t>(bytes), "at most the bytes that this machine gives", "");
}

absl::Status CheckCount(std::string_view field, size_t count, size_t expected, std::string_view of) {
  if (count == expected) return absl::OkStatus();
  return errors::OutOfRange(field, static_cast<int64_t>(count),
                            std::to_string(expected) + " values, one for each " + std::string(of));
}

}  // namespace

size_t SoftmaxHead::bytes() const { return columns_.bytes() + (norm_ ? norm_->weight.capacity() * sizeof(float) : 0); }

size_t SoftmaxHead::Builder::BytesFor(const SoftmaxHeadShape& shape) {
  const size_t panels = (static_cast<size_t>(shape.vocab_size) + kPanelColumns - 1) / kPanelColumns;
  return panels * kPanelColumns * static_cast<size_t>(shape.hidden_size) * sizeof(float);
}

absl::StatusOr<SoftmaxHead::Builder> SoftmaxHead::Builder::Make(const SoftmaxHeadShape& shape) {
  if (shape.vocab_size < 1 || shape.vocab_size > kMaxVocabSize) {
    return errors::AboveLimit("vocab_size", shape.vocab_size, kMaxVocabSize, 1);
  }
  if (shape.hidden_size < 1 || shape.hidden_size > kMaxHiddenSize) {
    return errors::AboveLimit("hidden_size", shape.hidden_size, kMaxHiddenSize, 1);
  }
  auto panels = std::make_unique<HeadPanels>();
  panels->column_count = static_cast<size_t>(shape.vocab_size);
  panels->hidden_size = static_cast<size_t>(shape.hidden_size);
  panels->weights = MakeAligned(BytesFor(shape) / sizeof(float));
  if (panels->weights == nullptr) {
    return NoMemory("head", BytesFor(shape));
  }
  // Of the last panel.
  float* last = panels->panel(panels->panel_count() - 1);
  std::fill_n(last, panels->hidden_size * kPanelColumns, 0.0f);
  return Builder(std::move(panels));
}

SoftmaxHead::Builder::Builder(std::unique_ptr<HeadPanels> panels) : panels_(std::move(panels)) {}
SoftmaxHead::Builder::Builder(Builder&&) noexcept = default;
SoftmaxHead::Builder& SoftmaxHead::Builder::operator=(Builder&&) noexcept = default;
SoftmaxHead::Builder::~Builder() = default;

absl::Status SoftmaxHead::Builder::CheckPiece(size_t size, size_t stride, size_t left) const {
  if (size % stride == 0 && size / stride <= left) return absl::OkStatus();
  return errors::OutOfRange(
      "weights", static_cast<int64_t>(size),
      "a multiple of " + std::to_string(stride) + " values, at most " + std::to_string(left * stride) + " more");
}

absl::Status SoftmaxHead::Builder::AddTokens(std::span<const float> weights) {
  const size_t hidden_size = panels_->hidden_size;
  RETURN_IF_ERROR(CheckPiece(weights.size(), hidden_size, panels_->column_count - token_count_));
  for (size_t begin = 0; begin < weights.size(); begin += hidden_size) {
    float* out = &panels_->weight(token_count_, 0);
    for (size_t k = 0; k < hidden_size; ++k) {
      const float weight = weights[begin + k];
      if (!std::isfinite(weight)) return errors::OutOfRange(WeightField(token_count_, k), weight, "finite");
      out[k * kPanelColumns] = weight;
    }
    ++token_count_;
  }
  return absl::OkStatus();
}

absl::Status SoftmaxHead::Builder::AddDimensions(std::span<const float> weights) {
  const size_t vocab_size = panels_->column_count;
  RETURN_IF_ERROR(CheckPiece(weights.size(), vocab_size, panels_->hidden_size - dimension_count_));
  for (size_t begin = 0; begin < weights.size(); begin += vocab_size) {
    for (size_t token = 0; token < vocab_size; ++token) {
      const float weight = weights[begin + token];
      if (!std::isfinite(weight)) return errors::OutOfRange(WeightField(token, dimension_count_), weight, "finite");
      panels_->weight(token, dimension_count_) = weight;
    }
    ++dimension_count_;
  }
  return absl::OkStatus();
}

absl::Status SoftmaxHead::Builder::SetBias(std::span<const float> bias) {
  RETURN_IF_ERROR(CheckCount("bias", bias.size(), panels_->column_count, "token"));
  RETURN_IF_ERROR(CheckFinite("bias", bias));
  const size_t columns = panels_->panel_count() * kPanelColumns;
  panels_->bias = MakeAligned(columns);
  if (panels_->bias == nullptr) {
    return NoMemory("bias", columns * sizeof(float));
  }
  std::fill(std::ranges::copy(bias, panels_->bias.get()).out, panels_->bias.get() + columns, 0.0f);
  return absl::OkStatus();
}

absl::Status SoftmaxHead::Builder::SetLogitScale(float scale) {
  if (!std::isfinite(scale) || scale == 0) return errors::OutOfRange("logit_scale", scale, "finite and not 0");
  panels_->scale = scale;
  return absl::OkStatus();
}

absl::Status SoftmaxHead::Builder::SetSoftCap(float cap) {
  if (!std::isfinite(cap) || !(cap > 0)) return errors::OutOfRange("soft_cap", cap, "finite and above 0");
  panels_->soft_cap = cap;
  return absl::OkStatus();
}

absl::Status SoftmaxHead::Builder::SetOutputNorm(std::span<const float> weight, double epsilon) {
  RETURN_IF_ERROR(CheckCount("output_norm", weight.size(), panels_->hidden_size, "value of a hidden state"));
  RETURN_IF_ERROR(CheckFinite("output_norm", weight));
  if (!(epsilon >= 0 && epsilon <= 1)) return errors::OutOfRange("output_norm_epsilon", epsilon, "[0, 1]");
  norm_ = OutputNorm{.weight = std::vector<float>(weight.begin(), weight.end()), .epsilon = epsilon};
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const SoftmaxHead>> SoftmaxHead::Builder::Build() && {
  const bool by_token = dimension_count_ == 0;
  const size_t count = by_token ? token_count_ : dimension_count_;
  const size_t expected = by_token ? panels_->column_count : panels_->hidden_size;
  if (count != expected || (!by_token && token_count_ != 0)) {
    return errors::OutOfRange(
        "weights", std::to_string(token_count_) + " tokens, " + std::to_string(dimension_count_) + " dimensions",
        "all " + std::to_string(panels_->column_count) + " tokens, or all " + std::to_string(panels_->hidden_size) +
            " dimensions");
  }
  return std::shared_ptr<const SoftmaxHead>(
      new SoftmaxHead(HeadColumns(std::shared_ptr<const HeadPanels>(std::move(panels_))), std::move(norm_)));
}

}  // namespace logitd

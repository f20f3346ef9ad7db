#include "server/models/heads.h"

#include "core/errors.h"
#include "core/shown_text.h"

namespace logitd::server {
namespace {

constexpr size_t kMaxShownNames = 8;

std::string NamesOf(const std::vector<NamedHead>& heads) {
  std::string names;
  for (size_t i = 0; i < heads.size() && i < kMaxShownNames; ++i) names += (i == 0 ? "" : ", ") + heads[i].name;
  return heads.size() > kMaxShownNames ? names + ", ..." : names;
}

}  // namespace

std::string NamedHead::ShapeText() const {
  return "head " + Quoted(name) + " (W [V = " + std::to_string(head->vocab_size()) +
         ", d = " + std::to_string(head->hidden_size()) + "])";
}

const Heads& Heads::None() {
  static const Heads& none = *new Heads();
  return none;
}

absl::StatusOr<const NamedHead*> Heads::Find(std::string_view name, std::string_view field) const {
  if (name.empty() && heads_.size() == 1) return &heads_.front();
  for (const NamedHead& head : heads_) {
    if (head.name == name) return &head;
  }
  return errors::HeadNotFound(field, name, NamesOf(heads_));
}

absl::Status CheckHidden(const NamedHead& head, std::string_view width_field, int64_t width, std::string_view rows) {
  const int64_t expected = head.head->hidden_size();
  if (width == expected) return absl::OkStatus();
  std::string shapes = std::string(rows) + " and " + head.ShapeText();
  if (width == head.head->vocab_size()) {
    shapes += "; the width is V: these are logits, or W was read transposed (layout=dv of --head)";
  }
  return errors::HeadShapeMismatch(width_field, std::to_string(width), std::to_string(expected), "d", shapes);
}

absl::Status CheckHeadVocabulary(const NamedHead& head, std::string_view head_field, int64_t vocab_size) {
  const int64_t expected = head.head->vocab_size();
  if (vocab_size == expected) return absl::OkStatus();
  std::string shapes = "logits [" + std::to_string(vocab_size) + "] and " + head.ShapeText();
  if (vocab_size == head.head->hidden_size())
    shapes += "; vocab_size is d: W was read transposed (layout=dv of --head)";
  return errors::HeadShapeMismatch(head_field, "V = " + std::to_string(expected),
                                   "a head of V = " + std::to_string(vocab_size) + " (vocab_size)", "V", shapes);
}

absl::Status CheckNorm(const NamedHead& head, bool before_output_norm, const std::string& field) {
  if (!before_output_norm || head.head->output_norm() != nullptr) return absl::OkStatus();
  return errors::OutOfRange(field, "true", "false: head " + Quoted(head.name) + " has no output norm");
}

}  // namespace logitd::server

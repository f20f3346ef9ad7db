#include "server/head_tensors.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <utility>

#include "base/status_macros.h"
#include "core/limits.h"
#include "core/shown_text.h"

namespace logitd::server {
namespace {

using host::SafetensorsReader;
using host::SafetensorsTensor;
using host::ShapeText;

constexpr char kWeightSuffix[] = "weight";

// The output matrix, where a model has one of its own. The last is that of a torch.nn.Linear alone.
constexpr const char* kUntiedNames[] = {"lm_head.weight", "language_model.lm_head.weight", "output.weight",
                                        "embed_out.weight", "weight"};
// Embeddings, which serve as output matrix in models that have none.
constexpr const char* kTiedNames[] = {"model.embed_tokens.weight", "model.language_model.embed_tokens.weight",
                                      "language_model.model.embed_tokens.weight", "transformer.wte.weight",
                                      "wte.weight"};

absl::Status Error(const std::string& what) { return absl::InvalidArgumentError(what); }

// The files of a head, with their tensors by name.
class TensorSource {
 public:
  static absl::StatusOr<TensorSource> Of(const HeadSpec& spec, const host::StreamPatience& patience) {
    TensorSource source;
    source.patience_ = patience;
    source.path_ = spec.file;
    if (spec.is_index()) {
      ASSIGN_OR_RETURN(source.shards_, host::ReadSafetensorsIndex(spec.file));
      return source;
    }
    ASSIGN_OR_RETURN(SafetensorsReader reader, SafetensorsReader::Open(spec.file, patience));
    source.files_.push_back(std::move(reader));
    return source;
  }
  static TensorSource Of(SafetensorsReader stream) {
    TensorSource source;
    source.files_.push_back(std::move(stream));
    return source;
  }

  const std::string& path() const { return path_; }
  bool Has(const std::string& name) const {
    return shards_.empty() ? files_.front().header().Find(name) != nullptr : shards_.contains(name);
  }
  // A few names, for people.
  std::string SomeNames() const {
    std::vector<std::string> names;
    if (shards_.empty()) {
      for (const auto& [name, tensor] : files_.front().header().tensors) names.push_back(name);
    } else {
      for (const auto& [name, file] : shards_) names.push_back(name);
    }
    constexpr size_t kShown = 4;
    std::string text;
    for (size_t i = 0; i < names.size() && i < kShown; ++i) text += (i == 0 ? "" : ", ") + Quoted(names[i]);
    return names.size() > kShown ? text + " and " + std::to_string(names.size() - kShown) + " more" : text;
  }

  // The tensor, of a type that heads may have. Opens the shard that holds it.
  absl::StatusOr<HeadTensor> Take(const std::string& name) {
    if (!Has(name)) return Error("there is no tensor " + Quoted(name) + " in " + path_ + ", which has " + SomeNames());
    HeadTensor found{name, 0, {}};
    if (!shards_.empty()) {
      const std::string shard = shards_.find(name)->second;
      const auto [open, is_new] = open_.try_emplace(shard, files_.size());
      if (is_new) {
        const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
        ASSIGN_OR_RETURN(SafetensorsReader reader, SafetensorsReader::Open((folder / shard).string(), patience_));
        files_.push_back(std::move(reader));
      }
      found.file = open->second;
    }
    const SafetensorsTensor* tensor = files_[found.file].header().Find(name);
    if (tensor == nullptr) return Error("the index names a file for tensor " + Quoted(name) + " that does not have it");
    if (tensor->dtype != "F32" && tensor->dtype != "F16" && tensor->dtype != "BF16") {
      return Error("tensor " + Quoted(name) + " must be F32, F16 or BF16, got " + Quoted(tensor->dtype));
    }
    found.tensor = *tensor;
    return found;
  }

  std::deque<SafetensorsReader>& files() { return files_; }

 private:
  host::StreamPatience patience_;
  std::string path_ = "the stream";
  // Of an index: the file of each tensor.
  std::map<std::string, std::string, std::less<>> shards_;
  std::map<std::string, size_t> open_;
  std::deque<SafetensorsReader> files_;
};

// "model-00001-of-00002.safetensors": one of several files.
bool IsShard(const std::string& path) {
  const std::string stem = std::filesystem::path(path).stem().string();
  const size_t of = stem.rfind("-of-");
  return of != std::string::npos && stem.find_first_not_of("0123456789", of + 4) == std::string::npos &&
         std::strtol(stem.c_str() + of + 4, nullptr, 10) > 1;
}

// The name of the weight where the spec has none.
absl::StatusOr<std::string> WeightName(const TensorSource& source) {
  for (const char* name : kUntiedNames) {
    if (source.Has(name)) return name;
  }
  for (const char* name : kTiedNames) {
    if (!source.Has(name)) continue;
    if (!IsShard(source.path())) return name;
    return Error(source.path() + " is one of several files of a model, and has " + Quoted(name) +
                 " but no output matrix, which may be in another one: give the model's .index.json, or weight=" + name);
  }
  return Error(source.path() +
               " has no tensor that usually is a head (lm_head.weight, ..., or tied embeddings): give "
               "weight=NAME; it has " +
               source.SomeNames());
}

// The bias that belongs to the weight where the spec names none, or "".
std::string BiasName(const TensorSource& source, const std::string& weight) {
  if (!weight.ends_with(kWeightSuffix)) return "";
  std::string beside = weight.substr(0, weight.size() - std::string(kWeightSuffix).size()) + "bias";
  const bool is_tied = std::find(std::begin(kTiedNames), std::end(kTiedNames), weight) != std::end(kTiedNames);
  if (is_tied) beside = "lm_head.bias";
  return source.Has(beside) ? beside : "";
}

absl::Status CheckLength(const HeadTensor& vector, const char* kind, uint64_t expected, const char* axis,
                         uint64_t other, const HeadTensors& head) {
  const std::vector<uint64_t>& shape = vector.tensor.shape;
  if (shape.size() == 1 && shape[0] == expected) return absl::OkStatus();
  std::string what = std::string(kind) + " " + Quoted(vector.name) + " has shape " + ShapeText(shape) + ", must be [" +
                     std::to_string(expected) + "], axis " + axis + " of weight " + Quoted(head.weight.name) + " " +
                     ShapeText(head.weight.tensor.shape) + (head.tokens_first ? " = [V, d]" : " = [d, V]");
  if (shape.size() == 1 && shape[0] == other) {
    what += std::string("; it fits the other axis: is layout=") + (head.tokens_first ? "dv" : "vd") + " meant?";
  }
  return Error(what);
}

// Decides the axes of the weight, and sets its shape.
absl::Status DecideLayout(const HeadSpec& spec, HeadTensors& head) {
  const std::vector<uint64_t>& shape = head.weight.tensor.shape;
  const std::string weight = "weight " + Quoted(head.weight.name) + " of shape " + ShapeText(shape);
  if (shape.size() != 2) return Error(weight + " must have 2 axes, [V, d] or [d, V]");
  if (spec.layout != HeadSpec::Layout::kUnknown) {
    head.tokens_first = spec.layout == HeadSpec::Layout::kTokensFirst;
  } else if (head.bias && shape[0] != shape[1] && head.bias->tensor.shape.size() == 1 &&
             (head.bias->tensor.shape[0] == shape[0] || head.bias->tensor.shape[0] == shape[1])) {
    // A bias has one value for each token.
    head.tokens_first = head.bias->tensor.shape[0] == shape[0];
  } else if (spec.weight.empty() && shape[0] > shape[1]) {
    // The usual names are those of [V, d], and V is the larger one.
    head.tokens_first = true;
  } else {
    return Error(weight + (shape[0] == shape[1] ? " is square" : " may be [V, d] or [d, V]") +
                 ": say layout=vd if it has a row for each token (V = " + std::to_string(shape[0]) +
                 ", d = " + std::to_string(shape[1]) + "), layout=dv if it has a column for each (V = " +
                 std::to_string(shape[1]) + ", d = " + std::to_string(shape[0]) + ")");
  }
  const uint64_t vocab_size = shape[head.tokens_first ? 0 : 1];
  const uint64_t hidden_size = shape[head.tokens_first ? 1 : 0];
  const auto in_range = [](uint64_t size, const Limit& limit) {
    return size >= 1 && size <= static_cast<uint64_t>(limit.value);
  };
  if (!in_range(vocab_size, kMaxVocabSize)) {
    return Error(weight + ": V must be in [1, " + std::to_string(kMaxVocabSize) + "], got " +
                 std::to_string(vocab_size));
  }
  if (!in_range(hidden_size, kMaxHiddenSize)) {
    return Error(weight + ": d must be in [1, " + std::to_string(kMaxHiddenSize) + "], got " +
                 std::to_string(hidden_size));
  }
  head.shape = {static_cast<int32_t>(vocab_size), static_cast<int32_t>(hidden_size)};
  return absl::OkStatus();
}

absl::StatusOr<HeadTensors> Find(const HeadSpec& spec, TensorSource source) {
  HeadTensors head;
  std::string weight = spec.weight;
  if (weight.empty()) {
    ASSIGN_OR_RETURN(weight, WeightName(source));
  }
  ASSIGN_OR_RETURN(head.weight, source.Take(weight));
  if (const std::string bias = spec.bias.empty() ? BiasName(source, weight) : spec.bias; !bias.empty()) {
    ASSIGN_OR_RETURN(head.bias, source.Take(bias));
  }
  if (!spec.norm.empty()) {
    ASSIGN_OR_RETURN(head.norm, source.Take(spec.norm));
  }
  RETURN_IF_ERROR(DecideLayout(spec, head));
  const auto vocab_size = static_cast<uint64_t>(head.shape.vocab_size);
  const auto hidden_size = static_cast<uint64_t>(head.shape.hidden_size);
  if (head.bias) RETURN_IF_ERROR(CheckLength(*head.bias, "bias", vocab_size, "V", hidden_size, head));
  if (head.norm) RETURN_IF_ERROR(CheckLength(*head.norm, "norm", hidden_size, "d", vocab_size, head));
  head.norm_eps = spec.norm_eps.value_or(0);
  head.logit_scale = spec.logit_scale.value_or(1);
  head.soft_cap = spec.soft_cap.value_or(0);
  head.source_dtype = head.weight.tensor.dtype;
  head.files = std::move(source.files());
  return head;
}

}  // namespace

uint64_t SizeOfElement(const SafetensorsTensor& tensor) { return tensor.dtype == "F32" ? 4 : 2; }

absl::StatusOr<HeadTensors> FindHeadTensors(const HeadSpec& spec, const host::StreamPatience& patience) {
  ASSIGN_OR_RETURN(TensorSource source, TensorSource::Of(spec, patience));
  return Find(spec, std::move(source));
}

absl::StatusOr<HeadTensors> FindHeadTensors(SafetensorsReader stream) {
  const auto metadata = stream.header().metadata;
  const auto text = [&metadata](const char* key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? "" : found->second;
  };
  HeadSpec spec;
  spec.weight = "weight";
  spec.layout = HeadSpec::Layout::kTokensFirst;
  for (const auto& [key, most] : {std::pair("norm_eps", 1.0), {"logit_scale", 1e6}, {"soft_cap", 1e6}}) {
    const std::string word = text(key);
    if (word.empty()) continue;
    char* end = nullptr;
    const double value = std::strtod(word.c_str(), &end);
    if (*end != '\0' || !(std::abs(value) <= most)) return Error(std::string(key) + " makes no sense: " + Quoted(word));
    if (key == std::string("norm_eps")) spec.norm_eps = value;
    if (key == std::string("logit_scale")) spec.logit_scale = static_cast<float>(value);
    if (key == std::string("soft_cap")) spec.soft_cap = static_cast<float>(value);
  }
  if (spec.norm_eps) spec.norm = "output_norm";
  ASSIGN_OR_RETURN(HeadTensors head, Find(spec, TensorSource::Of(std::move(stream))));
  head.source_dtype = text("source_dtype");
  head.weight.name = text("weight_name");
  return head;
}

}  // namespace logitd::server

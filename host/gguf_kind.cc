#include "host/gguf_kind.h"

#include <algorithm>
#include <iterator>

namespace logitd::host {
namespace {

constexpr char kGiveModel[] = "; give a language model that predicts the next token";

struct ArchitectureKind {
  const char* name;
  const char* is;
};

// Architectures that predict no next token. llama.cpp loads many of them; other programs write the rest.
constexpr ArchitectureKind kOtherArchitectures[] = {
    {"clip", "the image or audio projector (mmproj) of a multimodal model"},
    {"controlvector", "a control vector"},
    {"imatrix", "an importance matrix for quantisation"},
    {"adapter", "a LoRA adapter"},
    {"bert", "an embedding model or reranker"},
    {"modern-bert", "an embedding model or reranker"},
    {"nomic-bert", "an embedding model"},
    {"nomic-bert-moe", "an embedding model"},
    {"neo-bert", "an embedding model"},
    {"jina-bert-v2", "an embedding model or reranker"},
    {"jina-bert-v3", "an embedding model"},
    {"eurobert", "an embedding model"},
    {"gemma-embedding", "an embedding model"},
    {"llama-embed", "an embedding model"},
    {"t5", "an encoder-decoder model"},
    {"t5encoder", "a text encoder"},
    {"dream", "a diffusion model of text"},
    {"llada", "a diffusion model of text"},
    {"llada-moe", "a diffusion model of text"},
    {"rnd1", "a diffusion model of text"},
    {"wavtokenizer-dec", "a vocoder"},
    {"whisper", "a model of speech"},
    {"sd1", "an image model"},
    {"sd3", "an image model"},
    {"sdxl", "an image model"},
    {"flux", "an image model"},
    {"aura", "an image model"},
    {"hidream", "an image model"},
    {"lumina2", "an image model"},
    {"qwen_image", "an image model"},
    {"cosmos", "a video model"},
    {"hyvid", "a video model"},
    {"ltxv", "a video model"},
    {"wan", "a video model"},
    {"eagle3", "a draft model for speculative decoding"},
    {"dflash", "a draft model for speculative decoding"},
    {"gemma4-assistant", "a draft model for speculative decoding"},
};

// Numbers of llama_pooling_type.
std::string PoolingName(int64_t type) {
  constexpr const char* kNames[] = {"none", "mean", "cls", "last", "rank"};
  return type >= 0 && type < static_cast<int64_t>(std::size(kNames)) ? kNames[type] : std::to_string(type);
}

// general.type, which llama.cpp's converters write.
std::string WhyNotByType(const GgufHeader& header) {
  const std::string type = header.Text("general.type");
  if (type == "adapter") {
    if (header.Text("adapter.type") == "control_vector") return "is a control vector" + std::string(kGiveModel);
    return "is a LoRA adapter, not a model; merge it into its base model with llama.cpp's llama-export-lora, and give "
           "what that writes";
  }
  if (type == "mmproj") {
    return "is the image or audio projector (mmproj) of a multimodal model; give the language model's own file";
  }
  if (type == "imatrix") return "is an importance matrix for quantisation" + std::string(kGiveModel);
  return "";
}

}  // namespace

std::string WhyNotALanguageModel(const GgufHeader& header) {
  if (const std::string why = WhyNotByType(header); !why.empty()) return why;
  const std::string architecture = header.Text("general.architecture");
  if (architecture.empty()) {
    return "holds no language model: its header has no key general.architecture (programs for images and speech write "
           "such GGUF files)" +
           std::string(kGiveModel);
  }
  for (const ArchitectureKind& other : kOtherArchitectures) {
    if (architecture != other.name) continue;
    return std::string("is ") + other.is + " (architecture " + architecture + ")" + kGiveModel;
  }
  const bool has_tokens = header.array_sizes.count("tokenizer.ggml.tokens") != 0;
  if (header.tensor_count == 0) {
    return has_tokens ? "holds a vocabulary only, and no weights; give the model's own file"
                      : "holds no tensors; give a whole model";
  }
  const int64_t pooling = header.Number(architecture + ".pooling_type").value_or(0);
  if (pooling > 0) {
    return std::string(pooling == 4 ? "is a reranker or classifier" : "is an embedding model") +
           ": its rows are pooled (pooling_type " + PoolingName(pooling) + ")" + kGiveModel;
  }
  if (header.Text(architecture + ".attention.causal") == "false") {
    return "is no language model: its attention is not causal (" + architecture + ".attention.causal is false)" +
           kGiveModel;
  }
  // The first part of a split model may leave the vocabulary to it, but never to another part.
  if (!has_tokens) {
    return "has no vocabulary: its header has no key tokenizer.ggml.tokens; convert the model again, with its "
           "tokenizer's files beside it";
  }
  return "";
}

}  // namespace logitd::host

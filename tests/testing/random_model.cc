// Writes a GGUF file with another file's vocabulary and random weights: a model of any family, in a second.
//
//   random_model --vocab ggml-vocab-gpt-2.gguf --out model.gguf
//     [--arch llama|gemma|gemma2|gemma3|qwen2|gpt2|gptneox|phi2|falcon|starcoder2|mamba] [--layers 2] [--embedding 64]
//     [--context 2048] [--seed 1] [--unset KEY]... [--set-false KEY]... [--type f32|f16] [--fill TENSOR=VALUE]...
//     [--set KEY=NUMBER]... [--set-float KEY=NUMBER]... [--chat-template FILE]
//
// The vocabulary is every tokenizer.* key of the file, without those of --unset, and false for those of --set-false.
// Weights are f32 (or f16), normal with a deviation of 1 / sqrt(columns), from SplitMix64 of the seed: equal arguments
// write equal files. Heads: 4 of embedding / 4. --fill gives every element of a matrix one value ("nan", too), --set
// adds a key of 32 bits, --set-float one of f32. Exit code 2: the arguments are wrong; 1: a file cannot be read or
// written.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ggml.h"
#include "gguf.h"

namespace {

struct Arguments {
  std::string vocab;
  std::string out;
  std::string arch = "llama";
  std::string type = "f32";
  uint32_t layers = 2;
  uint32_t embedding = 64;
  uint32_t context = 2048;
  uint64_t seed = 1;
  std::vector<std::string> unset;
  std::string chat_template;
  std::map<std::string, float> fill;
  std::map<std::string, uint32_t> set;
  std::map<std::string, float> set_float;
  std::vector<std::string> set_false;
};

class NormalStream {
 public:
  explicit NormalStream(uint64_t seed) : state_(seed) {}
  // The sum of 12 uniform numbers less 6: near enough to normal for weights, and the same on every machine.
  float Next() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(Bits() >> 11) * 0x1p-53;
    return static_cast<float>(sum);
  }

 private:
  uint64_t Bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

class Writer {
 public:
  Writer(const Arguments& arguments, gguf_context* file)
      : file_(file),
        fill_(arguments.fill),
        normal_(arguments.seed),
        type_(arguments.type == "f16" ? GGML_TYPE_F16 : GGML_TYPE_F32) {}

  // Shape: [rows, columns], a row's columns side by side.
  void Matrix(const std::string& name, int64_t columns, int64_t rows) {
    ggml_tensor* tensor = Add(name, type_, columns, rows);
    const float deviation = 1 / std::sqrt(static_cast<float>(columns));
    const auto fill = fill_.find(name);
    for (int64_t i = 0; i < columns * rows; ++i) {
      const float value = fill == fill_.end() ? normal_.Next() * deviation : fill->second;
      if (type_ == GGML_TYPE_F32) {
        static_cast<float*>(tensor->data)[i] = value;
      } else {
        static_cast<ggml_fp16_t*>(tensor->data)[i] = ggml_fp32_to_fp16(value);
      }
    }
    gguf_add_tensor(file_, tensor);
  }

  // f32, uniform in (-2, -1].
  void NegativeMatrix(const std::string& name, int64_t columns, int64_t rows) {
    ggml_tensor* tensor = Add(name, GGML_TYPE_F32, columns, rows);
    for (int64_t i = 0; i < columns * rows; ++i) {
      const float normal = normal_.Next();
      static_cast<float*>(tensor->data)[i] = -1 - (normal - std::floor(normal));
    }
    gguf_add_tensor(file_, tensor);
  }

  // A bias: normal with a deviation of 0.1.
  void RandomVector(const std::string& name, int64_t size) {
    ggml_tensor* tensor = Add(name, GGML_TYPE_F32, size, 0);
    for (int64_t i = 0; i < size; ++i) static_cast<float*>(tensor->data)[i] = normal_.Next() * 0.1f;
    gguf_add_tensor(file_, tensor);
  }

  void Vector(const std::string& name, int64_t size, float value) {
    ggml_tensor* tensor = Add(name, GGML_TYPE_F32, size, 0);
    for (int64_t i = 0; i < size; ++i) static_cast<float*>(tensor->data)[i] = value;
    gguf_add_tensor(file_, tensor);
  }

 private:
  ggml_tensor* Add(const std::string& name, ggml_type type, int64_t columns, int64_t rows) {
    const size_t bytes = static_cast<size_t>(columns * std::max<int64_t>(rows, 1)) * 4 + 4096;
    contexts_.emplace_back(ggml_init({.mem_size = bytes, .mem_buffer = nullptr, .no_alloc = false}), &ggml_free);
    ggml_tensor* tensor = rows > 0 ? ggml_new_tensor_2d(contexts_.back().get(), type, columns, rows)
                                   : ggml_new_tensor_1d(contexts_.back().get(), type, columns);
    ggml_set_name(tensor, name.c_str());
    return tensor;
  }

  gguf_context* const file_;
  const std::map<std::string, float> fill_;
  NormalStream normal_;
  const ggml_type type_;
  std::vector<std::unique_ptr<ggml_context, decltype(&ggml_free)>> contexts_;
};

int Fail(const std::string& what, int status) {
  std::fprintf(stderr, "random_model: %s\n", what.c_str());
  return status;
}

void KeepTokenizerKeys(gguf_context* file, const std::vector<std::string>& unset) {
  std::vector<std::string> others = unset;
  for (int64_t i = 0; i < gguf_get_n_kv(file); ++i) {
    const std::string key = gguf_get_key(file, i);
    if (key.rfind("tokenizer.", 0) != 0) others.push_back(key);
  }
  for (const std::string& key : others) gguf_remove_key(file, key.c_str());
}

// What tensors a family has besides those that all have: token_embd, a norm before the attention, attn_output, ffn_up,
// ffn_down, output_norm. Names as llama.cpp's, "{}.weight" and so on.
struct Family {
  const char* name;
  // Norms subtract the mean and have a bias; else they only scale.
  bool has_layer_norm = false;
  // One matrix for queries, keys and values.
  bool has_fused_qkv = false;
  bool has_qkv_bias = false;
  // Of attn_output, ffn_up and ffn_down.
  bool has_bias = false;
  bool has_gate = false;
  // Else the feed-forward reads what the attention reads.
  bool has_ffn_norm = true;
  // Else rows are computed from token_embd.
  bool has_output = false;
  bool has_output_bias = false;
  // Positions are learned, not rotated.
  bool has_positions = false;
  // Norms after the attention and the feed-forward.
  bool has_more_norms = false;
  // Norms of each attention head's queries and keys.
  bool has_head_norms = false;
  // Positions are distances that attention subtracts (ALiBi).
  bool has_distances = false;
  // Blocks are recurrent (mamba's): no attention, and a state that cannot be cut.
  bool is_recurrent = false;
};

// The feed-forward of gemma, gemma2, gemma3, gpt2, gptneox, phi2, falcon, starcoder2 and mpt is GELU, of the others
// SiLU.
constexpr Family kFamilies[] = {
    {.name = "llama", .has_gate = true, .has_output = true},
    {.name = "gemma", .has_gate = true},
    {.name = "gemma2", .has_gate = true, .has_more_norms = true},
    {.name = "gemma3", .has_gate = true, .has_more_norms = true, .has_head_norms = true},
    {.name = "qwen2", .has_qkv_bias = true, .has_gate = true, .has_output = true},
    {.name = "gpt2",
     .has_layer_norm = true,
     .has_fused_qkv = true,
     .has_qkv_bias = true,
     .has_bias = true,
     .has_positions = true},
    {.name = "gptneox",
     .has_layer_norm = true,
     .has_fused_qkv = true,
     .has_qkv_bias = true,
     .has_bias = true,
     .has_output = true},
    {.name = "phi2",
     .has_layer_norm = true,
     .has_qkv_bias = true,
     .has_bias = true,
     .has_ffn_norm = false,
     .has_output = true,
     .has_output_bias = true},
    {.name = "falcon", .has_layer_norm = true, .has_fused_qkv = true, .has_ffn_norm = false},
    {.name = "starcoder2", .has_layer_norm = true, .has_qkv_bias = true, .has_bias = true},
    {.name = "mpt", .has_layer_norm = true, .has_fused_qkv = true, .has_output = true, .has_distances = true},
    {.name = "mamba", .is_recurrent = true},
};

const Family* FindFamily(const std::string& name) {
  const auto* found = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                   [&](const Family& family) { return name == family.name; });
  return found == std::end(kFamilies) ? nullptr : found;
}

void WriteNorm(const Family& family, const std::string& name, int64_t size, Writer& writer) {
  writer.Vector(name + ".weight", size, 1.0f);
  if (family.has_layer_norm) writer.RandomVector(name + ".bias", size);
}

void WriteBlock(const Family& family, const std::string& block, uint32_t width, uint32_t inner, Writer& writer) {
  const auto matrix = [&](const char* name, uint32_t columns, uint32_t rows, bool has_bias) {
    writer.Matrix(block + name + ".weight", columns, rows);
    if (has_bias) writer.RandomVector(block + name + ".bias", rows);
  };
  WriteNorm(family, block + "attn_norm", width, writer);
  if (family.has_fused_qkv) {
    matrix("attn_qkv", width, 3 * width, family.has_qkv_bias);
  } else {
    for (const char* name : {"attn_q", "attn_k", "attn_v"}) matrix(name, width, width, family.has_qkv_bias);
  }
  matrix("attn_output", width, width, family.has_bias);
  if (family.has_head_norms) {
    for (const char* name : {"attn_q_norm", "attn_k_norm"}) writer.Vector(block + name + ".weight", width / 4, 1.0f);
  }
  if (family.has_more_norms) {
    for (const char* name : {"post_attention_norm", "post_ffw_norm"}) WriteNorm(family, block + name, width, writer);
  }
  if (family.has_ffn_norm) WriteNorm(family, block + "ffn_norm", width, writer);
  if (family.has_gate) matrix("ffn_gate", width, inner, false);
  matrix("ffn_up", width, inner, family.has_bias);
  matrix("ffn_down", inner, width, family.has_bias);
}

constexpr uint32_t kStateSize = 8;
constexpr uint32_t kConvolution = 4;

void WriteRecurrentBlock(const std::string& block, uint32_t width, uint32_t inner, Writer& writer) {
  const uint32_t rank = width / 16;
  writer.Vector(block + "attn_norm.weight", width, 1.0f);
  writer.Matrix(block + "ssm_in.weight", width, 2 * inner);
  writer.Matrix(block + "ssm_conv1d.weight", kConvolution, inner);
  writer.RandomVector(block + "ssm_conv1d.bias", inner);
  writer.Matrix(block + "ssm_x.weight", inner, rank + 2 * kStateSize);
  writer.Matrix(block + "ssm_dt.weight", rank, inner);
  writer.RandomVector(block + "ssm_dt.bias", inner);
  // Negative, so that the state decays.
  writer.NegativeMatrix(block + "ssm_a", kStateSize, inner);
  writer.Vector(block + "ssm_d", inner, 1.0f);
  writer.Matrix(block + "ssm_out.weight", inner, width);
}

void WriteRecurrentKeys(gguf_context* file, const std::string& arch, uint32_t width, uint32_t inner) {
  for (const auto& [name, value] : std::map<std::string, uint32_t>{{"ssm.conv_kernel", kConvolution},
                                                                   {"ssm.inner_size", inner},
                                                                   {"ssm.state_size", kStateSize},
                                                                   {"ssm.time_step_rank", width / 16}}) {
    gguf_set_val_u32(file, (arch + "." + name).c_str(), value);
  }
}

void WriteModel(const Arguments& arguments, gguf_context* file, int64_t vocab_size, Writer& writer) {
  const Family& family = *FindFamily(arguments.arch);
  const auto key = [&](const char* name) { return arguments.arch + "." + name; };
  const uint32_t width = arguments.embedding;
  const uint32_t inner = 2 * width;
  gguf_set_val_str(file, "general.architecture", arguments.arch.c_str());
  gguf_set_val_str(file, "general.name", "random weights");
  gguf_set_val_u32(file, key("context_length").c_str(), arguments.context);
  gguf_set_val_u32(file, key("embedding_length").c_str(), width);
  gguf_set_val_u32(file, key("block_count").c_str(), arguments.layers);
  gguf_set_val_u32(file, key("feed_forward_length").c_str(), inner);
  gguf_set_val_u32(file, key("attention.head_count").c_str(), 4);
  gguf_set_val_u32(file, key("attention.head_count_kv").c_str(), 4);
  gguf_set_val_u32(file, key("attention.key_length").c_str(), width / 4);
  gguf_set_val_u32(file, key("attention.value_length").c_str(), width / 4);
  gguf_set_val_u32(file, key("rope.dimension_count").c_str(), width / 4);
  gguf_set_val_f32(
      file, key(family.has_layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon").c_str(),
      1e-5f);
  if (family.is_recurrent) WriteRecurrentKeys(file, arguments.arch, width, inner);
  if (family.has_distances) gguf_set_val_f32(file, key("attention.max_alibi_bias").c_str(), 8.0f);
  if (arguments.arch == "gptneox") gguf_set_val_bool(file, key("use_parallel_residual").c_str(), true);
  gguf_set_val_u32(file, key("vocab_size").c_str(), static_cast<uint32_t>(vocab_size));
  for (const auto& [name, value] : arguments.set) gguf_set_val_u32(file, name.c_str(), value);
  for (const auto& [name, value] : arguments.set_float) gguf_set_val_f32(file, name.c_str(), value);
  writer.Matrix("token_embd.weight", width, vocab_size);
  if (family.has_positions) writer.Matrix("position_embd.weight", width, arguments.context);
  for (uint32_t i = 0; i < arguments.layers; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    if (family.is_recurrent) {
      WriteRecurrentBlock(block, width, inner, writer);
    } else {
      WriteBlock(family, block, width, inner, writer);
    }
  }
  WriteNorm(family, "output_norm", width, writer);
  if (family.has_output) writer.Matrix("output.weight", width, vocab_size);
  if (family.has_output_bias) writer.RandomVector("output.bias", vocab_size);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const std::string value = argv[i + 1];
    if (flag == "--vocab") {
      arguments.vocab = value;
    } else if (flag == "--out") {
      arguments.out = value;
    } else if (flag == "--arch" && FindFamily(value) != nullptr) {
      arguments.arch = value;
    } else if (flag == "--type" && (value == "f32" || value == "f16")) {
      arguments.type = value;
    } else if (flag == "--layers") {
      arguments.layers = static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
    } else if (flag == "--embedding") {
      arguments.embedding = static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
    } else if (flag == "--context") {
      arguments.context = static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
    } else if (flag == "--seed") {
      arguments.seed = std::strtoull(value.c_str(), nullptr, 10);
    } else if (flag == "--unset") {
      arguments.unset.push_back(value);
    } else if ((flag == "--fill" || flag == "--set" || flag == "--set-float") && value.find('=') != std::string::npos) {
      const std::string name = value.substr(0, value.find('='));
      const char* number = value.c_str() + name.size() + 1;
      if (flag != "--set") {
        (flag == "--fill" ? arguments.fill : arguments.set_float)[name] = std::strtof(number, nullptr);
      } else {
        arguments.set[name] = static_cast<uint32_t>(std::strtoul(number, nullptr, 10));
      }
    } else if (flag == "--chat-template") {
      std::ifstream file(value, std::ios::binary);
      arguments.chat_template.assign(std::istreambuf_iterator<char>(file), {});
      if (arguments.chat_template.empty()) return Fail("cannot read " + value, 1);
    } else if (flag == "--set-false") {
      arguments.set_false.push_back(value);
    } else {
      return Fail("what is " + flag + " " + value + "?", 2);
    }
  }
  if (argc % 2 == 0 || arguments.vocab.empty() || arguments.out.empty()) {
    return Fail("usage: random_model --vocab FILE --out FILE [--arch llama|gemma|gpt2|...] ...", 2);
  }
  std::unique_ptr<gguf_context, decltype(&gguf_free)> source(
      gguf_init_from_file(arguments.vocab.c_str(), {.no_alloc = true, .ctx = nullptr}), &gguf_free);
  if (source == nullptr) return Fail("cannot read " + arguments.vocab, 1);
  std::unique_ptr<gguf_context, decltype(&gguf_free)> file(gguf_init_empty(), &gguf_free);
  gguf_set_kv(file.get(), source.get());
  const int64_t tokens = gguf_find_key(file.get(), "tokenizer.ggml.tokens");
  if (tokens < 0) return Fail(arguments.vocab + " has no vocabulary", 1);
  const auto vocab_size = static_cast<int64_t>(gguf_get_arr_n(file.get(), tokens));
  KeepTokenizerKeys(file.get(), arguments.unset);
  if (!arguments.chat_template.empty()) {
    gguf_set_val_str(file.get(), "tokenizer.chat_template", arguments.chat_template.c_str());
  }
  for (const std::string& key : arguments.set_false) gguf_set_val_bool(file.get(), key.c_str(), false);
  Writer writer(arguments, file.get());
  WriteModel(arguments, file.get(), vocab_size, writer);
  if (!gguf_write_to_file(file.get(), arguments.out.c_str(), /*only_meta=*/false)) {
    return Fail("cannot write " + arguments.out, 1);
  }
}

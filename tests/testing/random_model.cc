// Writes a GGUF file with another file's vocabulary and random weights: a model of any family, in a second.
//
//   random_model --vocab ggml-vocab-gpt-2.gguf --out model.gguf
//     [--arch llama|gemma] [--layers 2] [--embedding 64] [--context 2048] [--seed 1] [--unset KEY]...
//     [--set-false KEY]... [--type f32|f16] [--fill TENSOR=VALUE]... [--set KEY=NUMBER]...
//
// The vocabulary is every tokenizer.* key of the file, without those of --unset, and false for those of --set-false.
// Weights are f32 (or f16), normal with a deviation of 1 / sqrt(columns), from SplitMix64 of the seed: equal arguments
// write equal files. Heads: 4 of embedding / 4. --fill gives every element of a matrix one value ("nan", too), --set
// adds a key of 32 bits. Exit code 2: the arguments are wrong; 1: a file cannot be read or written.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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
  std::map<std::string, float> fill;
  std::map<std::string, uint32_t> set;
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

// llama and gemma: the same tensors; gemma's feed-forward is GELU, and its rows come from token_embd.
void WriteModel(const Arguments& arguments, gguf_context* file, int64_t vocab_size, Writer& writer) {
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
  gguf_set_val_f32(file, key("attention.layer_norm_rms_epsilon").c_str(), 1e-5f);
  gguf_set_val_u32(file, key("vocab_size").c_str(), static_cast<uint32_t>(vocab_size));
  for (const auto& [name, value] : arguments.set) gguf_set_val_u32(file, name.c_str(), value);
  writer.Matrix("token_embd.weight", width, vocab_size);
  for (uint32_t i = 0; i < arguments.layers; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    writer.Vector(block + "attn_norm.weight", width, 1.0f);
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
      writer.Matrix(block + name + ".weight", width, width);
    }
    writer.Vector(block + "ffn_norm.weight", width, 1.0f);
    writer.Matrix(block + "ffn_gate.weight", width, inner);
    writer.Matrix(block + "ffn_up.weight", width, inner);
    writer.Matrix(block + "ffn_down.weight", inner, width);
  }
  writer.Vector("output_norm.weight", width, 1.0f);
  if (arguments.arch == "llama") writer.Matrix("output.weight", width, vocab_size);
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
    } else if (flag == "--arch" && (value == "llama" || value == "gemma")) {
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
    } else if ((flag == "--fill" || flag == "--set") && value.find('=') != std::string::npos) {
      const std::string name = value.substr(0, value.find('='));
      const char* number = value.c_str() + name.size() + 1;
      if (flag == "--fill") {
        arguments.fill[name] = std::strtof(number, nullptr);
      } else {
        arguments.set[name] = static_cast<uint32_t>(std::strtoul(number, nullptr, 10));
      }
    } else if (flag == "--set-false") {
      arguments.set_false.push_back(value);
    } else {
      return Fail("what is " + flag + " " + value + "?", 2);
    }
  }
  if (argc % 2 == 0 || arguments.vocab.empty() || arguments.out.empty()) {
    return Fail("usage: random_model --vocab FILE --out FILE [--arch llama|gemma] ...", 2);
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
  for (const std::string& key : arguments.set_false) gguf_set_val_bool(file.get(), key.c_str(), false);
  Writer writer(arguments, file.get());
  WriteModel(arguments, file.get(), vocab_size, writer);
  if (!gguf_write_to_file(file.get(), arguments.out.c_str(), /*only_meta=*/false)) {
    return Fail("cannot write " + arguments.out, 1);
  }
}

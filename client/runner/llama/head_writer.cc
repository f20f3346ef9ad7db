#include "client/runner/llama/head_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <vector>

#include "base/status_macros.h"
#include "client/runner/llama/llama_log.h"
#include "client/runner/llama/model_file.h"
#include "ggml.h"
#include "gguf.h"
#include "host/file_kind.h"

namespace logitd::runner {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

enum class Matrix { kOwn, kOwnOrTied, kTied };
enum class Norm { kRms, kLayer };
enum class Scale { kNone, kMultiply, kDivide };

// What llama.cpp (src/models/NAME.cpp, the graph's end) does after the last block.
struct Architecture {
  const char* name;
  Matrix matrix = Matrix::kOwnOrTied;
  Norm norm = Norm::kRms;
  bool has_bias = false;
  Scale scale = Scale::kNone;
  // Soft-capping where the file has no key for it; 0: none. Unset: the architecture has no soft-capping.
  std::optional<float> default_cap = std::nullopt;
};
constexpr Architecture kArchitectures[] = {
    {.name = "llama"},
    {.name = "llama4"},
    {.name = "mistral3"},
    {.name = "smollm3"},
    {.name = "deepseek2"},
    {.name = "qwen", .matrix = Matrix::kOwn},
    {.name = "qwen2", .has_bias = true},
    {.name = "qwen2moe", .matrix = Matrix::kOwn},
    {.name = "qwen3"},
    {.name = "qwen3moe"},
    {.name = "phi3", .has_bias = true},
    {.name = "internlm2", .matrix = Matrix::kOwn},
    {.name = "olmo2", .matrix = Matrix::kOwn},
    {.name = "gpt-oss", .matrix = Matrix::kOwn},
    {.name = "glm4"},
    {.name = "mamba"},
    {.name = "gemma", .matrix = Matrix::kTied},
    {.name = "gemma2", .matrix = Matrix::kTied, .default_cap = 30},
    {.name = "gemma3", .default_cap = 0},
    {.name = "gemma4", .default_cap = 30},
    {.name = "granite", .scale = Scale::kDivide},
    {.name = "command-r", .matrix = Matrix::kTied, .norm = Norm::kLayer, .scale = Scale::kMultiply},
    {.name = "cohere2", .matrix = Matrix::kTied, .norm = Norm::kLayer, .scale = Scale::kMultiply},
    {.name = "gpt2", .norm = Norm::kLayer},
    {.name = "gptneox", .matrix = Matrix::kOwn, .norm = Norm::kLayer},
    {.name = "phi2", .matrix = Matrix::kOwn, .norm = Norm::kLayer, .has_bias = true},
    {.name = "falcon", .norm = Norm::kLayer},
    {.name = "starcoder2", .norm = Norm::kLayer},
    {.name = "stablelm", .matrix = Matrix::kOwn, .norm = Norm::kLayer},
    {.name = "bloom", .norm = Norm::kLayer},
    {.name = "mpt", .norm = Norm::kLayer},
};

struct Closer {
  void operator()(gguf_context* header) const { gguf_free(header); }
  void operator()(ggml_context* shapes) const { ggml_free(shapes); }
};

// One file of the model: its header, and its tensors without their data.
struct Part {
  std::string path;
  std::unique_ptr<gguf_context, Closer> header;
  std::unique_ptr<ggml_context, Closer> shapes;
};

struct Tensor {
  const Part* part = nullptr;
  const ggml_tensor* shape = nullptr;
  int64_t offset = 0;

  int64_t row_length() const { return shape->ne[0]; }
  int64_t row_count() const { return shape->ne[1]; }
};

absl::Status Error(const std::string& file, const std::string& what) {
  return absl::InvalidArgumentError("model file " + file + " " + what);
}

absl::StatusOr<std::vector<Part>> OpenParts(const std::string& file) {
  // Names what is wrong with a file that is no model, or is cut off.
  RETURN_IF_ERROR(InspectModelFile(file).status());
  std::vector<Part> parts;
  QuietLlamaLog quiet;
  for (const std::string& path : host::PartsOf(file)) {
    Part& part = parts.emplace_back();
    part.path = path;
    ggml_context* shapes = nullptr;
    part.header.reset(gguf_init_from_file(path.c_str(), {.no_alloc = true, .ctx = &shapes}));
    part.shapes.reset(shapes);
    if (part.header == nullptr) return Error(path, "cannot be read: " + TakeLastLlamaError());
  }
  return parts;
}

std::optional<Tensor> FindTensor(const std::vector<Part>& parts, const char* name) {
  for (const Part& part : parts) {
    const int64_t index = gguf_find_tensor(part.header.get(), name);
    if (index < 0) continue;
    const ggml_tensor* shape = ggml_get_tensor(part.shapes.get(), name);
    if (shape == nullptr) continue;
    const size_t offset = gguf_get_data_offset(part.header.get()) + gguf_get_tensor_offset(part.header.get(), index);
    return Tensor{&part, shape, static_cast<int64_t>(offset)};
  }
  return std::nullopt;
}

// Unset: there is no such key. NaN: it is no f32.
std::optional<float> FloatOf(const Part& part, const std::string& key) {
  const int64_t index = gguf_find_key(part.header.get(), key.c_str());
  if (index < 0) return std::nullopt;
  if (gguf_get_kv_type(part.header.get(), index) != GGUF_TYPE_FLOAT32) return std::nanf("");
  return gguf_get_val_f32(part.header.get(), index);
}

// The shortest text that reads back.
std::string NumberText(double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.17g", value);
  return text;
}

// A tensor as f32, to `out`, in pieces of whole rows.
absl::Status WriteTensor(const Tensor& tensor, std::FILE* out) {
  const ggml_type type = tensor.shape->type;
  const ggml_to_float_t to_float = ggml_get_type_traits(type)->to_float;
  const std::string& path = tensor.part->path;
  if (type != GGML_TYPE_F32 && to_float == nullptr) {
    return Error(path, std::string("has a head of type ") + ggml_type_name(type) + ", which cannot be dequantised");
  }
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::UnavailableError("model file " + path + " cannot be read: " + std::strerror(errno));
  struct Close {
    int fd;
    ~Close() { ::close(fd); }
  } const close{fd};
  const size_t row_bytes = ggml_row_size(type, tensor.row_length());
  const auto rows_at_once = static_cast<int64_t>(std::max<size_t>(1, kPieceBytes / row_bytes));
  std::vector<char> bytes(static_cast<size_t>(rows_at_once) * row_bytes);
  std::vector<float> values(static_cast<size_t>(rows_at_once * tensor.row_length()));
  for (int64_t row = 0; row < tensor.row_count(); row += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, tensor.row_count() - row);
    const size_t size = static_cast<size_t>(rows) * row_bytes;
    for (size_t done = 0; done < size;) {
      const off_t place =
          tensor.offset + static_cast<off_t>(row) * static_cast<off_t>(row_bytes) + static_cast<off_t>(done);
      const ssize_t read = ::pread(fd, bytes.data() + done, size - done, place);
      if (read < 0 && errno == EINTR) continue;
      if (read < 0) return absl::UnavailableError("model file " + path + " cannot be read: " + std::strerror(errno));
      if (read == 0) return Error(path, "was changed while it was read: it ends early");
      done += static_cast<size_t>(read);
    }
    const auto count = static_cast<size_t>(rows * tensor.row_length());
    if (type == GGML_TYPE_F32) {
      std::memcpy(values.data(), bytes.data(), size);
    } else {
      to_float(bytes.data(), values.data(), rows * tensor.row_length());
    }
    if (std::fwrite(values.data(), sizeof(float), count, out) != count) {
      return absl::UnavailableError(std::string("the head cannot be written: ") + std::strerror(errno));
    }
  }
  return absl::OkStatus();
}

// What a model has after its last block.
struct Head {
  Tensor weight;
  std::string weight_name;
  std::optional<Tensor> bias;
  std::optional<Tensor> norm;
  // Metadata of the stream.
  std::vector<std::pair<std::string, std::string>> numbers;
};

absl::Status CheckVector(const std::string& file, const char* name, const Tensor& tensor, int64_t length,
                         const char* axis) {
  if (tensor.row_length() == length && ggml_nelements(tensor.shape) == length) return absl::OkStatus();
  return Error(file, std::string("has ") + name + " of " + std::to_string(ggml_nelements(tensor.shape)) +
                         " values, must be " + std::to_string(length) + " (axis " + axis + " of its output matrix)");
}

absl::Status ReadNumbers(const std::string& file, const Part& first, const Architecture& architecture, Head& head) {
  const std::string prefix = std::string(architecture.name) + ".";
  const auto set = [&head](const char* key, double value) { head.numbers.emplace_back(key, NumberText(value)); };
  const auto is_no_number = [&](const char* key) {
    return Error(file, "has a key " + prefix + key + " whose value makes no sense");
  };
  if (head.norm) {
    const std::optional<float> eps = FloatOf(first, prefix + "attention.layer_norm_rms_epsilon");
    if (!eps || !(*eps >= 0 && *eps <= 1)) return is_no_number("attention.layer_norm_rms_epsilon");
    set("norm_eps", *eps);
  }
  if (const std::optional<float> scale = FloatOf(first, prefix + "logit_scale")) {
    if (!std::isfinite(*scale)) return is_no_number("logit_scale");
    if (architecture.scale == Scale::kNone && *scale != 0 && *scale != 1) {
      return Error(file, std::string("has a logit scale, whose meaning in the architecture '") + architecture.name +
                             "' is not known here");
    }
    if (architecture.scale == Scale::kMultiply && *scale != 0) set("logit_scale", *scale);
    if (architecture.scale == Scale::kDivide && *scale == 0) return is_no_number("logit_scale");
    if (architecture.scale == Scale::kDivide) set("logit_scale", 1.0f / *scale);
  } else if (architecture.scale == Scale::kDivide) {
    return Error(file, "lacks the key " + prefix + "logit_scale, by which its logits are divided");
  }
  std::optional<float> cap = FloatOf(first, prefix + "final_logit_softcapping");
  if (!architecture.default_cap) {
    if (!cap || *cap == 0) return absl::OkStatus();
    return Error(file, std::string("has final soft-capping, whose meaning in the architecture '") + architecture.name +
                           "' is not known here");
  }
  if (!cap) cap = architecture.default_cap;
  if (!(*cap >= 0 && std::isfinite(*cap))) return is_no_number("final_logit_softcapping");
  if (*cap > 0) set("soft_cap", *cap);
  return absl::OkStatus();
}

absl::StatusOr<Head> FindHead(const std::string& file, const std::vector<Part>& parts) {
  const Part& first = parts.front();
  const int64_t key = gguf_find_key(first.header.get(), "general.architecture");
  const bool is_text = key >= 0 && gguf_get_kv_type(first.header.get(), key) == GGUF_TYPE_STRING;
  const std::string name = is_text ? gguf_get_val_str(first.header.get(), key) : "";
  const auto* found = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                   [&name](const Architecture& one) { return name == one.name; });
  if (found == std::end(kArchitectures)) {
    return Error(file, "is of the architecture '" + name.substr(0, 64) +
                           "', whose head (norm, scale, soft-capping) is not known here; write the head to a "
                           "safetensors file and give that");
  }
  Head head;
  const std::optional<Tensor> own = FindTensor(parts, "output.weight");
  const std::optional<Tensor> embeddings = FindTensor(parts, "token_embd.weight");
  const bool is_own = found->matrix != Matrix::kTied && own;
  if (!is_own && (found->matrix == Matrix::kOwn || !embeddings)) {
    return Error(
        file, std::string("has no tensor ") + (found->matrix == Matrix::kTied ? "token_embd.weight" : "output.weight"));
  }
  head.weight = is_own ? *own : *embeddings;
  head.weight_name = is_own ? "output.weight" : "token_embd.weight";
  if (ggml_n_dims(head.weight.shape) != 2) return Error(file, "has an output matrix that is none: " + head.weight_name);
  if (FindTensor(parts, "output.scale")) return Error(file, "has a tensor output.scale, which is not known here");
  head.bias = FindTensor(parts, "output.bias");
  if (head.bias && !found->has_bias) {
    return Error(file, std::string("has a tensor output.bias, which the architecture '") + found->name + "' has not");
  }
  if (found->norm == Norm::kRms) {
    head.norm = FindTensor(parts, "output_norm.weight");
    if (!head.norm) return Error(file, "has no tensor output_norm.weight");
    RETURN_IF_ERROR(CheckVector(file, "output_norm.weight", *head.norm, head.weight.row_length(), "d"));
  }
  if (head.bias) RETURN_IF_ERROR(CheckVector(file, "output.bias", *head.bias, head.weight.row_count(), "V"));
  RETURN_IF_ERROR(ReadNumbers(file, first, *found, head));
  head.numbers.emplace_back("source_dtype", ggml_type_name(head.weight.shape->type));
  head.numbers.emplace_back("weight_name", head.weight_name);
  return head;
}

}  // namespace

absl::Status WriteHead(const std::string& model_file, std::FILE* out) {
  ASSIGN_OR_RETURN(const std::vector<Part> parts, OpenParts(model_file));
  ASSIGN_OR_RETURN(const Head head, FindHead(model_file, parts));
  std::string json = "{\"__metadata__\":{";
  for (const auto& [key, value] : head.numbers) {
    json += (json.ends_with('{') ? "\"" : ",\"") + key + "\":\"" + value + "\"";
  }
  json += "}";
  uint64_t place = 0;
  const auto add = [&](const char* name, const Tensor& tensor, const std::string& shape) {
    const uint64_t end = place + static_cast<uint64_t>(ggml_nelements(tensor.shape)) * sizeof(float);
    json += std::string(",\"") + name + "\":{\"dtype\":\"F32\",\"shape\":[" + shape + "],\"data_offsets\":[" +
            std::to_string(place) + "," + std::to_string(end) + "]}";
    place = end;
  };
  // The small ones first, so that what is wrong with them is known before the matrix is read.
  if (head.norm) add("output_norm", *head.norm, std::to_string(head.norm->row_length()));
  if (head.bias) add("bias", *head.bias, std::to_string(head.bias->row_length()));
  add("weight", head.weight, std::to_string(head.weight.row_count()) + "," + std::to_string(head.weight.row_length()));
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  const uint64_t size = json.size();
  if (std::fwrite(&size, sizeof(size), 1, out) != 1 || std::fwrite(json.data(), 1, json.size(), out) != json.size()) {
    return absl::UnavailableError(std::string("the head cannot be written: ") + std::strerror(errno));
  }
  if (head.norm) RETURN_IF_ERROR(WriteTensor(*head.norm, out));
  if (head.bias) RETURN_IF_ERROR(WriteTensor(*head.bias, out));
  RETURN_IF_ERROR(WriteTensor(head.weight, out));
  if (std::fflush(out) != 0) {
    return absl::UnavailableError(std::string("the head cannot be written: ") + std::strerror(errno));
  }
  return absl::OkStatus();
}

int RunWriteHead(const std::string& model_file) {
  InstallLlamaLog();
  const absl::Status status = WriteHead(model_file, stdout);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace logitd::runner

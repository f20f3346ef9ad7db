#include "client/runner/llama/model_file.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>

#include "base/status_macros.h"
#include "client/runner/llama/llama_log.h"
#include "host/file_kind.h"
#include "llama.h"

namespace logitd::runner {
namespace {

absl::Status Damaged(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError("model file " + path + " is truncated or damaged: " + what +
                                    "; download or copy it again");
}

// The text between the first pair of single quotes; "" if there is none.
std::string QuotedIn(const std::string& text) {
  const size_t begin = text.find('\'');
  const size_t end = text.find('\'', begin + 1);
  return begin == std::string::npos || end == std::string::npos ? "" : text.substr(begin + 1, end - begin - 1);
}

// Adds the contents of one part of a model to `file`.
absl::Status AddPart(const std::string& path, ModelFile& file) {
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(path, error);
  QuietLlamaLog quiet;
  TakeLastLlamaError();
  // The tensors' shapes without their data: with a context of them, ggml tells the sizes of all types.
  ggml_context* raw_shapes = nullptr;
  std::unique_ptr<gguf_context, decltype(&gguf_free)> header(
      gguf_init_from_file(path.c_str(), {.no_alloc = true, .ctx = &raw_shapes}), &gguf_free);
  std::unique_ptr<ggml_context, decltype(&ggml_free)> shapes(raw_shapes, &ggml_free);
  if (header == nullptr) {
    const std::string reason = TakeLastLlamaError();
    // Types that are newer than this llama.cpp, or that it no longer has.
    if (reason.find("ggml type") != std::string::npos || reason.find("of type") != std::string::npos) {
      return absl::InvalidArgumentError("model file " + path + " cannot be served: " + WhyLlamaCannot(reason));
    }
    return Damaged(path, "its header cannot be read (" + reason + ")");
  }
  const int64_t tensor_count = gguf_get_n_tensors(header.get());
  uint64_t needed = 0;
  for (int64_t i = 0; i < tensor_count; ++i) {
    const uint64_t end = gguf_get_data_offset(header.get()) + gguf_get_tensor_offset(header.get(), i) +
                         gguf_get_tensor_size(header.get(), i);
    needed = std::max(needed, end);
    file.tensor_bytes += static_cast<int64_t>(gguf_get_tensor_size(header.get(), i));
    const ggml_tensor* shape = ggml_get_tensor(shapes.get(), gguf_get_tensor_name(header.get(), i));
    if (shape == nullptr || ggml_n_dims(shape) < 2) continue;
    file.all_f32 &= shape->type == GGML_TYPE_F32;
    file.all_f32_or_f16 &= shape->type == GGML_TYPE_F32 || shape->type == GGML_TYPE_F16;
  }
  if (needed > size) {
    return Damaged(path, "it has " + std::to_string(size) + " bytes, its header describes " + std::to_string(needed));
  }
  file.size += static_cast<int64_t>(size);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelFile> InspectModelFile(const std::string& path) {
  RETURN_IF_ERROR(host::CheckModelFile(path));
  ModelFile file;
  file.path = path;
  file.all_f32 = true;
  file.all_f32_or_f16 = true;
  for (const std::string& part : host::PartsOf(path)) RETURN_IF_ERROR(AddPart(part, file));
  return file;
}

std::string WhyLlamaCannot(const std::string& error) {
  const std::string version = std::string("llama.cpp ") + llama_version() + ", which this logitd-llama has";
  const auto has = [&](const char* part) { return error.find(part) != std::string::npos; };
  if (has("unknown model architecture")) {
    return "its architecture '" + QuotedIn(error) + "' is not known to " + version + "; use a newer logitd-llama";
  }
  if (has("unknown pre-tokenizer type") || has("unknown tokenizer")) {
    return "its tokenizer '" + QuotedIn(error) + "' is not known to " + version + "; use a newer logitd-llama";
  }
  if (has("ggml type") || has("of type")) {
    return "its weights have a type that " + version + ", does not read (" + error +
           "); quantise the model again, or use a newer logitd-llama";
  }
  if (has("missing tensor") || has("wrong number of tensors") || has("wrong shape")) {
    return "its tensors are not those that " + version + ", expects of its architecture (" + error +
           "); it was made for another version, or by another program: convert the model again";
  }
  return "llama.cpp says: " + error;
}

}  // namespace logitd::runner

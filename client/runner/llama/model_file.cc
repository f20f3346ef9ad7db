#include "client/runner/llama/model_file.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <system_error>
#include <vector>

#include "client/runner/llama/llama_log.h"
#include "llama.h"

namespace logitd::runner {
namespace {

absl::Status Damaged(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError("model file " + path + " is truncated or damaged: " + what +
                                    "; download or copy it again");
}

}  // namespace

absl::StatusOr<ModelFile> InspectModelFile(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return absl::NotFoundError("model file " + path + " does not exist; --model takes the path of a GGUF file");
  }
  if (!std::filesystem::is_regular_file(status)) {
    return absl::InvalidArgumentError("model file " + path + " is not a regular file; --model takes a GGUF file");
  }
  ModelFile file;
  file.path = path;
  file.size = static_cast<int64_t>(std::filesystem::file_size(path, error));
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    return absl::InvalidArgumentError("model file " + path + " cannot be read: " + std::strerror(errno));
  }
  char magic[4] = {};
  stream.read(magic, sizeof(magic));
  if (std::memcmp(magic, GGUF_MAGIC, sizeof(magic)) != 0) {
    return absl::InvalidArgumentError("model file " + path +
                                      " is not a GGUF file: its first four bytes are not 'GGUF'; convert the model to "
                                      "GGUF with llama.cpp's convert_hf_to_gguf.py");
  }

  QuietLlamaLog quiet;
  TakeLastLlamaError();
  // The tensors' shapes, without their data: a context of them tells sizes of every type.
  ggml_context* raw_shapes = nullptr;
  std::unique_ptr<gguf_context, decltype(&gguf_free)> header(
      gguf_init_from_file(path.c_str(), {.no_alloc = true, .ctx = &raw_shapes}), &gguf_free);
  std::unique_ptr<ggml_context, decltype(&ggml_free)> shapes(raw_shapes, &ggml_free);
  if (header == nullptr) return Damaged(path, "its header cannot be read (" + TakeLastLlamaError() + ")");

  const int64_t tensor_count = gguf_get_n_tensors(header.get());
  if (tensor_count == 0) return Damaged(path, "it holds no tensors");
  uint64_t needed = 0;
  file.all_f32 = true;
  file.all_f32_or_f16 = true;
  for (int64_t i = 0; i < tensor_count; ++i) {
    const uint64_t end = gguf_get_data_offset(header.get()) + gguf_get_tensor_offset(header.get(), i) +
                         gguf_get_tensor_size(header.get(), i);
    needed = std::max(needed, end);
    const ggml_tensor* shape = ggml_get_tensor(shapes.get(), gguf_get_tensor_name(header.get(), i));
    if (shape == nullptr || ggml_n_dims(shape) < 2) continue;
    file.all_f32 &= shape->type == GGML_TYPE_F32;
    file.all_f32_or_f16 &= shape->type == GGML_TYPE_F32 || shape->type == GGML_TYPE_F16;
  }
  if (needed > static_cast<uint64_t>(file.size)) {
    return Damaged(path,
                   "it has " + std::to_string(file.size) + " bytes, its header describes " + std::to_string(needed));
  }
  return file;
}

absl::StatusOr<std::string> HashFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr);
  std::vector<char> block(1 << 20);
  while (stream) {
    stream.read(block.data(), static_cast<std::streamsize>(block.size()));
    EVP_DigestUpdate(hash.get(), block.data(), static_cast<size_t>(stream.gcount()));
  }
  if (!stream.eof()) return absl::UnavailableError("model file " + path + " cannot be read: " + std::strerror(errno));
  std::string digest(32, '\0');
  EVP_DigestFinal_ex(hash.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return digest;
}

}  // namespace logitd::runner

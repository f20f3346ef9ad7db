#include "server/head_loader.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "core/shown_text.h"
#include "core/widening.h"
#include "host/available_memory.h"
#include "host/file_kind.h"
#include "host/safetensors.h"
#include "server/head_config.h"
#include "server/head_process.h"
#include "server/head_tensors.h"

namespace logitd::server {
namespace {

class Sha256 {
 public:
  Sha256() : hash_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) { EVP_DigestInit_ex(hash_.get(), EVP_sha256(), nullptr); }
  void Add(std::string_view bytes) { EVP_DigestUpdate(hash_.get(), bytes.data(), bytes.size()); }
  std::string Take() {
    std::string digest(32, '\0');
    EVP_DigestFinal_ex(hash_.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
    return digest;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash_;
};

void Widen(const host::SafetensorsTensor& tensor, std::string_view bytes, std::vector<float>& values) {
  values.resize(bytes.size() / SizeOfElement(tensor));
  if (tensor.dtype == "F16") return WidenF16(bytes.data(), values);
  if (tensor.dtype == "BF16") return WidenBf16(bytes.data(), values);
  std::memcpy(values.data(), bytes.data(), bytes.size());
}

// The same error about a head, or about a tensor of it.
absl::Status Of(const std::string& what, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), what + ": " + std::string(status.message()));
}

absl::Status CheckMemory(const HeadTensors& tensors, const HeadLoading& loading) {
  const auto needed = static_cast<int64_t>(SoftmaxHead::Builder::BytesFor(tensors.shape));
  host::AvailableMemory memory{loading.memory_bytes.value_or(0), "the memory for heads"};
  if (!loading.memory_bytes) memory = host::MeasureAvailableMemory();
  if (needed <= memory.bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "it needs " + std::to_string(needed) + " bytes (V = " + std::to_string(tensors.shape.vocab_size) +
      ", d = " + std::to_string(tensors.shape.hidden_size) + ", 4 bytes each), at most " +
      std::to_string(memory.bytes) + " bytes are available (" + memory.bound + ")");
}

// Reads the tensors in the order of their places, which is the only one that a stream has.
absl::StatusOr<NamedHead> ReadHead(HeadTensors& tensors) {
  ASSIGN_OR_RETURN(SoftmaxHead::Builder builder, SoftmaxHead::Builder::Make(tensors.shape));
  if (tensors.logit_scale != 1) RETURN_IF_ERROR(builder.SetLogitScale(tensors.logit_scale));
  if (tensors.soft_cap != 0) RETURN_IF_ERROR(builder.SetSoftCap(tensors.soft_cap));

  std::vector<const HeadTensor*> in_order = {&tensors.weight};
  if (tensors.bias) in_order.push_back(&*tensors.bias);
  if (tensors.norm) in_order.push_back(&*tensors.norm);
  std::vector<std::string> digests(in_order.size());
  std::vector<const HeadTensor*> by_kind = in_order;
  std::sort(in_order.begin(), in_order.end(), [](const HeadTensor* a, const HeadTensor* b) {
    return std::pair(a->file, a->tensor.begin) < std::pair(b->file, b->tensor.begin);
  });
  std::vector<float> values;
  for (const HeadTensor* one : in_order) {
    host::SafetensorsReader& file = tensors.files[one->file];
    Sha256 hash;
    const auto give = [&](std::string_view bytes) -> absl::Status {
      hash.Add(bytes);
      Widen(one->tensor, bytes, values);
      if (one == &tensors.weight)
        return tensors.tokens_first ? builder.AddTokens(values) : builder.AddDimensions(values);
      if (tensors.bias && one == &*tensors.bias) return builder.SetBias(values);
      return builder.SetOutputNorm(values, tensors.norm_eps);
    };
    // Whole rows of the weight; a vector at once.
    const uint64_t unit =
        one == &tensors.weight ? one->tensor.shape[1] * SizeOfElement(one->tensor) : one->tensor.bytes();
    RETURN_IF_ERROR(Of("tensor " + Quoted(one->name), file.Read(one->tensor, unit, give)));
    digests[static_cast<size_t>(std::find(by_kind.begin(), by_kind.end(), one) - by_kind.begin())] = hash.Take();
  }
  for (host::SafetensorsReader& file : tensors.files) RETURN_IF_ERROR(file.CheckUnchanged());

  Sha256 whole;
  for (size_t i = 0; i < by_kind.size(); ++i) {
    const host::SafetensorsTensor& tensor = by_kind[i]->tensor;
    whole.Add(tensor.dtype + host::ShapeText(tensor.shape) + digests[i]);
  }
  whole.Add(std::string(tensors.tokens_first ? "vd" : "dv") + (tensors.bias ? "b" : "") + (tensors.norm ? "n" : ""));
  for (const double number : {tensors.norm_eps, double{tensors.logit_scale}, double{tensors.soft_cap}}) {
    whole.Add({reinterpret_cast<const char*>(&number), sizeof(number)});
  }
  NamedHead named;
  named.source_dtype = tensors.source_dtype;
  named.weight_name = tensors.weight.name;
  named.has_bias = tensors.bias.has_value();
  named.fingerprint = whole.Take();
  ASSIGN_OR_RETURN(named.head, std::move(builder).Build());
  return named;
}

absl::StatusOr<NamedHead> LoadGguf(const HeadSpec& spec, const HeadLoading& loading) {
  RETURN_IF_ERROR(host::CheckModelFile(spec.file));
  ASSIGN_OR_RETURN(HeadProcess process, HeadProcess::Start({loading.runner_program, "--write-head", spec.file}));
  host::StreamPatience patience;
  patience.give_up = loading.give_up;
  const auto read = [&]() -> absl::StatusOr<NamedHead> {
    ASSIGN_OR_RETURN(host::SafetensorsReader stream,
                     host::SafetensorsReader::FromPipe(process.Output(), "the head of " + spec.file, patience));
    ASSIGN_OR_RETURN(HeadTensors tensors, FindHeadTensors(std::move(stream)));
    RETURN_IF_ERROR(CheckMemory(tensors, loading));
    return ReadHead(tensors);
  };
  absl::StatusOr<NamedHead> named = read();
  // A child that ended by itself knows best why its stream broke off.
  RETURN_IF_ERROR(named.ok() ? process.Finish() : process.Kill());
  return named;
}

absl::StatusOr<NamedHead> Load(const HeadSpec& spec, const HeadLoading& loading) {
  if (spec.is_gguf()) return LoadGguf(spec, loading);
  RETURN_IF_ERROR(CheckModelConfig(spec));
  host::StreamPatience patience;
  patience.give_up = loading.give_up;
  ASSIGN_OR_RETURN(HeadTensors tensors, FindHeadTensors(spec, patience));
  RETURN_IF_ERROR(CheckMemory(tensors, loading));
  return ReadHead(tensors);
}

}  // namespace

absl::StatusOr<NamedHead> LoadHead(const HeadSpec& spec, const HeadLoading& loading) {
  absl::StatusOr<NamedHead> named = Load(spec, loading);
  if (!named.ok()) return Of("head " + spec.name, named.status());
  named->name = spec.name;
  return named;
}

absl::StatusOr<Heads> LoadHeads(const std::vector<HeadSpec>& specs, const HeadLoading& loading) {
  std::vector<NamedHead> heads;
  for (const HeadSpec& spec : specs) {
    ASSIGN_OR_RETURN(NamedHead named, LoadHead(spec, loading));
    heads.push_back(std::move(named));
  }
  return Heads(std::move(heads));
}

absl::Status CheckHead(const HeadSpec& spec, const HeadLoading& loading) {
  const auto check = [&]() -> absl::Status {
    if (spec.is_gguf()) return host::CheckModelFile(spec.file);
    RETURN_IF_ERROR(CheckModelConfig(spec));
    ASSIGN_OR_RETURN(const HeadTensors tensors, FindHeadTensors(spec, host::StreamPatience()));
    return CheckMemory(tensors, loading);
  };
  return Of("head " + spec.name, check());
}

}  // namespace logitd::server

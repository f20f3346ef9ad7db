// Files in the safetensors format, for tests: sound ones, and ones that lie.
#ifndef LOGITD_TESTS_TESTING_SAFETENSORS_FILE_H_
#define LOGITD_TESTS_TESTING_SAFETENSORS_FILE_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace logitd::testing {

// The 8 bytes of the header's length, the header, and the tensors' bytes.
inline std::string Safetensors(const std::string& json, const std::string& data) {
  const uint64_t size = json.size();
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes + json + data;
}

struct F32Tensor {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<float> values;
};

// The tensors one after the other. `metadata`: more members of the header, each with a comma after it.
inline std::string SafetensorsOf(const std::vector<F32Tensor>& tensors, const std::string& metadata = "") {
  std::string json = "{" + metadata;
  std::string data;
  for (const F32Tensor& tensor : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float));
    std::string shape;
    for (const uint64_t length : tensor.shape) shape += (shape.empty() ? "" : ",") + std::to_string(length);
    json += "\"" + tensor.name + "\":{\"dtype\":\"F32\",\"shape\":[" + shape + "],\"data_offsets\":[" +
            std::to_string(begin) + "," + std::to_string(data.size()) + "]},";
  }
  if (json.ends_with(',')) json.pop_back();
  return Safetensors(json + "}", data);
}

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_SAFETENSORS_FILE_H_

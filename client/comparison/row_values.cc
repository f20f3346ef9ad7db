#include "client/comparison/row_values.h"

#include <cstring>

#include "core/widening.h"

namespace logitd::comparison {

std::vector<double> ReadValues(ValueType type, std::string_view bytes) {
  if (type == ValueType::kF64) {
    std::vector<double> values(bytes.size() / sizeof(double));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(double));
    return values;
  }
  std::vector<float> narrow(bytes.size() / (type == ValueType::kF32 ? 4 : 2));
  if (type == ValueType::kF16) {
    WidenF16(bytes.data(), narrow);
  } else if (type == ValueType::kBf16) {
    WidenBf16(bytes.data(), narrow);
  } else if (!narrow.empty()) {
    std::memcpy(narrow.data(), bytes.data(), narrow.size() * sizeof(float));
  }
  return {narrow.begin(), narrow.end()};
}

}  // namespace logitd::comparison

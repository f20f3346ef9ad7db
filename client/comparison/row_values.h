// Rows as they lie in a file, in double: every value of these types is one of double.
#ifndef LOGITD_CLIENT_COMPARISON_ROW_VALUES_H_
#define LOGITD_CLIENT_COMPARISON_ROW_VALUES_H_

#include <string_view>
#include <vector>

namespace logitd::comparison {

enum class ValueType { kF16, kBf16, kF32, kF64 };

// The values in `bytes`, little endian, at any address. `bytes` holds whole values (REQUIRES). Thread-safe.
std::vector<double> ReadValues(ValueType type, std::string_view bytes);

}  // namespace logitd::comparison

#endif  // LOGITD_CLIENT_COMPARISON_ROW_VALUES_H_

// The values of a column of bytes, as PackedAlternatives has them.
#ifndef LOGITD_CLIENT_LOGITD_PACKED_COLUMN_H_
#define LOGITD_CLIENT_LOGITD_PACKED_COLUMN_H_

#include <cstring>
#include <string>
#include <vector>

namespace logitd::client {

// The values are little endian, like every machine that this runs on. Bytes that make no whole value are left out.
template <typename Value>
std::vector<Value> UnpackColumn(const std::string& bytes) {
  std::vector<Value> values(bytes.size() / sizeof(Value));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(Value));
  return values;
}

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_PACKED_COLUMN_H_

// The header of a safetensors file, on bytes that are nearly one: it is refused, or what it says is sound: the tensors
// lie one after the other, as many bytes as their shapes need. Headers that are written soundly are never refused.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "host/safetensors.h"
#include "tests/fuzz/fuzz_input.h"

namespace logitd::fuzz {
namespace {

struct Dtype {
  const char* name;
  uint64_t bytes;
};
constexpr Dtype kDtypes[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"U8", 1}, {"BOOL", 1}};

// Nearly a header. `sound`: nothing is wrong on purpose.
std::string Write(FuzzInput& input, bool sound) {
  std::string json = "{";
  const auto comma = [&json] {
    if (json.size() > 1) json += ",";
  };
  if (input.OneIn(3)) json += R"("__metadata__":{"format":"pt","x":"\u00e9"})";
  uint64_t place = 0;
  for (uint64_t i = 0, count = input.Below(6); i < count; ++i) {
    comma();
    const Dtype& dtype = kDtypes[input.Below(std::size(kDtypes))];
    std::vector<uint64_t> shape(input.Below(4));
    uint64_t bytes = dtype.bytes;
    for (uint64_t& length : shape) {
      length = input.Below(5);
      if (!sound && input.OneIn(30)) length = input.Bits() >> input.Below(64);
      bytes *= length;
    }
    std::string list;
    for (const uint64_t length : shape) list += (list.empty() ? "" : ",") + std::to_string(length);
    uint64_t end = place + bytes;
    if (!sound && input.OneIn(30)) end += input.Below(3) - 1;
    if (!sound && input.OneIn(30)) place = input.Bits() >> input.Below(64);
    json += "\"t" + std::to_string(!sound && input.OneIn(10) ? 0 : i) + "\":{";
    std::vector<std::string> members = {std::string("\"dtype\":\"") + dtype.name + "\"", "\"shape\":[" + list + "]",
                                        "\"data_offsets\":[" + std::to_string(place) + "," + std::to_string(end) + "]"};
    std::rotate(members.begin(), members.begin() + static_cast<ptrdiff_t>(input.Below(3)), members.end());
    if (!sound && input.OneIn(20)) members.pop_back();
    for (size_t m = 0; m < members.size(); ++m) json += (m == 0 ? "" : ",") + members[m];
    json += "}";
    place = end;
  }
  json += "}";
  if (input.OneIn(4)) json.append(input.Below(9), ' ');
  for (uint64_t i = sound ? 0 : input.Below(3); i > 0; --i) {
    json[input.Below(json.size())] =
        static_cast<char>(input.OneIn(2) ? "{}[]\",:0-e"[input.Below(10)] : input.Below(256));
  }
  return json;
}

}  // namespace
}  // namespace logitd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace logitd::fuzz;  // NOLINT
  FuzzInput input(data, size);
  const bool sound = input.OneIn(3);
  std::string json = Write(input, sound);
  // And what a fuzzer gives, as it is.
  const bool is_raw = input.OneIn(8);
  if (is_raw) json = "{" + std::string(reinterpret_cast<const char*>(data), size);
  const auto header = logitd::host::ParseSafetensorsHeader(json);
  if (!header.ok()) {
    LOGITD_FUZZ_CHECK(is_raw || !sound, header.status() << ": " << json);
    return 0;
  }
  std::vector<const logitd::host::SafetensorsTensor*> tensors;
  for (const auto& [name, tensor] : header->tensors) tensors.push_back(&tensor);
  std::sort(tensors.begin(), tensors.end(),
            [](const auto* a, const auto* b) { return std::pair(a->begin, a->end) < std::pair(b->begin, b->end); });
  uint64_t place = 0;
  for (const auto* tensor : tensors) {
    LOGITD_FUZZ_CHECK(tensor->begin == place && tensor->end >= place, json);
    place = tensor->end;
    for (const Dtype& dtype : kDtypes) {
      if (tensor->dtype != dtype.name) continue;
      unsigned __int128 bytes = dtype.bytes;
      for (const uint64_t length : tensor->shape) bytes *= length;
      LOGITD_FUZZ_CHECK(bytes == tensor->bytes(), json);
    }
  }
  LOGITD_FUZZ_CHECK(place == header->data_bytes, json);
  return 0;
}

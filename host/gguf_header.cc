#include "host/gguf_header.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "absl/status/status.h"

namespace logitd::host {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxTextBytes = 4096;

// Numbers of gguf_type in ggml's gguf.h.
enum Type : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

// 0: not a type of fixed size.
uint64_t SizeOf(uint32_t type) {
  constexpr std::array<uint64_t, 13> kSizes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < kSizes.size() ? kSizes[type] : 0;
}

// Reads forward. Compares each length with the rest of the file before it allocates or skips.
class Reader {
 public:
  explicit Reader(const std::string& path) : buffer_(1 << 18, '\0') {
    stream_.rdbuf()->pubsetbuf(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
    stream_.open(path, std::ios::binary);
    std::error_code error;
    left_ = std::filesystem::file_size(path, error);
    if (error) left_ = 0;
  }

  template <typename Number>
  bool Read(Number& value) {
    return ReadBytes(&value, sizeof(value));
  }

  // A string: its length in 8 bytes, and its bytes. `text` is empty if it is longer than `keep`.
  bool ReadString(std::string& text, uint64_t keep) {
    uint64_t size = 0;
    text.clear();
    if (!Read(size) || size > left_) return false;
    if (size > keep) return Skip(size);
    text.resize(size);
    return ReadBytes(text.data(), size);
  }

  bool Skip(uint64_t size) {
    if (size > left_) return false;
    left_ -= size;
    stream_.ignore(static_cast<std::streamsize>(size));
    return stream_.good() || left_ == 0;
  }

  uint64_t left() const { return left_; }

 private:
  bool ReadBytes(void* bytes, uint64_t size) {
    if (size > left_) return false;
    left_ -= size;
    stream_.read(static_cast<char*>(bytes), static_cast<std::streamsize>(size));
    return !stream_.fail();
  }

  std::string buffer_;
  std::ifstream stream_;
  uint64_t left_ = 0;
};

template <typename Number>
bool ReadNumber(Reader& reader, std::string& text) {
  Number value = 0;
  if (!reader.Read(value)) return false;
  text = std::to_string(value);
  return true;
}

bool ReadValue(Reader& reader, uint32_t type, std::string& text) {
  switch (type) {
    case kUint8:
      return ReadNumber<uint8_t>(reader, text);
    case kInt8:
      return ReadNumber<int8_t>(reader, text);
    case kUint16:
      return ReadNumber<uint16_t>(reader, text);
    case kInt16:
      return ReadNumber<int16_t>(reader, text);
    case kUint32:
      return ReadNumber<uint32_t>(reader, text);
    case kInt32:
      return ReadNumber<int32_t>(reader, text);
    case kFloat32:
      return ReadNumber<float>(reader, text);
    case kUint64:
      return ReadNumber<uint64_t>(reader, text);
    case kInt64:
      return ReadNumber<int64_t>(reader, text);
    case kFloat64:
      return ReadNumber<double>(reader, text);
    case kBool: {
      int8_t value = 0;
      if (!reader.Read(value)) return false;
      text = value != 0 ? "true" : "false";
      return true;
    }
    case kString:
      return reader.ReadString(text, kMaxTextBytes);
    default:
      return false;
  }
}

bool SkipArray(Reader& reader, uint64_t& count) {
  uint32_t type = 0;
  if (!reader.Read(type) || !reader.Read(count)) return false;
  if (type == kString) {
    std::string ignored;
    for (uint64_t i = 0; i < count; ++i) {
      if (!reader.ReadString(ignored, 0)) return false;
    }
    return true;
  }
  const uint64_t size = SizeOf(type);
  return size > 0 && count <= reader.left() / size && reader.Skip(count * size);
}

// The fixed part and the keys of the header. The tensors' descriptions follow.
absl::StatusOr<GgufHeader> ReadKeys(Reader& reader) {
  GgufHeader header;
  uint64_t key_count = 0;
  if (!reader.Skip(4) || !reader.Read(header.version) || !reader.Read(header.tensor_count) || !reader.Read(key_count)) {
    return absl::InvalidArgumentError("it ends within its first 24 bytes");
  }
  for (uint64_t i = 0; i < key_count; ++i) {
    std::string key;
    uint32_t type = 0;
    bool ok = reader.ReadString(key, kMaxKeyBytes) && reader.Read(type);
    if (ok && type == kArray) {
      ok = SkipArray(reader, header.array_sizes[key]);
    } else if (ok) {
      ok = ReadValue(reader, type, header.values[key]);
    }
    if (!ok) {
      return absl::InvalidArgumentError("its header ends, or makes no sense, at key " + std::to_string(i + 1) + " of " +
                                        std::to_string(key_count));
    }
  }
  return header;
}

// For each ggml_type: the elements and bytes of a block. 0: no such type, or one that was removed.
struct BlockSize {
  uint64_t elements;
  uint64_t bytes;
};
constexpr BlockSize kBlocks[] = {
    {1, 4},    {1, 2},    {32, 18},   {32, 20},   {0, 0},     {0, 0},     {32, 22},   {32, 24},  {32, 34},
    {32, 36},  {256, 84}, {256, 110}, {256, 144}, {256, 176}, {256, 210}, {256, 292}, {256, 66}, {256, 74},
    {256, 98}, {256, 50}, {32, 18},   {256, 110}, {256, 82},  {256, 136}, {1, 1},     {1, 2},    {1, 4},
    {1, 8},    {1, 8},    {256, 56},  {1, 2},     {0, 0},     {0, 0},     {0, 0},     {256, 54}, {256, 66},
    {0, 0},    {0, 0},    {0, 0},     {32, 17},   {64, 36},   {128, 18},  {64, 18},
};
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kDefaultAlignment = 32;

// Bytes of a tensor; 0 for a type unknown here, which the runner reports. Unset: the shape makes no sense.
std::optional<uint64_t> TensorBytes(uint32_t type, const std::vector<uint64_t>& lengths) {
  if (type >= std::size(kBlocks) || kBlocks[type].elements == 0) return 0;
  const uint64_t row = lengths.empty() ? 1 : lengths.front();
  if (row % kBlocks[type].elements != 0) return std::nullopt;
  uint64_t bytes = row / kBlocks[type].elements;
  if (__builtin_mul_overflow(bytes, kBlocks[type].bytes, &bytes)) return std::nullopt;
  for (size_t i = 1; i < lengths.size(); ++i) {
    if (__builtin_mul_overflow(bytes, lengths[i], &bytes)) return std::nullopt;
  }
  return bytes;
}

}  // namespace

std::string GgufHeader::Text(const std::string& key) const {
  const auto found = values.find(key);
  return found == values.end() ? "" : found->second;
}

std::optional<int64_t> GgufHeader::Number(const std::string& key) const {
  const std::string text = Text(key);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

absl::StatusOr<GgufHeader> ReadGgufHeader(const std::string& path) {
  Reader reader(path);
  return ReadKeys(reader);
}

absl::Status CheckGgufTensors(const std::string& path) {
  Reader reader(path);
  const uint64_t size = reader.left();
  const absl::StatusOr<GgufHeader> header = ReadKeys(reader);
  if (!header.ok()) return header.status();
  // The end of the last tensor's data, from the beginning of all data.
  uint64_t data_bytes = 0;
  for (uint64_t i = 0; i < header->tensor_count; ++i) {
    std::string name;
    uint32_t dimensions = 0;
    bool ok = reader.ReadString(name, kMaxTextBytes) && reader.Read(dimensions) && dimensions <= kMaxDimensions;
    std::vector<uint64_t> lengths(ok ? dimensions : 0);
    for (uint64_t& length : lengths) ok = ok && reader.Read(length);
    uint32_t type = 0;
    uint64_t offset = 0;
    ok = ok && reader.Read(type) && reader.Read(offset);
    const std::optional<uint64_t> bytes = ok ? TensorBytes(type, lengths) : std::nullopt;
    uint64_t end = 0;
    if (!bytes || __builtin_add_overflow(offset, *bytes, &end)) {
      return absl::InvalidArgumentError("its header ends, or makes no sense, at tensor " + std::to_string(i + 1) +
                                        " of " + std::to_string(header->tensor_count));
    }
    data_bytes = std::max(data_bytes, end);
  }
  const auto alignment = static_cast<uint64_t>(header->Number("general.alignment").value_or(kDefaultAlignment));
  if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
    return absl::InvalidArgumentError("its general.alignment is no power of 2");
  }
  const uint64_t begin = (size - reader.left() + alignment - 1) / alignment * alignment;
  uint64_t needed = 0;
  if (__builtin_add_overflow(begin, data_bytes, &needed) || needed > size) {
    return absl::InvalidArgumentError("it has " + std::to_string(size) + " bytes, its header describes " +
                                      std::to_string(needed));
  }
  return absl::OkStatus();
}

}  // namespace logitd::host

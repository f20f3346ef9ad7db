// The JSON of a safetensors header, taken apart as it is read: nothing but the tensors and the metadata is kept.
//
//   {                                        level 1: tensors by name, and "__metadata__"
//     "w": {                                 level 2: "dtype", "shape", "data_offsets"
//       "dtype": "F32",
//       "shape": [2, 3],                     level 3: whole numbers
//       "data_offsets": [0, 24] } }
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "host/safetensors.h"

namespace logitd::host {
namespace {

using Json = nlohmann::json;

constexpr char kMetadata[] = "__metadata__";
// More dimensions than any tensor of a model has.
constexpr size_t kMaxDimensions = 16;
// The shown part of a name from the file.
constexpr size_t kMaxShownName = 80;

// Unset: a type whose elements are no whole bytes, or that is newer than this list.
std::optional<uint64_t> SizeOf(std::string_view dtype) {
  constexpr std::pair<std::string_view, uint64_t> kSizes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
      {"F32", 4},  {"I64", 8}, {"U64", 8}, {"F64", 8},     {"C64", 8}};
  for (const auto& [name, size] : kSizes) {
    if (name == dtype) return size;
  }
  return std::nullopt;
}

std::string Shown(const std::string& name) {
  std::string text = "'";
  for (const char c : name.substr(0, kMaxShownName)) text += c >= ' ' && c < 0x7f ? c : '?';
  return text + (name.size() > kMaxShownName ? "...'" : "'");
}

// Receives the parts of the JSON in order. False ends the parsing; `what` then says why.
class HeaderSax final : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderSax(SafetensorsHeader& header) : header_(header) {}

  const std::string& what() const { return what_; }

  bool null() override { return Refuse("null"); }
  bool boolean(bool) override { return Refuse("true or false"); }
  bool number_float(double, const std::string&) override { return Refuse("a number that is not whole"); }
  bool binary(binary_t&) override { return Refuse("bytes"); }
  bool number_integer(int64_t) override { return Refuse("a number below 0"); }

  bool number_unsigned(uint64_t number) override {
    if (level_ != 3) return Refuse("a number");
    if (key_ == "data_offsets" && offsets_.size() < 3) offsets_.push_back(number);
    if (key_ != "shape") return true;
    if (tensor_.shape.size() >= kMaxDimensions) return Fail("has more than 16 dimensions");
    tensor_.shape.push_back(number);
    return true;
  }

  bool string(std::string& text) override {
    if (level_ != 2) return Refuse("a text");
    if (name_ == kMetadata) {
      header_.metadata[key_] = std::move(text);
      return true;
    }
    if (key_ != "dtype") return Refuse("a text");
    if (has_dtype_) return Fail("has two types");
    has_dtype_ = true;
    tensor_.dtype = std::move(text);
    return true;
  }

  bool start_object(size_t) override {
    if (level_ >= 2) return Refuse("an object");
    if (++level_ == 1) return true;
    tensor_ = {};
    offsets_.clear();
    has_dtype_ = has_shape_ = has_offsets_ = false;
    return true;
  }

  bool key(std::string& text) override {
    if (level_ == 1) {
      name_ = std::move(text);
      const bool is_twice = name_ == kMetadata ? std::exchange(has_metadata_, true) : header_.tensors.contains(name_);
      return is_twice ? Fail("is there twice") : true;
    }
    key_ = std::move(text);
    if (name_ == kMetadata || key_ == "dtype" || key_ == "shape" || key_ == "data_offsets") return true;
    return Fail("has the key " + Shown(key_) + ", which the format does not have");
  }

  bool end_object() override {
    if (--level_ == 0 || name_ == kMetadata) return true;
    if (!has_dtype_ || !has_shape_ || !has_offsets_) return Fail("lacks dtype, shape or data_offsets");
    if (offsets_.size() != 2 || offsets_[0] > offsets_[1]) return Fail("has data_offsets that are no interval");
    tensor_.begin = offsets_[0];
    tensor_.end = offsets_[1];
    if (const std::optional<uint64_t> size = SizeOf(tensor_.dtype)) {
      uint64_t bytes = *size;
      for (const uint64_t length : tensor_.shape) {
        if (__builtin_mul_overflow(bytes, length, &bytes)) return Fail("has a shape beyond 2^64 bytes");
      }
      if (bytes != tensor_.bytes()) {
        return Fail("of shape " + ShapeText(tensor_.shape) + " and type " + tensor_.dtype + " needs " +
                    std::to_string(bytes) + " bytes, its data_offsets give " + std::to_string(tensor_.bytes()));
      }
    }
    header_.tensors.emplace(name_, std::move(tensor_));
    return true;
  }

  bool start_array(size_t) override {
    if (level_ != 2 || name_ == kMetadata || key_ == "dtype") return Refuse("a list");
    bool& is_there = key_ == "shape" ? has_shape_ : has_offsets_;
    if (std::exchange(is_there, true)) return Fail("has two lists of " + key_);
    ++level_;
    return true;
  }

  bool end_array() override {
    --level_;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    what_ = "its header is no JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  bool Fail(const std::string& what) {
    what_ = "tensor " + Shown(name_) + " of its header " + what;
    return false;
  }
  bool Refuse(const std::string& kind) {
    what_ = "its header has " + kind + " where the format does not allow it";
    if (level_ >= 1) what_ += " (tensor " + Shown(name_) + ")";
    return false;
  }

  SafetensorsHeader& header_;
  std::string what_;
  int level_ = 0;
  std::string name_;
  std::string key_;
  SafetensorsTensor tensor_;
  std::vector<uint64_t> offsets_;
  bool has_metadata_ = false;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
};

}  // namespace

const SafetensorsTensor* SafetensorsHeader::Find(std::string_view name) const {
  const auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second;
}

std::string ShapeText(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (const uint64_t length : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(length);
  return text + "]";
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json) {
  SafetensorsHeader header;
  if (!json.starts_with('{')) return absl::InvalidArgumentError("its header does not begin with {");
  HeaderSax sax(header);
  if (!Json::sax_parse(json.begin(), json.end(), &sax)) return absl::InvalidArgumentError(sax.what());
  std::vector<std::pair<const std::string*, const SafetensorsTensor*>> in_order;
  for (const auto& [name, tensor] : header.tensors) in_order.emplace_back(&name, &tensor);
  std::sort(in_order.begin(), in_order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  for (const auto& [name, tensor] : in_order) {
    if (tensor->begin != header.data_bytes) {
      return absl::InvalidArgumentError("tensor " + Shown(*name) + " begins at byte " + std::to_string(tensor->begin) +
                                        ", the one before ends at byte " + std::to_string(header.data_bytes));
    }
    header.data_bytes = tensor->end;
  }
  return header;
}

}  // namespace logitd::host

// The header of a GGUF file, byte by byte as ggml's gguf.h describes it: for tests of what is said of a file.
#ifndef LOGITD_TESTS_TESTING_GGUF_HEADER_H_
#define LOGITD_TESTS_TESTING_GGUF_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

namespace logitd::testing {

class Gguf {
 public:
  explicit Gguf(uint64_t tensor_count = 1) : tensor_count_(tensor_count) {}
  Gguf& Text(const std::string& key, const std::string& value) { return Key(key, 8).String(value); }
  Gguf& Uint32(const std::string& key, uint32_t value) { return Key(key, 4).Number(value); }
  Gguf& Uint16(const std::string& key, uint16_t value) { return Key(key, 2).Number(value); }
  Gguf& Bool(const std::string& key, bool value) { return Key(key, 7).Number<uint8_t>(value); }
  Gguf& Texts(const std::string& key, const std::vector<std::string>& values) {
    Key(key, 9).Number<uint32_t>(8).Number<uint64_t>(values.size());
    for (const std::string& value : values) String(value);
    return *this;
  }
  Gguf& Floats(const std::string& key, int count) {
    Key(key, 9).Number<uint32_t>(6).Number<uint64_t>(count);
    for (int i = 0; i < count; ++i) Number(0.5f);
    return *this;
  }
  std::string Bytes(uint32_t version = 3) const {
    Gguf head;
    head.bytes_ = "GGUF";
    head.Number(version).Number(tensor_count_).Number(key_count_);
    head.bytes_ += bytes_;
    // Tensors of one f32, each at a multiple of 32 bytes behind the header.
    for (uint64_t i = 0; i < tensor_count_; ++i) {
      head.String("t" + std::to_string(i)).Number<uint32_t>(1).Number<uint64_t>(1).Number<uint32_t>(0).Number(32 * i);
    }
    for (uint64_t i = 0; i < tensor_count_; ++i) {
      head.bytes_.resize((head.bytes_.size() + 31) / 32 * 32);
      head.Number(1.0f);
    }
    return head.bytes_;
  }

 private:
  template <typename T>
  Gguf& Number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Gguf& String(const std::string& text) {
    Number<uint64_t>(text.size());
    bytes_ += text;
    return *this;
  }
  Gguf& Key(const std::string& key, uint32_t type) {
    ++key_count_;
    return String(key).Number(type);
  }

  uint64_t tensor_count_;
  uint64_t key_count_ = 0;
  std::string bytes_;
};

// A language model with a vocabulary of two tokens; its tensors hold one number each.
inline Gguf GgufModel(const std::string& architecture = "llama", uint64_t tensor_count = 1) {
  return Gguf(tensor_count)
      .Text("general.architecture", architecture)
      .Texts("tokenizer.ggml.tokens", {"a", "b"})
      .Floats("tokenizer.ggml.scores", 2);
}

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_GGUF_HEADER_H_

#include "host/vocab_fingerprint.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"

namespace logitd::host {
namespace {

std::string Hex(const std::string& bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", byte);
    text += digits;
  }
  return text;
}

// Python's hashlib: sha256(pack('<i', 4) + pack('<i', -1) + b'<s>' + pack('<i', 1) + b'a' + ...).
TEST(VocabFingerprintTest, IsTheDocumentedSha256) {
  const std::vector<int32_t> control = {0};
  const std::vector<int32_t> lengths = {3, 1, 1, 2};
  EXPECT_EQ(Hex(VocabFingerprint("<s>abcd", lengths, control)),
            "2c2bbb80b8d6c3b18e88ffa88cc13b746ce18c544e398722f6ccdf377fd8014c");
  const std::vector<int32_t> without_bytes = {0, 1, 1, 2};
  EXPECT_EQ(Hex(VocabFingerprint("abcd", without_bytes, control)),
            "dd152da444a4093c498332e0b0255958d6076820d9949a51d00d3d59935b78b7");
  EXPECT_EQ(Hex(VocabFingerprint("<s>abcd", lengths, {})),
            "ec7adf9e637f607c0a8c8f18e9a55d682e19913052dfb4801e4cba72065e5be9");
}

}  // namespace
}  // namespace logitd::host

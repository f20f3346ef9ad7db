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

// Python's hashlib: sha256(pack('<i', 4) + pack('<ii', 1, 3) + b'<s>' + pack('<ii', 0, 1) + b'a' + ...).
TEST(VocabFingerprintTest, IsTheDocumentedSha256) {
  const std::vector<int32_t> control = {0};
  const std::vector<int32_t> lengths = {3, 1, 1, 2};
  EXPECT_EQ(Hex(VocabFingerprint("<s>abcd", lengths, control, {})),
            "18d847de5305ca08e5043a1ac2c084fcee3cf8cee8c13b115a4c841b016af136");
  const std::vector<int32_t> without_name = {0, 1, 1, 2};
  EXPECT_EQ(Hex(VocabFingerprint("abcd", without_name, control, {})),
            "076cb1a32c00551bcd18d23f6d47eb58d536d7ee6bcffa0014f6255b3f108a49");
  EXPECT_EQ(Hex(VocabFingerprint("<s>abcd", lengths, {}, {})),
            "b402518e10163910f37590ee5a340953567888abc433bcaf91d6333ce26642fe");
  const std::vector<int32_t> unused = {2};
  EXPECT_EQ(Hex(VocabFingerprint("<s>abcd", lengths, control, unused)),
            "6100f9e6bc6b2ba5f20a7821d6666aff61e4295bf697b32f5f08ec212ed21305");
}

// A name that takes a byte more and a token that has one less are another vocabulary.
TEST(VocabFingerprintTest, WhereANameEndsCounts) {
  const std::vector<int32_t> control = {0};
  const std::vector<int32_t> lengths = {4, 0, 1, 2};
  EXPECT_EQ(Hex(VocabFingerprint("<s>abcd", lengths, control, {})),
            "e7a10437748baa5bab5d0b1304452a87b6d156d56c6c3a467ba1f5c97672baaf");
}

}  // namespace
}  // namespace logitd::host

#include "host/vocab_fingerprint.h"

#include <openssl/evp.h>

#include <memory>
#include <vector>

namespace logitd::host {
namespace {

constexpr size_t kSha256Bytes = 32;
// A token's kind in the hash.
constexpr int32_t kText = 0;
constexpr int32_t kControl = 1;
constexpr int32_t kUnused = 2;

}  // namespace

std::string VocabFingerprint(std::string_view token_bytes, std::span<const int32_t> token_lengths,
                             std::span<const int32_t> control_token_ids, std::span<const int32_t> unused_token_ids) {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr);
  const auto add = [&hash](int32_t value) {
    const auto bits = static_cast<uint32_t>(value);
    const unsigned char bytes[] = {static_cast<unsigned char>(bits), static_cast<unsigned char>(bits >> 8),
                                   static_cast<unsigned char>(bits >> 16), static_cast<unsigned char>(bits >> 24)};
    EVP_DigestUpdate(hash.get(), bytes, sizeof(bytes));
  };
  std::vector<int32_t> kinds(token_lengths.size(), kText);
  for (const int32_t id : control_token_ids) kinds[static_cast<size_t>(id)] = kControl;
  for (const int32_t id : unused_token_ids) kinds[static_cast<size_t>(id)] = kUnused;

  add(static_cast<int32_t>(token_lengths.size()));
  size_t begin = 0;
  for (size_t id = 0; id < token_lengths.size(); ++id) {
    const auto length = static_cast<size_t>(token_lengths[id]);
    add(kinds[id]);
    add(token_lengths[id]);
    EVP_DigestUpdate(hash.get(), token_bytes.data() + begin, length);
    begin += length;
  }
  std::string digest(kSha256Bytes, '\0');
  EVP_DigestFinal_ex(hash.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return digest;
}

}  // namespace logitd::host

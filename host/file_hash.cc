#include "host/file_hash.h"

#include <openssl/evp.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "host/file_kind.h"

namespace logitd::host {

absl::StatusOr<std::string> HashModelFile(const std::string& path) {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr);
  std::vector<char> block(1 << 20);
  for (const std::string& part : PartsOf(path)) {
    std::ifstream stream(part, std::ios::binary);
    while (stream) {
      stream.read(block.data(), static_cast<std::streamsize>(block.size()));
      EVP_DigestUpdate(hash.get(), block.data(), static_cast<size_t>(stream.gcount()));
    }
    if (!stream.eof()) {
      return absl::UnavailableError("model file " + part + " cannot be read: " + std::strerror(errno));
    }
  }
  std::string digest(32, '\0');
  EVP_DigestFinal_ex(hash.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return digest;
}

}  // namespace logitd::host

#include "client/logitd/file_survey.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/logitd/client_error.h"

namespace logitd::client {
namespace {

constexpr size_t kBlockBytes = 1 << 20;

absl::Status Unreadable(const std::string& path, const std::string& reason) {
  return InputError("in", path, "a regular file", absl::StrCat("cannot read ", path, ": ", reason));
}

}  // namespace

absl::StatusOr<FileSurvey> SurveyFile(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return Unreadable(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) {
    return Unreadable(path, "it must be a regular file, because it is read twice");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return Unreadable(path, std::strerror(errno));
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr);
  FileSurvey survey;
  std::vector<char> block(kBlockBytes);
  char last = '\n';
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
    const std::string_view read(block.data(), static_cast<size_t>(file.gcount()));
    survey.lines += std::count(read.begin(), read.end(), '\n');
    survey.bytes += std::ssize(read);
    last = read.back();
    EVP_DigestUpdate(hash.get(), read.data(), read.size());
  }
  if (file.bad()) return Unreadable(path, std::strerror(errno));
  survey.lines += last != '\n';
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  unsigned int digest_bytes = 0;
  EVP_DigestFinal_ex(hash.get(), reinterpret_cast<unsigned char*>(digest.data()), &digest_bytes);
  digest.resize(digest_bytes);
  const auto hex = absl::BytesToHexString(digest);
  survey.hash.assign(hex.data(), hex.size());
  return survey;
}

}  // namespace logitd::client

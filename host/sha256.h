// SHA-256 of bytes.
#ifndef LOGITD_HOST_SHA256_H_
#define LOGITD_HOST_SHA256_H_

#include <string>
#include <string_view>

namespace logitd::host {

// 32 bytes. Thread-safe.
std::string Sha256(std::string_view bytes);

}  // namespace logitd::host

#endif  // LOGITD_HOST_SHA256_H_

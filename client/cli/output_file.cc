#include "client/cli/output_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace logitd::cli {
namespace {

constexpr size_t kBufferBytes = 64 << 10;

}  // namespace

OutputFile::int_type OutputFile::overflow(int_type c) {
  if (traits_type::eq_int_type(c, traits_type::eof())) return sync() == 0 ? traits_type::not_eof(c) : c;
  const char text = traits_type::to_char_type(c);
  return xsputn(&text, 1) == 1 ? c : traits_type::eof();
}

std::streamsize OutputFile::xsputn(const char* text, std::streamsize size) {
  if (error_ != 0) return 0;
  waiting_.append(text, static_cast<size_t>(size));
  return waiting_.size() < kBufferBytes || sync() == 0 ? size : 0;
}

int OutputFile::sync() {
  size_t written = 0;
  while (error_ == 0 && written < waiting_.size()) {
    const ssize_t size = ::write(file_descriptor_, waiting_.data() + written, waiting_.size() - written);
    if (size >= 0) {
      written += static_cast<size_t>(size);
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  waiting_.clear();
  return error_ == 0 ? 0 : -1;
}

}  // namespace logitd::cli

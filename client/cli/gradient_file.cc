#include "client/cli/gradient_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace logitd::cli {
namespace {

// The header of version 1.0, padded so that the values begin at a multiple of 64 bytes.
std::string NpyHeader(int64_t row_count, int32_t width) {
  constexpr size_t kFront = 10;
  constexpr size_t kAlignment = 64;
  std::string text =
      absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", row_count, ", ", width, "), }");
  while ((kFront + text.size() + 1) % kAlignment != 0) text.push_back(' ');
  text.push_back('\n');
  std::string header("\x93NUMPY\x01\x00", 8);
  header.push_back(static_cast<char>(text.size() & 0xFF));
  header.push_back(static_cast<char>(text.size() >> 8));
  return header + text;
}

}  // namespace

GradientFile::GradientFile(std::string path, int64_t row_count, int32_t vocab_size)
    : path_(std::move(path)), temporary_(absl::StrCat(path_, ".", ::getpid(), ".tmp")), row_count_(row_count) {
  file_.open(temporary_, std::ios::binary | std::ios::trunc);
  file_ << NpyHeader(row_count, vocab_size);
}

GradientFile::~GradientFile() {
  if (!is_finished_) std::remove(temporary_.c_str());
}

void GradientFile::Add(const v1::LossGradient& gradient) {
  added_ += gradient.row_count();
  file_ << gradient.values();
}

std::string GradientFile::Finish() {
  file_.close();
  if (file_ && added_ != row_count_) {
    return absl::StrCat(path_, " is not written: ", row_count_ - added_, " of ", row_count_, " rows have no gradient");
  }
  if (!file_ || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return absl::StrCat("cannot write ", path_, ": ", std::strerror(errno));
  }
  is_finished_ = true;
  return "";
}

}  // namespace logitd::cli

// A stream's buffer over standard output, or another file, that remembers why a write failed.
//
//   OutputFile file(STDOUT_FILENO);
//   std::ostream out(&file);
//   out << "text" << std::flush;
//   if (file.error() != 0) ...  // ENOSPC
//
// The C++ library's own buffers report only that something failed. One thread.
#ifndef LOGITD_CLIENT_CLI_OUTPUT_FILE_H_
#define LOGITD_CLIENT_CLI_OUTPUT_FILE_H_

#include <streambuf>
#include <string>

namespace logitd::cli {

class OutputFile final : public std::streambuf {
 public:
  // Writes to `file_descriptor`, which stays open.
  explicit OutputFile(int file_descriptor) : file_descriptor_(file_descriptor) {}

  // The errno of the first write that failed; 0: no write failed.
  int error() const { return error_; }

 protected:
  int_type overflow(int_type c) override;
  std::streamsize xsputn(const char* text, std::streamsize size) override;
  int sync() override;

 private:
  const int file_descriptor_;
  std::string waiting_;
  int error_ = 0;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_OUTPUT_FILE_H_

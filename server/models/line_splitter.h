// Splits a stream of bytes into lines of bounded length.
//
//   LineSplitter lines(4, [](std::string line) { ... });
//   lines.Append("ab\ncdefg\n");   // "ab", "cdef [1 byte more]"
//   lines.Finish();                // the bytes after the last line feed, unless there are none
//
// Skips empty lines, and drops the carriage return at the end of a line that is not cut. Calls back within Append and
// Finish. Not thread-safe.
#ifndef LOGITD_SERVER_MODELS_LINE_SPLITTER_H_
#define LOGITD_SERVER_MODELS_LINE_SPLITTER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace logitd::server {

class LineSplitter {
 public:
  // A line of more than `max_bytes` is cut there, and a suffix says how many bytes were dropped.
  LineSplitter(size_t max_bytes, std::function<void(std::string)> on_line)
      : max_bytes_(max_bytes), on_line_(std::move(on_line)) {}

  void Append(std::string_view bytes) {
    while (!bytes.empty()) {
      const size_t end = bytes.find('\n');
      const std::string_view part = bytes.substr(0, end);
      const size_t kept = part.size() < max_bytes_ - line_.size() ? part.size() : max_bytes_ - line_.size();
      line_.append(part.substr(0, kept));
      cut_bytes_ += static_cast<int64_t>(part.size() - kept);
      if (end == std::string_view::npos) return;
      Finish();
      bytes.remove_prefix(end + 1);
    }
  }

  void Finish() {
    if (cut_bytes_ == 0 && !line_.empty() && line_.back() == '\r') line_.pop_back();
    if (cut_bytes_ > 0) line_ += " [" + std::to_string(cut_bytes_) + (cut_bytes_ == 1 ? " byte more]" : " bytes more]");
    cut_bytes_ = 0;
    std::string line = std::exchange(line_, {});
    if (!line.empty()) on_line_(std::move(line));
  }

 private:
  const size_t max_bytes_;
  const std::function<void(std::string)> on_line_;
  std::string line_;
  int64_t cut_bytes_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_LINE_SPLITTER_H_

#include "client/logitd/line_reader.h"

#include <streambuf>
#include <utility>

namespace logitd::client {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

bool BeginsWithByteOrderMark(std::string_view text) { return text.substr(0, kByteOrderMark.size()) == kByteOrderMark; }

bool LineReader::NextLine(InputLine& line) {
  line = InputLine{};
  std::streambuf& in = *in_.rdbuf();
  constexpr int kEnd = std::streambuf::traits_type::eof();
  int c = in.sbumpc();
  if (c == kEnd) {
    in_.setstate(std::ios::eofbit);
    return false;
  }
  for (; c != kEnd && c != '\n'; c = in.sbumpc()) {
    ++line.byte_count;
    if (line.byte_count <= kMaxLineBytes) line.text.push_back(static_cast<char>(c));
  }
  byte_count_ += line.byte_count + 1;
  line.number = ++line_count_;
  if (line.is_too_long()) {
    std::string().swap(line.text);
    return true;
  }
  if (line.number == 1 && BeginsWithByteOrderMark(line.text)) line.text.erase(0, kByteOrderMark.size());
  return true;
}

std::vector<InputLine> LineReader::NextChunk(int max_lines, int64_t max_bytes) {
  std::vector<InputLine> lines;
  int64_t chunk_bytes = 0;
  InputLine line;
  while (static_cast<int>(lines.size()) < max_lines && chunk_bytes < max_bytes && NextLine(line)) {
    if (blanks_ == kSkipBlanks && line.is_blank()) continue;
    chunk_bytes += static_cast<int64_t>(line.text.size());
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace logitd::client

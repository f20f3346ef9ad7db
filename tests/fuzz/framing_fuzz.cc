// Bytes that are nearly a request of HTTP, through the scan that finds what two readers could read in two ways: it says
// the same however the bytes are cut into pieces; and a chunked body that it takes is, read by the simplest reader, of
// the size that its chunks state, and ends where the bytes end.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "client/http/framing_scan.h"
#include "tests/fuzz/fuzz_input.h"

namespace logitd::fuzz {
namespace {

constexpr int64_t kMaxBodyBytes = 5000;

std::string Request(FuzzInput& input) {
  std::string out = "POST / HTTP/1.1\r\n";
  const std::vector<std::string> headers = {"Host: a\r\n",
                                            "X-A: b\r\n",
                                            "X-A:\r\n",
                                            "Transfer-Encoding : chunked\r\n",
                                            "Content-Length:\r\n",
                                            " c\r\n",
                                            "X\n",
                                            "\r",
                                            ": d\r\n",
                                            "e\r\n"};
  for (uint64_t i = input.Below(3); i > 0; --i) out += headers[input.Below(input.OneIn(4) ? headers.size() : 2)];
  out += "Transfer-Encoding: chunked\r\n\r\n";
  const std::vector<std::string> sizes = {"0x", "+", "-", " ", "0", "00000000", "g", "ffffffffffffffff", "\n"};
  for (uint64_t i = input.Below(5); i > 0; --i) {
    const uint64_t size = input.Below(40) + 1;
    char digits[20];
    std::snprintf(digits, sizeof(digits), input.OneIn(2) ? "%lx" : "%lX", static_cast<unsigned long>(size));
    if (input.OneIn(20)) out += sizes[input.Below(sizes.size())];
    out += std::string(digits) + (input.OneIn(5) ? ";x=y\r\n" : "\r\n") +
           std::string(size + (input.OneIn(20) ? 1 : 0), static_cast<char>(input.Below(256))) + "\r\n";
  }
  out += "0\r\n\r\n";
  if (input.OneIn(3)) out[input.Below(out.size())] = static_cast<char>(input.Below(256));
  if (input.OneIn(10)) out.resize(input.Below(out.size()));
  return out;
}

int StatusOf(const std::string& bytes, FuzzInput& input, uint64_t most) {
  http::FramingScan scan(kMaxBodyBytes);
  for (size_t begin = 0; begin < bytes.size();) {
    const size_t count = std::min<size_t>(bytes.size() - begin, most == 0 ? bytes.size() : input.Below(most) + 1);
    if (const int status = scan.Add(bytes.data() + begin, count); status != 0) return status;
    begin += count;
  }
  return 0;
}

// Where the chunks that begin at `place` end. Unset: they do not.
std::optional<size_t> EndOfChunks(const std::string& bytes, size_t place) {
  while (true) {
    const size_t line_end = bytes.find("\r\n", place);
    if (line_end == std::string::npos) return std::nullopt;
    const size_t size = std::strtoull(bytes.substr(place, line_end - place).c_str(), nullptr, 16);
    place = line_end + 2 + size + 2;
    if (place > bytes.size()) return std::nullopt;
    LOGITD_FUZZ_CHECK(bytes.substr(place - 2, 2) == "\r\n", "a chunk without an end: " << bytes);
    if (size == 0) return place;
  }
}

}  // namespace
}  // namespace logitd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace logitd::fuzz;  // NOLINT
  FuzzInput input(data, size);
  std::string bytes = Request(input);
  if (input.OneIn(8)) bytes.assign(reinterpret_cast<const char*>(data), size);
  const int status = StatusOf(bytes, input, 0);
  LOGITD_FUZZ_CHECK(status == 0 || status == 400 || status == 413, status);
  for (const uint64_t most : {1, 7, 100}) {
    const int in_pieces = StatusOf(bytes, input, most);
    LOGITD_FUZZ_CHECK(in_pieces == status, in_pieces << " in pieces, and " << status << " at once: " << bytes);
  }
  if (status != 0) return 0;
  const size_t head_end = bytes.find("\r\n\r\n");
  if (head_end == std::string::npos || bytes.find("\r\nTransfer-Encoding: chunked\r\n") >= head_end) return 0;
  const std::optional<size_t> end = EndOfChunks(bytes, head_end + 4);
  LOGITD_FUZZ_CHECK(!end || *end == bytes.size(), "bytes behind the end are taken: " << bytes);
  return 0;
}

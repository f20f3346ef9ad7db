#include "client/http/framing_scan.h"

#include <algorithm>
#include <string_view>

namespace logitd::http {
namespace {

constexpr int kOk = 0;
constexpr int kMalformed = 400;
constexpr int kTooLarge = 413;
constexpr int kMaxSizeDigits = 8;
// Longer than "transfer-encoding" and "chunked".
constexpr size_t kKeptBytes = 32;

bool IsLetterOrDigit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// RFC 9110, section 5.6.2.
bool IsTokenByte(char c) {
  return IsLetterOrDigit(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

char LowerCase(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// -1: it is none.
int HexDigit(char c) {
  const char lower = LowerCase(c);
  if (c >= '0' && c <= '9') return c - '0';
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

int FramingScan::Add(const char* bytes, size_t size) {
  size_t i = 0;
  while (i < size && state_ != State::kPlainBody) {
    if (state_ == State::kData) {
      const size_t count = std::min(size - i, static_cast<size_t>(chunk_left_));
      i += count;
      chunk_left_ -= static_cast<int64_t>(count);
      if (chunk_left_ == 0) state_ = State::kDataEnd;
      continue;
    }
    const int status = in_head() ? AddToHead(bytes[i]) : AddToChunk(bytes[i]);
    if (status != kOk) return status;
    ++i;
  }
  return kOk;
}

int FramingScan::AddToHead(char c) {
  switch (state_) {
    case State::kRequestLine:
      if (c == '\r') {
        state_ = State::kLineEnd;
        return spaces_ == 2 ? kOk : kMalformed;
      }
      if (c == ' ') ++spaces_;
      return IsControl(c) || spaces_ > 2 ? kMalformed : kOk;
    case State::kLineEnd:
      state_ = State::kLineStart;
      return c == '\n' ? kOk : kMalformed;
    case State::kLineStart:
      if (c == '\r') {
        state_ = State::kHeadEnd;
        return kOk;
      }
      name_.clear();
      value_.clear();
      state_ = State::kName;
      [[fallthrough]];
    case State::kName:
      if (c == ':') {
        state_ = State::kValue;
        return name_.empty() ? kMalformed : kOk;
      }
      if (name_.size() < kKeptBytes) name_ += LowerCase(c);
      return IsTokenByte(c) ? kOk : kMalformed;
    case State::kValue:
      if (c == '\r') {
        state_ = State::kLineEnd;
        return EndHeader();
      }
      if (c != ' ' && c != '\t' && value_.size() < kKeptBytes) value_ += LowerCase(c);
      return IsControl(c) && c != '\t' ? kMalformed : kOk;
    default:
      // The line feed of the blank line.
      state_ = is_chunked_ ? State::kSize : State::kPlainBody;
      return c == '\n' ? kOk : kMalformed;
  }
}

int FramingScan::EndHeader() {
  const bool is_encoding = name_ == "transfer-encoding";
  if (is_encoding && value_ == "chunked") is_chunked_ = true;
  return value_.empty() && (is_encoding || name_ == "content-length") ? kMalformed : kOk;
}

int FramingScan::AddToChunk(char c) {
  switch (state_) {
    case State::kSize:
      if (const int digit = HexDigit(c); digit >= 0) {
        chunk_left_ = chunk_left_ * 16 + digit;
        if (++size_digits_ > kMaxSizeDigits) return kMalformed;
        return body_bytes_ + chunk_left_ > max_body_bytes_ ? kTooLarge : kOk;
      }
      if (size_digits_ == 0) return kMalformed;
      body_bytes_ += chunk_left_;
      state_ = c == '\r' ? State::kSizeEnd : State::kExtension;
      return c == '\r' || c == ';' ? kOk : kMalformed;
    case State::kExtension:
      if (c == '\r') state_ = State::kSizeEnd;
      return IsControl(c) && c != '\t' && c != '\r' ? kMalformed : kOk;
    case State::kSizeEnd:
      size_digits_ = 0;
      state_ = chunk_left_ == 0 ? State::kBodyEnd : State::kData;
      return c == '\n' ? kOk : kMalformed;
    case State::kDataEnd:
      state_ = State::kDataLineEnd;
      return c == '\r' ? kOk : kMalformed;
    case State::kDataLineEnd:
      state_ = State::kSize;
      return c == '\n' ? kOk : kMalformed;
    case State::kBodyEnd:
      state_ = State::kBodyLineEnd;
      return c == '\r' ? kOk : kMalformed;
    case State::kBodyLineEnd:
      state_ = State::kDone;
      return c == '\n' ? kOk : kMalformed;
    default:
      // After its end nothing belongs to the request.
      return kMalformed;
  }
}

}  // namespace logitd::http

#include "server/converters/api_version.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <optional>
#include <string>

#include "core/errors.h"
#include "core/limits.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::server {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

struct ApiVersion {
  uint64_t major = 0;
  uint64_t minor = 0;
};

// Reads up to the pushed limit, or as far as the bytes are well-formed.
ApiVersion VersionIn(CodedInputStream& hello) {
  ApiVersion version;
  while (const uint32_t tag = hello.ReadTag()) {
    const int number = WireFormatLite::GetTagFieldNumber(tag);
    const bool is_major = number == v1::RunnerHello::kApiMajorVersionFieldNumber;
    const bool is_minor = number == v1::RunnerHello::kApiMinorVersionFieldNumber;
    const bool is_number = WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_VARINT;
    const bool is_read = is_number && (is_major || is_minor)
                             ? hello.ReadVarint64(is_major ? &version.major : &version.minor)
                             : WireFormatLite::SkipField(&hello, tag);
    if (!is_read) break;
  }
  return version;
}

std::optional<ApiVersion> HelloVersion(CodedInputStream& message) {
  while (const uint32_t tag = message.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) == v1::AttachRequest::kHelloFieldNumber &&
        WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      int length = 0;
      if (!message.ReadVarintSizeAsInt(&length)) break;
      message.PushLimit(length);
      return VersionIn(message);
    }
    if (!WireFormatLite::SkipField(&message, tag)) break;
  }
  return std::nullopt;
}

}  // namespace

absl::Status CheckHelloVersion(google::protobuf::io::ZeroCopyInputStream& bytes, int64_t byte_count) {
  CodedInputStream message(&bytes);
  message.PushLimit(static_cast<int>(byte_count));
  const std::optional<ApiVersion> version = HelloVersion(message);
  if (!version || version->major == kApiMajorVersion) return absl::OkStatus();
  const std::string runner = version->major == 0
                                 ? "0 (its hello has none)"
                                 : std::to_string(version->major) + "." + std::to_string(version->minor);
  return errors::RunnerProtocol("the runner has API version " + runner + " and the server " +
                                std::to_string(kApiMajorVersion) + "." + std::to_string(kApiMinorVersion) +
                                ": attach a runner whose major version is the server's");
}

}  // namespace logitd::server

// From a request's bytes to the message, for every call: bounded before it is parsed, and counted as what it costs.
//
// Every service takes raw bytes. gRPC's generated code would parse a message before it is looked at, and report one
// that cannot be parsed just as it reports a half-close.
#ifndef LOGITD_SERVER_SERVICES_REQUEST_READER_H_
#define LOGITD_SERVER_SERVICES_REQUEST_READER_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/limits.h"
#include "logitd/v1/decoding_service.pb.h"
#include "logitd/v1/model_runner_service.pb.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/admission.h"
#include "server/converters/wire_scan.h"

namespace logitd::server {

// Whether a message holds rows: only these are large.
template <typename Message>
inline constexpr bool kHoldsRows = false;
template <>
inline constexpr bool kHoldsRows<v1::DecodeRequest> = true;
template <>
inline constexpr bool kHoldsRows<v1::ComputeDistributionRequest> = true;
template <>
inline constexpr bool kHoldsRows<v1::ScoreLogitsRequest> = true;
template <>
inline constexpr bool kHoldsRows<v1::AttachRequest> = true;

// Looks at the bytes alone: their number, and what is in them (ScanWire).
// Errors: LIMIT_EXCEEDED (max_message_bytes, max_request_bytes), and those of ScanWire.
absl::StatusOr<WireCost> CheckBytes(const grpc::ByteBuffer& bytes, bool holds_rows, const WireShape& shape);

// Parses the bytes and drops them. Errors: MALFORMED_MESSAGE.
absl::Status ParseAndDrop(grpc::ByteBuffer& bytes, google::protobuf::Message& message);

// Makes `message` of `bytes`, which are dropped. Its charge lasts as long as what is returned.
// Errors: those of CheckBytes and ParseAndDrop; OVERLOADED (Admission::TakeBytes).
template <typename Message>
absl::StatusOr<BytesInWork> ReadRequest(grpc::ByteBuffer& bytes, Admission& admission, Message& message) {
  static const WireShape& shape = WireShape::Of(*Message::descriptor());
  const absl::StatusOr<WireCost> cost = CheckBytes(bytes, kHoldsRows<Message>, shape);
  if (!cost.ok()) {
    // A call that is refused may still wait for its client to read that.
    bytes.Clear();
    return cost.status();
  }
  absl::StatusOr<BytesInWork> taken = admission.TakeBytes(cost->memory_bytes + static_cast<int64_t>(sizeof(Message)));
  if (!taken.ok()) {
    bytes.Clear();
    return taken.status();
  }
  const absl::Status parsed = ParseAndDrop(bytes, message);
  if (!parsed.ok()) return parsed;
  return taken;
}

// A reply's bytes. Errors: INTERNAL.
absl::Status WriteReply(const google::protobuf::Message& message, grpc::ByteBuffer& bytes);

// "Generate" of a GenerateRequest.
template <typename Request>
std::string MethodOf() {
  const std::string& name = Request::descriptor()->name();
  return name.substr(0, name.rfind("Request"));
}

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_REQUEST_READER_H_

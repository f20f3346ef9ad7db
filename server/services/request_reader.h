// Turns a request's bytes into the message, for every call. It bounds and charges the message before it parses it.
//
// Every service takes raw bytes, because gRPC's generated code parses a message before anybody can look at it, and
// reports a malformed message like a half-close.
#ifndef LOGITD_SERVER_SERVICES_REQUEST_READER_H_
#define LOGITD_SERVER_SERVICES_REQUEST_READER_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/limits.h"
#include "logitd/v1/calibration.pb.h"
#include "logitd/v1/decoding_service.pb.h"
#include "logitd/v1/model_runner_service.pb.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/admission.h"
#include "server/converters/wire_scan.h"

namespace logitd::server {

// Whether a message holds rows, of logits or of samples. Only these may be large.
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
template <>
inline constexpr bool kHoldsRows<v1::FitCalibrationRequest> = true;

// Checks the bytes without parsing them: their number, and their content (ScanWire).
// Errors: LIMIT_EXCEEDED (max_message_bytes, max_request_bytes), and those of ScanWire.
absl::StatusOr<WireCost> CheckBytes(const grpc::ByteBuffer& bytes, bool holds_rows, const WireShape& shape);

// Parses the bytes and drops them. Errors: MALFORMED_MESSAGE.
absl::Status ParseAndDrop(grpc::ByteBuffer& bytes, google::protobuf::Message& message);

// Makes `message` of `bytes`, which it drops. The message's charge lasts as long as the returned value.
// Errors: those of CheckBytes and ParseAndDrop; OVERLOADED (Admission::TakeBytes).
template <typename Message>
absl::StatusOr<BytesInWork> ReadRequest(grpc::ByteBuffer& bytes, Admission& admission, Message& message) {
  static const WireShape& shape = WireShape::Of(*Message::descriptor());
  const absl::StatusOr<WireCost> cost = CheckBytes(bytes, kHoldsRows<Message>, shape);
  if (!cost.ok()) {
    // A refused call may still wait for its client to read the refusal.
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

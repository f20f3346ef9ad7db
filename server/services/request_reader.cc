#include "server/services/request_reader.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <string>

#include "core/errors.h"

namespace logitd::server {

absl::StatusOr<WireCost> CheckBytes(const grpc::ByteBuffer& bytes, bool holds_rows, const WireShape& shape) {
  // The client half-closed before its only message.
  if (!bytes.Valid()) return errors::MalformedMessage("", "the call has no message");
  const auto length = static_cast<int64_t>(bytes.Length());
  const Limit& limit = holds_rows ? kMaxMessageBytes : kMaxRequestBytes;
  if (length > limit) {
    return errors::LimitExceeded("request", length, "a message of at most " + std::to_string(limit) + " bytes",
                                 limit.name);
  }
  // The reader changes nothing.
  grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&bytes));
  if (!reader.status().ok()) return errors::Internal("the bytes of the message cannot be read");
  return ScanWire(reader, length, shape);
}

absl::Status ParseAndDrop(grpc::ByteBuffer& bytes, google::protobuf::Message& message) {
  const bool is_parsed = grpc::SerializationTraits<google::protobuf::Message>::Deserialize(&bytes, &message).ok();
  bytes.Clear();
  if (is_parsed) return absl::OkStatus();
  return errors::MalformedMessage("", "the message is not a " + message.GetDescriptor()->name());
}

absl::Status WriteReply(const google::protobuf::Message& message, grpc::ByteBuffer& bytes) {
  // Drops the rest of the last reply.
  bytes.Clear();
  bool owns_buffer = false;
  const grpc::Status status =
      grpc::SerializationTraits<google::protobuf::Message>::Serialize(message, &bytes, &owns_buffer);
  return status.ok() ? absl::OkStatus() : errors::Internal("the reply cannot be serialised");
}

}  // namespace logitd::server

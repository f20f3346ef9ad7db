// Scans a message's bytes before it is parsed. It refuses unknown fields and enum values, and computes the memory that
// parsing will take.
//
//   ASSIGN_OR_RETURN(const WireCost cost, ScanWire(stream, byte_count,
//   WireShape::Of(*v1::ScoreRequest::descriptor())));
//
// On the wire an empty submessage takes two bytes, and a token id may take one. In memory the submessage is an object
// of 50 to 300 bytes, and the id a place in an array that doubles as it grows. So a message costs up to 50 times its
// bytes, and only a scan tells how much:
//
//   12 00 | 12 00 | 12 02 0a 00       three elements of field 2 (`items`); the last has an empty submessage in field 1
//                                     8 bytes; 4 submessages, 3 places in a list: about 400 bytes of memory
//
// A request's unknown field or enum value is refused, never ignored, so that an old server cannot silently do something
// else than a new client asked for. Only a runner's hello, with the messages in it, is open: it asks for nothing, so
// its unknown fields are left out. (A group is refused there, too.)
//
// The scan is one pass without a copy. It needs a few hundred bytes for each level of the message type, whatever the
// bytes. Free of gRPC; thread-safe.
#ifndef LOGITD_SERVER_CONVERTERS_WIRE_SCAN_H_
#define LOGITD_SERVER_CONVERTERS_WIRE_SCAN_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/zero_copy_stream.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/limits.h"

namespace logitd::server {

// The most memory of one message: a quarter of the bytes in work. The rows of a message of 64 MiB take 64 to 115 MiB;
// lists of numbers take up to 12 times their bytes.
inline constexpr int64_t kMaxMessageMemoryBytes = 4 * kMaxMessageBytes;

// The shape of a message type, compiled from its descriptor.
class WireShape {
 public:
  // One for each type; it lives as long as the process. This takes a lock, so keep the reference.
  // REQUIRES: no type in it contains itself.
  static const WireShape& Of(const google::protobuf::Descriptor& type);

  struct Field {
    enum class Kind { kVarint, kEnum, kFixed32, kFixed64, kBytes, kMessage };

    const google::protobuf::FieldDescriptor* descriptor = nullptr;
    Kind kind = Kind::kVarint;
    bool is_repeated = false;
    // For a number: its size in a list.
    int64_t size = 0;
    // For an enum: whether its unknown values are left out, as in its message.
    bool ignores_unknown = false;
    // For a submessage.
    std::unique_ptr<const WireShape> message;
  };

  // The field with this number, or nullptr.
  const Field* Find(int number) const {
    if (number <= 0 || static_cast<size_t>(number) >= places_.size()) return nullptr;
    const int place = places_[static_cast<size_t>(number)];
    return place < 0 ? nullptr : &fields_[static_cast<size_t>(place)];
  }
  // The index of the field in its message, in [0, kMaxFields).
  size_t PlaceOf(const Field& field) const { return static_cast<size_t>(&field - fields_.data()); }

  const google::protobuf::Descriptor& descriptor() const { return *descriptor_; }
  // The heap bytes of an object without its lists, texts and submessages.
  int64_t object_bytes() const { return object_bytes_; }
  // Unknown fields and enum values are left out here and in the messages in it, not refused.
  bool ignores_unknown() const { return ignores_unknown_; }

  static constexpr size_t kMaxFields = 64;

 private:
  WireShape(const google::protobuf::Descriptor& type, bool ignores_unknown);

  const google::protobuf::Descriptor* descriptor_;
  int64_t object_bytes_ = 0;
  bool ignores_unknown_ = false;
  std::vector<Field> fields_;
  // By number; -1: no such field.
  std::vector<int> places_;
};

struct WireCost {
  // Submessages, and texts in lists, at any depth.
  int64_t element_count = 0;
  // The most bytes that parsing allocates, without the message object itself. (A little more than the message then
  // takes, because lists have room to grow.)
  int64_t memory_bytes = 0;
};

// `byte_count`: how many bytes of `bytes` are the message. REQUIRES: it fits an int.
// Errors: UNKNOWN_FIELD (a group is always one), UNKNOWN_ENUM_VALUE, with the path of the message or field;
// LIMIT_EXCEEDED (max_message_elements; max_message_bytes, if it would take more than kMaxMessageMemoryBytes);
// MALFORMED_MESSAGE. A message that passes may still be malformed: the scan checks neither texts for UTF-8 nor packed
// numbers one by one.
absl::StatusOr<WireCost> ScanWire(google::protobuf::io::ZeroCopyInputStream& bytes, int64_t byte_count,
                                  const WireShape& shape);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_WIRE_SCAN_H_

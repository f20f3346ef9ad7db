// Looks through a message's bytes before it is parsed: what is unknown is refused, and what parsing it will cost in
// memory is known while nothing has been made yet.
//
//   ASSIGN_OR_RETURN(const WireCost cost, ScanWire(stream, byte_count,
//   WireShape::Of(*v1::ScoreRequest::descriptor())));
//
// On the wire an empty submessage is two bytes, and a token id may be one; in memory the first is an object of 50 to
// 300 bytes and the second a place in an array that doubles as it grows. So a message costs up to 50 times its bytes,
// and only a look at them tells how much:
//
//   12 00 | 12 00 | 12 02 0a 00       three elements of field 2 (`items`), the last with an empty submessage in field
//   1:
//                                     8 bytes; 4 submessages, 3 places in a list: about 400 bytes of memory
//
// Nothing in a request is ever ignored: a field or an enum value that this server does not know is refused, so that an
// old server cannot silently do something else than a new client asked for. One message is open: in a runner's hello,
// and in what is in it, what is unknown is left out, for it asks for nothing. (A group is refused there, too.)
//
// One pass, without a copy. Its own memory is a few hundred bytes for each level of the message type, and does not
// depend on the bytes. Free of gRPC; thread-safe.
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

// No message may cost more: a quarter of what may be in work at once. The rows of a message of 64 MiB cost 64 to 115
// MiB, and lists of numbers up to 12 times their bytes.
inline constexpr int64_t kMaxMessageMemoryBytes = 4 * kMaxMessageBytes;

// What a message type looks like, compiled from its descriptor.
class WireShape {
 public:
  // Made once for each type; lives as long as the process. Takes a lock: keep the reference.
  // REQUIRES: no type in it contains itself.
  static const WireShape& Of(const google::protobuf::Descriptor& type);

  struct Field {
    enum class Kind { kVarint, kEnum, kFixed32, kFixed64, kBytes, kMessage };

    const google::protobuf::FieldDescriptor* descriptor = nullptr;
    Kind kind = Kind::kVarint;
    bool is_repeated = false;
    // Of a number: its size in a list.
    int64_t size = 0;
    // Of an enum: as its message's.
    bool ignores_unknown = false;
    // Of a submessage.
    std::unique_ptr<const WireShape> message;
  };

  // The field with that number; nullptr: there is none.
  const Field* Find(int number) const {
    if (number <= 0 || static_cast<size_t>(number) >= places_.size()) return nullptr;
    const int place = places_[static_cast<size_t>(number)];
    return place < 0 ? nullptr : &fields_[static_cast<size_t>(place)];
  }
  // Its number among the fields of its message, [0, kMaxFields).
  size_t PlaceOf(const Field& field) const { return static_cast<size_t>(&field - fields_.data()); }

  const google::protobuf::Descriptor& descriptor() const { return *descriptor_; }
  // Of an object on the heap without its lists, texts and submessages.
  int64_t object_bytes() const { return object_bytes_; }
  // Fields and enum values that are not known are left out here and in the messages in it, not refused.
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
  // At most so much is allocated while the message is parsed, the object itself not counted. (A little more than what
  // it then takes: lists have room to grow.)
  int64_t memory_bytes = 0;
};

// `byte_count`: how many bytes of `bytes` are the message. REQUIRES: it fits an int.
// Errors: UNKNOWN_FIELD (a group is always one), UNKNOWN_ENUM_VALUE, with the path of the message or field;
// LIMIT_EXCEEDED (max_message_elements; max_message_bytes, if it would cost more than kMaxMessageMemoryBytes);
// MALFORMED_MESSAGE. A message without an error may still be malformed: texts are not checked for UTF-8, nor packed
// numbers one by one.
absl::StatusOr<WireCost> ScanWire(google::protobuf::io::ZeroCopyInputStream& bytes, int64_t byte_count,
                                  const WireShape& shape);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_WIRE_SCAN_H_

#include "server/converters/wire_scan.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/message.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

#include "base/status_macros.h"
#include "core/errors.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using Field = WireShape::Field;
using Kind = WireShape::Field::Kind;

// Bytes that malloc takes for `bytes`: 8 of its own, rounded up to 16.
constexpr int64_t Allocated(int64_t bytes) { return std::max<int64_t>(32, (bytes + 8 + 15) / 16 * 16); }

// Cost of a pointer in a list of submessages or texts: the list doubles, and the old one exists until it is copied.
constexpr int64_t kPlaceBytes = 3 * sizeof(void*);
// The first allocation of a list: its header, and room for a few elements.
constexpr int64_t kListBytes = Allocated(16 + 4 * 8);
constexpr int64_t kTextBytes = Allocated(sizeof(std::string));
// std::string holds this many bytes without an allocation.
constexpr int64_t kInlineTextBytes = 15;
// protobuf reserves at most this much for a text (kSafeStringSize). A longer text grows, and then exists twice.
constexpr int64_t kReservedTextBytes = 50'000'000;

// Field numbers of this contract are small, so they index an array.
constexpr int kMaxFieldNumber = 255;

int64_t TextCost(int64_t length) {
  int64_t cost = kTextBytes;
  if (length > kInlineTextBytes) cost += Allocated(length + 1);
  if (length > kReservedTextBytes) cost += kReservedTextBytes;
  return cost;
}

Kind KindOf(const FieldDescriptor& field) {
  switch (WireFormatLite::WireTypeForFieldType(static_cast<WireFormatLite::FieldType>(field.type()))) {
    case WireFormatLite::WIRETYPE_FIXED32:
      return Kind::kFixed32;
    case WireFormatLite::WIRETYPE_FIXED64:
      return Kind::kFixed64;
    case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
      return field.type() == FieldDescriptor::TYPE_MESSAGE ? Kind::kMessage : Kind::kBytes;
    default:
      return field.type() == FieldDescriptor::TYPE_ENUM ? Kind::kEnum : Kind::kVarint;
  }
}

int64_t SizeInList(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT64:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return 8;
    case FieldDescriptor::CPPTYPE_BOOL:
      return 1;
    default:
      return 4;
  }
}

WireFormatLite::WireType WireTypeOf(Kind kind) {
  switch (kind) {
    case Kind::kFixed32:
      return WireFormatLite::WIRETYPE_FIXED32;
    case Kind::kFixed64:
      return WireFormatLite::WIRETYPE_FIXED64;
    case Kind::kBytes:
    case Kind::kMessage:
      return WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    default:
      return WireFormatLite::WIRETYPE_VARINT;
  }
}

// A level of the scan: a message within its parent. The levels lie on the stack.
struct Level {
  const Level* parent;
  const Field* field;
  // Its index in its list; -1: no list.
  int64_t index;
};

std::string PathOf(const Level* level) {
  if (level == nullptr || level->field == nullptr) return "";
  std::string path = PathOf(level->parent);
  if (!path.empty()) path += ".";
  path += level->field->descriptor->name();
  if (level->index >= 0) path += "[" + std::to_string(level->index) + "]";
  return path;
}

class Scanner {
 public:
  Scanner(google::protobuf::io::ZeroCopyInputStream& bytes, const WireShape& root) : input_(&bytes), root_(root) {}

  absl::StatusOr<WireCost> Scan(int64_t byte_count) {
    input_.PushLimit(static_cast<int>(byte_count));
    RETURN_IF_ERROR(Message(root_, Level{nullptr, nullptr, -1}));
    return cost_;
  }

 private:
  absl::Status Malformed() const {
    return errors::MalformedMessage("", "the message is not a " + root_.descriptor().name());
  }

  absl::Status Add(int64_t memory_bytes) {
    cost_.memory_bytes += memory_bytes;
    if (cost_.memory_bytes <= kMaxMessageMemoryBytes) return absl::OkStatus();
    return errors::LimitExceeded(
        "request", cost_.memory_bytes,
        "a message that takes at most " + std::to_string(kMaxMessageMemoryBytes) + " bytes of memory",
        kMaxMessageBytes.name);
  }

  absl::Status AddElement() {
    if (++cost_.element_count <= kMaxMessageElements) return absl::OkStatus();
    return errors::LimitExceeded(
        "request", cost_.element_count,
        "a message of at most " + std::to_string(kMaxMessageElements) + " submessages and texts in lists",
        kMaxMessageElements.name);
  }

  // Scans to the pushed limit.
  absl::Status Message(const WireShape& shape, const Level& here) {
    // The occurrences of each field so far.
    std::array<int32_t, WireShape::kMaxFields> counts = {};
    while (true) {
      const uint32_t tag = input_.ReadTag();
      if (tag == 0) return input_.ConsumedEntireMessage() ? absl::OkStatus() : Malformed();
      const int number = WireFormatLite::GetTagFieldNumber(tag);
      const WireFormatLite::WireType wire_type = WireFormatLite::GetTagWireType(tag);
      if (number == 0 || wire_type == WireFormatLite::WIRETYPE_END_GROUP || wire_type > 5) return Malformed();
      const Field* field = shape.Find(number);
      const bool is_packed = field != nullptr && field->is_repeated && field->kind != Kind::kBytes &&
                             field->kind != Kind::kMessage && wire_type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
      if (field == nullptr || (!is_packed && wire_type != WireTypeOf(field->kind))) {
        if (shape.ignores_unknown() && wire_type != WireFormatLite::WIRETYPE_START_GROUP) {
          RETURN_IF_ERROR(Unknown(wire_type));
          continue;
        }
        const std::string path = PathOf(&here);
        return errors::UnknownField(path.empty() ? "request" : path, number);
      }
      int32_t& count = counts[shape.PlaceOf(*field)];
      if (is_packed) {
        RETURN_IF_ERROR(Packed(*field, here, count));
      } else {
        RETURN_IF_ERROR(Single(*field, here, count));
        ++count;
      }
    }
  }

  // A value of a field that is left out. protobuf keeps it in a list of unknown fields.
  absl::Status Unknown(WireFormatLite::WireType wire_type) {
    RETURN_IF_ERROR(AddElement());
    int length = 0;
    uint64_t value = 0;
    bool is_whole = false;
    switch (wire_type) {
      case WireFormatLite::WIRETYPE_FIXED32:
        is_whole = input_.Skip(4);
        break;
      case WireFormatLite::WIRETYPE_FIXED64:
        is_whole = input_.Skip(8);
        break;
      case WireFormatLite::WIRETYPE_VARINT:
        is_whole = input_.ReadVarint64(&value);
        break;
      default:
        is_whole = ReadLength(&length) && input_.Skip(length);
    }
    if (!is_whole) return Malformed();
    return Add(kListBytes + 2 * kPlaceBytes + TextCost(length));
  }

  // A value. `count`: the values of its field before it.
  absl::Status Single(const Field& field, const Level& here, int64_t count) {
    const int64_t index = field.is_repeated ? count : -1;
    switch (field.kind) {
      case Kind::kBytes: {
        int length = 0;
        if (!ReadLength(&length) || !input_.Skip(length)) return Malformed();
        if (!field.is_repeated) return Add(TextCost(length));
        RETURN_IF_ERROR(AddElement());
        return Add((count == 0 ? kListBytes : 0) + kPlaceBytes + TextCost(length));
      }
      case Kind::kMessage: {
        int length = 0;
        if (!ReadLength(&length)) return Malformed();
        RETURN_IF_ERROR(AddElement());
        const int64_t in_list = field.is_repeated ? (count == 0 ? kListBytes : 0) + kPlaceBytes : 0;
        RETURN_IF_ERROR(Add(in_list + field.message->object_bytes()));
        const CodedInputStream::Limit limit = input_.PushLimit(length);
        RETURN_IF_ERROR(Message(*field.message, Level{&here, &field, index}));
        return input_.CheckEntireMessageConsumedAndPopLimit(limit) ? absl::OkStatus() : Malformed();
      }
      case Kind::kFixed32:
        if (!input_.Skip(4)) return Malformed();
        break;
      case Kind::kFixed64:
        if (!input_.Skip(8)) return Malformed();
        break;
      case Kind::kVarint:
      case Kind::kEnum: {
        uint64_t value = 0;
        if (!input_.ReadVarint64(&value)) return Malformed();
        if (field.kind == Kind::kEnum) RETURN_IF_ERROR(CheckEnum(field, value, Level{&here, &field, index}));
        break;
      }
    }
    return field.is_repeated ? AddNumbers(field, 1, count == 0) : absl::OkStatus();
  }

  // Packed numbers. Adds their number to `count`.
  absl::Status Packed(const Field& field, const Level& here, int32_t& count) {
    int length = 0;
    if (!ReadLength(&length)) return Malformed();
    const bool is_first = count == 0;
    int32_t added = 0;
    switch (field.kind) {
      case Kind::kFixed32:
      case Kind::kFixed64: {
        const int size = field.kind == Kind::kFixed32 ? 4 : 8;
        if (length % size != 0 || !input_.Skip(length)) return Malformed();
        added = length / size;
        break;
      }
      case Kind::kEnum: {
        const CodedInputStream::Limit limit = input_.PushLimit(length);
        while (input_.BytesUntilLimit() > 0) {
          uint64_t value = 0;
          if (!input_.ReadVarint64(&value)) return Malformed();
          RETURN_IF_ERROR(CheckEnum(field, value, Level{&here, &field, int64_t{count} + added}));
          ++added;
        }
        input_.PopLimit(limit);
        break;
      }
      default:
        if (!CountVarints(length, added)) return Malformed();
    }
    count += added;
    return AddNumbers(field, added, is_first && added > 0);
  }

  // `is_first`: the numbers begin their list.
  absl::Status AddNumbers(const Field& field, int64_t count, bool is_first) {
    // The array doubles, and the old one exists until it is copied.
    return Add((is_first ? kListBytes : 0) + 3 * count * field.size);
  }

  // A varint ends with a byte below 128.
  bool CountVarints(int length, int32_t& count) {
    bool is_whole = true;
    while (length > 0) {
      const void* data = nullptr;
      int size = 0;
      if (!input_.GetDirectBufferPointer(&data, &size)) return false;
      size = std::min(size, length);
      const auto* bytes = static_cast<const uint8_t*>(data);
      int32_t ends = 0;
      for (int i = 0; i < size; ++i) ends += bytes[i] < 128;
      count += ends;
      is_whole = bytes[size - 1] < 128;
      if (!input_.Skip(size)) return false;
      length -= size;
    }
    return is_whole;
  }

  static absl::Status CheckEnum(const Field& field, uint64_t value, const Level& here) {
    const int number = static_cast<int>(value);
    if (field.ignores_unknown || field.descriptor->enum_type()->FindValueByNumber(number) != nullptr) {
      return absl::OkStatus();
    }
    return errors::UnknownEnumValue(PathOf(&here), number);
  }

  // Of what follows, within its message.
  bool ReadLength(int* length) { return input_.ReadVarintSizeAsInt(length) && *length <= input_.BytesUntilLimit(); }

  CodedInputStream input_;
  const WireShape& root_;
  WireCost cost_;
};

}  // namespace

WireShape::WireShape(const Descriptor& type, bool ignores_unknown)
    : descriptor_(&type), ignores_unknown_(ignores_unknown || &type == v1::RunnerHello::descriptor()) {
  const auto* prototype = google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type);
  object_bytes_ = Allocated(static_cast<int64_t>(prototype->SpaceUsedLong()));
  // These checks concern the contract, not requests: a new field that breaks them fails the first test.
  if (static_cast<size_t>(type.field_count()) > kMaxFields) std::abort();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.number() > kMaxFieldNumber || field.is_map()) std::abort();
    places_.resize(std::max<size_t>(places_.size(), static_cast<size_t>(field.number()) + 1), -1);
    places_[static_cast<size_t>(field.number())] = i;
    Field& shape = fields_.emplace_back();
    shape.descriptor = &field;
    shape.kind = KindOf(field);
    shape.is_repeated = field.is_repeated();
    shape.ignores_unknown = ignores_unknown_;
    if (shape.kind == Kind::kMessage) {
      shape.message.reset(new WireShape(*field.message_type(), ignores_unknown_));
    } else if (shape.kind != Kind::kBytes) {
      shape.size = SizeInList(field);
    }
  }
}

const WireShape& WireShape::Of(const Descriptor& type) {
  static std::mutex mutex;
  static auto& shapes = *new std::map<const Descriptor*, std::unique_ptr<const WireShape>>;
  std::lock_guard lock(mutex);
  std::unique_ptr<const WireShape>& shape = shapes[&type];
  if (shape == nullptr) shape.reset(new WireShape(type, /*ignores_unknown=*/false));
  return *shape;
}

absl::StatusOr<WireCost> ScanWire(google::protobuf::io::ZeroCopyInputStream& bytes, int64_t byte_count,
                                  const WireShape& shape) {
  return Scanner(bytes, shape).Scan(byte_count);
}

}  // namespace logitd::server

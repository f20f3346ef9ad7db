// The scan of a message's bytes against protobuf's parser, on bytes that are nearly a request: what the scan lets
// through costs no more than it says, and has nothing that is unknown; what it calls malformed, protobuf does not
// parse; and it says the same however the bytes are cut into pieces.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/unknown_field_set.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/errors.h"
#include "logitd/v1/decoding_service.pb.h"
#include "logitd/v1/generation_service.pb.h"
#include "logitd/v1/model_runner_service.pb.h"
#include "logitd/v1/model_service.pb.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/converters/wire_scan.h"
#include "tests/fuzz/fuzz_input.h"

namespace logitd::fuzz {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

const std::vector<const Message*>& Requests() {
  static const auto& requests = *new std::vector<const Message*>{
      &v1::DecodeRequest::default_instance(),        &v1::ComputeDistributionRequest::default_instance(),
      &v1::GenerateRequest::default_instance(),      &v1::ScoreRequest::default_instance(),
      &v1::RankRequest::default_instance(),          &v1::ScoreLogitsRequest::default_instance(),
      &v1::TokenizeRequest::default_instance(),      &v1::DetokenizeRequest::default_instance(),
      &v1::ListModelsRequest::default_instance(),    &v1::AttachRequest::default_instance(),
      &v1::GetVocabularyRequest::default_instance(), &v1::RenderChatRequest::default_instance()};
  return requests;
}

std::string Varint(uint64_t value, bool overlong = false) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>(value & 127 | 128);
  bytes += static_cast<char>(value);
  if (overlong) {
    bytes.back() |= static_cast<char>(128);
    bytes += '\0';
  }
  return bytes;
}

std::string Value(FuzzInput& input, int wire_type) {
  switch (wire_type) {
    case 0:
      return Varint(input.Bits() >> input.Below(64), input.OneIn(20));
    case 1:
      return std::string(8, static_cast<char>(input.Below(256)));
    case 5:
      return std::string(4, static_cast<char>(input.Below(256)));
    default:
      return "";
  }
}

int WireTypeOf(const FieldDescriptor& field) {
  switch (field.type()) {
    case FieldDescriptor::TYPE_DOUBLE:
    case FieldDescriptor::TYPE_FIXED64:
      return 1;
    case FieldDescriptor::TYPE_FLOAT:
      return 5;
    case FieldDescriptor::TYPE_STRING:
    case FieldDescriptor::TYPE_BYTES:
    case FieldDescriptor::TYPE_MESSAGE:
      return 2;
    default:
      return 0;
  }
}

// Nearly a message of that type. `sound`: nothing is wrong on purpose.
std::string Write(FuzzInput& input, const Descriptor& type, int depth, bool sound) {
  std::string bytes;
  const uint64_t count = input.Below(depth == 0 ? 12 : 5);
  for (uint64_t i = 0; i < count; ++i) {
    if (!sound && input.OneIn(40)) {
      bytes += Varint(input.Below(1000));
      continue;
    }
    if (type.field_count() == 0) continue;
    const FieldDescriptor& field =
        *type.field(static_cast<int>(input.Below(static_cast<uint64_t>(type.field_count()))));
    const bool is_wrong = !sound && input.OneIn(40);
    const int wire_type = is_wrong ? static_cast<int>(input.Below(8)) : WireTypeOf(field);
    const auto tag = [&](int wire) {
      return Varint(static_cast<uint64_t>(field.number()) << 3 | static_cast<uint64_t>(wire));
    };
    std::string inner;
    if (wire_type != 2) {
      if (field.is_repeated() && !is_wrong && input.OneIn(2)) {
        for (uint64_t k = input.Below(input.OneIn(8) ? 2000 : 6); k > 0; --k) {
          inner += field.enum_type() != nullptr ? std::string(1, '\1') : Value(input, wire_type);
        }
        bytes += tag(2);
      } else {
        bytes +=
            tag(wire_type) + (field.enum_type() != nullptr && sound ? std::string(1, '\1') : Value(input, wire_type));
        continue;
      }
    } else {
      bytes += tag(2);
      if (field.type() == FieldDescriptor::TYPE_MESSAGE) {
        inner = Write(input, *field.message_type(), depth + 1, sound);
      } else {
        inner.assign(input.Below(input.OneIn(8) ? 5000 : 30), input.OneIn(50) ? '\xff' : 'x');
      }
    }
    uint64_t length = inner.size();
    if (!sound && input.OneIn(60)) length += input.Below(4);
    bytes += Varint(length, input.OneIn(30)) + inner;
  }
  return bytes;
}

bool HasUnknown(const Message& message) {
  // It is open.
  if (message.GetDescriptor() == v1::RunnerHello::descriptor()) return false;
  const Reflection& reflection = *message.GetReflection();
  if (!reflection.GetUnknownFields(message).empty()) return true;
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      if (field->enum_type() != nullptr) {
        const int value = field->is_repeated() ? reflection.GetRepeatedEnumValue(message, field, i)
                                               : reflection.GetEnumValue(message, field);
        if (field->enum_type()->FindValueByNumber(value) == nullptr) return true;
      } else if (field->message_type() != nullptr) {
        if (HasUnknown(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                            : reflection.GetMessage(message, field))) {
          return true;
        }
      }
    }
  }
  return false;
}

absl::StatusOr<server::WireCost> Scan(const std::string& bytes, const Descriptor& type, int piece_size) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()), piece_size);
  return server::ScanWire(stream, static_cast<int64_t>(bytes.size()), server::WireShape::Of(type));
}

}  // namespace
}  // namespace logitd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace logitd::fuzz;  // NOLINT
  using logitd::ErrorReason;
  static google::protobuf::LogSilencer quiet;
  FuzzInput input(data, size);
  const google::protobuf::Message& request = *Requests()[input.Below(Requests().size())];
  const google::protobuf::Descriptor& type = *request.GetDescriptor();
  std::string bytes = Write(input, type, 0, input.OneIn(2));
  // And what a fuzzer gives, as it is.
  if (input.OneIn(8)) bytes.assign(reinterpret_cast<const char*>(data), size);

  const auto cost = Scan(bytes, type, -1);
  const auto in_pieces = Scan(bytes, type, static_cast<int>(input.Below(40)) + 1);
  LOGITD_FUZZ_CHECK(cost.status() == in_pieces.status(), cost.status() << " and in pieces " << in_pieces.status());
  const std::unique_ptr<google::protobuf::Message> parsed(request.New());
  const bool is_parsed = parsed->ParseFromString(bytes);
  if (!cost.ok()) {
    if (logitd::DetailOf(cost.status()).reason == ErrorReason::kMalformedMessage) {
      LOGITD_FUZZ_CHECK(!is_parsed, cost.status() << ", and yet it is " << parsed->ShortDebugString());
    }
    return 0;
  }
  LOGITD_FUZZ_CHECK(cost->memory_bytes == in_pieces->memory_bytes, "the cost of pieces");
  const auto taken = static_cast<int64_t>(parsed->SpaceUsedLong()) - static_cast<int64_t>(request.SpaceUsedLong());
  LOGITD_FUZZ_CHECK(taken <= cost->memory_bytes, taken << " bytes, " << cost->memory_bytes << " expected");
  if (is_parsed) LOGITD_FUZZ_CHECK(!HasUnknown(*parsed), parsed->ShortDebugString());
  return 0;
}

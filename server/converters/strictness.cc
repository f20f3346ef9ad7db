#include "server/converters/strictness.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

#include <string>
#include <vector>

#include "core/errors.h"
#include "core/status_macros.h"

namespace logitd::server {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string PathOf(const std::string& parent, const FieldDescriptor& field, int index) {
  std::string path = parent.empty() ? field.name() : parent + "." + field.name();
  if (index >= 0) path += "[" + std::to_string(index) + "]";
  return path;
}

absl::Status CheckEnum(const EnumDescriptor& type, int value, const std::string& path) {
  if (type.FindValueByNumber(value) != nullptr) return absl::OkStatus();
  return errors::UnknownEnumValue(path, value);
}

absl::Status Check(const Message& message, const std::string& path) {
  const Reflection& reflection = *message.GetReflection();
  const auto& unknown = reflection.GetUnknownFields(message);
  if (!unknown.empty()) {
    return errors::UnknownField(path.empty() ? "request" : path, unknown.field(0).number());
  }
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (!is_message && field->cpp_type() != FieldDescriptor::CPPTYPE_ENUM) continue;
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      const bool repeated = field->is_repeated();
      const std::string here = PathOf(path, *field, repeated ? i : -1);
      if (is_message) {
        RETURN_IF_ERROR(Check(
            repeated ? reflection.GetRepeatedMessage(message, field, i) : reflection.GetMessage(message, field), here));
      } else {
        RETURN_IF_ERROR(CheckEnum(
            *field->enum_type(),
            repeated ? reflection.GetRepeatedEnumValue(message, field, i) : reflection.GetEnumValue(message, field),
            here));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckKnown(const Message& message) { return Check(message, ""); }

}  // namespace logitd::server

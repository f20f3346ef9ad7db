#include "client/cli/request_fields.h"

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "logitd/v1/sampling.pb.h"

namespace logitd::cli {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;

// "TIE_RULE_KEEP_ALL", "keep_all" and "Keep-All" are "keep-all".
std::string FlagName(std::string_view name) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(std::string(name)), {{"_", "-"}});
}

// The values as flags have them, in the order of the .proto file. The unspecified value, which comes first, is none.
std::vector<std::string> NamesOf(const EnumDescriptor& type) {
  const size_t prefix = type.value(0)->name().size() - std::string_view("UNSPECIFIED").size();
  std::vector<std::string> names;
  for (int i = 1; i < type.value_count(); ++i) names.push_back(FlagName(type.value(i)->name().substr(prefix)));
  return names;
}

std::optional<int> NumberOf(const EnumDescriptor& type, std::string_view text) {
  const std::vector<std::string> names = NamesOf(type);
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == FlagName(text)) return type.value(static_cast<int>(i) + 1)->number();
  }
  return std::nullopt;
}

// The fields along a flag's path; "a=b" at its end are two fields.
std::vector<const FieldDescriptor*> FieldsOn(const std::string& path, const Descriptor* request) {
  std::vector<const FieldDescriptor*> fields;
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(path, absl::ByAnyChar(".=")))) {
    fields.push_back(request->FindFieldByName(name));
    if (fields.back()->message_type() != nullptr) request = fields.back()->message_type();
  }
  return fields;
}

absl::Status SetStageOrder(const std::string& flag, const std::string& text, v1::StageOrder& order) {
  const EnumDescriptor& presets = *v1::StagePreset_descriptor();
  const EnumDescriptor& stages = *v1::Stage_descriptor();
  if (const std::optional<int> preset = NumberOf(presets, text)) {
    order.set_preset(static_cast<v1::StagePreset>(*preset));
    return absl::OkStatus();
  }
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(text, ','))) {
    const std::optional<int> stage = NumberOf(stages, name);
    if (!stage) {
      return UsageError(
          flag, name,
          absl::StrCat(OneOf(NamesOf(presets)), ", or stages separated by commas (", OneOf(NamesOf(stages)), ")"));
    }
    order.add_stages(static_cast<v1::Stage>(*stage));
  }
  return absl::OkStatus();
}

// Sets one field of `message` to a flag's value.
absl::Status SetField(const std::string& flag, const std::string& text, const FieldDescriptor* field,
                      Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double value = 0;
      RETURN_IF_ERROR(ParseValue(flag, text, value));
      reflection.SetDouble(&message, field, value);
      break;
    }
    case FieldDescriptor::CPPTYPE_INT32: {
      std::vector<int32_t> values(1);
      RETURN_IF_ERROR(field->is_repeated() ? ParseValue(flag, text, values) : ParseValue(flag, text, values[0]));
      if (!field->is_repeated()) reflection.SetInt32(&message, field, values[0]);
      for (size_t i = 0; field->is_repeated() && i < values.size(); ++i) {
        reflection.AddInt32(&message, field, values[i]);
      }
      break;
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t value = 0;
      RETURN_IF_ERROR(ParseValue(flag, text, value));
      reflection.SetUInt64(&message, field, value);
      break;
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      bool value = false;
      RETURN_IF_ERROR(ParseValue(flag, text, value));
      reflection.SetBool(&message, field, value);
      break;
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const std::optional<int> number = NumberOf(*field->enum_type(), text);
      if (!number) return UsageError(flag, text, OneOf(NamesOf(*field->enum_type())));
      reflection.SetEnumValue(&message, field, *number);
      break;
    }
    case FieldDescriptor::CPPTYPE_STRING:
      field->is_repeated() ? reflection.AddString(&message, field, text) : reflection.SetString(&message, field, text);
      break;
    default:
      return absl::InternalError(absl::StrCat(flag, " sets a field of a type that no flag has"));
  }
  return absl::OkStatus();
}

// "KEY=NATS" into two fields of `message`.
absl::Status SetPair(const std::string& flag, const std::string& text, const FieldDescriptor* key,
                     const FieldDescriptor* nats, Message& message) {
  const size_t equals = text.find('=');
  double value = 0;
  int32_t id = 0;
  const bool is_list = key->is_repeated();
  if (equals == std::string::npos || equals == 0 || !absl::SimpleAtod(text.substr(equals + 1), &value) ||
      (!is_list && !absl::SimpleAtoi(text.substr(0, equals), &id))) {
    return UsageError(
        flag, text,
        is_list ? "token ids and nats (IDS=NATS, as 5,7=-1.5)" : "a token id and nats (ID=NATS, as 7=-1.5)");
  }
  RETURN_IF_ERROR(SetField(flag, text.substr(0, equals), key, message));
  return SetField(flag, text.substr(equals + 1), nats, message);
}

absl::Status SetPath(const Flag& flag, const std::string& text, Message& request) {
  std::vector<const FieldDescriptor*> fields = FieldsOn(flag.field, request.GetDescriptor());
  Message* message = &request;
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) break;
    const google::protobuf::Reflection& reflection = *message->GetReflection();
    message = field->is_repeated() ? reflection.AddMessage(message, field) : reflection.MutableMessage(message, field);
  }
  if (auto* order = google::protobuf::DynamicCastToGenerated<v1::StageOrder>(message)) {
    return SetStageOrder(flag.name, text, *order);
  }
  if (flag.field.find('=') != std::string::npos) {
    return SetPair(flag.name, text, fields[fields.size() - 2], fields.back(), *message);
  }
  return SetField(flag.name, flag.value.empty() ? "true" : text, fields.back(), *message);
}

}  // namespace

absl::Status SetFields(const Arguments& arguments, Message& request) {
  for (const FlagGroup& group : arguments.command().groups) {
    for (const Flag& flag : group.flags) {
      if (flag.field.empty()) continue;
      for (const std::string& text : arguments.Values(flag.name)) RETURN_IF_ERROR(SetPath(flag, text, request));
    }
  }
  // A message that holds only defaults says nothing, and is not sent.
  std::vector<const FieldDescriptor*> set;
  const google::protobuf::Reflection& reflection = *request.GetReflection();
  reflection.ListFields(request, &set);
  for (const FieldDescriptor* field : set) {
    if (field->is_repeated() || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (reflection.GetMessage(request, field).ByteSizeLong() == 0) reflection.ClearField(&request, field);
  }
  return absl::OkStatus();
}

bool IsRepeated(const Flag& flag, const Descriptor* request) {
  if (flag.field.empty()) return false;
  for (const FieldDescriptor* field : FieldsOn(flag.field, request)) {
    if (field->is_repeated() && field->message_type() != nullptr) return true;
  }
  return false;
}

std::vector<std::string> ChoicesOf(const Flag& flag, const Descriptor* request) {
  if (flag.field.empty() || flag.value.empty()) return flag.choices;
  const FieldDescriptor& field = *FieldsOn(flag.field, request).back();
  if (field.message_type() == v1::StageOrder::descriptor()) return NamesOf(*v1::StagePreset_descriptor());
  if (field.enum_type() != nullptr) return NamesOf(*field.enum_type());
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) return {"true", "false"};
  return {};
}

std::string OneOf(std::vector<std::string> names) {
  if (names.size() == 1) return names[0];
  const std::string last = std::move(names.back());
  names.pop_back();
  return absl::StrCat(absl::StrJoin(names, ", "), " or ", last);
}

}  // namespace logitd::cli

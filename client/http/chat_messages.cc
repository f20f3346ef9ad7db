#include "client/http/chat_messages.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "client/http/chat_fields.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

std::string At(const std::string& path, size_t index) { return path + "[" + std::to_string(index) + "]"; }

absl::StatusOr<std::string> PartText(const Json& value, const std::string& path) {
  if (!value.is_object()) return InvalidType(path, "an object", KindOf(value));
  FieldReader part(value, path);
  const std::optional<std::string> type = part.String("type");
  RETURN_IF_ERROR(part.status());
  if (!type) return MissingField(part.PathOf("type"));
  // Before the fields: those of an image are not unknown, the image is.
  if (*type != "text") {
    return HttpError(400, "unsupported_parameter", part.PathOf("type"),
                     part.PathOf("type") + " must be text: a model of text sees no others");
  }
  RETURN_IF_ERROR(CheckFields(value, ChatPartFields(), path));
  std::optional<std::string> text = part.String("text");
  RETURN_IF_ERROR(part.status());
  if (!text) return MissingField(part.PathOf("text"));
  return *std::move(text);
}

absl::StatusOr<std::string> ContentOf(const Json& value, const std::string& path) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return InvalidType(path, "a text or a list of parts", KindOf(value));
  std::string content;
  for (size_t i = 0; i < value.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string text, PartText(value[i], At(path, i)));
    content += (i == 0 ? "" : "\n") + text;
  }
  return content;
}

absl::StatusOr<v1::ChatMessage> MessageOf(const Json& value, const std::string& path) {
  RETURN_IF_ERROR(CheckFields(value, ChatMessageFields(), path));
  FieldReader fields(value, path);
  v1::ChatMessage message;
  const std::optional<std::string> role = fields.String("role");
  message.set_name(fields.String("name").value_or(""));
  RETURN_IF_ERROR(fields.status());
  if (!role) return MissingField(fields.PathOf("role"));
  message.set_role(*role);
  if (const Json* content = fields.Find("content"); content != nullptr) {
    ASSIGN_OR_RETURN(*message.mutable_content(), ContentOf(*content, fields.PathOf("content")));
  } else if (*role != "assistant") {
    return MissingField(fields.PathOf("content"));
  }
  return message;
}

absl::Status SetArgument(const Json& value, const std::string& path, v1::TemplateArgument& out) {
  if (value.is_null()) return absl::OkStatus();
  if (value.is_boolean()) {
    out.set_bool_value(value.get<bool>());
  } else if (value.is_string()) {
    out.set_string_value(value.get<std::string>());
  } else if (value.is_number_float()) {
    out.set_double_value(value.get<double>());
  } else if (value.is_number_unsigned() &&
             value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return InvalidValue(path, "must be at most 2^63 - 1");
  } else if (value.is_number_integer()) {
    out.set_int_value(value.get<int64_t>());
  } else {
    return InvalidType(path, "a text, a number, a boolean or null", KindOf(value));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::Chat> ChatOf(FieldReader& fields) {
  v1::Chat chat;
  const Json* messages = fields.Find("messages");
  if (messages == nullptr) return MissingField("messages");
  if (!messages->is_array()) return InvalidType("messages", "a list of messages", KindOf(*messages));
  if (messages->empty()) return InvalidValue("messages", "must not be empty");
  for (size_t i = 0; i < messages->size(); ++i) {
    ASSIGN_OR_RETURN(*chat.add_messages(), MessageOf((*messages)[i], At("messages", i)));
  }
  if (const auto value = fields.Bool("add_generation_prompt")) chat.set_add_generation_prompt(*value);
  RETURN_IF_ERROR(fields.status());
  const Json* arguments = fields.Find("chat_template_kwargs");
  if (arguments == nullptr) return chat;
  if (!arguments->is_object()) return InvalidType("chat_template_kwargs", "an object", KindOf(*arguments));
  for (const auto& [name, value] : arguments->items()) {
    v1::TemplateArgument& argument = *chat.add_template_arguments();
    argument.set_name(name);
    RETURN_IF_ERROR(SetArgument(value, "chat_template_kwargs." + name, argument));
  }
  return chat;
}

absl::Status OfRendering(absl::Status status, const v1::Chat& chat) {
  return OfChat(OfEntries(std::move(status), "chat_template_kwargs", [&chat](size_t index) {
    return ShownName(chat.template_arguments(static_cast<int>(index)).name());
  }));
}

}  // namespace logitd::http

#include "server/handlers/render_chat.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/wire.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

constexpr size_t kMaxRoleBytes = 32;
constexpr int64_t kMaxArguments = 64;
constexpr size_t kMaxNameBytes = 64;
// The variables that every template has.
constexpr std::string_view kOwnVariables[] = {"messages", "add_generation_prompt", "bos_token", "eos_token", "tools",
                                              "documents"};

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsLetter(char c) { return IsLower(c) || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsRole(std::string_view role) {
  return !role.empty() && role.size() <= kMaxRoleBytes && IsLower(role.front()) &&
         std::all_of(role.begin(), role.end(), [](char c) { return IsLower(c) || IsDigit(c) || c == '_'; });
}

bool IsVariable(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && IsLetter(name.front()) &&
         std::all_of(name.begin(), name.end(), [](char c) { return IsLetter(c) || IsDigit(c); });
}

absl::Status CheckArguments(const v1::Chat& chat) {
  if (chat.template_arguments_size() > kMaxArguments) {
    return errors::OutOfRange("chat.template_arguments", int64_t{chat.template_arguments_size()}, "[0, 64]");
  }
  std::set<std::string_view> names;
  for (int i = 0; i < chat.template_arguments_size(); ++i) {
    const v1::TemplateArgument& argument = chat.template_arguments(i);
    const std::string field = Element("chat.template_arguments", i, ".name");
    if (!IsVariable(argument.name())) {
      return errors::OutOfRange(field, argument.name(), "a name of [A-Za-z_][A-Za-z0-9_]{0,63}");
    }
    for (const std::string_view own : kOwnVariables) {
      if (argument.name() == own) return errors::Exclusive(field, "the template's own " + std::string(own));
    }
    if (!names.insert(argument.name()).second) return errors::OutOfRange(field, argument.name(), "another name");
    if (argument.has_double_value() && !std::isfinite(argument.double_value())) {
      return errors::OutOfRange(Element("chat.template_arguments", i, ".double_value"), argument.double_value(),
                                "finite");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckChat(const v1::Chat& chat) {
  if (chat.messages().empty()) return errors::Required("chat.messages");
  if (chat.messages_size() > kMaxSegments) {
    return errors::AboveLimit("chat.messages", chat.messages_size(), kMaxSegments, 1);
  }
  for (int i = 0; i < chat.messages_size(); ++i) {
    const std::string& role = chat.messages(i).role();
    const std::string field = Element("chat.messages", i, ".role");
    if (role.empty()) return errors::Required(field);
    if (!IsRole(role)) {
      return errors::OutOfRange(field, role, "a word of [a-z][a-z0-9_]{0,31}");
    }
  }
  RETURN_IF_ERROR(CheckArguments(chat));
  if (const auto bytes = static_cast<int64_t>(chat.ByteSizeLong()); bytes > kMaxTextBytes) {
    return errors::AboveLimit("chat", bytes, kMaxTextBytes, 0, "bytes");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RenderChat(const v1::RenderChatRequest& request, const ServerEnv& env, const RequestContext& context,
                        v1::RenderChatResponse& response) {
  if (!request.has_chat()) return errors::Required("chat");
  RETURN_IF_ERROR(CheckChat(request.chat()));
  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  ASSIGN_OR_RETURN(RenderedChat chat, model->RenderChat(request.chat().SerializeAsString(), context));
  response.set_text(std::move(chat.text));
  response.mutable_token_ids()->Add(chat.token_ids.begin(), chat.token_ids.end());
  *response.mutable_provenance() = ProvenanceOf(*model);
  return absl::OkStatus();
}

}  // namespace logitd::server

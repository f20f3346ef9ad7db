#include "client/runner/llama/chat_template.h"

#include <algorithm>
#include <exception>
#include <new>
#include <string_view>
#include <utility>

#include "core/errors.h"
#include "core/limits.h"
#include "jinja/caps.h"
#include "jinja/lexer.h"
#include "jinja/parser.h"
#include "jinja/runtime.h"

namespace logitd::runner {
namespace {

constexpr size_t kMaxReasonBytes = 256;

// The first line of the engine's message, without what it puts before it and without control characters.
std::string Reason(const std::exception& error) {
  std::string reason = error.what();
  for (const std::string_view before : {"\nError: ", "Jinja Exception: "}) {
    if (const size_t at = reason.rfind(before); at != std::string::npos) reason.erase(0, at + before.size());
  }
  if (reason == std::bad_alloc().what()) return "it takes too much memory";
  reason = reason.substr(0, reason.find('\n'));
  size_t size = std::min(reason.size(), kMaxReasonBytes);
  while (size > 0 && size < reason.size() && (static_cast<unsigned char>(reason[size]) & 0xC0) == 0x80) --size;
  reason.resize(size);
  for (char& c : reason) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return reason.empty() ? "it fails without a message" : reason;
}

// A string that the conversation said.
jinja::value Said(const std::string& text) {
  auto value = jinja::mk_val<jinja::value_string>(text);
  value->mark_input();
  return value;
}

jinja::value FromProto(const v1::TemplateArgument& argument) {
  switch (argument.value_case()) {
    case v1::TemplateArgument::kBoolValue:
      return jinja::mk_val<jinja::value_bool>(argument.bool_value());
    case v1::TemplateArgument::kIntValue:
      return jinja::mk_val<jinja::value_int>(argument.int_value());
    case v1::TemplateArgument::kDoubleValue:
      return jinja::mk_val<jinja::value_float>(argument.double_value());
    case v1::TemplateArgument::kStringValue:
      return Said(argument.string_value());
    case v1::TemplateArgument::VALUE_NOT_SET:
      break;
  }
  return jinja::mk_val<jinja::value_none>();
}

jinja::value FromProto(const v1::ChatMessage& message, bool wants_parts) {
  auto object = jinja::mk_val<jinja::value_object>();
  // A role is a plain word, so that a template may make a mark of it: "<|" + role + "|>".
  object->insert("role", jinja::mk_val<jinja::value_string>(message.role()));
  if (wants_parts) {
    auto part = jinja::mk_val<jinja::value_object>();
    part->insert("type", jinja::mk_val<jinja::value_string>("text"));
    part->insert("text", Said(message.content()));
    auto parts = jinja::mk_val<jinja::value_array>();
    parts->push_back(jinja::value(part));
    object->insert("content", parts);
  } else {
    object->insert("content", Said(message.content()));
  }
  if (!message.name().empty()) object->insert("name", Said(message.name()));
  return object;
}

}  // namespace

struct ChatTemplate::Program {
  jinja::program program;
};

ChatTemplate::ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(const std::string& source, std::string bos_token,
                                                 std::string eos_token) {
  ChatTemplate result;
  result.bos_token_ = std::move(bos_token);
  result.eos_token_ = std::move(eos_token);
  try {
    const jinja::lexer_result tokens = jinja::lexer().tokenize(source);
    result.source_ = tokens.source;
    result.program_ = std::make_unique<Program>(Program{jinja::parse_from_tokens(tokens)});
    const jinja::caps caps = jinja::caps_get(result.program_->program);
    result.wants_parts_ = caps.supports_typed_content && !caps.supports_string_content;
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(Reason(error));
  }
  return result;
}

absl::StatusOr<ChatText> ChatTemplate::Render(const v1::Chat& chat, std::time_t now) const {
  ChatText result;
  try {
    jinja::context context(source_);
    context.current_time = now;
    for (const v1::TemplateArgument& argument : chat.template_arguments()) {
      context.set_val(argument.name(), FromProto(argument));
    }
    auto messages = jinja::mk_val<jinja::value_array>();
    for (const v1::ChatMessage& message : chat.messages()) messages->push_back(FromProto(message, wants_parts_));
    context.set_val("messages", messages);
    context.set_val("tools", jinja::mk_val<jinja::value_none>());
    context.set_val("documents", jinja::mk_val<jinja::value_none>());
    context.set_val("bos_token", jinja::mk_val<jinja::value_string>(bos_token_));
    context.set_val("eos_token", jinja::mk_val<jinja::value_string>(eos_token_));
    const bool prompts = !chat.has_add_generation_prompt() || chat.add_generation_prompt();
    context.set_val("add_generation_prompt", jinja::mk_val<jinja::value_bool>(prompts));
    const jinja::value_array rendered = jinja::runtime(context).execute(program_->program);
    const jinja::value_string parts = jinja::runtime::gather_string_parts(rendered);
    for (const jinja::string_part& part : parts->val_str.parts) {
      if (part.val.empty()) continue;
      const size_t begin = result.text.size();
      result.text += part.val;
      if (part.is_input) continue;
      if (!result.written.empty() && result.written.back().end == begin) {
        result.written.back().end = result.text.size();
      } else {
        result.written.push_back({begin, result.text.size()});
      }
    }
  } catch (const std::exception& error) {
    return errors::ChatTemplateFailed("chat", Reason(error));
  }
  if (static_cast<int64_t>(result.text.size()) > kMaxTextBytes) {
    return errors::AboveLimit("chat", static_cast<int64_t>(result.text.size()), kMaxTextBytes, 0, "bytes");
  }
  return result;
}

}  // namespace logitd::runner

#include "client/http/tokenizer_routes.h"

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "client/http/chat_messages.h"
#include "client/http/json_writer.h"
#include "client/http/request_error.h"
#include "client/http/strict_json.h"
#include "client/http/token_texts.h"

namespace logitd::http {
namespace {

constexpr char kNoTemplate[] = "a conversation is rendered with the model's own chat template";

constexpr Field kTokenizeFields[] = {
    {"model", Use::kServed, "the model's name; may be left out if the server has one model"},
    {"prompt", Use::kServed, "the text; an object or a list is refused"},
    {"messages", Use::kServed, "instead of prompt: a conversation, as in /v1/chat/completions"},
    {"add_generation_prompt", Use::kServed, "with messages: false renders nothing that begins the assistant's answer"},
    {"chat_template_kwargs", Use::kServed, "with messages: further variables of the chat template"},
    {"add_special_tokens", Use::kServed,
     "false: no BOS is put before the text; default: as the model's tokenizer does; never before messages"},
    {"parse_special_tokens", Use::kServed,
     "false: names of control tokens are plain text; default true; never in messages"},
    {"return_token_strs", Use::kServed, "the tokens' texts too, in token_strs"},
    {"continue_final_message", Use::kRefused, "the last message is rendered as a whole", "[false]"},
    {"chat_template", Use::kRefused, kNoTemplate},
    {"tools", Use::kRefused, "tools are not offered", "[[]]"},
    {"user", Use::kIgnored, "no effect on the result"},
};

constexpr Field kDetokenizeFields[] = {
    {"model", Use::kServed, "the model's name; may be left out if the server has one model"},
    {"tokens", Use::kServed, "the token ids"},
    {"skip_special_tokens", Use::kServed, "true: control tokens are left out; default false"},
    {"user", Use::kIgnored, "no effect on the result"},
};

struct Tokens {
  std::vector<int32_t> ids;
  // By id, if texts are wanted.
  std::unordered_map<int32_t, std::string> bytes;
  v1::Provenance provenance;
};

absl::StatusOr<Tokens> TokensOfText(FieldReader& fields, bool wants_bytes, Services& services, const Caller& caller) {
  v1::TokenizeRequest request;
  const std::optional<std::string> prompt = fields.String("prompt");
  const bool has_prompt = fields.Has("prompt");
  request.set_model(fields.String("model").value_or(""));
  if (!fields.BoolOr("add_special_tokens", true)) request.mutable_tokenization()->set_add_special_tokens(false);
  request.mutable_tokenization()->set_parse_special_tokens(fields.BoolOr("parse_special_tokens", true));
  for (const char* name : {"add_generation_prompt", "chat_template_kwargs"}) {
    if (fields.Has(name)) fields.Fail(InvalidValue(name, "needs messages"));
  }
  RETURN_IF_ERROR(fields.status());
  if (!has_prompt) return MissingField("prompt");
  request.add_texts(*prompt);
  request.set_token_bytes(wants_bytes);
  ASSIGN_OR_RETURN(v1::TokenizeResponse response, services.upstream.Tokenize(request, caller));
  const v1::TokenizedText& text = response.texts(0);
  Tokens tokens;
  tokens.ids.assign(text.token_ids().begin(), text.token_ids().end());
  for (int i = 0; i < text.token_bytes_size(); ++i) tokens.bytes[text.token_ids(i)] = text.token_bytes(i);
  tokens.provenance = std::move(*response.mutable_provenance());
  return tokens;
}

absl::StatusOr<Tokens> TokensOfMessages(FieldReader& fields, bool wants_bytes, Services& services,
                                        const Caller& caller) {
  v1::RenderChatRequest request;
  request.set_model(fields.String("model").value_or(""));
  if (fields.Has("prompt")) fields.Fail(InvalidValue("messages", "excludes prompt"));
  for (const char* name : {"add_special_tokens", "parse_special_tokens"}) {
    if (fields.BoolOr(name, false)) fields.Fail(InvalidValue(name, "must be false with messages"));
  }
  RETURN_IF_ERROR(fields.status());
  ASSIGN_OR_RETURN(*request.mutable_chat(), ChatOf(fields));
  absl::StatusOr<v1::RenderChatResponse> response = services.upstream.RenderChat(request, caller);
  if (!response.ok()) return OfRendering(response.status(), request.chat());
  Tokens tokens;
  tokens.ids.assign(response->token_ids().begin(), response->token_ids().end());
  tokens.provenance = std::move(*response->mutable_provenance());
  if (!wants_bytes) return tokens;
  for (const int32_t id : tokens.ids) tokens.bytes[id];
  v1::GetVocabularyRequest vocabulary;
  vocabulary.set_model(tokens.provenance.model());
  RETURN_IF_ERROR(services.upstream.Vocabulary(vocabulary, caller, [&tokens](const v1::GetVocabularyResponse& part) {
    for (const v1::VocabularyToken& token : part.tokens()) {
      if (const auto found = tokens.bytes.find(token.token_id()); found != tokens.bytes.end()) {
        found->second = token.token_bytes();
      }
    }
  }));
  return tokens;
}

// The name of the token, as JSON.
void WriteName(const char* field, std::optional<int32_t> token_id, const TokenNames& names, JsonWriter& out) {
  out.Key(field);
  const auto name = token_id ? names.find(*token_id) : names.end();
  if (name == names.end()) return out.Null();
  out.String(name->second);
}

void WriteId(const char* field, std::optional<int32_t> token_id, JsonWriter& out) {
  out.Key(field);
  if (token_id) return out.Int(*token_id);
  out.Null();
}

}  // namespace

FieldTable TokenizeFields() { return kTokenizeFields; }
FieldTable DetokenizeFields() { return kDetokenizeFields; }

absl::Status HandleTokenize(Exchange& exchange, Services& services) {
  ASSIGN_OR_RETURN(const Json body, ParseJson(exchange.request.body));
  RETURN_IF_ERROR(CheckFields(body, kTokenizeFields));
  FieldReader fields(body);
  const bool wants_texts = fields.BoolOr("return_token_strs", false);
  const Caller caller = CallerOf(exchange);
  Tokens tokens;
  if (fields.Has("messages")) {
    ASSIGN_OR_RETURN(tokens, TokensOfMessages(fields, wants_texts, services, caller));
  } else {
    ASSIGN_OR_RETURN(tokens, TokensOfText(fields, wants_texts, services, caller));
  }
  ASSIGN_OR_RETURN(const v1::ModelInfo model, services.facts.Find(tokens.provenance.model(), caller));
  JsonWriter out;
  out.BeginObject();
  out.Field("count", static_cast<int64_t>(tokens.ids.size()));
  out.Field("max_model_len", model.context_length());
  out.Key("tokens");
  out.BeginArray();
  for (const int32_t id : tokens.ids) out.Int(id);
  out.EndArray();
  out.Key("token_strs");
  if (wants_texts) {
    ASSIGN_OR_RETURN(std::shared_ptr<const TokenNames> names, services.facts.Names(tokens.provenance, caller));
    const TokenTexts texts(std::move(names), /*as_token_ids=*/false);
    out.BeginArray();
    for (const int32_t id : tokens.ids) out.String(texts.TextOf(id, tokens.bytes[id]));
    out.EndArray();
  } else {
    out.Null();
  }
  out.EndObject();
  exchange.ReplyJson(out.Take());
  return absl::OkStatus();
}

absl::Status HandleDetokenize(Exchange& exchange, Services& services) {
  ASSIGN_OR_RETURN(const Json body, ParseJson(exchange.request.body));
  RETURN_IF_ERROR(CheckFields(body, kDetokenizeFields));
  FieldReader fields(body);
  v1::DetokenizeRequest request;
  request.set_model(fields.String("model").value_or(""));
  const auto tokens = fields.TokenIds("tokens");
  const bool has_tokens = fields.Has("tokens");
  request.set_render_special_tokens(!fields.BoolOr("skip_special_tokens", false));
  RETURN_IF_ERROR(fields.status());
  if (!has_tokens) return MissingField("tokens");
  request.add_tokens()->mutable_token_ids()->Add(tokens->begin(), tokens->end());
  ASSIGN_OR_RETURN(const v1::DetokenizeResponse response, services.upstream.Detokenize(request, CallerOf(exchange)));
  JsonWriter out;
  out.BeginObject();
  out.Field("prompt", response.texts(0).text());
  out.EndObject();
  exchange.ReplyJson(out.Take());
  return absl::OkStatus();
}

absl::Status HandleTokenizerInfo(Exchange& exchange, Services& services) {
  const Caller caller = CallerOf(exchange);
  ASSIGN_OR_RETURN(const v1::ModelInfo model, services.facts.Find(exchange.request.get_param_value("model"), caller));
  ASSIGN_OR_RETURN(const std::shared_ptr<const TokenNames> names,
                   services.facts.Names(model.name(), model.model_fingerprint(), caller));
  const std::optional<int32_t> eos = model.has_eos_token_id() ? std::optional(model.eos_token_id()) : std::nullopt;
  const std::optional<int32_t> bos = model.has_bos_token_id() ? std::optional(model.bos_token_id()) : std::nullopt;
  JsonWriter out;
  out.BeginObject();
  out.Field("tokenizer_class", "logitd");
  WriteName("eos_token", eos, *names, out);
  WriteName("bos_token", bos, *names, out);
  out.NullField("pad_token");
  WriteId("eos_token_id", eos, out);
  WriteId("bos_token_id", bos, out);
  out.Key("end_token_ids");
  out.BeginArray();
  for (const int32_t id : model.end_token_ids()) out.Int(id);
  out.EndArray();
  out.Field("add_bos_token", model.adds_bos());
  out.Field("model_max_length", model.context_length());
  out.Field("vocab_size", model.vocab_size());
  out.Key("chat_template");
  if (model.chat_template().empty()) {
    out.Null();
  } else {
    out.String(model.chat_template());
  }
  out.EndObject();
  exchange.ReplyJson(out.Take());
  return absl::OkStatus();
}

}  // namespace logitd::http

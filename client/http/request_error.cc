#include "client/http/request_error.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <utility>

#include "absl/strings/cord.h"
#include "client/http/json_writer.h"
#include "client/logitd/client_error.h"

namespace logitd::http {
namespace {

constexpr char kStatusUrl[] = "logitd.http/status";
constexpr char kCodeUrl[] = "logitd.http/code";
constexpr char kParamUrl[] = "logitd.http/param";
constexpr char kRetryUrl[] = "logitd.http/retry-after-seconds";

// Seconds after which a client should come back if the server does not say.
constexpr std::chrono::seconds kRetryAfter{5};

std::string Payload(const absl::Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  return payload ? std::string(*payload) : std::string();
}

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// HTTP's status of a code of gRPC. `reason` tells a request that is too large from a server that is full.
int HttpStatusOf(absl::StatusCode code, const std::string& reason) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return reason == "LIMIT_EXCEEDED" ? 400 : 503;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

std::string TypeOf(int status) {
  if (status == 401) return "authentication_error";
  if (status == 403) return "permission_error";
  if (status == 404) return "not_found_error";
  if (status == 503) return "overloaded_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

// Fields of logitd.v1 that have another name over HTTP.
constexpr std::array<std::pair<std::string_view, std::string_view>, 23> kNames = {{
    {"best_of * stop.max_tokens", "best_of * max_tokens"},
    {"n * stop.max_tokens", "n * max_tokens"},
    {"tokens[0].token_ids", "tokens"},
    {"texts[0]", "prompt"},
    {"prompt_record.top_n", "prompt_logprobs"},
    {"record.top_n", "logprobs"},
    {"stop.stop_strings", "stop"},
    {"sampling.logit_biases", "logit_bias"},
    {"sampling.allowed_tokens.ids.token_ids", "allowed_token_ids"},
    {"sampling.allowed_tokens", "allowed_token_ids"},
    {"evaluation.cache_salt", "cache_salt"},
    {"tokenization.add_special_tokens", "add_special_tokens"},
    {"chat.template_arguments", "chat_template_kwargs"},
    {"chat.add_generation_prompt", "add_generation_prompt"},
    {"chat.messages", "messages"},
    {"chat", "messages"},
    {"tokens", "tokens"},
    {"texts", "prompt"},
    {"prompt.tokens.token_ids", "prompt"},
    {"prompt.text", "prompt"},
    {"prompt", "prompt"},
    {"sampling.", ""},
    {"stop.", ""},
}};

// "sampling.top_k" -> "top_k", "stop.stop_strings[2]" -> "stop[2]".
std::string ParamOf(const std::string& field) {
  for (const auto& [from, to] : kNames) {
    if (!field.starts_with(from)) continue;
    const std::string rest = field.substr(from.size());
    if (from.ends_with('.') || rest.empty() || rest.front() == '[' || rest.front() == '.')
      return std::string(to) + rest;
  }
  return field;
}

// The message with the field's name of this API.
std::string WithParam(std::string message, const std::string& field, const std::string& param) {
  const size_t place = field.empty() || field == param ? std::string::npos : message.find(field);
  return place == std::string::npos ? message : message.replace(place, field.size(), param);
}

ApiError FromClientError(const client::ClientError& error) {
  ApiError out;
  out.status = HttpStatusOf(error.code, error.reason);
  out.type = TypeOf(out.status);
  out.param = ParamOf(error.field);
  out.message = WithParam(error.message, error.field, out.param);
  // The message names the product, and `param` its last factor.
  if (const size_t times = out.param.rfind(" * "); times != std::string::npos) out.param.erase(0, times + 3);
  out.code = LowerCase(error.reason.empty() ? absl::StatusCodeToString(error.code) : error.reason);
  if (error.is_unreachable()) {
    out.message = "the logitd server cannot be reached: " + error.message;
    out.code = "server_unreachable";
  }
  if (out.status == 503) {
    out.retry_after = error.retry_delay ? std::max(std::chrono::ceil<std::chrono::seconds>(*error.retry_delay),
                                                   std::chrono::seconds(1))
                                        : kRetryAfter;
  }
  return out;
}

}  // namespace

absl::Status HttpError(int status, std::string_view code, std::string_view param, std::string_view message) {
  absl::Status out(absl::StatusCode::kInvalidArgument, std::string(message));
  out.SetPayload(kStatusUrl, absl::Cord(std::to_string(status)));
  out.SetPayload(kCodeUrl, absl::Cord(std::string(code)));
  out.SetPayload(kParamUrl, absl::Cord(std::string(param)));
  return out;
}

absl::Status InvalidValue(std::string_view param, std::string_view message) {
  return HttpError(400, "invalid_value", param, std::string(param) + " " + std::string(message));
}

absl::Status InvalidType(std::string_view param, std::string_view expected, std::string_view got) {
  return HttpError(400, "invalid_type", param,
                   std::string(param) + " must be " + std::string(expected) + ", got " + std::string(got));
}

absl::Status MissingField(std::string_view param) {
  return HttpError(400, "missing_required_parameter", param, std::string(param) + " is required");
}

absl::Status UnknownField(std::string_view param, std::string_view suggestion) {
  return HttpError(400, "unknown_parameter", param,
                   "unknown field " + std::string(param) + std::string(suggestion) +
                       ": fields are never ignored without a word; GET /openapi.yaml lists them");
}

absl::Status UnsupportedField(std::string_view param, std::string_view reason) {
  return HttpError(400, "unsupported_parameter", param,
                   std::string(param) + " is not supported: " + std::string(reason));
}

absl::Status Overloaded(std::string_view message) {
  absl::Status out = HttpError(503, "overloaded", "", message);
  out.SetPayload(kRetryUrl, absl::Cord(std::to_string(kRetryAfter.count())));
  return out;
}

absl::Status GivenUp() { return Overloaded("logitd-http ends, and has given this request up: send it again"); }

ApiError ApiErrorOf(const absl::Status& status) {
  const std::string http_status = Payload(status, kStatusUrl);
  if (http_status.empty()) return FromClientError(client::ErrorOf(status));
  ApiError out;
  out.status = std::stoi(http_status);
  out.type = TypeOf(out.status);
  out.message = std::string(status.message().data(), status.message().size());
  out.code = Payload(status, kCodeUrl);
  out.param = Payload(status, kParamUrl);
  if (const std::string seconds = Payload(status, kRetryUrl); !seconds.empty()) {
    out.retry_after = std::chrono::seconds(std::stoi(seconds));
  }
  return out;
}

absl::Status OfPrompt(absl::Status status, size_t index) {
  constexpr std::string_view kField = "prompt";
  if (status.ok()) return status;
  ApiError error = ApiErrorOf(status);
  const bool is_of_prompt = error.param == kField || error.param.starts_with("prompt[");
  if (error.status != 400 || !is_of_prompt) return status;
  const std::string param = "prompt[" + std::to_string(index) + "]" + error.param.substr(kField.size());
  return HttpError(error.status, error.code, param, WithParam(std::move(error.message), error.param, param));
}

absl::Status OfEntries(absl::Status status, std::string_view list,
                       const std::function<std::string(size_t index)>& name_of) {
  if (status.ok()) return status;
  ApiError error = ApiErrorOf(status);
  const std::string begin = std::string(list) + "[";
  if (error.status != 400 || !error.param.starts_with(begin)) return status;
  size_t index = 0;
  const char* const end = error.param.data() + error.param.size();
  const auto number = std::from_chars(error.param.data() + begin.size(), end, index);
  if (number.ec != std::errc()) return status;
  const std::string param = std::string(list) + "." + name_of(index);
  return HttpError(error.status, error.code, param, WithParam(std::move(error.message), error.param, param));
}

absl::Status OfChat(absl::Status status) {
  if (status.ok()) return status;
  const ApiError error = ApiErrorOf(status);
  const bool is_of_prompt = error.param == "prompt" || error.param.starts_with("prompt[") ||
                            (error.param.empty() && error.code.starts_with("chat_template_"));
  const bool is_of_depth = error.param == "logprobs";
  if (error.status != 400 || (!is_of_prompt && !is_of_depth)) return status;
  const std::string param = is_of_prompt ? "messages" : "top_logprobs";
  return HttpError(error.status, error.code, param, WithParam(error.message, error.param, param));
}

absl::Status OfItem(absl::Status status, const std::function<std::string(size_t index)>& param_of) {
  constexpr std::string_view kItem = "items[";
  // The server's own way out, which this API does not have.
  constexpr std::string_view kTruncation = ", or tokenization.truncation must be CONTEXT_LEFT";
  if (status.ok()) return status;
  ApiError error = ApiErrorOf(status);
  if (error.status != 400 || !error.param.starts_with(kItem)) return status;
  const char* const end = error.param.data() + error.param.size();
  size_t index = 0;
  const auto number = std::from_chars(error.param.data() + kItem.size(), end, index);
  if (number.ec != std::errc()) return status;
  const std::string_view rest(number.ptr, static_cast<size_t>(end - number.ptr));
  const bool is_label = rest.starts_with("].choice.options[") && rest.find(".tokens.token_ids[") != rest.npos;
  const std::string param = is_label ? "label_token_ids" : param_of(index);
  std::string message = WithParam(std::move(error.message), error.param, param);
  if (const size_t at = message.find(kTruncation); at != std::string::npos) message.erase(at, kTruncation.size());
  return HttpError(error.status, error.code, param, message);
}

ApiError ApiErrorOf(const v1::Error& error) { return ApiErrorOf(client::FromError(error)); }

std::string ErrorBody(const ApiError& error) {
  JsonWriter out;
  out.BeginObject();
  out.Key("error");
  out.BeginObject();
  out.Field("message", error.message);
  out.Field("type", error.type);
  out.Key("param");
  if (error.param.empty()) {
    out.Null();
  } else {
    out.String(error.param);
  }
  out.Field("code", error.code);
  out.EndObject();
  out.EndObject();
  return out.Take();
}

bool IsPassing(const absl::Status& status) {
  if (!Payload(status, kStatusUrl).empty()) return false;
  const client::ClientError error = client::ErrorOf(status);
  return error.reason == "OVERLOADED" || error.reason == "KV_CACHE_FULL" || error.reason == "RUNNER_LOST" ||
         error.reason == "MODEL_UNAVAILABLE";
}

bool IsServerFull(const absl::Status& status) {
  if (!Payload(status, kStatusUrl).empty()) return false;
  const std::string reason = client::ErrorOf(status).reason;
  return reason == "OVERLOADED" || reason == "KV_CACHE_FULL";
}

std::optional<std::chrono::milliseconds> DelayOf(const absl::Status& status) {
  return client::ErrorOf(status).retry_delay;
}

bool IsServerAway(const absl::Status& status) {
  if (!Payload(status, kStatusUrl).empty()) return false;
  const client::ClientError error = client::ErrorOf(status);
  return error.is_unreachable() || error.reason == "DRAINING";
}

}  // namespace logitd::http

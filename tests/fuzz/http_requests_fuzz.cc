// Bodies that are nearly requests, through the JSON parser and the handlers of logitd-http up to their call of the
// server, which is cancelled before it begins. The parser takes nothing that JSON does not allow, and what it takes
// reads back as it was; whatever is wrong is an error of the client, in a reply that is JSON; nothing depends on more
// than the bytes.
#include <httplib.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "client/http/completion_fields.h"
#include "client/http/completion_request.h"
#include "client/http/completion_route.h"
#include "client/http/decisions_route.h"
#include "client/http/fields.h"
#include "client/http/label_score_route.h"
#include "client/http/memory_budget.h"
#include "client/http/request_error.h"
#include "client/http/services.h"
#include "client/http/strict_json.h"
#include "client/http/tokenizer_routes.h"
#include "client/http/upstream.h"
#include "client/logitd/connection.h"
#include "tests/fuzz/fuzz_input.h"

namespace logitd::fuzz {
namespace {

using http::Json;

struct Route {
  absl::Status (*handler)(http::Exchange&, http::Services&);
  http::FieldTable fields;
};

const std::vector<Route>& Routes() {
  static const auto& routes = *new std::vector<Route>{{http::HandleCompletions, http::CompletionFields()},
                                                      {http::HandleLabelScore, http::LabelScoreFields()},
                                                      {http::HandleDecisions, http::DecisionFields()},
                                                      {http::HandleTokenize, http::TokenizeFields()},
                                                      {http::HandleDetokenize, http::DetokenizeFields()}};
  return routes;
}

// Nobody listens there, and no call gets so far.
http::Services& TheServices() {
  static http::Services& services = []() -> http::Services& {
    auto connection = logitd::client::Dial({.address = "127.0.0.1:1"});
    LOGITD_FUZZ_CHECK(connection.ok(), connection.status());
    auto& upstream = *new http::Upstream(*std::move(connection), {.places = 1});
    return *new http::Services{upstream, *new http::ModelFacts(upstream)};
  }();
  return services;
}

// Of the objects within requests.
constexpr std::array kInnerNames = {"type",        "name",    "instructions", "choices", "levels", "value",
                                    "label",       "role",    "text",         "content", "data",   "include_usage",
                                    "rank",        "entropy", "17",           "-1",      "x",      "",
                                    "description", "index",   "\\u00e9",      "\\ud800", "prompt", "99999999999"};
// As JSON.
constexpr std::array kTexts = {
    "\"\"",        "\"a\"",          "\"predicate\"",    "\"choice\"",         "\"score\"",   "\"user\"",
    "\"message\"", "\"input_text\"", "\"input_json\"",   "\"\\ud83d\\ude00\"", "\"\\ud800\"", "\"\xc3\xa9\"",
    "\"\xff\"",    "\"\\u0000\"",    "\"<|im_start|>\"", "\"transition\""};
constexpr std::array kNumbers = {"0",
                                 "1",
                                 "-1",
                                 "2.0",
                                 "0.5",
                                 "-0.0",
                                 "1e308",
                                 "1e309",
                                 "5e-324",
                                 "3e0",
                                 "128",
                                 "65536",
                                 "1024",
                                 "NaN",
                                 "2147483648",
                                 "9223372036854775808",
                                 "18446744073709551616",
                                 "1e-5",
                                 "017",
                                 "+1",
                                 ".5",
                                 "-",
                                 "Infinity"};

template <size_t kSize>
std::string_view OneOf(FuzzInput& input, const std::array<const char*, kSize>& texts) {
  return texts[input.Below(kSize)];
}

std::string Value(FuzzInput& input, int depth);

std::string List(FuzzInput& input, int depth) {
  std::string out = "[";
  const uint64_t count = input.Below(depth < 2 && input.OneIn(10) ? 300 : 4);
  for (uint64_t i = 0; i < count; ++i) out += (i == 0 ? "" : ",") + Value(input, depth + 1);
  return out + "]";
}

std::string Object(FuzzInput& input, int depth) {
  std::string out = "{";
  const uint64_t count = input.Below(5);
  for (uint64_t i = 0; i < count; ++i) {
    out += i == 0 ? "\"" : ",\"";
    out += std::string(OneOf(input, kInnerNames)) + "\":" + Value(input, depth + 1);
  }
  return out + "}";
}

std::string Value(FuzzInput& input, int depth) {
  // Below the first levels fewer than one value in each is a list or an object, so that a body ends.
  switch (input.Below(depth > 40 ? 5 : depth > 2 ? 14 : 9)) {
    case 0:
      return "null";
    case 1:
      return input.OneIn(2) ? "true" : "false";
    case 2:
      return std::string(OneOf(input, kNumbers));
    case 3:
      return std::to_string(input.Below(400));
    case 4:
      return std::string(OneOf(input, kTexts));
    case 5:
    case 6:
      return List(input, depth);
    case 7:
    case 8:
      return Object(input, depth);
    default:
      return "\"x\"";
  }
}

// A question or an input that is nearly right, so that the parser comes to its end.
std::string Question(FuzzInput& input) {
  const bool is_choice = input.OneIn(2);
  std::string out = std::string(R"({"type":)") + (is_choice ? R"("choice")" : R"("score")") + R"(,"instructions":"i",)";
  out += is_choice ? R"("choices":[)" : R"("levels":[)";
  const uint64_t count = input.Below(4) + 1;
  for (uint64_t i = 0; i < count; ++i) {
    out += (i == 0 ? R"({")" : R"(,{")") + std::string(is_choice != input.OneIn(20) ? "value" : "label") + R"(":")" +
           std::to_string(input.Below(8)) + R"("})";
  }
  return out + "]}";
}

// Nearly a request of the route.
std::string Body(FuzzInput& input, const Route& route) {
  std::string out = "{";
  const auto add = [&out](std::string_view name, const std::string& value) {
    out += (out.size() == 1 ? "\"" : ",\"") + std::string(name) + "\":" + value;
  };
  for (const http::Field& field : route.fields) {
    const std::string_view name = field.name;
    const bool is_needed = name == "prompt" || name == "tokens" || name == "query" || name == "items" ||
                           name == "input" || name == "questions" || name == "label_token_ids";
    if (!is_needed && !input.OneIn(12)) continue;
    if (input.OneIn(30)) continue;
    if (name == "questions" && !input.OneIn(4)) {
      add(name, "[" + Question(input) + "]");
    } else if ((name == "tokens" || name == "label_token_ids") && !input.OneIn(4)) {
      add(name, "[1,2,3]");
    } else if (name == "items" && !input.OneIn(4)) {
      add(name, R"(["a"])");
    } else if (is_needed && !input.OneIn(4)) {
      add(name, R"("a")");
    } else {
      add(name, Value(input, 1));
    }
  }
  if (input.OneIn(20)) add(OneOf(input, kInnerNames), Value(input, 1));
  return out + "}";
}

void Spoil(FuzzInput& input, std::string& body) {
  for (uint64_t i = input.Below(3); i > 0 && !body.empty(); --i) {
    const size_t place = input.Below(body.size());
    switch (input.Below(4)) {
      case 0:
        body[place] = static_cast<char>(input.Below(256));
        break;
      case 1:
        body.erase(place, input.Below(8));
        break;
      case 2:
        body.insert(place, body.substr(input.Below(body.size()), input.Below(20)));
        break;
      default:
        body.insert(place, std::string(input.Below(60), input.OneIn(2) ? '[' : '{'));
    }
  }
}

std::string CodeOf(const absl::Status& status) { return status.ok() ? "" : http::ApiErrorOf(status).code; }

void CheckParse(const std::string& body) {
  const absl::StatusOr<Json> value = http::ParseJson(body);
  const bool is_json = Json::accept(body);
  if (!value.ok()) {
    const std::string code = CodeOf(value.status());
    const bool is_strict = code == "duplicate_key" || code == "too_deep" || code == "too_many_values" ||
                           body.find('\0') != std::string::npos || body.starts_with("\xef\xbb\xbf");
    LOGITD_FUZZ_CHECK(!is_json || is_strict, value.status() << ", and yet it is JSON: " << body);
    return;
  }
  LOGITD_FUZZ_CHECK(is_json, "taken, and yet it is no JSON: " << body);
  const absl::StatusOr<Json> again = http::ParseJson(value->dump());
  LOGITD_FUZZ_CHECK(again.ok(), again.status() << ": " << value->dump());
  LOGITD_FUZZ_CHECK(*again == *value, value->dump() << " and read back " << again->dump());
}

absl::Status Handle(const Route& route, const std::string& body) {
  httplib::Request request;
  request.method = "POST";
  request.body = body;
  httplib::Response response;
  std::stop_source left;
  left.request_stop();
  const std::atomic<bool> is_given_up{false};
  http::Exchange exchange{request, response, left.get_token(), is_given_up, "", ""};
  return route.handler(exchange, TheServices());
}

void CheckError(const absl::Status& status, const std::string& body) {
  LOGITD_FUZZ_CHECK(!status.ok(), "a reply without a server: " << body);
  const http::ApiError error = http::ApiErrorOf(status);
  LOGITD_FUZZ_CHECK(error.status >= 400 && error.status < 500, status << " of " << body);
  LOGITD_FUZZ_CHECK(!error.message.empty() && !error.code.empty(), "an error without words");
  LOGITD_FUZZ_CHECK(error.message.size() < 4096, "a message of " << error.message.size() << " bytes");
  const absl::StatusOr<Json> reply = http::ParseJson(http::ErrorBody(error));
  LOGITD_FUZZ_CHECK(reply.ok(), reply.status() << ": " << http::ErrorBody(error));
}

}  // namespace
}  // namespace logitd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace logitd::fuzz;  // NOLINT
  FuzzInput input(data, size);
  const Route& route = Routes()[input.Below(Routes().size())];
  std::string body = Body(input, route);
  if (input.OneIn(3)) Spoil(input, body);
  // And what a fuzzer gives, as it is.
  if (input.OneIn(8)) body.assign(reinterpret_cast<const char*>(data), size);
  CheckParse(body);
  const absl::Status status = Handle(route, body);
  CheckError(status, body);
  LOGITD_FUZZ_CHECK(Handle(route, body) == status, status << " only once: " << body);
  LOGITD_FUZZ_CHECK(logitd::http::JsonCost(body) >= static_cast<int64_t>(body.size()), "a request that costs nothing");
  return 0;
}

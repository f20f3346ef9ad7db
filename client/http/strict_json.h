// Parses the JSON of a request. Nothing is repaired and nothing is guessed.
//
//   absl::StatusOr<Json> body = ParseJson(R"({"prompt": "a", "top_k": 3})");
//
// Refused, each with a message of its own: an empty body; NaN and Infinity; numbers that a double cannot hold; a key
// that an object has twice; unpaired surrogates ("\ud800"); bytes that are not UTF-8; more than kMaxJsonDepth levels;
// more than kMaxJsonValues values; comments; anything after the value.
//
// Thread-safe: a free function without state. Memory: at most about 40 bytes for each byte of the text, and for
// kMaxJsonValues values at most.
#ifndef LOGITD_CLIENT_HTTP_STRICT_JSON_H_
#define LOGITD_CLIENT_HTTP_STRICT_JSON_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/statusor.h"

namespace logitd::http {

// An object keeps the order of its keys: what becomes part of a prompt reads as the client wrote it. It is a list, so
// looking a key up takes as long as the object is; CheckFields refuses an object with other keys than a route knows.
using Json = nlohmann::ordered_json;

// No request has more than eight.
inline constexpr int kMaxJsonDepth = 32;
// As many as token ids fit into one request of the server (Limits.max_request_bytes), about.
inline constexpr int64_t kMaxJsonValues = int64_t{1} << 22;

absl::StatusOr<Json> ParseJson(std::string_view text);

// "a string", "an integer", "an object", ...
const char* KindOf(const Json& value);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_STRICT_JSON_H_

#include "client/http/inspector_routes.h"

#include <string>
#include <string_view>
#include <utility>

#include "client/http/inspector_files.h"

namespace logitd::http {
namespace {

constexpr std::string_view kPage = "index.html";

// Trusted types: the page's scripts cannot turn text into markup, even by mistake.
constexpr char kContentSecurityPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

constexpr std::pair<const char*, const char*> kHeaders[] = {
    {"Content-Security-Policy", kContentSecurityPolicy},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    // For browsers that do not know frame-ancestors.
    {"X-Frame-Options", "DENY"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    // A browser asks each time, so that a new logitd-http never runs with an old script.
    {"Cache-Control", "no-cache"},
};

// Whether `If-None-Match` names the tag: a list of tags, perhaps weak ones, or "*". A tag has its quotes, so that no
// part of another one equals it.
bool HasTag(std::string_view header, std::string_view tag) {
  return header == "*" || header.find(tag) != std::string_view::npos;
}

absl::Status Serve(const InspectorFile& file, Exchange& exchange) {
  httplib::Response& response = exchange.response;
  // Replies of the API are never stored: HttpServer says so for every route.
  response.headers.erase("Cache-Control");
  for (const auto& [name, value] : kHeaders) response.set_header(name, value);
  response.set_header("ETag", std::string(file.entity_tag));
  if (HasTag(exchange.request.get_header_value("If-None-Match"), file.entity_tag)) {
    response.status = 304;
    return absl::OkStatus();
  }
  response.set_content(file.content.data(), file.content.size(), std::string(file.content_type));
  return absl::OkStatus();
}

}  // namespace

void AddInspectorRoutes(HttpServer& server) {
  for (const InspectorFile& file : InspectorFiles()) {
    const std::string path = file.name == kPage ? "/" : "/inspector/" + std::string(file.name);
    server.Route("GET", path, [&file](Exchange& exchange) { return Serve(file, exchange); });
  }
}

}  // namespace logitd::http

// The routes of logitd-http.
#ifndef LOGITD_CLIENT_HTTP_API_H_
#define LOGITD_CLIENT_HTTP_API_H_

#include <memory>
#include <utility>

#include "client/http/services.h"

namespace logitd::http {

// It must outlive the server that it adds routes to.
class Api {
 public:
  explicit Api(std::unique_ptr<Upstream> upstream) : upstream_(std::move(upstream)), facts_(*upstream_) {}

  void AddRoutes(HttpServer& server);

 private:
  const std::unique_ptr<Upstream> upstream_;
  ModelFacts facts_;
  Services services_{*upstream_, facts_};
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_API_H_

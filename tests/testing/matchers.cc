#include "tests/testing/matchers.h"

namespace logitd::testing {

std::string Describe(const absl::Status& status) {
  if (status.ok()) return "OK";
  return absl::StatusCodeToString(status.code()) + " " + std::string(ReasonName(DetailOf(status).reason)) + ": " +
         std::string(status.message());
}

}  // namespace logitd::testing

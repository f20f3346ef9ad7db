#include "client/http/stop_names.h"

#include <algorithm>
#include <memory>
#include <string>

#include "base/status_macros.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

// The server refuses more (Limits.max_stop_strings), so there is no need to look at them.
constexpr int kMaxStopTexts = 64;

// Whether a completion ends at the token without being asked to.
bool IsEnd(int32_t id, const v1::ModelInfo& model, const v1::StopCriteria& stop) {
  const auto& ends = model.end_token_ids();
  return !stop.ignore_eos() && std::find(ends.begin(), ends.end(), id) != ends.end();
}

}  // namespace

absl::Status AddNamedStops(const TokenNames& names, const v1::ModelInfo& model, v1::StopCriteria& stop) {
  if (stop.stop_strings_size() > kMaxStopTexts) return absl::OkStatus();
  for (int i = 0; i < stop.stop_strings_size(); ++i) {
    const std::string& text = stop.stop_strings(i);
    // A longer name may have a shorter one in it: <|end|> and <|end|>2.
    bool is_name = false;
    bool has_name = false;
    for (const auto& [id, name] : names) {
      if (text == name) {
        is_name = true;
        const auto& ids = stop.stop_token_ids();
        if (std::find(ids.begin(), ids.end(), id) == ids.end()) stop.add_stop_token_ids(id);
      } else if (text.find(name) != std::string::npos) {
        has_name = has_name || !(text.starts_with(name) && IsEnd(id, model, stop));
      }
    }
    if (is_name || !has_name) continue;
    return InvalidValue("stop[" + std::to_string(i) + "]",
                        "has the name of a control token and other text: a control token has no text; give its name "
                        "alone, or its id in stop_token_ids");
  }
  return absl::OkStatus();
}

absl::Status AddNamedStops(Services& services, const Caller& caller, v1::GenerateRequest& request) {
  if (request.stop().stop_strings().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const v1::ModelInfo model, services.facts.Find(request.model(), caller));
  ASSIGN_OR_RETURN(const std::shared_ptr<const TokenNames> names,
                   services.facts.Names(model.name(), model.model_fingerprint(), caller));
  return AddNamedStops(*names, model, *request.mutable_stop());
}

}  // namespace logitd::http

#include "client/cli/rolling_flags.h"

#include "base/status_macros.h"

namespace logitd::cli {

std::vector<Flag> RollingFlags() {
  return {{"--window", "", "N", "tokens of a text that are fed at once; default: the model's context"},
          {"--stride", "", "N", "tokens that each window after the first scores; default: those of a window"},
          {.name = "--rule",
           .value = "RULE",
           .help = "how windows are laid: lm-eval (default, the harness's rule) or strided",
           .choices = {"lm-eval", "strided"}}};
}

absl::Status SetWindows(const Arguments& arguments, v1::RollingText& rolling) {
  ASSIGN_OR_RETURN(const auto window, arguments.Get<int32_t>("--window"));
  ASSIGN_OR_RETURN(const auto stride, arguments.Get<int32_t>("--stride"));
  if (window) rolling.set_window(*window);
  if (stride) rolling.set_stride(*stride);
  if (arguments.Value("--rule") == "strided") rolling.set_rule(v1::ROLLING_RULE_STRIDED);
  return absl::OkStatus();
}

}  // namespace logitd::cli

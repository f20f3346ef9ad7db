#include "client/cli/progress.h"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/table.h"

namespace logitd::cli {
namespace {

constexpr int kBarWidth = 20;
constexpr auto kRedrawInterval = std::chrono::milliseconds(100);

std::string ShowDuration(double seconds) {
  const int64_t whole = std::llround(std::min(seconds, 359999.0));
  if (whole < 3600) return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
  return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

std::string ProgressLine(const std::string& what, int64_t items, int64_t bytes, std::optional<int64_t> total_bytes,
                         std::chrono::milliseconds elapsed) {
  const double seconds = static_cast<double>(elapsed.count()) / 1000;
  std::string out = what;
  const bool known = total_bytes && *total_bytes > 0;
  const double share = known ? std::min(1.0, static_cast<double>(bytes) / static_cast<double>(*total_bytes)) : 0;
  if (known) absl::StrAppendFormat(&out, "  [%s]  %d%%", Bar(share, 1, kBarWidth), static_cast<int>(share * 100));
  absl::StrAppendFormat(&out, "  %d items", items);
  if (seconds > 0) absl::StrAppendFormat(&out, "  %.1f items/s", static_cast<double>(items) / seconds);
  if (known && share > 0 && seconds > 0) {
    absl::StrAppend(&out, "  ETA ", ShowDuration(seconds / share * (1 - share)));
  }
  return out;
}

Progress::Progress(std::string what, Environment& environment)
    : what_(std::move(what)), environment_(environment), start_(environment.now()) {}

Progress::~Progress() { Clear(); }

void Progress::Update(int64_t items, int64_t bytes) {
  if (!environment_.err_is_terminal) return;
  const auto now = environment_.now();
  if (drawn_ && now - *drawn_ < kRedrawInterval) return;
  drawn_ = now;
  visible_ = true;
  environment_.err << "\r\x1b[K"
                   << ProgressLine(what_, items, bytes, environment_.in_bytes,
                                   std::chrono::duration_cast<std::chrono::milliseconds>(now - start_))
                   << std::flush;
}

void Progress::Clear() {
  if (visible_) environment_.err << "\r\x1b[K" << std::flush;
  visible_ = false;
}

}  // namespace logitd::cli

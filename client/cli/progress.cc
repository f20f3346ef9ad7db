#include "client/cli/progress.h"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/table.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

constexpr auto kRedrawInterval = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(10);

// The parts of a line; the next form is narrower.
struct Form {
  bool has_name = true;
  int bar_width = 0;
  bool has_units = true;
  bool has_rate = true;
  bool has_share = true;
};

constexpr Form kForms[] = {
    {.bar_width = 20},
    {.bar_width = 10},
    {},
    {.has_units = false},
    {.has_name = false, .has_units = false},
    {.has_name = false, .has_units = false, .has_rate = false},
    {.has_name = false, .has_units = false, .has_rate = false, .has_share = false},
};

std::string Line(const std::string& what, const JobState& state, const Form& form) {
  const double seconds = static_cast<double>(state.elapsed.count()) / 1000;
  std::string out;
  const auto add = [&out](const std::string& part) { absl::StrAppend(&out, out.empty() ? "" : "  ", part); };
  if (form.has_name) add(what);
  if (state.share) {
    if (form.bar_width > 0) add(absl::StrCat("[", Bar(*state.share, 1, form.bar_width), "]"));
    if (form.has_share) add(absl::StrCat(static_cast<int>(*state.share * 100), "%"));
  }
  add(absl::StrCat(state.items, state.total ? absl::StrCat("/", *state.total) : "", form.has_units ? " items" : ""));
  const auto own = static_cast<double>(state.items - state.resumed);
  if (seconds > 0 && form.has_rate) add(absl::StrFormat(form.has_units ? "%.1f items/s" : "%.1f/s", own / seconds));
  if (!state.share || seconds <= 0) return out;
  // This job's own part of the whole.
  const double before =
      state.total && *state.total > 0 ? static_cast<double>(state.resumed) / static_cast<double>(*state.total) : 0;
  const double done = *state.share - before;
  if (done > 0) add(absl::StrCat("ETA ", ShowDuration(seconds / done * (1 - *state.share))));
  return out;
}

}  // namespace

std::string ShowDuration(double seconds) {
  const int64_t whole = std::llround(std::min(seconds, 359999.0));
  if (whole < 3600) return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
  return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string ProgressLine(const std::string& what, const JobState& state, int width) {
  std::string line;
  for (const Form& form : kForms) {
    line = Line(what, state, form);
    if (width <= 0 || DisplayWidth(line) <= width) return line;
  }
  return FirstColumns(line, width);
}

Progress::Progress(std::string what, Environment& environment, Elsewhere elsewhere)
    : what_(std::move(what)), environment_(environment), elsewhere_(elsewhere), start_(environment.now()) {}

Progress::~Progress() { Clear(); }

std::chrono::milliseconds Progress::elapsed() const {
  return std::chrono::floor<std::chrono::milliseconds>(environment_.now() - start_);
}

void Progress::Draw(JobState state) {
  const bool is_terminal = environment_.err_is_terminal;
  if (!is_terminal && elsewhere_ == kNothing) return;
  const auto now = environment_.now();
  // The first line in a pipe comes after one interval, so that a short job has none.
  const auto since = is_terminal ? drawn_ : drawn_.value_or(start_);
  if (since && now - *since < (is_terminal ? kRedrawInterval : kPlainInterval)) return;
  drawn_ = now;
  state.elapsed = std::chrono::floor<std::chrono::milliseconds>(now - start_);
  if (!is_terminal) {
    environment_.err << Line(what_, state, Form{}) << "\n" << std::flush;
    return;
  }
  visible_ = true;
  // The last column stays free: some terminals begin a new line after it.
  environment_.err << "\r\x1b[K" << ProgressLine(what_, state, std::max(1, environment_.err_width() - 1)) << std::flush;
}

void Progress::Update(int64_t items, int64_t bytes) {
  JobState state{.items = items};
  if (environment_.in_bytes && *environment_.in_bytes > 0) {
    state.share = std::min(1.0, static_cast<double>(bytes) / static_cast<double>(*environment_.in_bytes));
  }
  Draw(std::move(state));
}

void Progress::UpdateItems(int64_t items, int64_t total, int64_t resumed) {
  JobState state{.items = items, .resumed = resumed, .total = total};
  if (total > 0) state.share = static_cast<double>(items) / static_cast<double>(total);
  Draw(std::move(state));
}

void Progress::Clear() {
  if (visible_) environment_.err << "\r\x1b[K" << std::flush;
  visible_ = false;
}

}  // namespace logitd::cli

// `logit distribution`: logits in, the processed distribution out. Needs no model.
#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/commands.h"
#include "client/cli/json_lines.h"
#include "client/cli/request_flags.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

constexpr int kBarWidth = 20;
constexpr int kLabelColumns = 40;

constexpr int kNamedLabels = 10;

Arguments MakeArguments() {
  std::vector<Flag> request = {{"--logits", "X,Y,...", "one number per token id; -inf excludes the token"},
                               {"--labels", "A,B,...", "one name per token id"},
                               {"--allowed", "LABEL_OR_ID,...", "only these may be chosen; a label wins over an id"}};
  for (Flag& flag : TokenSetFlags()) request.push_back(std::move(flag));
  return Arguments(
      {.name = "distribution",
       .positionals = "",
       .summary =
           "Prints the distribution that a row of logits gives, after temperature, the allowed set and truncation.",
       .examples = "logit distribution --logits 6,3,0.5,0.5 --labels mat,rug,floor,chair\n"
                   "logit distribution --logits 6,3,0.5,0.5 --temperature 0.5\n"
                   "logit distribution --logits 6,3,0.5,0.5 --labels mat,rug,floor,chair --allowed rug,floor\n"
                   "logit distribution --logits -1,2,-inf --top-p 0.9 --json\n"},
      {{"Request", request}, {"Stages", StageFlags()}, SessionFlags()});
}

std::vector<std::string> SplitList(const std::string& text) {
  if (text.empty()) return {};
  return absl::StrSplit(text, ',');
}

absl::Status SetLogits(const Arguments& arguments, v1::Logits& out) {
  if (!arguments.Has("--logits")) return UsageError("--logits is missing: logit distribution --logits 6,3,0.5");
  const std::string& text = arguments.Value("--logits");
  if (text.empty()) return UsageError("--logits", text, "numbers separated by commas (6,3,0.5)");
  for (const std::string& part : SplitList(text)) {
    double value = 0;
    if (!absl::SimpleAtod(part, &value)) {
      return UsageError("--logits", part, "numbers separated by commas (6,3,0.5)");
    }
    // Finite text that f32 cannot hold would arrive as an infinity that nobody wrote.
    const bool is_written_infinite = part.find_first_of("iI") != std::string::npos;
    if (std::fabs(value) > std::numeric_limits<float>::max() && !std::isnan(value) && !is_written_infinite) {
      return UsageError("--logits", part, "f32 numbers, at most 3.4028235e38 in size");
    }
    out.add_float_values(static_cast<float>(value));
  }
  return absl::OkStatus();
}

// "a label (mat, rug) or a token id", at most kNamedLabels of them.
std::string ExpectedNames(const std::vector<std::string>& labels) {
  if (labels.empty()) return "token ids";
  const size_t count = std::min<size_t>(labels.size(), kNamedLabels);
  std::string names = absl::StrJoin(labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(count), ", ");
  if (count < labels.size()) absl::StrAppend(&names, ", and ", labels.size() - count, " more");
  return absl::StrCat("labels of --labels (", names, "), or token ids");
}

absl::Status SetAllowed(const Arguments& arguments, const std::vector<std::string>& labels, v1::TokenSet& out) {
  v1::TokenIds* ids = out.mutable_ids();
  for (const std::string& name : SplitList(arguments.Value("--allowed"))) {
    const auto label = std::find(labels.begin(), labels.end(), name);
    int32_t id = 0;
    if (label != labels.end()) {
      if (std::find(label + 1, labels.end(), name) != labels.end()) {
        return UsageError("--allowed", name, "a label that only one token has, or a token id");
      }
      id = static_cast<int32_t>(label - labels.begin());
    } else if (!absl::SimpleAtoi(name, &id)) {
      return UsageError("--allowed", name, ExpectedNames(labels));
    }
    ids->add_token_ids(id);
  }
  return absl::OkStatus();
}

}  // namespace

int RunDistribution(const std::vector<std::string>& args, Environment& environment) {
  Arguments arguments = MakeArguments();
  int exit_code = kExitOk;
  const std::unique_ptr<Session> session = OpenSession(arguments, args, environment, exit_code);
  if (session == nullptr) return exit_code;
  session->needs_model = false;

  v1::DistributionRequest request;
  if (absl::Status status = SetLogits(arguments, *request.mutable_logits()); !status.ok()) return session->Fail(status);
  std::vector<std::string> labels;
  if (arguments.Has("--labels")) {
    labels = SplitList(arguments.Value("--labels"));
    if (static_cast<int>(labels.size()) != request.logits().float_values_size()) {
      return session->Fail(UsageError(absl::StrCat("--labels must have one name per logit, got ", labels.size(),
                                                   " labels for ", request.logits().float_values_size(), " logits")));
    }
  }
  absl::Status status =
      SetIfGiven(SamplingFrom(arguments), [&](v1::SamplingParams p) { *request.mutable_sampling() = std::move(p); });
  if (status.ok() && arguments.Has("--allowed") && arguments.Has("--allowed-tokens")) {
    status = UsageError("--allowed and --allowed-tokens exclude each other");
  }
  if (status.ok() && arguments.Has("--allowed")) {
    status = SetAllowed(arguments, labels, *request.mutable_sampling()->mutable_allowed_tokens());
  }
  if (!status.ok()) return session->Fail(status);

  const absl::StatusOr<v1::DistributionResponse> response = session->client->Distribution(request);
  if (!response.ok()) return session->Fail(response.status());
  const auto label_of = [&labels](int32_t id) {
    return id >= 0 && id < static_cast<int32_t>(labels.size()) ? labels[id] : absl::StrCat(id);
  };

  if (session->json) {
    std::string json = ToJson(*response);
    if (!labels.empty()) {
      std::vector<std::string> kept;
      for (const int32_t id : response->token_ids()) kept.push_back(label_of(id));
      // "labels" is not the server's to know: it goes in front of the closing brace.
      json.insert(json.size() - 1, absl::StrCat(",\"labels\":", ToJsonArray(kept)));
    }
    session->out() << json << "\n";
    return kExitOk;
  }

  double largest = 0;
  for (const double probability : response->probabilities()) largest = std::max(largest, probability);
  Table table({{"", Table::kLeft}, {""}, {"", Table::kLeft}, {""}});
  for (int i = 0; i < response->token_ids_size() && i < response->probabilities_size(); ++i) {
    const double probability = response->probabilities(i);
    const std::optional<double> log_prob =
        i < response->sampling_log_probs_size() ? std::optional<double>(response->sampling_log_probs(i)) : std::nullopt;
    table.Add({{Shorten(EscapeText(label_of(response->token_ids(i))), kLabelColumns), std::nullopt},
               {ShowNumber(probability), std::nullopt},
               {Bar(probability, largest, kBarWidth), log_prob},
               {ShowNumber(log_prob), std::nullopt}});
  }
  session->out() << table.Render(session->colour);
  return kExitOk;
}

}  // namespace logitd::cli

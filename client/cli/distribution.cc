// `logit distribution`: logits in, the processed distribution out. Needs no model.
#include <algorithm>
#include <ostream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/flags.h"
#include "client/cli/json_lines.h"
#include "client/cli/record_table.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

constexpr int kBarWidth = 20;

constexpr int kNamedLabels = 10;

std::vector<std::string> SplitList(const std::string& text) {
  if (text.empty()) return {};
  return absl::StrSplit(text, ',');
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

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  v1::ComputeDistributionRequest request;
  RETURN_IF_ERROR(SetRowRequest(arguments, session, request));
  const int logit_count = request.logits().vocab_size() > 0 ? request.logits().vocab_size()
                          : request.logits().has_block()    ? request.logits().block().width()
                                                            : request.logits().float_values_size();
  std::vector<std::string> labels;
  if (arguments.Has("--labels")) {
    labels = SplitList(arguments.Value("--labels"));
    if (static_cast<int>(labels.size()) != logit_count) {
      return UsageError("--labels", absl::StrCat(labels.size()), absl::StrCat(logit_count, " names"),
                        absl::StrCat("--labels must have one name per logit, got ", labels.size(), " labels for ",
                                     logit_count, " logits"));
    }
  }
  if (arguments.Has("--allowed") && arguments.Has("--allowed-tokens")) {
    return UsageError("--allowed", "--allowed and --allowed-tokens exclude each other");
  }
  if (arguments.Has("--allowed")) {
    RETURN_IF_ERROR(SetAllowed(arguments, labels, *request.mutable_sampling()->mutable_allowed_tokens()));
  }

  ASSIGN_OR_RETURN(const v1::ComputeDistributionResponse response, session.client->ComputeDistribution(request));
  const auto label_of = [&labels](int32_t id) {
    return id >= 0 && id < static_cast<int32_t>(labels.size()) ? labels[id] : absl::StrCat(id);
  };

  if (session.json) {
    std::string json = ToJson(response);
    if (!labels.empty()) {
      std::vector<std::string> kept;
      for (const int32_t id : response.token_ids()) kept.push_back(label_of(id));
      // The server does not know the labels: they go in front of the closing brace.
      json.insert(json.size() - 1, absl::StrCat(",\"labels\":", ToJsonArray(kept)));
    }
    session.out() << json << "\n";
    return kExitOk;
  }

  double largest = 0;
  for (const double probability : response.probabilities()) largest = std::max(largest, probability);
  Table table({{"", Table::kLeft, Table::kShorten, /*is_key=*/true}, {""}, {"", Table::kLeft, Table::kDrop}, {""}});
  for (int i = 0; i < response.token_ids_size() && i < response.probabilities_size(); ++i) {
    const double probability = response.probabilities(i);
    const std::optional<double> log_prob =
        i < response.sampling_log_probs_size() ? std::optional<double>(response.sampling_log_probs(i)) : std::nullopt;
    table.Add({{EscapeText(label_of(response.token_ids(i)))},
               {ShowNumber(probability)},
               {Bar(probability, largest, kBarWidth), log_prob},
               {ShowNumber(log_prob)}});
  }
  session.out() << table.Render(session.style());
  if (response.has_verification()) {
    const int32_t drawn = response.verification().token_id();
    session.out() << "\n" << Filled("drawn: " + EscapeText(label_of(drawn)), session.style().width) << "\n";
  }
  if (response.stages_size() > 0) session.out() << "\n" << StageTable(response.stages(), session.style());
  return kExitOk;
}

}  // namespace

Command DistributionCommand() {
  return {
      .name = "distribution",
      .purpose = "the distribution that logits give, without a model",
      .summary =
          "Prints the distribution that a row of logits gives, after all stages: allowed set, biases and penalties, "
          "temperature, truncation. With --seed and --sequence-key also draws the token of --position from it.",
      .examples =
          "logit distribution --logits 6,3,0.5,0.5 --labels mat,rug,floor,chair\n"
          "logit distribution --logits 6,3,0.5,0.5 --temperature 0.5\n"
          "logit distribution --logits 6,3,0.5,0.5 --labels mat,rug,floor,chair --allowed rug,floor\n"
          "logit distribution --logits 6,3,0.5,0.5 --temperature 0.5 --top-k 3 --min-p 0.001 --explain\n"
          "logit distribution --logits 6,3,0.5,0.5 --repetition-penalty 1.3 --output-tokens 0,0\n"
          "logit distribution --logits rows.npy --row 1 --top-p 0.9\n"
          "logit distribution --logits -1,2,-inf --top-p 0.9 --json\n",
      .groups = WithPenaltyFlags(
          {{"Request",
            Joined({RowFlags(),
                    {{"--labels", "", "A,B,...", "one name for each token id"},
                     {"--allowed", "", "LABEL_OR_ID,...", "only these tokens may be chosen; a label wins over an id"}},
                    TokenSetFlags()})},
           {"Stages", StageFlags()},
           {"The step", StepFlags()},
           {"Output", {{"--explain", "explain", "", "the tokens and the probability that each stage removed"}}}}),
      .request = v1::ComputeDistributionRequest::descriptor(),
      .needs_model = false,
      .run = Run};
}

}  // namespace logitd::cli

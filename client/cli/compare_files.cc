// `logit compare` of two files of rows.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/compare_modes.h"
#include "client/cli/compare_positions.h"
#include "client/cli/json_object.h"
#include "client/cli/row_file.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

// A target that is not scored, as in ScoreLogitsRows.target_token_ids.
constexpr int32_t kNotScored = -100;

// The target of each row. Empty: none are given.
absl::StatusOr<std::vector<int32_t>> TargetsFrom(const Arguments& arguments, const RowFile& rows,
                                                 Environment& environment) {
  if (arguments.Has("--targets") && arguments.Has("--targets-file")) {
    return UsageError("--targets", "--targets and --targets-file exclude each other");
  }
  std::vector<int32_t> targets;
  if (arguments.Has("--targets-file")) {
    ASSIGN_OR_RETURN(client::NpyFile file, client::NpyFile::Open({"--targets-file", arguments.Value("--targets-file"),
                                                                  client::NpyContent::kTokenIds},
                                                                 environment.in));
    if (file.shape() != std::vector<int64_t>{rows.row_count()}) {
      const std::string bound = absl::StrCat("[", rows.row_count(), "]");
      return file.Error(absl::StrCat("its shape must be ", bound, ", a target for each row, got ", file.ShowShape()),
                        bound);
    }
    RETURN_IF_ERROR(file.ReadIds(rows.row_count(), targets));
  } else if (arguments.Has("--targets")) {
    RETURN_IF_ERROR(ParseValue("--targets", arguments.Value("--targets"), targets));
    if (targets.size() != static_cast<size_t>(rows.row_count())) {
      return UsageError("--targets", absl::StrCat(targets.size()),
                        absl::StrCat("one token id for each of the ", rows.row_count(), " rows"));
    }
  }
  const std::string flag = arguments.Has("--targets") ? "--targets" : "--targets-file";
  for (const int32_t target : targets) {
    if (target == kNotScored || (target >= 0 && target < rows.vocab_size())) continue;
    return UsageError(flag, absl::StrCat(target), absl::StrCat("in [0, ", rows.vocab_size(), "), or -100: not scored"));
  }
  return targets;
}

absl::Status CheckShapes(const RowFile& rows, const RowFile& against) {
  if (rows.vocab_size() != against.vocab_size()) {
    const std::string bound = absl::StrCat("V = ", rows.vocab_size());
    return against.Error(
        absl::StrCat("its rows must have as many values as those of --logits, ", bound, " of shape ", rows.ShowShape(),
                     ", got V = ", against.vocab_size(), " of shape ", against.ShowShape()),
        bound);
  }
  if (rows.row_count() != against.row_count()) {
    const std::string bound = absl::StrCat("T = ", rows.row_count());
    return against.Error(absl::StrCat("it must have as many rows as --logits, ", bound, " of shape ", rows.ShowShape(),
                                      ", got T = ", against.row_count(), " of shape ", against.ShowShape()),
                         bound);
  }
  return absl::OkStatus();
}

PositionSide SideOf(const comparison::RowLogProbs& row, std::optional<int32_t> target) {
  PositionSide side{.top_token = row.top_token(),
                    .top_log_prob = row.log_probs()[static_cast<size_t>(row.top_token())],
                    .entropy = row.entropy()};
  if (target) side.log_prob = row.log_probs()[static_cast<size_t>(*target)];
  return side;
}

}  // namespace

absl::StatusOr<CompareReport> CompareFiles(const Arguments& arguments, const CompareOptions& options,
                                           Session& session) {
  session.needs_model = false;
  const std::string path = arguments.Value("--logits");
  const std::string against_path = arguments.Value("--against-logits");
  bool is_taken = path == "-";
  for (const char* flag : {"--against-logits", "--targets-file"}) {
    if (arguments.Value(flag) != "-") continue;
    if (is_taken) return UsageError(flag, "only one file can be standard input");
    is_taken = true;
  }
  const std::string dtype = arguments.Value("--dtype");
  ASSIGN_OR_RETURN(RowFile rows, RowFile::Open("--logits", path, dtype, session.environment.in));
  ASSIGN_OR_RETURN(RowFile against,
                   RowFile::Open("--against-logits", against_path,
                                 arguments.Has("--against-dtype") ? arguments.Value("--against-dtype") : dtype,
                                 session.environment.in));
  RETURN_IF_ERROR(CheckShapes(rows, against));
  ASSIGN_OR_RETURN(const std::vector<int32_t> targets, TargetsFrom(arguments, rows, session.environment));

  ComparedRows compared{.names = {EscapeText(path), EscapeText(against_path)},
                        .listed_count = options.listed_count,
                        .rule = options.rule};
  comparison::RowLogProbs p, q;
  for (int32_t t = 0; t < rows.row_count(); ++t) {
    ASSIGN_OR_RETURN(const std::vector<double> p_row, rows.NextRow());
    ASSIGN_OR_RETURN(const std::vector<double> q_row, against.NextRow());
    p.Assign(p_row, options.temperature);
    q.Assign(q_row, options.temperature);
    ComparedPosition position;
    if (!targets.empty() && targets[static_cast<size_t>(t)] != kNotScored) {
      position.token_id = targets[static_cast<size_t>(t)];
    }
    position.sides = {SideOf(p, position.token_id), SideOf(q, position.token_id)};
    position.divergence = comparison::DivergenceOf(p, q, kLargestDifferences);
    position.largest = std::exchange(position.divergence->largest, {});
    compared.positions.push_back(std::move(position));
  }
  CompareReport report = PositionsReport(compared);
  report.answers.insert(
      report.answers.begin(),
      absl::StrCat("Computed from whole rows of ", rows.vocab_size(), " tokens in double, at temperature ",
                   options.temperature, "; 0 is ", compared.names[0], ", 1 is ", compared.names[1], "."));
  std::vector<std::string> answers;
  for (const std::string& answer : report.answers) answers.push_back(JsonText(answer));
  report.json = absl::StrCat("{\"kind\":\"rows\",\"vocab_size\":", rows.vocab_size(),
                             ",\"temperature\":", JsonNumber(options.temperature), ",", PositionsJson(compared),
                             ",\"answer\":", JsonArray(answers), "}");
  return report;
}

}  // namespace logitd::cli

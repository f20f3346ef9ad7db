#include "client/cli/record_table.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/token_text.h"
#include "client/logitd/packed_column.h"

namespace logitd::cli {
namespace {

constexpr int kTokenColumns = 24;
constexpr size_t kShownAlternatives = 16;

// Packed alternatives may be the whole vocabulary: the table shows the first few, likeliest first.
std::vector<std::string> ShowPacked(const v1::PackedAlternatives& packed) {
  std::vector<int32_t> ids = client::UnpackColumn<int32_t>(packed.token_ids());
  const std::vector<double> log_probs = client::UnpackColumn<double>(packed.model_log_probs());
  if (ids.empty()) {
    ids.resize(log_probs.size());
    std::iota(ids.begin(), ids.end(), 0);
  }
  std::vector<size_t> order(ids.size());
  std::iota(order.begin(), order.end(), 0);
  if (log_probs.size() == ids.size()) {
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return log_probs[a] > log_probs[b]; });
  }
  std::vector<std::string> shown;
  for (const size_t i : order) {
    if (shown.size() == kShownAlternatives) {
      shown.push_back(absl::StrCat("and ", order.size() - kShownAlternatives, " more (--json)"));
      break;
    }
    shown.push_back(i < log_probs.size() ? absl::StrCat(ids[i], " ", ShowNumber(log_probs[i])) : absl::StrCat(ids[i]));
  }
  return shown;
}

// One piece for each alternative, as Table::kWrap takes them.
std::string ShowAlternatives(const v1::TokenRecord& token, const Style& style) {
  if (token.has_packed_top()) return absl::StrJoin(ShowPacked(token.packed_top()), "\n");
  const v1::TokenAlternatives& top = token.top();
  std::vector<std::string> shown;
  for (int i = 0; i < top.token_ids_size(); ++i) {
    std::string name = i < top.token_bytes_size() ? ShowToken(top.token_bytes(i)) : absl::StrCat(top.token_ids(i));
    name = ShortenOnTerminal(name, kTokenColumns, style);
    if (i < top.model_log_probs_size()) absl::StrAppend(&name, " ", ShowNumber(top.model_log_probs(i)));
    shown.push_back(std::move(name));
  }
  return absl::StrJoin(shown, "\n");
}

}  // namespace

std::string ShowLogProb(std::optional<double> log_prob, v1::LogProbState state) {
  if (log_prob) return ShowNumber(*log_prob);
  if (state == v1::LOG_PROB_STATE_EXCLUDED) return "excluded";
  return "-";
}

std::string TokenTable(const TokenRecords& tokens, const Style& style, bool has_text) {
  const auto any = [&tokens](auto has) { return std::any_of(tokens.begin(), tokens.end(), has); };
  // Exclusions alone fill the column too: the caller asked about them.
  const bool has_sampling = any([](const v1::TokenRecord& token) {
    return token.has_sampling_log_prob() ||
           (token.log_prob_state() == v1::LOG_PROB_STATE_EXCLUDED && token.has_model_log_prob());
  });
  const bool has_rank = any([](const v1::TokenRecord& token) { return token.has_rank(); });
  const bool has_entropy = any([](const v1::TokenRecord& token) { return token.has_model_entropy(); });
  const bool has_kept = any([](const v1::TokenRecord& token) { return token.has_kept_count(); });
  const bool has_draw = any([](const v1::TokenRecord& token) { return token.has_draw(); });
  const bool has_top =
      any([](const v1::TokenRecord& token) { return token.top().token_ids_size() > 0 || token.has_packed_top(); });

  const auto key = [](std::string heading, Table::Alignment alignment = Table::kRight) {
    return Table::Column{std::move(heading), alignment, Table::kWhole, /*is_key=*/true};
  };
  std::vector<Table::Column> columns = {key("position"), key("token id")};
  if (has_text) {
    columns[1].is_key = false;
    columns.push_back(key("text", Table::kLeft));
    columns.back().squeeze = Table::kShorten;
  }
  columns.push_back({"model log-prob"});
  if (has_sampling) columns.push_back({"sampling log-prob"});
  if (has_rank) columns.push_back({"rank"});
  if (has_entropy) columns.push_back({"entropy"});
  if (has_kept) columns.insert(columns.end(), {{"kept"}, {"kept mass"}});
  if (has_draw) columns.push_back({"draw"});
  columns.push_back({"running sum"});
  if (has_top) columns.push_back({"alternatives", Table::kLeft, Table::kWrap});

  Table table(std::move(columns));
  std::optional<double> running_sum = 0.0;
  for (const v1::TokenRecord& token : tokens) {
    const std::optional<double> log_prob = LOGITD_CLI_OPTIONAL(token, model_log_prob);
    running_sum = running_sum && log_prob ? std::optional<double>(*running_sum + *log_prob) : std::nullopt;
    std::vector<Table::Cell> row = {{absl::StrCat(token.position())}, {absl::StrCat(token.token_id())}};
    if (has_text) row.push_back({ShortenOnTerminal(ShowToken(token.token_bytes()), kTokenColumns, style), log_prob});
    row.push_back({ShowLogProb(log_prob, token.log_prob_state()), log_prob});
    if (has_sampling) {
      row.push_back({ShowLogProb(LOGITD_CLI_OPTIONAL(token, sampling_log_prob), token.log_prob_state())});
    }
    if (has_rank) row.push_back({token.has_rank() ? absl::StrCat(token.rank()) : "-"});
    if (has_entropy) row.push_back({ShowNumber(LOGITD_CLI_OPTIONAL(token, model_entropy))});
    if (has_kept) {
      row.push_back({token.has_kept_count() ? absl::StrCat(token.kept_count()) : "-"});
      row.push_back({ShowNumber(LOGITD_CLI_OPTIONAL(token, kept_mass))});
    }
    if (has_draw) {
      row.push_back({token.has_draw() ? ShowNumber(std::ldexp(static_cast<double>(token.draw().uniform()), -64)) : "-",
                     std::nullopt});
    }
    row.push_back({ShowNumber(running_sum)});
    if (has_top) row.push_back({ShowAlternatives(token, style)});
    table.Add(std::move(row));
  }
  return table.Render(style);
}

std::string CompletionSummary(const v1::Completion& completion, uint64_t seed) {
  const v1::SequenceTotals& totals = completion.totals();
  return absl::StrCat(
      completion.has_error() ? absl::StrCat("failed: ", SanitizeForTerminal(completion.error().message()))
                             : absl::StrCat("finish reason: ", ShowFinish(completion.finish())),
      "\ntokens: ", totals.token_count(),
      "\ncumulative model log-prob: ", ShowNumber(LOGITD_CLI_OPTIONAL(totals, cumulative_model_log_prob)),
      "\ncumulative sampling log-prob: ", ShowNumber(LOGITD_CLI_OPTIONAL(totals, cumulative_sampling_log_prob)),
      "\nperplexity: ", ShowNumber(PerplexityOf(totals)), "\nseed: ", seed,
      ", sequence key: ", completion.sequence_key(), "\n");
}

std::optional<double> PerplexityOf(const v1::SequenceTotals& totals) {
  if (!totals.has_cumulative_model_log_prob() || totals.token_count() <= 0) return std::nullopt;
  return std::exp(-totals.cumulative_model_log_prob() / totals.token_count());
}

std::string ShowFinish(const v1::Finish& finish) {
  std::string shown = ShowEnum(*v1::FinishReason_descriptor(), finish.reason());
  if (finish.has_stop_token_id()) absl::StrAppend(&shown, " ", finish.stop_token_id());
  if (finish.has_stop_string_index()) absl::StrAppend(&shown, " ", finish.stop_string_index());
  if (finish.cut_byte_count() > 0) {
    absl::StrAppend(&shown, ", which begins ", finish.cut_byte_count(), " bytes before the end of the last token");
  }
  return shown;
}

std::string ShowEnum(const google::protobuf::EnumDescriptor& type, int number) {
  const google::protobuf::EnumValueDescriptor* value = type.FindValueByNumber(number);
  if (value == nullptr) return absl::StrCat(number);
  const size_t prefix = type.value(0)->name().size() - std::string_view("UNSPECIFIED").size();
  return absl::AsciiStrToLower(value->name().substr(prefix));
}

std::string StageTable(const google::protobuf::RepeatedPtrField<v1::StageReport>& stages, const Style& style) {
  Table table(
      {{"stage", Table::kLeft, Table::kWhole, /*is_key=*/true}, {"kept before"}, {"kept after"}, {"removed mass"}});
  for (const v1::StageReport& report : stages) {
    table.Add({{ShowEnum(*v1::Stage_descriptor(), report.stage())},
               {absl::StrCat(report.kept_before_count())},
               {absl::StrCat(report.kept_after_count())},
               {ShowNumber(report.removed_mass())}});
  }
  return table.Render(style);
}

}  // namespace logitd::cli

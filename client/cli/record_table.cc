#include "client/cli/record_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

constexpr int kTokenColumns = 24;

std::string ShowAlternatives(const v1::TokenAlternatives& top) {
  std::string out;
  for (int i = 0; i < top.token_ids_size(); ++i) {
    const std::string name =
        i < top.token_bytes_size() ? ShowToken(top.token_bytes(i)) : absl::StrCat(top.token_ids(i));
    absl::StrAppend(&out, i == 0 ? "" : "  ", Shorten(name, kTokenColumns));
    if (i < top.model_log_probs_size()) absl::StrAppend(&out, " ", ShowNumber(top.model_log_probs(i)));
  }
  return out;
}

}  // namespace

std::string ShowLogProb(std::optional<double> log_prob, v1::LogProbState state) {
  if (log_prob) return ShowNumber(*log_prob);
  if (state == v1::LOG_PROB_STATE_EXCLUDED) return "excluded";
  if (state == v1::LOG_PROB_STATE_BEFORE_RESUME) return "before resume";
  return "-";
}

std::string TokenTable(const TokenRecords& tokens, bool colour, bool has_text) {
  const auto any = [&tokens](auto has) { return std::any_of(tokens.begin(), tokens.end(), has); };
  // A column that only exclusions would fill is shown too: they are what the caller asked about.
  const bool has_sampling = any([](const v1::TokenRecord& token) {
    return token.has_sampling_log_prob() ||
           (token.state() == v1::LOG_PROB_STATE_EXCLUDED && token.has_model_log_prob());
  });
  const bool has_rank = any([](const v1::TokenRecord& token) { return token.has_rank(); });
  const bool has_entropy = any([](const v1::TokenRecord& token) { return token.has_model_entropy(); });
  const bool has_kept = any([](const v1::TokenRecord& token) { return token.has_kept_count(); });
  const bool has_draw = any([](const v1::TokenRecord& token) { return token.has_draw(); });
  const bool has_top = any([](const v1::TokenRecord& token) { return token.top().token_ids_size() > 0; });

  std::vector<Table::Column> columns = {{"position"}, {"token id"}};
  if (has_text) columns.push_back({"text", Table::kLeft});
  columns.push_back({"model log-prob"});
  if (has_sampling) columns.push_back({"sampling log-prob"});
  if (has_rank) columns.push_back({"rank"});
  if (has_entropy) columns.push_back({"entropy"});
  if (has_kept) columns.insert(columns.end(), {{"kept"}, {"kept mass"}});
  if (has_draw) columns.push_back({"draw"});
  columns.push_back({"running sum"});
  if (has_top) columns.push_back({"alternatives", Table::kLeft});

  Table table(std::move(columns));
  std::optional<double> running_sum = 0.0;
  for (const v1::TokenRecord& token : tokens) {
    const std::optional<double> log_prob = LOGITD_CLI_OPTIONAL(token, model_log_prob);
    running_sum = running_sum && log_prob ? std::optional<double>(*running_sum + *log_prob) : std::nullopt;
    std::vector<Table::Cell> row = {{absl::StrCat(token.position()), std::nullopt},
                                    {absl::StrCat(token.token_id()), std::nullopt}};
    if (has_text) row.push_back({Shorten(ShowToken(token.token_bytes()), kTokenColumns), log_prob});
    row.push_back({ShowLogProb(log_prob, token.state()), log_prob});
    if (has_sampling) {
      row.push_back({ShowLogProb(LOGITD_CLI_OPTIONAL(token, sampling_log_prob), token.state()), std::nullopt});
    }
    if (has_rank) row.push_back({token.has_rank() ? absl::StrCat(token.rank()) : "-", std::nullopt});
    if (has_entropy) row.push_back({ShowNumber(LOGITD_CLI_OPTIONAL(token, model_entropy)), std::nullopt});
    if (has_kept) {
      row.push_back({token.has_kept_count() ? absl::StrCat(token.kept_count()) : "-", std::nullopt});
      row.push_back({ShowNumber(LOGITD_CLI_OPTIONAL(token, kept_mass)), std::nullopt});
    }
    if (has_draw) {
      row.push_back({token.has_draw() ? ShowNumber(std::ldexp(static_cast<double>(token.draw().uniform()), -64)) : "-",
                     std::nullopt});
    }
    row.push_back({ShowNumber(running_sum), std::nullopt});
    if (has_top) row.push_back({ShowAlternatives(token.top()), std::nullopt});
    table.Add(std::move(row));
  }
  return table.Render(colour);
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
  const std::string name = v1::FinishReason_Name(finish.reason());
  constexpr char kPrefix[] = "FINISH_REASON_";
  if (name.rfind(kPrefix, 0) != 0) return absl::StrCat(static_cast<int>(finish.reason()));
  std::string out = absl::AsciiStrToLower(name.substr(sizeof(kPrefix) - 1));
  if (finish.has_stop_token_id()) absl::StrAppend(&out, " ", finish.stop_token_id());
  return out;
}

}  // namespace logitd::cli

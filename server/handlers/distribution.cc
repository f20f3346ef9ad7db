#include "server/handlers/distribution.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "core/distribution.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/limits.h"
#include "core/random_stream.h"
#include "core/row_statistics.h"
#include "core/stage_report.h"
#include "core/stages.h"
#include "server/converters/completion.h"
#include "server/converters/logits.h"
#include "server/converters/wire.h"
#include "server/handlers/hidden_rows.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

// One of the request's token lists. Errors: LIMIT_EXCEEDED, TOKEN_ID_OUT_OF_RANGE.
absl::Status CheckTokens(std::span<const TokenId> ids, const char* field, const Limit& limit, int32_t vocab_size) {
  if (std::ssize(ids) > limit) return errors::AboveLimit(field, std::ssize(ids), limit);
  return CheckTokenIds(ids, field, vocab_size);
}

// Sets seed, key and position of `step`, whose output is there. Errors: FIELD_REQUIRED, FIELD_OUT_OF_RANGE,
// TOKEN_ID_OUT_OF_RANGE.
absl::Status SetDraw(const v1::VerifyDraw& verify, const SamplingParams& params, int32_t vocab_size,
                     StepContext& step) {
  // A seed of 0 that was merely forgotten would verify nothing.
  const bool is_random = UsesRandomBits(params);
  if (is_random && !verify.has_seed()) return errors::Required("seed");
  if (is_random && !verify.has_sequence_key()) return errors::Required("sequence_key");
  if (verify.sequence_key() > static_cast<uint64_t>(kMaxSequenceKey)) {
    return errors::OutOfRange("sequence_key", std::to_string(verify.sequence_key()), "in [0, 2^56)");
  }
  if (verify.has_token_id() && (verify.token_id() < 0 || verify.token_id() >= vocab_size)) {
    return errors::TokenIdOutOfRange("token_id", verify.token_id(), vocab_size);
  }
  const auto output_count = static_cast<int32_t>(step.output.size());
  const int32_t position = verify.has_position() ? verify.position() : output_count;
  if (position < 0 || position >= kMaxTokens) {
    return errors::OutOfRange("position", int64_t{position}, "in [0, " + std::to_string(kMaxTokens) + ")");
  }
  if (position != output_count && (output_count > 0 || NeedsHistory(params))) {
    return errors::OutOfRange("position", int64_t{position},
                              std::to_string(output_count) + ", the number of output_token_ids");
  }
  step.seed = verify.seed();
  step.sequence_key = verify.sequence_key();
  step.position = position;
  return absl::OkStatus();
}

// The inputs of the stages besides the row: views of the request.
absl::StatusOr<StepContext> StepOf(const v1::ComputeDistributionRequest& request, const SamplingParams& params,
                                   int32_t vocab_size) {
  StepContext step;
  step.prompt = Ids(request.prompt_token_ids());
  step.output = Ids(request.output_token_ids());
  step.excluded = Ids(request.excluded_token_ids());
  RETURN_IF_ERROR(CheckTokens(step.prompt, "prompt_token_ids", kMaxPromptTokens, vocab_size));
  RETURN_IF_ERROR(CheckTokens(step.output, "output_token_ids", kMaxTokens, vocab_size));
  RETURN_IF_ERROR(CheckTokens(step.excluded, "excluded_token_ids", kMaxExcludedTokens, vocab_size));
  if (request.has_verify()) {
    RETURN_IF_ERROR(In("verify.", SetDraw(request.verify(), params, vocab_size, step)));
  } else if (IsOn(params, Stage::kXtc) && UsesRandomBits(params)) {
    return errors::Required("verify");
  }
  return step;
}

void AddTokens(const RowStatistics& statistics, Distribution& distribution, v1::ComputeDistributionResponse& response) {
  const LogitsRow& row = distribution.row();
  for (int32_t slot = 0; slot < static_cast<int32_t>(row.slots().size()); ++slot) {
    const TokenId id = row.IdOf(slot);
    const float logit = row.slots()[static_cast<size_t>(slot)];
    // Greedy leaves one token; the reply is then the one-hot vector over what it was chosen from, so that it can be
    // read like any other distribution.
    if (!distribution.IsCandidate(slot)) continue;
    const double log_prob = distribution.LogProb(id);
    response.add_token_ids(id);
    response.add_probabilities(Exp(log_prob));
    response.add_sampling_log_probs(log_prob);
    response.add_model_log_probs(statistics.LogProb(logit));
  }
}

void AddReport(const StageReport& report, v1::ComputeDistributionResponse& response) {
  v1::StageReport& message = *response.add_stages();
  message.set_stage(static_cast<v1::Stage>(report.stage));
  message.set_kept_before_count(report.kept_before);
  message.set_kept_after_count(report.kept_after);
  message.set_removed_mass(report.removed_mass);
}

void Verify(const v1::VerifyDraw& verify, const StepContext& step, Distribution& distribution,
            v1::Verification& verification) {
  const RandomStream random(step.seed, step.sequence_key, step.position, RandomPurpose::kTokenDraw);
  const Draw draw = distribution.DrawToken(random.Uniform64(0));
  verification.set_token_id(draw.token_id);
  if (verify.has_token_id()) verification.set_matches(draw.token_id == verify.token_id());
  ToProto(draw, *verification.mutable_draw());
}

}  // namespace

absl::Status ComputeDistribution(const v1::ComputeDistributionRequest& request, const ServerEnv& env,
                                 const RequestContext& context, v1::ComputeDistributionResponse& response) {
  if (!request.has_logits()) return errors::Required("logits");
  WireRows hidden_row;
  HiddenRows hidden(hidden_row, env.workspaces, context);
  const NamedHead* head = nullptr;
  const bool is_hidden = request.logits().has_block() && request.logits().block().has_hidden();
  if (is_hidden) {
    ASSIGN_OR_RETURN(hidden_row, WireRows::OfHidden(request.logits(), env.heads));
    head = hidden_row.Hidden(0)->head;
    constexpr int32_t kFirst[] = {0};
    RETURN_IF_ERROR(hidden.Prepare(kFirst).status());
  }
  ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, env.workspaces.Lend(context));
  ASSIGN_OR_RETURN(const LogitsRow row, is_hidden ? In("logits.", hidden.Row(0, workspace->row))
                                                  : SingleRow(request.logits(), workspace->row));
  const int32_t vocab_size = row.vocab_size();
  ASSIGN_OR_RETURN(auto params, In("sampling.", FromProto(request.sampling(), vocab_size)));
  ASSIGN_OR_RETURN(const StepContext step, StepOf(request, params, vocab_size));
  Distribution& distribution = workspace->distribution;
  std::vector<StageReport> reports;
  if (request.explain()) {
    ASSIGN_OR_RETURN(reports, ReportStages(row, params, step, distribution));
  }
  RETURN_IF_ERROR(distribution.Assign(row, params, step));
  const RowStatistics statistics = distribution.ModelStatistics(/*with_entropy=*/true);

  if (request.layout() != v1::RECORD_LAYOUT_NONE) AddTokens(statistics, distribution, response);
  response.set_kept_count(distribution.CountKept());
  if (statistics.entropy) response.set_model_entropy(*statistics.entropy);
  response.set_model_log_sum_exp(statistics.log_sum_exp);
  response.set_sampling_entropy(distribution.Entropy());
  response.set_total_weight(distribution.TotalWeight());
  *response.mutable_provenance() = ProvenanceOf(head);
  for (const StageReport& report : reports) AddReport(report, response);
  if (request.has_verify()) Verify(request.verify(), step, distribution, *response.mutable_verification());
  return absl::OkStatus();
}

}  // namespace logitd::server

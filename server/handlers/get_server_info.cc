#include "server/handlers/get_server_info.h"

#include <string>
#include <utility>

#include "base/status_macros.h"
#include "core/kernel_target.h"
#include "core/limits.h"

namespace logitd::server {

absl::Status GetServerInfo(const v1::GetServerInfoRequest& request, const ServerEnv& env, const RequestContext& context,
                           v1::GetServerInfoResponse& response) {
  response.set_server_version(env.version);
  response.set_api_minor_version(kApiMinorVersion);
  response.set_numerics_version(kNumericsVersion);
  response.set_kernel_target(KernelTarget());
  for (std::string& target : AvailableKernelTargets()) response.add_available_kernel_targets(std::move(target));
  for (const auto dtype : {v1::LOGITS_DTYPE_F32, v1::LOGITS_DTYPE_F16, v1::LOGITS_DTYPE_BF16, v1::LOGITS_DTYPE_LIN16}) {
    response.add_dtypes(dtype);
  }
  v1::Limits& limits = *response.mutable_limits();
  limits.set_max_message_bytes(kMaxMessageBytes);
  limits.set_max_request_bytes(kMaxRequestBytes);
  limits.set_max_message_elements(kMaxMessageElements);
  limits.set_max_vocab_size(kMaxVocabSize);
  limits.set_max_rows_per_message(kMaxRowsPerMessage);
  limits.set_max_sequences_per_stream(kMaxSequencesPerStream);
  limits.set_max_stream_state_bytes(kMaxStreamStateBytes);
  limits.set_max_tokens(kMaxTokens);
  limits.set_max_prompt_tokens(kMaxPromptTokens);
  limits.set_max_top_n(kMaxTopN);
  limits.set_max_alternatives(kMaxAlternatives);
  limits.set_max_named_tokens(kMaxNamedTokens);
  limits.set_max_logit_biases(kMaxLogitBiases);
  limits.set_max_sequence_biases(kMaxSequenceBiases);
  limits.set_max_dry_breakers(kMaxDryBreakers);
  limits.set_max_dry_breaker_tokens(kMaxDryBreakerTokens);
  limits.set_max_list_tokens(kMaxListTokens);
  limits.set_max_stops(kMaxStops);
  limits.set_max_excluded_tokens(kMaxExcludedTokens);
  limits.set_max_n(kMaxCompletions);
  limits.set_max_generated_tokens(kMaxGeneratedTokens);
  limits.set_max_items(kMaxItems);
  limits.set_max_id_bytes(kMaxIdBytes);
  limits.set_max_segments(kMaxSegments);
  limits.set_max_continuations(kMaxContinuations);
  limits.set_max_candidates(kMaxCandidates);
  limits.set_max_score_tokens(kMaxScoreTokens);
  limits.set_max_score_sequences(kMaxScoreSequences);
  limits.set_max_text_bytes(kMaxTextBytes);
  limits.set_max_streams_per_connection(kMaxStreamsPerConnection);
  limits.set_max_runners(kMaxRunners);
  limits.set_max_idle_ms(static_cast<int32_t>(env.settings.max_idle.count()));
  limits.set_max_calls(env.settings.max_calls);
  limits.set_max_open_streams(env.settings.max_open_streams);
  limits.set_max_stall_ms(static_cast<int32_t>(env.settings.max_stall.count()));
  limits.set_max_metadata_bytes(kMaxMetadataBytes);
  limits.set_max_bytes_in_work(env.settings.max_bytes_in_work);
  limits.set_max_watches(env.settings.max_watches);
  return absl::OkStatus();
}

}  // namespace logitd::server

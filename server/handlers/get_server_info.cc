#include "server/handlers/get_server_info.h"

#include <string>
#include <utility>

#include "base/status_macros.h"
#include "core/kernel_target.h"
#include "server/converters/calibration.h"
#include "server/limits.h"

namespace logitd::server {
namespace {

// Sets the field that has the limit's name.
void Report(const Limit& limit, v1::Limits& limits) {
  const google::protobuf::FieldDescriptor* field = limits.GetDescriptor()->FindFieldByName(limit.name);
  if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT64) {
    limits.GetReflection()->SetInt64(&limits, field, limit);
  } else {
    limits.GetReflection()->SetInt32(&limits, field, static_cast<int32_t>(limit));
  }
}

void ToProto(const NamedHead& named, v1::HeadInfo& info) {
  const SoftmaxHead& head = *named.head;
  info.set_name(named.name);
  info.set_vocab_size(head.vocab_size());
  info.set_hidden_size(head.hidden_size());
  info.set_memory_bytes(static_cast<int64_t>(head.bytes()));
  info.set_source_dtype(named.source_dtype);
  info.set_fingerprint(named.fingerprint);
  info.set_has_output_norm(head.output_norm() != nullptr);
  info.set_has_bias(named.has_bias);
  if (head.columns().logit_scale() != 1) info.set_logit_scale(head.columns().logit_scale());
  if (head.columns().soft_cap() != 0) info.set_soft_cap(head.columns().soft_cap());
  info.set_weight_name(named.weight_name);
}

}  // namespace

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
  for (const Limit& limit : kRequestLimits) Report(limit, *response.mutable_limits());
  const ServerOptions& options = env.options;
  for (const Limit& limit :
       {kMaxStreamsPerConnection, kMaxRunners, kMaxMetadataBytes, Limit{kMaxIdleMs.name, options.max_idle.count()},
        Limit{kMaxStallMs.name, options.max_stall.count()}, Limit{kMaxCalls.name, options.max_calls},
        Limit{kMaxOpenStreams.name, options.max_open_streams}, Limit{kMaxWatches.name, options.max_watches},
        Limit{kMaxBytesInWork.name, options.max_bytes_in_work}}) {
    Report(limit, *response.mutable_limits());
  }
  for (const auto& [name, calibration] : options.calibrations) ToProto(name, calibration, *response.add_calibrations());
  v1::CacheUse& cache = *response.mutable_cache();
  cache.set_record_count(env.records.count());
  cache.set_record_bytes(env.records.bytes());
  cache.set_max_record_bytes(env.records.max_bytes());
  KeptInCache kept;
  for (const ModelPool::Entry& entry : env.models.List()) {
    if (entry.model == nullptr) continue;
    const KeptInCache of_model = entry.model->kept();
    kept.sequences += of_model.sequences;
    kept.tokens += of_model.tokens;
  }
  cache.set_kept_sequence_count(kept.sequences);
  cache.set_kept_token_count(kept.tokens);
  for (const NamedHead& head : env.heads.list()) ToProto(head, *response.add_heads());
  return absl::OkStatus();
}

}  // namespace logitd::server

#include "client/http/model_routes.h"

#include "base/status_macros.h"
#include "client/http/json_writer.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

void WriteModel(const v1::ModelInfo& model, const v1::Limits& limits, JsonWriter& out) {
  out.BeginObject();
  out.Field("id", model.name());
  out.Field("object", "model");
  // Its file does not say when the model was made.
  out.Field("created", 0);
  out.Field("owned_by", "logitd");
  out.Field("max_model_len", model.context_length());
  out.Key("logitd");
  out.BeginObject();
  out.Field("vocab_size", model.vocab_size());
  out.Field("max_top_n", limits.max_top_n());
  out.Field("precision", model.precision());
  out.Field("batch_tolerance_nats",
            model.has_batch_tolerance_nats() ? std::optional<double>(model.batch_tolerance_nats()) : std::nullopt);
  out.EndObject();
  out.EndObject();
}

}  // namespace

absl::Status HandleModels(Exchange& exchange, Services& services) {
  ASSIGN_OR_RETURN(const v1::ListModelsResponse models, services.upstream.Models(CallerOf(exchange)));
  ASSIGN_OR_RETURN(const v1::GetServerInfoResponse server, services.upstream.ServerInfo(CallerOf(exchange)));
  JsonWriter out;
  out.BeginObject();
  out.Field("object", "list");
  out.Key("data");
  out.BeginArray();
  for (const v1::ModelStatus& status : models.models()) {
    // A model that no runner has ever offered has only a name.
    if (!status.model().model_fingerprint().empty()) WriteModel(status.model(), server.limits(), out);
  }
  out.EndArray();
  out.EndObject();
  exchange.ReplyJson(out.Take());
  return absl::OkStatus();
}

absl::Status HandleModel(Exchange& exchange, Services& services) {
  ASSIGN_OR_RETURN(const v1::ModelInfo model, services.facts.Find(exchange.rest, CallerOf(exchange)));
  ASSIGN_OR_RETURN(const v1::GetServerInfoResponse server, services.upstream.ServerInfo(CallerOf(exchange)));
  JsonWriter out;
  WriteModel(model, server.limits(), out);
  exchange.ReplyJson(out.Take());
  return absl::OkStatus();
}

absl::Status HandleHealth(Exchange& exchange) {
  exchange.ReplyJson(R"({"status":"ok"})");
  return absl::OkStatus();
}

absl::Status HandleReady(Exchange& exchange, Services& services) {
  ASSIGN_OR_RETURN(const bool is_serving, services.upstream.IsServing(CallerOf(exchange)));
  if (!is_serving) return Overloaded("the logitd server takes no calls now");
  exchange.ReplyJson(R"({"status":"ready"})");
  return absl::OkStatus();
}

}  // namespace logitd::http

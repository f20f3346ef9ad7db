#include "client/http/completion_stream.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "client/http/completion_reply.h"
#include "client/http/event_sink.h"
#include "client/http/json_writer.h"
#include "client/http/parallel_calls.h"
#include "client/http/prompt_parts.h"
#include "client/http/request_error.h"
#include "client/logitd/client_error.h"

namespace logitd::http {
namespace {

// One streamed request. It lives until the last event is written.
struct Stream {
  CompletionRequest request;
  const ReplyForm& form;
  Services services;
  Caller caller;
  const std::atomic<bool>& is_given_up;
  ReplyHead head = form.Head(/*is_stream=*/true);
  // The first prompt's call, which has begun.
  std::unique_ptr<GenerateCall> first_call;
  v1::GenerateStarted first_started;
  std::mutex mutex;
  UsageSum usage;
};

absl::Status WriteEvent(const Stream& stream, const ChoiceEvent& event, EventSink& sink) {
  JsonWriter out;
  out.BeginObject();
  WriteHead(stream.head, out);
  out.Key("choices");
  out.BeginArray();
  out.Raw(event.choice);
  out.EndArray();
  for (const NamedJson& field : event.fields) {
    out.Key(field.name);
    out.Raw(field.json);
  }
  if (stream.request.include_usage) out.NullField("usage");
  out.EndObject();
  return sink.Write(out.text());
}

absl::Status WriteDelta(const Stream& stream, const v1::CompletionDelta& delta, ChoiceEvents& events, EventSink& sink) {
  if (delta.index() < 0 || delta.index() >= stream.request.n) return absl::InternalError("a delta of no completion");
  if (delta.text().empty() && delta.tokens().empty() && !delta.has_finish()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckFinish(delta.finish()));
  return WriteEvent(stream, events.Add(delta), sink);
}

absl::Status StreamPrompt(Stream& stream, size_t index, const Caller& caller, EventSink& sink) {
  std::unique_ptr<GenerateCall> call = index == 0 ? std::move(stream.first_call) : nullptr;
  v1::GenerateStarted started = index == 0 ? stream.first_started : v1::GenerateStarted();
  Services& services = stream.services;
  if (call == nullptr) {
    ASSIGN_OR_RETURN(call, services.upstream.StartGenerate(stream.request.RequestOf(index), caller, started));
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const TokenNames> names, services.facts.Names(started.provenance(), caller));
  const TokenTexts texts(std::move(names), stream.request.tokens_as_token_ids);
  const std::unique_ptr<ChoiceEvents> events = stream.form.Events(stream.request, index, texts);
  const auto begin = [&](v1::ScoredPrompt prompt) -> absl::Status {
    ASSIGN_OR_RETURN(const PromptParts parts,
                     PromptPartsOf(stream.request, stream.request.prompts[index], std::move(prompt),
                                   started.provenance(), texts, services, caller));
    for (const ChoiceEvent& event : events->Begin(parts)) RETURN_IF_ERROR(WriteEvent(stream, event, sink));
    return absl::OkStatus();
  };
  // With prompt records the prompt's message comes first.
  if (!stream.request.generate.has_prompt_record()) RETURN_IF_ERROR(begin({}));
  v1::GenerateResponse response;
  while (call->Read(response)) {
    if (response.has_prompt()) {
      RETURN_IF_ERROR(begin(std::move(*response.mutable_prompt())));
    } else if (response.has_delta()) {
      RETURN_IF_ERROR(WriteDelta(stream, response.delta(), *events, sink));
    } else if (response.has_final()) {
      for (const v1::Completion& completion : response.final().completions()) {
        if (completion.has_error()) return client::FromError(completion.error());
      }
      std::lock_guard lock(stream.mutex);
      stream.usage.Add(response.final().usage());
    }
  }
  return call->Finish();
}

// Writes all events. False: the connection is of no more use.
bool WriteEvents(Stream& stream, httplib::DataSink& data_sink) {
  EventSink sink(data_sink);
  absl::Status status =
      ForEachAtOnce(stream.request.prompts.size(), stream.caller, [&](size_t i, const Caller& caller) {
        absl::Status one = StreamPrompt(stream, i, caller, sink);
        return one.ok() ? one : stream.form.ErrorOf(stream.request, i, std::move(one));
      });
  if (status.code() == absl::StatusCode::kCancelled && stream.is_given_up) status = GivenUp();
  if (!status.ok()) {
    if (status.code() == absl::StatusCode::kCancelled || !sink.Write(ErrorBody(ApiErrorOf(status))).ok()) return false;
    data_sink.done();
    return true;
  }
  if (stream.request.include_usage) {
    JsonWriter out;
    out.BeginObject();
    WriteHead(stream.head, out);
    out.Key("choices");
    out.BeginArray();
    out.EndArray();
    out.Key("usage");
    out.Raw(stream.usage.Json());
    out.EndObject();
    if (!sink.Write(out.text()).ok()) return false;
  }
  if (!sink.Write("[DONE]").ok()) return false;
  data_sink.done();
  return true;
}

}  // namespace

absl::Status StreamCompletions(CompletionRequest request, const ReplyForm& form, Exchange& exchange,
                               Services& services) {
  const auto stream =
      std::make_shared<Stream>(std::move(request), form, services, CallerOf(exchange), exchange.is_given_up);
  absl::StatusOr<std::unique_ptr<GenerateCall>> call =
      services.upstream.StartGenerate(stream->request.RequestOf(0), stream->caller, stream->first_started);
  if (!call.ok()) return form.ErrorOf(stream->request, 0, call.status());
  stream->first_call = *std::move(call);
  const v1::Provenance& provenance = stream->first_started.provenance();
  stream->head.model = provenance.model();
  stream->head.system_fingerprint = SystemFingerprint(provenance);
  exchange.ReplyEvents([stream](size_t, httplib::DataSink& sink) { return WriteEvents(*stream, sink); });
  return absl::OkStatus();
}

}  // namespace logitd::http

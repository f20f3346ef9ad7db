#include "client/http/completion_stream.h"

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "client/http/completion_reply.h"
#include "client/http/event_sink.h"
#include "client/http/json_writer.h"
#include "client/http/logprob_lists.h"
#include "client/http/parallel_calls.h"
#include "client/http/prompt_parts.h"
#include "client/http/request_error.h"
#include "client/logitd/client_error.h"

namespace logitd::http {
namespace {

// One streamed request. It lives until the last event is written.
struct Stream {
  CompletionRequest request;
  Services services;
  Caller caller;
  ReplyHead head = NewHead("cmpl-", "text_completion");
  // The first prompt's call, which has begun.
  std::unique_ptr<GenerateCall> first_call;
  v1::GenerateStarted first_started;
  std::mutex mutex;
  UsageSum usage;
};

// The events of one prompt's completions.
class PromptEvents {
 public:
  PromptEvents(Stream& stream, size_t prompt, TokenTexts texts, EventSink& sink)
      : stream_(stream),
        prompt_(prompt),
        texts_(std::move(texts)),
        sink_(sink),
        offsets_(static_cast<size_t>(stream.request.n)) {}

  // The first events of the choices, if they have something to tell.
  absl::Status Begin(const PromptParts& parts) {
    const CompletionRequest& request = stream_.request;
    if (!parts.echo && !request.return_token_ids) return absl::OkStatus();
    for (int i = 0; i < request.n; ++i) {
      JsonWriter choice;
      BeginChoice(i, parts.echo ? parts.echo->text : "", choice);
      choice.Key("logprobs");
      if (parts.echo && request.logprobs) {
        TextOffsets& offsets = offsets_[static_cast<size_t>(i)] = TextOffsets(parts.echo->skipped_bytes);
        LogprobLists lists(texts_, *request.logprobs);
        for (int t = parts.echo->added_count; t < parts.tokens.tokens_size(); ++t) {
          const v1::TokenRecord& record = parts.tokens.tokens(t);
          lists.Add(record, offsets.Next(texts_.BytesInPrompt(record.token_id(), record.token_bytes())));
        }
        offsets.EndText();
        choice.Raw(lists.Take());
      } else {
        choice.Null();
      }
      choice.NullField("finish_reason");
      if (request.return_token_ids) {
        choice.Key("prompt_token_ids");
        choice.BeginArray();
        for (const int32_t id : parts.token_ids) choice.Int(id);
        choice.EndArray();
      }
      choice.EndObject();
      RETURN_IF_ERROR(WriteEvent(choice.Take()));
    }
    return absl::OkStatus();
  }

  absl::Status Add(const v1::CompletionDelta& delta) {
    const CompletionRequest& request = stream_.request;
    if (delta.index() < 0 || delta.index() >= request.n) return absl::InternalError("a delta of no completion");
    if (delta.text().empty() && delta.tokens().empty() && !delta.has_finish()) return absl::OkStatus();
    JsonWriter choice;
    BeginChoice(delta.index(), delta.text(), choice);
    choice.Key("logprobs");
    if (request.logprobs) {
      LogprobLists lists(texts_, *request.logprobs);
      TextOffsets& offsets = offsets_[static_cast<size_t>(delta.index())];
      for (const v1::TokenRecord& record : delta.tokens()) lists.Add(record, offsets.Next(record.token_bytes()));
      choice.Raw(lists.Take());
    } else {
      choice.Null();
    }
    if (delta.has_finish()) {
      choice.Field("finish_reason", FinishReasonOf(delta.finish()));
      choice.Key("stop_reason");
      choice.Raw(StopReasonJson(delta.finish(), request.generate.stop()));
    } else {
      choice.NullField("finish_reason");
    }
    if (request.return_token_ids) {
      choice.Key("token_ids");
      choice.BeginArray();
      for (const v1::TokenRecord& record : delta.tokens()) choice.Int(record.token_id());
      choice.EndArray();
    }
    choice.EndObject();
    return WriteEvent(choice.Take());
  }

 private:
  void BeginChoice(int completion, std::string_view text, JsonWriter& out) const {
    out.BeginObject();
    out.Field("index", static_cast<int64_t>(prompt_) * stream_.request.n + completion);
    out.Field("text", text);
  }

  absl::Status WriteEvent(const std::string& choice) {
    JsonWriter out;
    out.BeginObject();
    WriteHead(stream_.head, out);
    out.Key("choices");
    out.BeginArray();
    out.Raw(choice);
    out.EndArray();
    if (stream_.request.include_usage) out.NullField("usage");
    out.EndObject();
    return sink_.Write(out.text());
  }

  Stream& stream_;
  const size_t prompt_;
  const TokenTexts texts_;
  EventSink& sink_;
  std::vector<TextOffsets> offsets_;
};

absl::Status StreamPrompt(Stream& stream, size_t index, const Caller& caller, EventSink& sink) {
  std::unique_ptr<GenerateCall> call = index == 0 ? std::move(stream.first_call) : nullptr;
  v1::GenerateStarted started = index == 0 ? stream.first_started : v1::GenerateStarted();
  Services& services = stream.services;
  if (call == nullptr) {
    ASSIGN_OR_RETURN(call, services.upstream.StartGenerate(stream.request.RequestOf(index), caller, started));
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const TokenNames> names, services.facts.Names(started.provenance(), caller));
  const TokenTexts texts(std::move(names), stream.request.tokens_as_token_ids);
  PromptEvents events(stream, index, texts, sink);
  const auto begin = [&](v1::ScoredPrompt prompt) -> absl::Status {
    ASSIGN_OR_RETURN(const PromptParts parts,
                     PromptPartsOf(stream.request, stream.request.prompts[index], std::move(prompt),
                                   started.provenance(), texts, services, caller));
    return events.Begin(parts);
  };
  // With prompt records the prompt's message comes first.
  if (!stream.request.generate.has_prompt_record()) RETURN_IF_ERROR(begin({}));
  v1::GenerateResponse response;
  while (call->Read(response)) {
    if (response.has_prompt()) {
      RETURN_IF_ERROR(begin(std::move(*response.mutable_prompt())));
    } else if (response.has_delta()) {
      RETURN_IF_ERROR(events.Add(response.delta()));
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

// `status`, which names the prompt if there is a list of them.
absl::Status InPrompt(const CompletionRequest& request, size_t index, absl::Status status) {
  return request.has_prompt_list ? OfPrompt(std::move(status), index) : status;
}

// Writes all events. False: the connection is of no more use.
bool WriteEvents(Stream& stream, httplib::DataSink& data_sink) {
  EventSink sink(data_sink);
  const absl::Status status =
      ForEachAtOnce(stream.request.prompts.size(), stream.caller, [&](size_t i, const Caller& caller) {
        return InPrompt(stream.request, i, StreamPrompt(stream, i, caller, sink));
      });
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

absl::Status StreamCompletions(CompletionRequest request, Exchange& exchange, Services& services) {
  const auto stream = std::make_shared<Stream>(std::move(request), services, CallerOf(exchange));
  absl::StatusOr<std::unique_ptr<GenerateCall>> call =
      services.upstream.StartGenerate(stream->request.RequestOf(0), stream->caller, stream->first_started);
  if (!call.ok()) return InPrompt(stream->request, 0, call.status());
  stream->first_call = *std::move(call);
  stream->head.model = stream->first_started.provenance().model();
  exchange.response.set_chunked_content_provider(
      "text/event-stream", [stream](size_t, httplib::DataSink& sink) { return WriteEvents(*stream, sink); });
  return absl::OkStatus();
}

}  // namespace logitd::http

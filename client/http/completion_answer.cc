#include "client/http/completion_answer.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "client/http/completion_reply.h"
#include "client/http/completion_stream.h"
#include "client/http/json_writer.h"
#include "client/http/parallel_calls.h"
#include "client/http/prompt_parts.h"
#include "client/http/request_error.h"
#include "client/http/stop_names.h"
#include "client/logitd/client_error.h"

namespace logitd::http {
namespace {

// Bytes of a reply. A request of many prompts with many alternatives would otherwise fill the memory.
constexpr size_t kMaxReplyBytes = size_t{256} << 20;

// The results of one prompt.
struct PromptResult {
  std::vector<std::string> choices;
  std::vector<NamedJson> fields;
  v1::Usage usage;
  v1::Provenance provenance;
  uint64_t seed = 0;
};

absl::StatusOr<PromptResult> CompleteOne(const CompletionRequest& request, const ReplyForm& form, size_t index,
                                         Services& services, const Caller& caller) {
  ASSIGN_OR_RETURN(v1::GenerateFinal final, services.upstream.Generate(request.RequestOf(index), caller));
  for (const v1::Completion& completion : final.completions()) {
    // OpenAI's shape has no place for the error of one choice.
    if (completion.has_error()) return client::FromError(completion.error());
    RETURN_IF_ERROR(CheckFinish(completion.finish()));
  }
  ASSIGN_OR_RETURN(std::shared_ptr<const TokenNames> names, services.facts.Names(final.provenance(), caller));
  const TokenTexts texts(std::move(names), request.tokens_as_token_ids);
  ASSIGN_OR_RETURN(PromptParts parts, PromptPartsOf(request, request.prompts[index], std::move(*final.mutable_prompt()),
                                                    final.provenance(), texts, services, caller));
  parts.seed = final.seed();
  PromptResult result;
  const auto first = static_cast<int64_t>(index) * request.n;
  for (const v1::Completion& completion : final.completions()) {
    const auto place = first + static_cast<int64_t>(result.choices.size());
    result.choices.push_back(form.Choice(place, request, parts, completion, texts));
  }
  result.fields = form.PromptFields(request, parts, texts);
  result.usage = final.usage();
  result.provenance = std::move(*final.mutable_provenance());
  result.seed = final.seed();
  return result;
}

std::string ReplyJson(const CompletionRequest& request, const ReplyForm& form,
                      const std::vector<PromptResult>& results) {
  const v1::Provenance& provenance = results.front().provenance;
  ReplyHead head = form.Head(/*is_stream=*/false);
  head.model = provenance.model();
  head.system_fingerprint = SystemFingerprint(provenance);
  UsageSum usage;
  JsonWriter out;
  out.BeginObject();
  WriteHead(head, out);
  out.Key("choices");
  out.BeginArray();
  for (const PromptResult& result : results) {
    for (const std::string& choice : result.choices) out.Raw(choice);
    usage.Add(result.usage);
  }
  out.EndArray();
  for (const NamedJson& field : results.front().fields) {
    out.Key(field.name);
    out.Raw(field.json);
  }
  out.Key("usage");
  out.Raw(usage.Json());
  if (request.has_extensions) {
    out.Key("logitd");
    out.Raw(ExtensionJson(provenance, results.front().seed));
  }
  out.EndObject();
  return out.Take();
}

}  // namespace

absl::Status AnswerCompletions(CompletionRequest request, const ReplyForm& form, Exchange& exchange,
                               Services& services) {
  RETURN_IF_ERROR(AddNamedStops(services, CallerOf(exchange), request.generate));
  if (request.stream) return StreamCompletions(std::move(request), form, exchange, services);
  std::vector<PromptResult> results(request.prompts.size());
  std::atomic<size_t> reply_bytes{0};
  const auto complete = [&](size_t i, const Caller& caller) -> absl::Status {
    ASSIGN_OR_RETURN(results[i], CompleteOne(request, form, i, services, caller));
    size_t bytes = 0;
    for (const std::string& choice : results[i].choices) bytes += choice.size();
    for (const NamedJson& field : results[i].fields) bytes += field.json.size();
    if ((reply_bytes += bytes) <= kMaxReplyBytes) return absl::OkStatus();
    return HttpError(
        400, "reply_too_large", "prompt",
        "the reply would have more than 268435456 bytes: send fewer prompts or ask for fewer alternatives");
  };
  RETURN_IF_ERROR(ForEachAtOnce(results.size(), CallerOf(exchange), [&](size_t i, const Caller& caller) {
    absl::Status status = complete(i, caller);
    return status.ok() ? status : form.ErrorOf(request, i, std::move(status));
  }));
  exchange.ReplyJson(ReplyJson(request, form, results));
  return absl::OkStatus();
}

}  // namespace logitd::http

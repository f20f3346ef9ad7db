// Replies, part by part: a choice of /v1/completions, and the parts that choices of every route have.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_HTTP_COMPLETION_REPLY_H_
#define LOGITD_CLIENT_HTTP_COMPLETION_REPLY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/http/completion_request.h"
#include "client/http/json_writer.h"
#include "client/http/prompt_echo.h"
#include "client/http/token_texts.h"
#include "logitd/v1/generation_service.pb.h"

namespace logitd::http {

// What the choices of one prompt share.
struct PromptParts {
  // Set with echo.
  std::optional<PromptEcho> echo;
  // Set if the reply needs them.
  v1::ScoredPrompt tokens;
  std::vector<int32_t> token_ids;
  // With which the choices were drawn: prompts of one request have different ones if the request has none.
  uint64_t seed = 0;
};

// A choice. `completion.index` is not used: with best_of it is not the choice's place.
std::string ChoiceJson(int64_t index, const CompletionRequest& request, const PromptParts& prompt,
                       const v1::Completion& completion, const TokenTexts& texts);

// In a choice that is open: finish_reason and stop_reason.
void WriteFinish(const v1::Finish& finish, const v1::StopCriteria& stop, JsonWriter& out);
// In an event's choice that is open: finish_reason and, at the end, stop_reason; token_ids if the request asks for
// them.
void WriteEventEnd(const CompletionRequest& request, const v1::CompletionDelta& delta, JsonWriter& out);
// [5, 6]
std::string IdsJson(const std::vector<int32_t>& ids);
// The ids of records.
std::vector<int32_t> IdsOf(const google::protobuf::RepeatedPtrField<v1::TokenRecord>& records);
// In the object `logitd` of a choice, which is open: sums, and the lists that the request asks for, over the completion
// and, if its records are there, over the prompt.
void WriteChoiceExtension(const CompletionRequest& request, const PromptParts& prompt, const v1::Completion& completion,
                          JsonWriter& out);

// {"prompt_tokens": ..., "completion_tokens": ..., "total_tokens": ...,
//  "prompt_tokens_details": {"cached_tokens": ...}}
class UsageSum {
 public:
  void Add(const v1::Usage& usage);
  std::string Json() const;

 private:
  int64_t prompt_ = 0;
  int64_t generated_ = 0;
  int64_t cached_ = 0;
};

// "stop" or "length"; "" while the completion goes on.
// How a completion ended is an error if nothing could be chosen: a reply that says "stop" would look like an end.
absl::Status CheckFinish(const v1::Finish& finish);

const char* FinishReasonOf(const v1::Finish& finish);
// vLLM's stop_reason, as JSON: the stop text or stop token that the request named, else null.
std::string StopReasonJson(const v1::Finish& finish, const v1::StopCriteria& stop);

// Names weights and numerics: "fp_" and the beginning of the model's fingerprint, then the numerics version.
std::string SystemFingerprint(const v1::Provenance& provenance);
// The extension's part of the whole reply: {"provenance": {...}, "seed": "..."}.
std::string ExtensionJson(const v1::Provenance& provenance, uint64_t seed);

// What a reply and all events of a stream begin with: id, object, created, model.
struct ReplyHead {
  std::string id;
  std::string object;
  int64_t created = 0;
  std::string model;
  // Empty: none is written.
  std::string system_fingerprint;
};
// An id of its own, and the time.
ReplyHead NewHead(const char* prefix, const char* object);
// The fields of the head, in an object that is open.
void WriteHead(const ReplyHead& head, JsonWriter& out);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_COMPLETION_REPLY_H_

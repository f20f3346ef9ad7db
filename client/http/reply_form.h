// The form of a reply: that of /v1/completions or that of /v1/chat/completions. Whatever makes completions
// (completion_answer.h, completion_stream.h) asks a form how they are written.
#ifndef LOGITD_CLIENT_HTTP_REPLY_FORM_H_
#define LOGITD_CLIENT_HTTP_REPLY_FORM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/http/completion_reply.h"
#include "client/http/completion_request.h"
#include "client/http/token_texts.h"
#include "logitd/v1/generation_service.pb.h"

namespace logitd::http {

// A field of an object: its name, and its value as JSON.
struct NamedJson {
  std::string name;
  std::string json;
};

// One event of a stream.
struct ChoiceEvent {
  // The object in its `choices`.
  std::string choice;
  // Fields of the whole event.
  std::vector<NamedJson> fields;
};

// Writes the events of one prompt's choices, one after the other. One thread.
class ChoiceEvents {
 public:
  virtual ~ChoiceEvents() = default;
  // The first events of the choices, if they have something to tell.
  virtual std::vector<ChoiceEvent> Begin(const PromptParts& parts) = 0;
  // REQUIRES: `delta` has something to tell, and its index is one of the request's n.
  virtual ChoiceEvent Add(const v1::CompletionDelta& delta) = 0;
};

// Thread-safe. The request of a call outlives what the call returns.
class ReplyForm {
 public:
  virtual ~ReplyForm() = default;

  // The head of a new reply, without its model.
  virtual ReplyHead Head(bool is_stream) const = 0;
  // A choice. `completion.index` is not used: with best_of it is not the choice's place.
  virtual std::string Choice(int64_t index, const CompletionRequest& request, const PromptParts& prompt,
                             const v1::Completion& completion, const TokenTexts& texts) const = 0;
  // Fields of the whole reply that tell of its first prompt.
  virtual std::vector<NamedJson> PromptFields(const CompletionRequest& request, const PromptParts& prompt,
                                              const TokenTexts& texts) const = 0;
  // `prompt`: the index of the prompt.
  virtual std::unique_ptr<ChoiceEvents> Events(const CompletionRequest& request, size_t prompt,
                                               TokenTexts texts) const = 0;
  // The error of a prompt, with the names that the route's fields have.
  virtual absl::Status ErrorOf(const CompletionRequest& request, size_t prompt, absl::Status status) const = 0;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_REPLY_FORM_H_

#include "server/handlers/get_vocabulary.h"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "base/status_macros.h"
#include "base/utf8.h"
#include "core/errors.h"
#include "server/models/served_model.h"

namespace logitd::server {
namespace {

// Tokens of one message. Most vocabularies make a few hundred kilobytes of them; with any tokens they stay below the 4
// MiB that gRPC clients accept by default.
constexpr int kTokensPerMessage = 1 << 14;
constexpr size_t kBytesPerMessage = 1 << 20;

void ToProto(const Vocabulary& vocabulary, const ModelDescription& model, TokenId id, v1::VocabularyToken& token) {
  token.set_token_id(id);
  token.set_kind(static_cast<v1::TokenKind>(vocabulary.Kind(id)));
  token.set_token_bytes(std::string(vocabulary.TokenBytes(id)));
  // A name that is not UTF-8 cannot stand in a text, which is.
  if (const std::string_view name = vocabulary.Name(id); IsUtf8(name)) token.set_name(std::string(name));
  token.set_ends_text(std::binary_search(model.end_token_ids.begin(), model.end_token_ids.end(), id));
}

}  // namespace

absl::Status GetVocabulary(const v1::GetVocabularyRequest& request, const ServerEnv& env, const RequestContext& context,
                           ReplyWriter<v1::GetVocabularyResponse>& writer) {
  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  const ModelDescription& description = model->description();
  const Vocabulary& vocabulary = model->vocabulary();
  if (vocabulary.offsets.empty()) return errors::VocabularyUnavailable(description.name);
  for (TokenId id = 0; id < description.vocab_size;) {
    v1::GetVocabularyResponse response;
    response.set_model(description.name);
    response.set_vocab_size(description.vocab_size);
    response.set_vocab_fingerprint(description.vocab_fingerprint);
    size_t bytes = 0;
    for (; id < description.vocab_size && response.tokens_size() < kTokensPerMessage; ++id) {
      bytes += vocabulary.TokenBytes(id).size() + vocabulary.Name(id).size();
      if (bytes > kBytesPerMessage && response.tokens_size() > 0) break;
      ToProto(vocabulary, description, id, *response.add_tokens());
    }
    if (!writer.Write(response)) {
      RETURN_IF_ERROR(context.Check());
      return errors::Cancelled();
    }
  }
  return absl::OkStatus();
}

}  // namespace logitd::server

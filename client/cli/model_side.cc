#include "client/cli/model_side.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "client/cli/token_text.h"
#include "client/logitd/client_error.h"

namespace logitd::cli {
namespace {

using Ids = google::protobuf::RepeatedField<int32_t>;

// The model's facts: the named one, or the only one.
absl::StatusOr<v1::ModelInfo> InfoOf(ModelSide& side, const std::string& flag, const std::string& name) {
  ASSIGN_OR_RETURN(const v1::ListModelsResponse models, side.Ask().Models());
  std::vector<std::string> names;
  for (const v1::ModelStatus& status : models.models()) {
    if (status.model().name() == name || (name.empty() && models.models_size() == 1)) return status.model();
    names.push_back(status.model().name());
  }
  const std::string known = names.empty() ? "none" : absl::StrJoin(names, ", ");
  return UsageError(flag, name, known,
                    name.empty() ? absl::StrCat(flag, " is missing: ", side.address, " has not one model, but: ", known)
                                 : absl::StrCat(flag, " must be a model of ", side.address, " (", known, "), got ",
                                                QuotedValue(name)));
}

absl::StatusOr<Ids> TokensOf(ModelSide& side, const std::string& text, const v1::TokenizationOptions& tokenization) {
  v1::TokenizeRequest request;
  request.set_model(side.info.name());
  request.add_texts(text);
  *request.mutable_tokenization() = tokenization;
  ASSIGN_OR_RETURN(const v1::TokenizeResponse response, side.Ask().Tokenize(request));
  if (response.texts_size() != 1) return absl::InternalError("the server answered without tokens");
  return response.texts(0).token_ids();
}

// The ids of the context: what stands before the continuation's tokens.
absl::StatusOr<std::vector<int32_t>> ContextIds(ModelSide& side, const v1::ScoreRequest& request,
                                                const v1::ScoreResponse& scored, const Pair& pair,
                                                const std::vector<int32_t>& token_ids) {
  const v1::ScoredContinuation& continuation = scored.item().continuations(0);
  if (continuation.boundary().has_implicit_context_token_id()) {
    return std::vector<int32_t>{continuation.boundary().implicit_context_token_id()};
  }
  if (scored.item().has_implicit_context_token_id()) {
    return std::vector<int32_t>{scored.item().implicit_context_token_id()};
  }
  if (pair.context.has_tokens()) {
    return std::vector<int32_t>(pair.context.tokens().token_ids().begin(), pair.context.tokens().token_ids().end());
  }
  const bool is_joint = !pair.continuations[0].has_tokens();
  ASSIGN_OR_RETURN(const Ids ids, TokensOf(side, pair.context.text() + (is_joint ? pair.continuations[0].text() : ""),
                                           request.tokenization()));
  std::vector<int32_t> context(ids.begin(), ids.end());
  if (is_joint) {
    if (context.size() < token_ids.size() || !std::equal(token_ids.rbegin(), token_ids.rend(), context.rbegin())) {
      return absl::InternalError("the server gives the text other tokens than it scored");
    }
    context.resize(context.size() - token_ids.size());
  }
  if (context.empty()) return absl::InternalError("the server scored a continuation after no context");
  return context;
}

}  // namespace

std::vector<Flag> ComparePairFlags() { return PairFlags({"--continuation-tokens"}); }

std::vector<Flag> AgainstFlags() {
  return {{"--against-model", "", "NAME", "the other model; default, with --against-server: the one of the same name"},
          {"--against-server", "", "ADDRESS", "the server of the other model; default: the same server"}};
}

absl::StatusOr<ModelSides> OpenSides(const Arguments& arguments, const v1::ScoreRequest& request, Session& session) {
  ModelSides sides;
  sides[0].address = sides[1].address = session.address;
  sides[0].client = sides[1].client = session.client.get();
  sides[0].session = sides[1].session = &session;
  if (arguments.Has("--against-server")) {
    ASSIGN_OR_RETURN(sides[1].own_client, ConnectTo("--against-server", arguments, session.environment));
    sides[1].client = sides[1].own_client.get();
    sides[1].address = arguments.Value("--against-server");
  }
  ASSIGN_OR_RETURN(sides[0].info, InfoOf(sides[0], "--model", request.model()));
  const std::string against =
      arguments.Has("--against-model") ? arguments.Value("--against-model") : sides[0].info.name();
  ASSIGN_OR_RETURN(sides[1].info, InfoOf(sides[1], "--against-model", against));
  if (sides[0].info.name() == sides[1].info.name() && !sides[1].own_client) {
    return UsageError("--against-model", against, absl::StrCat("another model than ", sides[0].info.name()));
  }
  const bool same_name = sides[0].info.name() == sides[1].info.name();
  const bool same_precision = sides[0].info.precision() == sides[1].info.precision();
  for (ModelSide& side : sides) {
    side.label = side.info.name();
    if (!same_name) continue;
    absl::StrAppend(&side.label, same_precision ? " at " : " in ",
                    EscapeText(same_precision ? side.address : side.info.precision()));
  }
  return sides;
}

bool HaveEqualVocabularies(const ModelSides& sides) {
  return sides[0].info.vocab_size() == sides[1].info.vocab_size() &&
         sides[0].info.vocab_fingerprint() == sides[1].info.vocab_fingerprint();
}

absl::StatusOr<std::string> SetPaths(ModelSides& sides, const v1::ScoreRequest& request,
                                     const v1::ScoreResponse& scored, const Pair& pair) {
  std::vector<int32_t> token_ids;
  for (const v1::TokenRecord& token : scored.item().continuations(0).score().tokens()) {
    token_ids.push_back(token.token_id());
  }
  ASSIGN_OR_RETURN(const std::vector<int32_t> context, ContextIds(sides[0], request, scored, pair, token_ids));
  for (ModelSide& side : sides) {
    v1::ScoreRequest base;
    base.set_model(side.info.name());
    if (request.has_evaluation()) *base.mutable_evaluation() = request.evaluation();
    side.path.emplace(client::ModelPath{*side.client, std::move(base), context, token_ids});
  }
  if (pair.context.has_tokens() || pair.continuations[0].has_tokens() || pair.context.text().empty()) return "";
  ASSIGN_OR_RETURN(const Ids others,
                   TokensOf(sides[1], pair.context.text() + pair.continuations[0].text(), request.tokenization()));
  std::vector<int32_t> whole = context;
  whole.insert(whole.end(), token_ids.begin(), token_ids.end());
  if (std::equal(whole.begin(), whole.end(), others.begin(), others.end())) return "";
  return absl::StrCat(sides[1].label, " by itself would give the text other tokens: both are compared on those of ",
                      sides[0].label, ".");
}

absl::StatusOr<int64_t> MaxAlternatives(ModelSides& sides) {
  int64_t least = 0;
  for (ModelSide& side : sides) {
    ASSIGN_OR_RETURN(const v1::GetServerInfoResponse info, side.Ask().ServerInfo());
    const int64_t most = info.limits().max_alternatives();
    if (most < 1) return absl::InternalError("the server states no max_alternatives");
    least = least == 0 ? most : std::min(least, most);
  }
  return least;
}

absl::StatusOr<std::vector<std::string>> TokenTexts(ModelSide& side) {
  v1::GetVocabularyRequest request;
  request.set_model(side.info.name());
  std::vector<std::string> texts;
  const absl::Status status = side.Ask().GetVocabulary(request, [&](const v1::GetVocabularyResponse& response) {
    for (const v1::VocabularyToken& token : response.tokens()) {
      const bool has_name = token.token_bytes().empty() && !token.name().empty();
      texts.push_back(has_name ? EscapeText(token.name()) : ShowToken(token.token_bytes()));
    }
    return true;
  });
  // A model without a vocabulary is compared too; its tokens are shown by their ids.
  if (!status.ok() && client::ErrorOf(status).reason == "VOCABULARY_UNAVAILABLE") return std::vector<std::string>();
  RETURN_IF_ERROR(status);
  return texts;
}

}  // namespace logitd::cli

#include "client/runner/text_calls.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/errors.h"
#include "wire/error.h"
#include "wire/token_ids.h"

namespace logitd::runner {
namespace {

// The bytes that a token counts as, where calls are sorted by size. A guess that suits most vocabularies.
constexpr int64_t kBytesPerToken = 4;

int64_t TextBytes(const v1::AttachResponse& call) {
  int64_t bytes = 0;
  for (const std::string& text : call.tokenize().texts()) bytes += static_cast<int64_t>(text.size());
  for (const v1::TokenIds& tokens : call.detokenize().tokens()) bytes += kBytesPerToken * tokens.token_ids_size();
  if (call.has_render_chat()) bytes += static_cast<int64_t>(call.render_chat().chat().ByteSizeLong());
  return bytes;
}

}  // namespace

struct TextCalls::Call {
  v1::AttachResponse message;
  std::atomic<bool> cancelled = false;
  // The results so far.
  v1::TokenizeResult result;

  int64_t id() const {
    if (message.has_tokenize()) return message.tokenize().call_id();
    return message.has_render_chat() ? message.render_chat().call_id() : message.detokenize().call_id();
  }
};

TextCalls::TextCalls(Model& model, int32_t vocab_size, std::function<void(const v1::AttachRequest&)> write)
    : model_(model), vocab_size_(vocab_size), write_(std::move(write)), lane_bytes_(model.TextLanes()) {
  const int lanes = static_cast<int>(lane_bytes_.size()) + 1;
  for (int lane = 0; lane < lanes; ++lane) queues_.push_back(std::make_unique<WorkQueue<std::shared_ptr<Call>>>());
  for (int lane = 0; lane < lanes; ++lane) threads_.emplace_back([this, lane] { Serve(lane); });
}

TextCalls::~TextCalls() { Close(); }

void TextCalls::Push(v1::AttachResponse message) {
  auto call = std::make_shared<Call>();
  call->message = std::move(message);
  const auto fitting = std::lower_bound(lane_bytes_.begin(), lane_bytes_.end(), TextBytes(call->message));
  {
    std::lock_guard lock(open_mutex_);
    open_[call->id()] = call;
  }
  queues_[static_cast<size_t>(fitting - lane_bytes_.begin())]->Push(std::move(call));
}

void TextCalls::Cancel(const google::protobuf::RepeatedField<int64_t>& call_ids) {
  std::lock_guard lock(open_mutex_);
  for (const int64_t id : call_ids) {
    // A call that is not there has been answered meanwhile.
    if (const auto found = open_.find(id); found != open_.end()) found->second->cancelled = true;
  }
}

void TextCalls::Close() {
  closed_ = true;
  for (const auto& queue : queues_) queue->Close();
}

absl::Status TextCalls::CheckWanted(const Call& call) const {
  return closed_ || call.cancelled ? errors::Cancelled() : absl::OkStatus();
}

void TextCalls::Serve(int lane) {
  while (const auto next = queues_[static_cast<size_t>(lane)]->Pop()) {
    const std::shared_ptr<Call>& call = *next;
    std::optional<v1::AttachRequest> answer;
    if (call->message.has_tokenize()) {
      answer = Tokenize(call, lane);
    } else if (call->message.has_render_chat()) {
      answer = RenderChat(call, lane);
    } else {
      answer = Detokenize(call->message.detokenize());
    }
    if (!answer) continue;
    {
      std::lock_guard lock(open_mutex_);
      open_.erase(call->id());
    }
    write_(*answer);
  }
}

std::optional<v1::AttachRequest> TextCalls::Tokenize(const std::shared_ptr<Call>& call, int lane) {
  const v1::TokenizeCall& request = call->message.tokenize();
  TokenizeOptions options;
  if (request.options().has_add_special_tokens()) options.add_special_tokens = request.options().add_special_tokens();
  options.parse_special_tokens = request.options().parse_special_tokens();
  options.continues_text = request.continues_text();
  TextTask task{.lane = lane, .check_wanted = [this, &call] { return CheckWanted(*call); }};
  while (!call->result.has_error() && call->result.tokens_size() < request.texts_size()) {
    const int index = call->result.tokens_size();
    task.field = "texts[" + std::to_string(index) + "]";
    const absl::Status wanted = CheckWanted(*call);
    absl::StatusOr<std::vector<TokenId>> ids =
        wanted.ok() ? model_.TokenizeInLane(request.texts(index), options, task) : wanted;
    if (absl::IsAborted(ids.status()) && lane + 1 < static_cast<int>(queues_.size())) {
      queues_[static_cast<size_t>(lane) + 1]->Push(call);
      return std::nullopt;
    }
    if (ids.ok()) {
      call->result.add_tokens()->mutable_token_ids()->Assign(ids->begin(), ids->end());
    } else {
      call->result.clear_tokens();
      // A model without lanes does not know which text of the call it has.
      const bool is_of_text = absl::IsInvalidArgument(ids.status()) && DetailOf(ids.status()).field != task.field;
      *call->result.mutable_error() = wire::ToProto(is_of_text ? WithField(ids.status(), task.field) : ids.status());
    }
  }
  call->result.set_call_id(request.call_id());
  v1::AttachRequest answer;
  *answer.mutable_tokenized() = std::move(call->result);
  return answer;
}

std::optional<v1::AttachRequest> TextCalls::RenderChat(const std::shared_ptr<Call>& call, int lane) {
  const v1::RenderChatCall& request = call->message.render_chat();
  const TextTask task{.lane = lane, .field = "chat", .check_wanted = [this, &call] { return CheckWanted(*call); }};
  const absl::Status wanted = CheckWanted(*call);
  absl::StatusOr<v1::RenderChatResult> result = wanted.ok() ? model_.RenderChat(request.chat(), task) : wanted;
  if (absl::IsAborted(result.status()) && lane + 1 < static_cast<int>(queues_.size())) {
    queues_[static_cast<size_t>(lane) + 1]->Push(call);
    return std::nullopt;
  }
  v1::AttachRequest answer;
  if (result.ok()) {
    *answer.mutable_rendered_chat() = *std::move(result);
  } else {
    *answer.mutable_rendered_chat()->mutable_error() = wire::ToProto(result.status());
  }
  answer.mutable_rendered_chat()->set_call_id(request.call_id());
  return answer;
}

v1::AttachRequest TextCalls::Detokenize(const v1::DetokenizeCall& call) {
  v1::AttachRequest message;
  v1::DetokenizeResult& result = *message.mutable_detokenized();
  result.set_call_id(call.call_id());
  const auto fail = [&result](const absl::Status& status) {
    result.clear_texts();
    *result.mutable_error() = wire::ToProto(status);
  };
  for (int i = 0; i < call.tokens_size(); ++i) {
    const auto& ids = call.tokens(i).token_ids();
    const std::span<const TokenId> token_ids(ids.data(), static_cast<size_t>(ids.size()));
    const absl::Status known =
        wire::CheckTokenIds(token_ids, "tokens[" + std::to_string(i) + "].token_ids", vocab_size_);
    absl::StatusOr<std::string> text = known.ok() ? model_.Detokenize(token_ids, call.render_special_tokens()) : known;
    if (!text.ok()) {
      fail(text.status());
      return message;
    }
    result.add_texts(*std::move(text));
  }
  return message;
}

}  // namespace logitd::runner

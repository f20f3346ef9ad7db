#include "client/logitd/item_requests.h"

#include <string>
#include <string_view>
#include <vector>

#include "client/logitd/options.h"
#include "google/protobuf/message.h"

namespace logitd::client {
namespace {

bool ConcernsItems(const absl::Status& status) {
  const ClientError error = ErrorOf(status);
  // A full server (max_calls) names a limit too, but smaller requests would not help.
  if (!error.error || error.retry_delay) return false;
  // Nor would they if the connection is full.
  if (error.limit == "max_streams_per_connection") return false;
  // Limits of the whole request name no field, or one of these. Any other field is an option, which smaller requests
  // have too.
  const bool is_of_all = error.field.empty() || error.field == "request" || error.field == "record.top_n";
  return (!error.limit.empty() && is_of_all) || error.field.rfind("items", 0) == 0;
}

}  // namespace

// gRPC would refuse a message of this size in this process, with an error that no program can read.
absl::Status CheckRequestSize(const google::protobuf::Message& request) {
  const size_t bytes = request.ByteSizeLong();
  if (bytes <= static_cast<size_t>(kMaxMessageBytes)) return absl::OkStatus();
  v1::Error error;
  error.set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
  error.set_reason(v1::ERROR_REASON_LIMIT_EXCEEDED);
  error.set_limit("max_message_bytes");
  error.set_message(absl::StrCat("a request must have at most ", kMaxMessageBytes, " bytes, got ", bytes));
  return InputError(std::move(error));
}

absl::Status SendInParts(size_t begin, size_t end, const std::function<absl::Status(size_t begin, size_t end)>& send,
                         const std::function<void(size_t index, const v1::Error& error)>& refuse,
                         const std::function<void(std::chrono::milliseconds)>& sleep) {
  if (begin == end) return absl::OkStatus();
  absl::Status status = send(begin, end);
  for (int attempt = 0; !status.ok() && attempt < kRetries; ++attempt) {
    const ClientError error = ErrorOf(status);
    if (error.code != absl::StatusCode::kResourceExhausted || !error.retry_delay) break;
    sleep(*error.retry_delay);
    status = send(begin, end);
  }
  if (status.ok() || !ConcernsItems(status)) return status;
  if (end - begin == 1) {
    refuse(begin, ErrorMessageOf(status));
    return absl::OkStatus();
  }
  const size_t middle = begin + (end - begin) / 2;
  if (absl::Status first = SendInParts(begin, middle, send, refuse, sleep); !first.ok()) return first;
  return SendInParts(middle, end, send, refuse, sleep);
}

namespace {

template <typename Item, typename Parts>
const v1::Error* FirstTransient(const Item& item, const Parts& parts) {
  if (item.has_error()) return IsTransient(item.error()) ? &item.error() : nullptr;
  for (const auto& part : parts) {
    if (part.has_error() && IsTransient(part.error())) return &part.error();
  }
  return nullptr;
}

// Takes "items[2]." away, wherever it stands; a bare "items[2]" becomes "the item".
void ForgetItemIndex(std::string* text) {
  constexpr std::string_view kItems = "items[";
  size_t at = 0;
  while ((at = text->find(kItems, at)) != std::string::npos) {
    const size_t end = text->find_first_not_of("0123456789", at + kItems.size());
    if (end == std::string::npos || (*text)[end] != ']') return;
    const bool has_field = end + 1 < text->size() && (*text)[end + 1] == '.';
    const std::string_view instead = has_field ? "" : "the item";
    text->replace(at, end + (has_field ? 2 : 1) - at, instead);
    at += instead.size();
  }
}

void ForgetItemIndex(v1::Error* error) {
  ForgetItemIndex(error->mutable_message());
  ForgetItemIndex(error->mutable_field());
}

// In every error that the message holds, at any depth.
void ForgetItemIndices(google::protobuf::Message& message) {
  if (message.GetDescriptor() == v1::Error::descriptor()) return ForgetItemIndex(static_cast<v1::Error*>(&message));
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const google::protobuf::FieldDescriptor* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      ForgetItemIndices(*reflection.MutableMessage(&message, field));
      continue;
    }
    for (auto& part : *reflection.MutableRepeatedPtrField<google::protobuf::Message>(&message, field)) {
      ForgetItemIndices(part);
    }
  }
}

}  // namespace

void NameFieldsFromItem(v1::ScoredItem& item) { ForgetItemIndices(item); }
void NameFieldsFromItem(v1::RankedItem& item) { ForgetItemIndices(item); }
void NameFieldsFromItem(v1::DecidedItem& item) { ForgetItemIndices(item); }

const v1::Error* TransientErrorOf(const v1::ScoredItem& item) { return FirstTransient(item, item.continuations()); }
const v1::Error* TransientErrorOf(const v1::RankedItem& item) {
  if (const v1::Error* error = FirstTransient(item, item.candidates())) return error;
  for (const v1::RankedCandidate& candidate : item.candidates()) {
    if (candidate.has_unconditional_error() && IsTransient(candidate.unconditional_error())) {
      return &candidate.unconditional_error();
    }
    for (const v1::AlternativeTokenization& alternative : candidate.alternative_tokenizations()) {
      if (alternative.has_error() && IsTransient(alternative.error())) return &alternative.error();
    }
  }
  return nullptr;
}
const v1::Error* TransientErrorOf(const v1::DecidedItem& item) { return FirstTransient(item, item.options()); }

}  // namespace logitd::client

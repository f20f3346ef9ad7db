// Sends many items (ScoreItem, RankItem, DecideItem) to a server, so that one bad item, a server with smaller limits or
// a full server does not spoil the others.
//
//   absl::Status status = SendItems<v1::ScoreResponse>(
//       base, items, [&](const auto& request, const auto& on_item) { return client.Score(request, on_item); },
//       [&](size_t index, v1::ScoreResponse answer) { Show(items[index], answer); });
//
// Each item gets one answer, in the order in which the server finishes them. An item that the server refuses, or that
// is too large to be sent, gets an answer with `item.error`.
#ifndef LOGITD_CLIENT_LOGITD_ITEM_REQUESTS_H_
#define LOGITD_CLIENT_LOGITD_ITEM_REQUESTS_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/logitd/client_error.h"
#include "client/logitd/patience.h"
#include "google/protobuf/message.h"
#include "logitd/v1/error.pb.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::client {

// Good bounds of one SendItems. A server's limits are at least these by default; where they are smaller, the request
// is split.
inline constexpr int kItemsPerRequest = 32;
inline constexpr int64_t kBytesPerRequest = 256 << 10;
// A request is sent again at most this often to a server that is full.
inline constexpr int kRetries = 8;

// Checks that a request fits one message. Errors: InputError, with the limit max_message_bytes.
absl::Status CheckRequestSize(const google::protobuf::Message& request);

// Calls `send` for items [begin, end), and acts on its error:
// - The error names `items` or a limit: the items are the cause. Each half is sent alone, down to single items; a
//   single item's error goes to `refuse`.
// - The server is full and names a delay: the same items are sent again after `sleep`, at most kRetries times.
// - Any other error (connection, parameters, model) is returned at once.
absl::Status SendInParts(size_t begin, size_t end, const std::function<absl::Status(size_t begin, size_t end)>& send,
                         const std::function<void(size_t index, const v1::Error& error)>& refuse,
                         const std::function<void(std::chrono::milliseconds)>& sleep = SleepFor);

// Makes the errors in an item's answer name fields from the item on: "context", and not "items[2].context", because the
// request's items are not those that the caller has.
void NameFieldsFromItem(v1::ScoredItem& item);
void NameFieldsFromItem(v1::RankedItem& item);
void NameFieldsFromItem(v1::DecidedItem& item);

// Sends `base` with `items` through `send`, in parts if need be, and hands each item's answer to `on_answer` with its
// index in `items`. Errors: as SendInParts; kInternal if the server leaves an item without an answer.
template <typename Response, typename Request, typename Item>
absl::Status SendItems(const Request& base, const std::vector<Item>& items,
                       const std::function<absl::Status(const Request&, const std::function<bool(Response)>&)>& send,
                       const std::function<void(size_t index, Response)>& on_answer,
                       const std::function<void(std::chrono::milliseconds)>& sleep = SleepFor) {
  const auto send_part = [&](size_t begin, size_t end) {
    Request request = base;
    for (size_t at = begin; at < end; ++at) *request.add_items() = items[at];
    if (absl::Status size = CheckRequestSize(request); !size.ok()) return size;
    size_t answered = 0;
    const absl::Status status = send(request, [&](Response response) {
      const int64_t at = response.item_index();
      if (at < 0 || at >= static_cast<int64_t>(end - begin)) return true;
      ++answered;
      NameFieldsFromItem(*response.mutable_item());
      on_answer(begin + static_cast<size_t>(at), std::move(response));
      return true;
    });
    if (status.ok() && answered < end - begin) {
      return absl::InternalError(absl::StrCat("the server answered ", answered, " of ", end - begin, " items"));
    }
    return status;
  };
  const auto refuse = [&](size_t index, const v1::Error& error) {
    Response response;
    response.set_id(items[index].id());
    *response.mutable_item()->mutable_error() = error;
    NameFieldsFromItem(*response.mutable_item());
    on_answer(index, std::move(response));
  };
  return SendInParts(0, items.size(), send_part, refuse, sleep);
}

// The first error in an item's answer that a later attempt may not meet (IsTransient), of the item or of a part of it.
// Null: there is none, and the answer is final.
const v1::Error* TransientErrorOf(const v1::ScoredItem& item);
const v1::Error* TransientErrorOf(const v1::RankedItem& item);
const v1::Error* TransientErrorOf(const v1::DecidedItem& item);

// SendItems, again for the items without a final answer, for as long as `patience` lasts: the server may die and come
// back meanwhile. Each item gets one final answer, or the call an error. Errors: as SendItems, and Patience::WaitAfter.
template <typename Response, typename Request, typename Item>
absl::Status SendItemsPatiently(
    const Request& base, std::vector<Item> items,
    const std::function<absl::Status(const Request&, const std::function<bool(Response)>&)>& send,
    const std::function<void(size_t index, Response)>& on_answer, PatienceOptions options) {
  const std::function<void(std::chrono::milliseconds)> sleep = options.sleep ? options.sleep : SleepFor;
  Patience patience(std::move(options));
  // The items without an answer, and their places in the whole.
  std::vector<size_t> places;
  for (size_t i = 0; i < items.size(); ++i) places.push_back(i);
  while (!items.empty()) {
    std::vector<bool> is_done(items.size());
    absl::Status failure;
    const auto take = [&](size_t at, Response response) {
      if (is_done[at]) return;
      if (const v1::Error* error = TransientErrorOf(response.item())) {
        failure = FromError(*error);
        return;
      }
      is_done[at] = true;
      on_answer(places[at], std::move(response));
    };
    absl::Status status = SendItems<Response, Request, Item>(base, items, send, take, sleep);
    std::vector<Item> left;
    std::vector<size_t> left_places;
    for (size_t i = 0; i < items.size(); ++i) {
      if (is_done[i]) continue;
      left.push_back(std::move(items[i]));
      left_places.push_back(places[i]);
    }
    if (left.size() < items.size()) patience.Reset();
    items = std::move(left);
    places = std::move(left_places);
    if (items.empty()) break;
    // An item's own error has the form of a call's.
    if (status.ok()) status = std::move(failure);
    if (absl::Status wait = patience.WaitAfter(status); !wait.ok()) return wait;
  }
  return absl::OkStatus();
}

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_ITEM_REQUESTS_H_

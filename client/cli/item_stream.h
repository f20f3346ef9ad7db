// Items of standard input, one a line, through a call that answers each as it is done: what `score` and `rank` share.
#ifndef LOGITD_CLIENT_CLI_ITEM_STREAM_H_
#define LOGITD_CLIENT_CLI_ITEM_STREAM_H_

#include <functional>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/cli/item_requests.h"
#include "client/cli/json_lines.h"
#include "client/cli/pair_flags.h"
#include "client/cli/progress.h"
#include "client/cli/session.h"

namespace logitd::cli {

// "item 3", with its id if it has one.
std::string ItemHeading(int index, const std::string& id);

// How a command sends its items and shows what comes back.
template <typename Item, typename Request, typename Response>
struct ItemCall {
  // Of the command, for its progress: "score".
  std::string name;
  // What a line is: "ScoreItem".
  std::string item_name;
  // Sends a request, and hands over its responses as they come.
  std::function<absl::Status(const Request&, const std::function<bool(Response)>&)> send;
  // What an item's continuations are called.
  std::function<std::vector<std::string>(const Item&)> labels_of;
  // Shows an answer; false: the item, or a part of it, failed.
  std::function<bool(const Response&, const std::vector<std::string>& labels)> print;
};

// Sends all items of standard input, and prints the answers in the input's order as they come; item_index counts
// through the whole input. An item that cannot be sent, or that the server refuses, has its error in its place. Returns
// the exit code.
template <typename Item, typename Request, typename Response>
int SendInput(const Request& base, const ItemCall<Item, Request, Response>& call, Session& session) {
  LineReader reader(session.environment.in);
  Progress progress(call.name, session.environment);
  // Answers that others have to come before.
  std::map<int, std::pair<Response, std::vector<std::string>>> waiting;
  int printed = 0;
  bool has_failure = false;
  const auto put = [&](int index, Response response, std::vector<std::string> labels) {
    if (index < printed) return;
    response.set_item_index(index);
    progress.Clear();
    waiting.try_emplace(index, std::move(response), std::move(labels));
    for (auto at = waiting.find(printed); at != waiting.end(); at = waiting.find(printed)) {
      has_failure = !call.print(at->second.first, at->second.second) || has_failure;
      session.out() << std::flush;
      waiting.erase(at);
      ++printed;
    }
    progress.Update(printed, reader.byte_count());
  };
  const auto put_error = [&](int index, const Item& item, const v1::Error& error) {
    Response response;
    response.set_id(item.id());
    *response.mutable_item()->mutable_error() = error;
    put(index, std::move(response), {});
  };

  int first_index = 0;
  while (true) {
    const std::vector<InputLine> lines = reader.NextChunk(kItemsPerRequest, kBytesPerRequest);
    if (lines.empty()) {
      if (first_index == 0) return session.Fail(NoItemsError(call.item_name));
      break;
    }
    // The items that can be sent, with their indices in the whole input.
    std::vector<std::pair<int, Item>> items;
    for (size_t i = 0; i < lines.size(); ++i) {
      const int index = first_index + static_cast<int>(i);
      Item item;
      if (const std::optional<v1::Error> error = FromLine(lines[i], &item)) {
        put_error(index, Item(), *error);
      } else {
        items.emplace_back(index, std::move(item));
      }
    }
    const auto send = [&](size_t begin, size_t end) {
      Request request = base;
      for (size_t at = begin; at < end; ++at) *request.add_items() = items[at].second;
      if (absl::Status size = CheckRequestSize(request); !size.ok()) return size;
      size_t answered = 0;
      const absl::Status status = call.send(request, [&](Response response) {
        const int64_t at = response.item_index();
        if (at < 0 || at >= static_cast<int64_t>(end - begin)) return true;
        ++answered;
        const auto& [index, item] = items[begin + static_cast<size_t>(at)];
        put(index, std::move(response), call.labels_of(item));
        return true;
      });
      if (status.ok() && answered < end - begin) {
        return absl::InternalError(absl::StrCat("the server answered ", answered, " of ", end - begin, " items"));
      }
      return status;
    };
    const auto refuse = [&](size_t at, const v1::Error& error) { put_error(items[at].first, items[at].second, error); };
    const absl::Status status = SendItems(0, items.size(), send, refuse, session.environment);
    if (!status.ok()) {
      progress.Clear();
      return session.Fail(status);
    }
    first_index += static_cast<int>(lines.size());
    // Nobody would see the rest.
    if (!session.out()) break;
  }
  return has_failure ? kExitItemFailed : kExitOk;
}

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_ITEM_STREAM_H_

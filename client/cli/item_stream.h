// Items on standard input, one a line, through a call that answers each as it is done: `score` and `rank` share it.
#ifndef LOGITD_CLIENT_CLI_ITEM_STREAM_H_
#define LOGITD_CLIENT_CLI_ITEM_STREAM_H_

#include <functional>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/cli/json_lines.h"
#include "client/cli/pair_flags.h"
#include "client/cli/progress.h"
#include "client/cli/session.h"
#include "client/cli/token_text.h"
#include "client/logitd/item_requests.h"

namespace logitd::cli {

// "item 3", with its id if it has one.
inline std::string ItemHeading(int index, const std::string& id) {
  return absl::StrCat("item ", index, id.empty() ? "" : absl::StrCat(" (", EscapeText(id), ")"));
}

// How a command sends its items and shows the answers.
template <typename Item, typename Request, typename Response>
struct ItemCall {
  // The command's name, for its progress: "score".
  std::string name;
  // Sends a request, and hands over its responses as they come.
  std::function<absl::Status(const Request&, const std::function<bool(Response)>&)> send;
  // The labels of an item's continuations.
  std::function<std::vector<std::string>(const Item&)> labels_of;
  // Shows an answer; false: the item, or a part of it, failed.
  std::function<bool(const Response&, const std::vector<std::string>& labels)> print;
};

// Sends all items of standard input, and prints the answers in the input's order as they come; item_index counts
// through the whole input. An item that cannot be sent, or that the server refuses, has its error in its place. Returns
// the exit code.
template <typename Item, typename Request, typename Response>
absl::StatusOr<int> SendInput(const Request& base, const ItemCall<Item, Request, Response>& call, Session& session) {
  LineReader reader(session.environment.in);
  Progress progress(call.name, session.environment);
  // Answers that have to wait for earlier ones.
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

  int first_index = 0;
  // Without an output nobody would see the rest.
  while (session.out()) {
    const std::vector<InputLine> lines = reader.NextChunk(client::kItemsPerRequest, client::kBytesPerRequest);
    if (lines.empty()) {
      if (first_index == 0) return NoItemsError(Item::descriptor()->name());
      break;
    }
    // The items that can be sent, and their indices in the whole input.
    std::vector<Item> items;
    std::vector<int> indices;
    for (const InputLine& line : lines) {
      Item item;
      if (const std::optional<v1::Error> error = FromLine(line, &item)) {
        Response response;
        *response.mutable_item()->mutable_error() = *error;
        put(first_index, std::move(response), {});
      } else {
        items.push_back(std::move(item));
        indices.push_back(first_index);
      }
      ++first_index;
    }
    const auto on_answer = [&](size_t at, Response response) {
      // A refused item is shown without labels.
      std::vector<std::string> labels;
      if (!response.item().has_error()) labels = call.labels_of(items[at]);
      put(indices[at], std::move(response), std::move(labels));
    };
    const absl::Status status =
        client::SendItems<Response, Request, Item>(base, items, call.send, on_answer, session.environment.sleep);
    if (!status.ok()) {
      progress.Clear();
      return status;
    }
  }
  return has_failure ? kExitItemFailed : kExitOk;
}

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_ITEM_STREAM_H_

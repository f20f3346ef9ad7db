// `logit COMMAND IN.jsonl --out OUT.jsonl`: a file of items through a command, to a file of answers. `score` and `rank`
// share it; a command gives its items' form and its call.
//
// Line n of OUT answers line n of IN. A line that is no item has an answer with an error, as has an item that the
// server refuses.
#ifndef LOGITD_CLIENT_CLI_FILE_RUN_H_
#define LOGITD_CLIENT_CLI_FILE_RUN_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "client/cli/arguments.h"
#include "client/cli/json_lines.h"
#include "client/cli/session.h"
#include "client/logitd/item_file.h"
#include "client/logitd/item_requests.h"
#include "google/protobuf/message.h"
#include "logitd/v1/completion.pb.h"
#include "logitd/v1/error.pb.h"

namespace logitd::cli {

// --out, --resume, --in-flight, --retry-for.
std::vector<Flag> FileFlags();

// Whether the arguments ask for a file of answers. Errors: usage errors (one of the other flags without --out, or flags
// of `pair_flags`, or not one file with it).
absl::StatusOr<bool> AsksForFile(const Arguments& arguments, const std::vector<Flag>& pair_flags);

// The error of a line that is no item.
struct LineError {
  v1::Error error;
  // The id, if the line is JSON that has one.
  std::string id = {};
};

// Reads the item of a line. `content` is what errors call it; empty: the message's name. Unset: there is one.
std::optional<LineError> ReadItem(const InputLine& line, const std::string& file, google::protobuf::Message* item,
                                  const std::string& content = "");

// Makes the error's message begin with the line's place: "line 3 of in.jsonl: ...".
void NameLine(const InputLine& line, const std::string& file, v1::Error& error);

// A run over one file, without the form of its items.
class FileRun {
 public:
  // `command`: its name. `request` holds everything but the items; `more` is whatever else the answers depend on. Waits
  // for the server. Errors: usage errors; the server's.
  static absl::StatusOr<FileRun> Begin(const std::string& command, const Arguments& arguments,
                                       const google::protobuf::Message& request, const std::string& model,
                                       Session& session, const client::Origin& more = {});

  const std::string& in() const { return options_.in; }
  client::PatienceOptions patience() const;
  // Errors: kFailedPrecondition (the answer comes from another model, or other numbers, than the run began with).
  absl::Status CheckProvenance(const v1::Provenance& provenance) const;

  // Answers the file's lines, and shows how far it is. `on_line` sees each line of the output in order; may be null.
  absl::StatusOr<client::ItemFileCounts> Answer(
      const std::function<absl::Status(const std::vector<InputLine>& lines, const client::AnswerLine& put)>& answer,
      const std::function<absl::Status(std::string_view line)>& on_line);

  // Lines of the output with an error in them.
  int64_t failed_count() const { return failed_count_; }
  // The summary for standard output: a sentence, or with --json an object.
  std::string Summary(const client::ItemFileCounts& counts) const;

 private:
  struct Outage;
  FileRun(std::string command, Session& session);

  std::string command_;
  Session* session_;
  client::ItemFileOptions options_;
  client::PatienceOptions patience_;
  std::shared_ptr<Outage> outage_;
  // Of the model and the server that the run began with. Its fingerprint is unset if there was no model.
  v1::Provenance provenance_;
  std::chrono::milliseconds elapsed_{0};
  int64_t failed_count_ = 0;
};

// An item's form, its call and its answer's. `Extra`: whatever `read` finds in a line beside the item, and `show`
// needs.
template <typename Item, typename Request, typename Response, typename Extra = std::monostate>
struct FileCall {
  std::function<absl::Status(const Request&, const std::function<bool(Response)>&)> send;
  // Unset: the line holds an item.
  std::function<std::optional<LineError>(const InputLine& line, Item* item, Extra* extra)> read;
  // The answer's line, without its end.
  std::function<std::string(const Response& response, const Extra& extra)> show;
};

// Answers the file's lines through the call.
template <typename Item, typename Request, typename Response, typename Extra>
absl::StatusOr<client::ItemFileCounts> AnswerFile(const Request& base,
                                                  const FileCall<Item, Request, Response, Extra>& call, FileRun& run,
                                                  const std::function<absl::Status(std::string_view line)>& on_line) {
  const auto answer = [&](const std::vector<InputLine>& lines, const client::AnswerLine& put) -> absl::Status {
    std::vector<Item> items;
    std::vector<Extra> extras;
    std::vector<size_t> places;
    const auto show = [&](size_t place, Response response, const Extra& extra) {
      response.set_item_index(static_cast<int32_t>(lines[place].number - 1));
      if (response.item().has_error()) NameLine(lines[place], run.in(), *response.mutable_item()->mutable_error());
      put(place, call.show(response, extra));
    };
    for (size_t i = 0; i < lines.size(); ++i) {
      Item item;
      Extra extra{};
      if (std::optional<LineError> error = call.read(lines[i], &item, &extra)) {
        Response response;
        response.set_id(std::move(error->id));
        *response.mutable_item()->mutable_error() = std::move(error->error);
        show(i, std::move(response), extra);
        continue;
      }
      items.push_back(std::move(item));
      extras.push_back(std::move(extra));
      places.push_back(i);
    }
    absl::Status provenance;
    const auto take = [&](size_t at, Response response) {
      if (!response.item().has_error()) provenance.Update(run.CheckProvenance(response.provenance()));
      if (provenance.ok()) show(places[at], std::move(response), extras[at]);
    };
    const absl::Status sent =
        client::SendItemsPatiently<Response, Request, Item>(base, std::move(items), call.send, take, run.patience());
    return provenance.ok() ? sent : provenance;
  };
  return run.Answer(answer, on_line);
}

// The whole run of a command whose items and answers are messages in JSON: the exit code.
template <typename Item, typename Request, typename Response>
absl::StatusOr<int> AnswerMessages(
    const std::string& command, const Request& base,
    const std::function<absl::Status(const Request&, const std::function<bool(Response)>&)>& send,
    const Arguments& arguments, Session& session) {
  ASSIGN_OR_RETURN(FileRun run, FileRun::Begin(command, arguments, base, base.model(), session));
  const FileCall<Item, Request, Response> call = {
      .send = send,
      .read = [&run](const InputLine& line, Item* item, std::monostate*) -> std::optional<LineError> {
        return ReadItem(line, run.in(), item);
      },
      .show = [](const Response& response, const std::monostate&) { return ToJson(response); },
  };
  ASSIGN_OR_RETURN(const client::ItemFileCounts counts, AnswerFile(base, call, run, nullptr));
  session.out() << run.Summary(counts);
  return run.failed_count() > 0 ? kExitItemFailed : kExitOk;
}

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_FILE_RUN_H_

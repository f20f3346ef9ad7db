// A file of items in, a file of answers out: line n of the output answers line n of the input, whatever happens.
//
//   const auto answer = [&](const std::vector<InputLine>& lines, const AnswerLine& put) {
//     ...                                      // send them; put(i, json) for lines[i]
//     return absl::OkStatus();
//   };
//   absl::StatusOr<ItemFileCounts> counts = AnswerItemFile({.in = "in.jsonl", .out = "out.jsonl", .resume = true},
//                                                          {.answer = answer});
//
// Several requests are in flight at once. Lines are written in the input's order, as soon as all lines before them are
// done. A job that was killed at any moment goes on where it stopped (answer_file.h). The memory does not depend on the
// length of the file: 2 * requests_in_flight requests with their answers.
#ifndef LOGITD_CLIENT_LOGITD_ITEM_FILE_H_
#define LOGITD_CLIENT_LOGITD_ITEM_FILE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/logitd/answer_file.h"
#include "client/logitd/line_reader.h"

namespace logitd::client {

inline constexpr int kMaxRequestsInFlight = 64;

struct ItemFileOptions {
  // The input: a regular file, which must not change meanwhile.
  std::string in;
  // The output. Empty: no file, so that only on_line sees the answers; nothing can be resumed then.
  std::string out;
  // Go on with an output that has lines.
  bool resume = false;
  // On what the answers depend besides the input.
  Origin origin;
  // [1, kMaxRequestsInFlight].
  int requests_in_flight = 4;
};

struct ItemFileCounts {
  // Lines of the input.
  int64_t total = 0;
  // Lines that are answered: those that an earlier job has left, and this one's.
  int64_t done = 0;
  int64_t resumed = 0;
};

// Gives lines[i] its answer, one line of text without its end. A second answer to the same line is ignored.
// Thread-safe.
using AnswerLine = std::function<void(size_t i, std::string answer)>;

struct ItemFileHooks {
  // Answers each of some lines, in any order. Runs on several threads at once. An error ends the job; what was answered
  // before is kept.
  std::function<absl::Status(const std::vector<InputLine>& lines, const AnswerLine& put)> answer;
  // Sees each line of the output in order, also those that an earlier job has left (`is_old`). An error ends the job.
  // On the calling thread. Null: nobody looks.
  std::function<absl::Status(int64_t index, std::string_view line, bool is_old)> on_line = nullptr;
  // Called before the first line, then after lines were written, and ten times a second. On the calling thread. Null:
  // nobody looks.
  std::function<void(const ItemFileCounts& counts)> on_progress = nullptr;
};

// Answers all lines. Errors: InputError (the input cannot be read, or changed meanwhile; AnswerFile::Open's); a write
// error; an error of a hook.
absl::StatusOr<ItemFileCounts> AnswerItemFile(ItemFileOptions options, const ItemFileHooks& hooks);

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_ITEM_FILE_H_

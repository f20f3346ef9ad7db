// A file of answers, one a line, to which a job that was killed can add the rest.
//
//   absl::StatusOr<std::unique_ptr<AnswerFile>> file = AnswerFile::Open("out.jsonl", origin, resume, check_line);
//   ... answer the items from (*file)->line_count() on ...
//   (*file)->Append("{...}\n{...}\n");
//   (*file)->Sync();
//
// - Beside it lies PATH.checkpoint, which says on what its lines depend: input, options, model. It is written before
//   the first line, and does not change. A file whose checkpoint differs is refused, and the error names the
//   difference.
// - The number of whole lines is the number of answers. A line without its end, which a kill or a full disk leaves, is
//   removed when the job goes on.
// - Append hands its bytes to the system, so that they survive the end of this process. They are forced to the disk
//   once in kSyncInterval and by Sync: a machine that loses its power may lose the lines of that time, or leave bytes
//   of zero in their place. Such lines are removed too.
// - The file is locked for as long as this object lives: a second job on the same file is refused.
//
// One thread.
#ifndef LOGITD_CLIENT_LOGITD_ANSWER_FILE_H_
#define LOGITD_CLIENT_LOGITD_ANSWER_FILE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::client {

// On what the answers depend, as names and values in one line of text each: {"input", "120 lines, ..."}.
using Origin = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::chrono::seconds kSyncInterval{5};

// The checkpoint of the file `path`.
std::string CheckpointOf(const std::string& path);

// Whether the status says that an answer could not be written.
bool IsWriteError(const absl::Status& status);

// Makes `path` a file of these bytes, in place of whatever it held. Errors: a write error.
absl::Status WriteFile(const std::string& path, std::string_view bytes);

class AnswerFile {
 public:
  // Opens `path` and its checkpoint. `resume`: the file may have lines, from a job of the same origin; without it, it
  // must be empty or not there. `check_line` is called with each whole line that is kept, and its index from 0.
  // Errors: InputError (the file has lines, but no resume is asked for, or no checkpoint is there; the checkpoint is of
  // another origin; another job has the file; it is no regular file); an error of `check_line`; a write error.
  static absl::StatusOr<std::unique_ptr<AnswerFile>> Open(
      const std::string& path, const Origin& origin, bool resume,
      const std::function<absl::Status(int64_t index, std::string_view line)>& check_line);

  ~AnswerFile();
  AnswerFile(const AnswerFile&) = delete;
  AnswerFile& operator=(const AnswerFile&) = delete;

  // Whole lines.
  int64_t line_count() const { return line_count_; }

  // Adds `lines`, each with its end. Errors: a write error.
  absl::Status Append(std::string_view lines);
  // Forces everything to the disk. Errors: a write error.
  absl::Status Sync();

 private:
  AnswerFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  // Keeps the whole lines, and removes the rest.
  absl::Status KeepLines(const std::function<absl::Status(int64_t index, std::string_view line)>& check_line);

  const std::string path_;
  const int descriptor_;
  int64_t line_count_ = 0;
  std::chrono::steady_clock::time_point synced_ = std::chrono::steady_clock::now();
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_ANSWER_FILE_H_

// A child process that writes the head of a GGUF model to its standard output, as a safetensors stream.
//
//   ASSIGN_OR_RETURN(HeadProcess process, HeadProcess::Start({"logitd-llama", "--write-head", "model.gguf"}));
//   ... read process.Output() to its end ...
//   RETURN_IF_ERROR(process.Finish());
//
// llama.cpp reads the file there, so that a broken file can end only the child. The child ends with the thread that
// started it. Move-only; one thread.
#ifndef LOGITD_SERVER_HEAD_PROCESS_H_
#define LOGITD_SERVER_HEAD_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::server {

class HeadProcess {
 public:
  // Starts `command`, which is the program's path and its arguments. Errors: UNAVAILABLE.
  static absl::StatusOr<HeadProcess> Start(const std::vector<std::string>& command);

  HeadProcess(HeadProcess&& other) noexcept;
  HeadProcess& operator=(HeadProcess&&) = delete;
  // Kills the child if it still runs.
  ~HeadProcess();

  // A descriptor of its standard output, which the caller closes. The pipe stays open here, too: a child whose output
  // is no longer read waits for Kill, instead of ending by a write that nobody reads. -1: no descriptors are left.
  int Output() const;
  // Waits for the end of the child, whose output has ended. OK if it ended in order; else UNAVAILABLE, with how it
  // ended and the last line that it wrote to standard error.
  absl::Status Finish();
  // Ends the child and returns how it had ended by itself, as Finish; OK if it was still running.
  absl::Status Kill();

 private:
  HeadProcess(std::string program, pid_t pid, int output, int errors);
  absl::Status Reap(bool was_killed);
  std::string LastLine() const;

  std::string program_;
  // 0: it has ended.
  pid_t pid_ = 0;
  int output_ = -1;
  // A file in memory, its standard error.
  int errors_ = -1;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HEAD_PROCESS_H_

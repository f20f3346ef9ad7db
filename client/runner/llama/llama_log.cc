#include "client/runner/llama/llama_log.h"

#include <google/protobuf/stubs/logging.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "llama.h"

namespace logitd::runner {
namespace {

// llama.cpp logs on the thread that called it; its own workers do not log.
thread_local int quiet_count = 0;
thread_local ggml_log_level level_of_line = GGML_LOG_LEVEL_NONE;
thread_local std::string last_error;
std::atomic<bool> is_serving = false;

void OnMessage(ggml_log_level level, const char* text, void*) {
  // A continued line belongs to the level that it began with.
  const bool continued = level == GGML_LOG_LEVEL_CONT;
  if (!continued) level_of_line = level;
  if (level_of_line == GGML_LOG_LEVEL_ERROR) {
    std::string line(text);
    while (!line.empty() && line.back() == '\n') line.pop_back();
    // Later errors usually say only that something failed.
    if (last_error.empty() && !line.empty()) last_error = line;
  }
  if (quiet_count > 0) return;
  if (level_of_line != GGML_LOG_LEVEL_ERROR && level_of_line != GGML_LOG_LEVEL_WARN) return;
  std::fprintf(stderr, "%s%s", continued ? "" : "logitd-llama: llama.cpp: ", text);
}

void OnAbort(const char* message) {
  char line[512];
  const int size = std::snprintf(line, sizeof(line), "logitd-llama: llama.cpp gave up: %s\n", message);
  if (size > 0) (void)!write(STDERR_FILENO, line, std::min<size_t>(size, sizeof(line) - 1));
  // While it serves, the process ends by the signal of its fault (ggml calls abort), because the work is at fault. The
  // server finds out which request that was.
  if (!is_serving) _exit(1);
}

}  // namespace

void InstallLlamaLog() {
  llama_log_set(OnMessage, nullptr);
  ggml_set_abort_callback(OnAbort);
  google::protobuf::SetLogHandler(nullptr);
}

void SetServing() { is_serving = true; }

QuietLlamaLog::QuietLlamaLog() { ++quiet_count; }
QuietLlamaLog::~QuietLlamaLog() { --quiet_count; }

std::string TakeLastLlamaError() {
  std::string error;
  error.swap(last_error);
  for (char& c : error) {
    if (c == '\n') c = ' ';
  }
  return error;
}

}  // namespace logitd::runner

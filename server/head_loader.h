// Reads the heads of `--head`, at the start: each file once, into one packed copy in memory (core/softmax_head.h).
//
//   ASSIGN_OR_RETURN(std::vector<HeadSpec> specs, ParseHeadSpecs("--head", {"lm=model.safetensors"}));
//   ASSIGN_OR_RETURN(Heads heads, LoadHeads(specs, {.runner_program = "/usr/bin/logitd-llama"}));
//
//   safetensors            the file itself, or the files that its index names
//   GGUF                   a child, `logitd-llama --write-head FILE`, whose output is a safetensors stream
//         \  tensors found by name, layout decided, sizes compared with the memory: before anything is read
//          -> read in pieces of 1 MiB, widened, packed, hashed; the file is closed
//
// A file that changes or shrinks meanwhile is an error. Nothing is mapped. Thread-safe: free functions without state.
#ifndef LOGITD_SERVER_HEAD_LOADER_H_
#define LOGITD_SERVER_HEAD_LOADER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/head_spec.h"
#include "server/models/heads.h"

namespace logitd::server {

struct HeadLoading {
  // logitd-llama's path.
  std::string runner_program = "logitd-llama";
  // True: nobody wants the heads any more.
  std::function<bool()> give_up = [] { return false; };
  // Bytes that heads may take. Unset: those that this machine has available.
  std::optional<int64_t> memory_bytes = std::nullopt;
};

// Errors begin with "head NAME: ". INVALID_ARGUMENT: the file is not what the spec says, or a weight is NaN or
// infinite; both shapes and the axis are named where shapes disagree. RESOURCE_EXHAUSTED: it needs more memory than
// there is. NOT_FOUND, UNAVAILABLE: it cannot be read. CANCELLED.
absl::StatusOr<NamedHead> LoadHead(const HeadSpec& spec, const HeadLoading& loading);
absl::StatusOr<Heads> LoadHeads(const std::vector<HeadSpec>& specs, const HeadLoading& loading);

// Checks everything that does not need the weights: headers, names, shapes, sizes. Errors: as LoadHead.
absl::Status CheckHead(const HeadSpec& spec, const HeadLoading& loading);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HEAD_LOADER_H_

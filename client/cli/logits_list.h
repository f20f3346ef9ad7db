// A row of logits as a flag's value: `--logits 6,3,0.5,-inf`.
#ifndef LOGITD_CLIENT_CLI_LOGITS_LIST_H_
#define LOGITD_CLIENT_CLI_LOGITS_LIST_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "client/cli/arguments.h"
#include "logitd/v1/logits.pb.h"

namespace logitd::cli {

// --logits.
Flag LogitsListFlag();

// Whether `text` can only be meant as such a list: numbers and commas, and not the name of a file.
bool IsLogitsList(const std::string& text);

// Sets out.float_values. nan and inf are sent, for the server to refuse. Errors: usage errors of --logits.
absl::Status SetLogitsList(const std::string& text, v1::Logits& out);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_LOGITS_LIST_H_

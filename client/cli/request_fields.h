// The fields of a request that flags set, found by the request's descriptor. A path leads from the request to a field:
//
//   sampling.top_k                        a number, a text, an enum's value by its name ("keep-all"), true or false
//   explain                               a bool whose flag takes no value: true
//   stop.stop_token_ids                   token ids, "1,2,3"
//   sampling.dry.breakers.token_ids       one more message in a repeated field for each value of the flag
//   sampling.logit_biases.token_id=bias   two fields of one message, "ID=NATS"
//   sampling.stage_order                  a StageOrder: a preset's name, or names of stages, "temperature,top-k"
//
// A flag that was not given leaves its field, and the message around it, unset: the server's default holds.
#ifndef LOGITD_CLIENT_CLI_REQUEST_FIELDS_H_
#define LOGITD_CLIENT_CLI_REQUEST_FIELDS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/arguments.h"
#include "google/protobuf/message.h"

namespace logitd::cli {

// Sets the field of every given flag that has one. Errors: a usage error (a value cannot be read).
// REQUIRES: the path of each given flag leads to a field of `request`.
absl::Status SetFields(const Arguments& arguments, google::protobuf::Message& request);

// Whether the flag's path goes through a repeated message of `request`, so that the flag may be given several times.
bool IsRepeated(const Flag& flag, const google::protobuf::Descriptor* request);

// The values that the flag takes, for help and shell completion. Empty: any.
std::vector<std::string> ChoicesOf(const Flag& flag, const google::protobuf::Descriptor* request);

// "lowest-id or keep-all", "a, b or c".
std::string OneOf(std::vector<std::string> names);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_REQUEST_FIELDS_H_

// What the stages did to a row, as a table.
#ifndef LOGITD_CLIENT_CLI_STAGE_TABLE_H_
#define LOGITD_CLIENT_CLI_STAGE_TABLE_H_

#include <string>

#include "client/cli/terminal.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "logitd/v1/decoding_service.pb.h"

namespace logitd::cli {

// One row per stage, in the order in which they ran: its name, the tokens before and after it, the mass it removed.
std::string StageTable(const google::protobuf::RepeatedPtrField<v1::StageReport>& stages, const Style& style);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_STAGE_TABLE_H_

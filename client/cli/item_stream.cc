#include "client/cli/item_stream.h"

#include "client/cli/token_text.h"

namespace logitd::cli {

std::string ItemHeading(int index, const std::string& id) {
  if (id.empty()) return absl::StrCat("item ", index);
  return absl::StrCat("item ", index, " (", EscapeText(id), ")");
}

}  // namespace logitd::cli

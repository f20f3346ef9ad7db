// Rankings of named items as lines of JSON.
//
//   ["mat", "rug", ["floor", "chair"]]                                  best first; a list within it is a tie
//   {"order": ["mat"], "others_below": true, "count": 3}                the top of a ranking, seen three times
#ifndef LOGITD_CLIENT_CLI_RANKING_LINES_H_
#define LOGITD_CLIENT_CLI_RANKING_LINES_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "logitd/v1/error.pb.h"
#include "logitd/v1/plackett_luce.pb.h"

namespace logitd::cli {

// Names and their indices, in the order in which they first came.
class ItemNames {
 public:
  int32_t IndexOf(const std::string& name);
  bool Has(const std::string& name) const { return indices_.count(name) > 0; }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;
  std::map<std::string, int32_t> indices_;
};

// Reads a ranking from each line of `text` that is not blank, into `request`; new items are added to `names`. `source`
// names the text in errors. Errors: client::InputError, which names the line.
absl::Status ReadRankings(std::string_view text, const std::string& source, ItemNames& names,
                          v1::FitStrengthsRequest& request);

// The error of a fit, with the names of the items whose indices it gives.
void NameItems(const std::vector<std::string>& names, v1::Error& error);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_RANKING_LINES_H_

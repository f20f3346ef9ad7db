#include "client/cli/ranking_lines.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "client/cli/json_lines.h"
#include "client/cli/token_text.h"
#include "client/logitd/client_error.h"
#include "google/protobuf/struct.pb.h"

namespace logitd::cli {
namespace {

using google::protobuf::Value;

constexpr int kQuotedColumns = 24;
constexpr double kMostCount = 1e9;
constexpr int kLinesAtOnce = 1024;
constexpr int64_t kBytesAtOnce = 1 << 20;

std::string Quote(const std::string& text) {
  return absl::StrCat("\"", Shorten(EscapeText(text), kQuotedColumns), "\"");
}

// One ranking of one line.
class RankingReader {
 public:
  // `place`: "line 3 of rankings.jsonl".
  RankingReader(std::string place, ItemNames& names, v1::GivenRanking& ranking)
      : place_(std::move(place)), names_(names), ranking_(ranking) {}

  absl::Status Read(const Value& value) {
    if (value.has_list_value()) return ReadOrder(value.list_value());
    if (!value.has_struct_value()) return Wrong("the line", "a list of items, best first, or an object with order");
    const auto& fields = value.struct_value().fields();
    if (fields.count("order") == 0) return Wrong("order", "a list of items, best first, and is missing");
    for (const auto& [key, part] : fields) {
      if (key == "order") {
        if (!part.has_list_value()) return Wrong(key, "a list of items, best first");
        RETURN_IF_ERROR(ReadOrder(part.list_value()));
      } else if (key == "others_below") {
        if (part.kind_case() != Value::kBoolValue) return Wrong(key, "true or false");
        ranking_.set_others_below(part.bool_value());
      } else if (key == "count") {
        const double count = part.number_value();
        if (!(count >= 1 && count <= kMostCount && count == std::floor(count))) {
          return Wrong(key, "a whole number in [1, 1000000000]");
        }
        ranking_.set_count(static_cast<int64_t>(count));
      } else {
        return client::InputError(
            key, "", "",
            absl::StrCat(place_, ": unknown key ", Quote(key), ": a ranking has order, others_below and count"));
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Wrong(const std::string& key, const std::string& bound) const {
    return client::InputError(key, "", bound, absl::StrCat(place_, ": ", key, " must be ", bound));
  }

  absl::Status Add(const Value& item, int place, const std::string& key) {
    if (item.kind_case() != Value::kStringValue) return Wrong(key, "a text, or a list of texts that are tied");
    ranking_.add_item_indices(names_.IndexOf(item.string_value()));
    ranking_.add_places(place);
    return absl::OkStatus();
  }

  absl::Status ReadOrder(const google::protobuf::ListValue& order) {
    bool has_ties = false;
    for (int place = 0; place < order.values_size(); ++place) {
      const Value& part = order.values(place);
      const std::string key = absl::StrCat("order[", place, "]");
      if (!part.has_list_value()) {
        RETURN_IF_ERROR(Add(part, place + 1, key));
        continue;
      }
      has_ties = has_ties || part.list_value().values_size() > 1;
      for (const Value& item : part.list_value().values()) RETURN_IF_ERROR(Add(item, place + 1, key));
    }
    // Places that only count are not sent.
    if (!has_ties) ranking_.clear_places();
    return absl::OkStatus();
  }

  const std::string place_;
  ItemNames& names_;
  v1::GivenRanking& ranking_;
};

}  // namespace

int32_t ItemNames::IndexOf(const std::string& name) {
  const auto [found, is_new] = indices_.try_emplace(name, static_cast<int32_t>(names_.size()));
  if (is_new) names_.push_back(name);
  return found->second;
}

absl::Status ReadRankings(std::string_view text, const std::string& source, ItemNames& names,
                          v1::FitStrengthsRequest& request) {
  std::istringstream stream{std::string(text)};
  LineReader reader(stream);
  const LineSource line_source{.name = source, .field = "FILE", .content = "a ranking"};
  while (true) {
    const std::vector<InputLine> lines = reader.NextChunk(kLinesAtOnce, kBytesAtOnce);
    if (lines.empty()) return absl::OkStatus();
    for (const InputLine& line : lines) {
      Value value;
      if (const std::optional<v1::Error> error = FromLine(line, &value, line_source)) {
        return client::InputError(*error);
      }
      RankingReader ranking(absl::StrCat("line ", line.number, " of ", source), names, *request.add_rankings());
      RETURN_IF_ERROR(ranking.Read(value));
    }
  }
}

void NameItems(const std::vector<std::string>& names, v1::Error& error) {
  if (error.reason() != v1::ERROR_REASON_STRENGTHS_UNDEFINED) return;
  std::vector<std::string> named;
  // "2, 0, 1 and 7 more".
  for (const auto word : absl::StrSplit(error.value(), absl::ByAnyChar(", "), absl::SkipEmpty())) {
    int32_t index = 0;
    if (!absl::SimpleAtoi(word, &index)) break;
    if (index >= 0 && index < static_cast<int32_t>(names.size())) {
      named.push_back(absl::StrCat("item ", index, " is ", Quote(names[static_cast<size_t>(index)])));
    }
  }
  if (!named.empty()) error.set_message(absl::StrCat(error.message(), " (", absl::StrJoin(named, ", "), ")"));
}

}  // namespace logitd::cli

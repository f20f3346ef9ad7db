#include "client/cli/stage_table.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/table.h"

namespace logitd::cli {
namespace {

// "STAGE_TOP_K" -> "top_k"; the number of a stage that this program does not know.
std::string ShowStage(v1::Stage stage) {
  constexpr char kPrefix[] = "STAGE_";
  const std::string name = v1::Stage_Name(stage);
  if (name.rfind(kPrefix, 0) != 0) return absl::StrCat("stage ", static_cast<int>(stage));
  return absl::AsciiStrToLower(name.substr(sizeof(kPrefix) - 1));
}

}  // namespace

std::string StageTable(const google::protobuf::RepeatedPtrField<v1::StageReport>& stages, const Style& style) {
  Table table(
      {{"stage", Table::kLeft, Table::kWhole, /*is_key=*/true}, {"kept before"}, {"kept after"}, {"removed mass"}});
  for (const v1::StageReport& report : stages) {
    table.Add({{ShowStage(report.stage()), std::nullopt},
               {absl::StrCat(report.kept_before_count()), std::nullopt},
               {absl::StrCat(report.kept_after_count()), std::nullopt},
               {ShowNumber(report.removed_mass()), std::nullopt}});
  }
  return table.Render(style);
}

}  // namespace logitd::cli

#include "client/cli/text_input.h"

#include <fstream>
#include <istream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "client/cli/arguments.h"
#include "client/cli/json_lines.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

absl::StatusOr<std::string> AllOf(std::istream& in, const std::string& field, const std::string& name) {
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (BeginsWithByteOrderMark(text)) text.erase(0, 3);
  if (!IsUtf8(text)) return UsageError(field, absl::StrCat(EscapeText(name), " is not UTF-8"));
  return text;
}

}  // namespace

absl::StatusOr<std::string> TextOfInput(const std::string& field, Environment& environment) {
  return AllOf(environment.in, field, "standard input");
}

absl::StatusOr<std::string> TextOfFile(const std::string& field, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  // A folder can be opened, but not read.
  if (!file || (file.peek(), file.bad())) return UsageError(field, path, "a file that can be read");
  file.clear();
  return AllOf(file, field, path);
}

}  // namespace logitd::cli

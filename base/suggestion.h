// Suggests the nearest name for a mistyped one: "did you mean complete?"
#ifndef LOGITD_BASE_SUGGESTION_H_
#define LOGITD_BASE_SUGGESTION_H_

#include <string>
#include <string_view>
#include <vector>

namespace logitd {

// The least number of characters to insert, delete or replace that makes `b` out of `a`. Time: |a| * |b|.
int EditDistance(std::string_view a, std::string_view b);

// " (did you mean NAME?)" with the nearest of `names`, if it is near enough: one edit for each three characters typed.
// Empty: none is.
std::string DidYouMean(std::string_view typed, const std::vector<std::string>& names);

}  // namespace logitd

#endif  // LOGITD_BASE_SUGGESTION_H_

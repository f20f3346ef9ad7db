// The names that models have at a server: 1 to 128 characters of [A-Za-z0-9._:/-].
#ifndef LOGITD_BASE_MODEL_NAME_H_
#define LOGITD_BASE_MODEL_NAME_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace logitd {

inline constexpr size_t kMaxModelNameBytes = 128;
inline constexpr char kModelNameRule[] = "1 to 128 of [A-Za-z0-9._:/-]";

bool IsModelName(std::string_view name);
// The name of a model that was given none: the stem of its file, "-" for each character that a name may not have.
std::string ModelNameOf(const std::string& file);

}  // namespace logitd

#endif  // LOGITD_BASE_MODEL_NAME_H_

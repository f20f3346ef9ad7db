// How much of a proof to do: a short form in every run of the tests, the whole with LOGITD_LONG=1 (scripts/test
// --long).
#ifndef LOGITD_TESTS_PROOFS_LENGTH_H_
#define LOGITD_TESTS_PROOFS_LENGTH_H_

#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace logitd::proofs {

inline bool IsLong() {
  const char* value = std::getenv("LOGITD_LONG");
  return value != nullptr && std::string_view(value) == "1";
}
inline int64_t Count(int64_t short_form, int64_t long_form) { return IsLong() ? long_form : short_form; }

}  // namespace logitd::proofs

#endif  // LOGITD_TESTS_PROOFS_LENGTH_H_

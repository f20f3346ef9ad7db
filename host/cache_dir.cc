#include "host/cache_dir.h"

#include <cstdlib>

namespace logitd::host {

std::string DefaultCacheDir() {
  for (const auto& [variable, folder] : {std::pair{"XDG_CACHE_HOME", "/logitd"}, {"HOME", "/.cache/logitd"}}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return std::string(value) + folder;
  }
  return "";
}

}  // namespace logitd::host

// Where files lie that can be made again: converted weights.
#ifndef LOGITD_HOST_CACHE_DIR_H_
#define LOGITD_HOST_CACHE_DIR_H_

#include <string>

namespace logitd::host {

// $XDG_CACHE_HOME/logitd, or ~/.cache/logitd. Empty if neither variable is set: a folder that others can write to is no
// place for weights, which are trusted. Thread-safe while nobody changes the environment.
std::string DefaultCacheDir();

}  // namespace logitd::host

#endif  // LOGITD_HOST_CACHE_DIR_H_

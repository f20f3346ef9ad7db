// Recognises by the keys of its header whether a GGUF file holds a language model.
#ifndef LOGITD_HOST_GGUF_KIND_H_
#define LOGITD_HOST_GGUF_KIND_H_

#include <string>

#include "host/gguf_header.h"

namespace logitd::host {

// Why `header` is not that of a language model, as it continues "model file PATH "; "" if it may be one.
std::string WhyNotALanguageModel(const GgufHeader& header);

}  // namespace logitd::host

#endif  // LOGITD_HOST_GGUF_KIND_H_

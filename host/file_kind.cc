#include "host/file_kind.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include "host/gguf_header.h"
#include "host/gguf_kind.h"

namespace logitd::host {
namespace {

namespace fs = std::filesystem;
using std::string_view_literals::operator""sv;

constexpr size_t kHeadBytes = 1024;
constexpr uint32_t kNewestGguf = 3;
constexpr char kConvert[] = "convert the model to GGUF with llama.cpp's convert_hf_to_gguf.py";
constexpr char kUnpack[] = "unpack it first";

struct Kind {
  // Where the bytes are.
  size_t offset;
  std::string_view bytes;
  const char* is;
  const char* to_do;
};

// Kinds with known first bytes, except GGUF.
constexpr Kind kKinds[] = {
    {0, "version https://git-lfs.github.com/spec/"sv, "a Git LFS pointer, not the model that it stands for",
     "run `git lfs pull` in its folder, or download the file itself"},
    {0, "lmgg"sv, "in a GGML format from before GGUF, which llama.cpp does not read any more",
     "download the model as GGUF, or convert it with llama.cpp's convert_llama_ggml_to_gguf.py"},
    {0, "fmgg"sv, "in a GGML format (GGMF) from before GGUF, which llama.cpp does not read any more",
     "download the model as GGUF, or convert it with llama.cpp's convert_llama_ggml_to_gguf.py"},
    {0, "tjgg"sv, "in a GGML format (GGJT) from before GGUF, which llama.cpp does not read any more",
     "download the model as GGUF, or convert it with llama.cpp's convert_llama_ggml_to_gguf.py"},
    {0, "algg"sv, "a LoRA adapter in a GGML format (GGLA) from before GGUF",
     "merge the adapter into its base model, and convert that to GGUF"},
    {0, "FUGG"sv, "a GGUF file whose bytes are swapped", "download it again, in little-endian GGUF"},
    {0, "\x1f\x8b"sv, "compressed (gzip)", kUnpack},
    {0, "BZh"sv, "compressed (bzip2)", kUnpack},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     "compressed (xz)", kUnpack},
    {0, "\x28\xb5\x2f\xfd"sv, "compressed (zstd)", kUnpack},
    {0, "\x04\x22\x4d\x18"sv, "compressed (lz4)", kUnpack},
    {0, "7z\xbc\xaf\x27\x1c"sv, "an archive (7z)", kUnpack},
    {0, "Rar!"sv, "an archive (rar)", kUnpack},
    {257, "ustar"sv, "an archive (tar)", kUnpack},
    {0, "MZqFpD"sv, "a llamafile, a program with a model inside", "take the .gguf out of it with unzip"},
    {0,
     "\x7f"
     "ELF"sv,
     "a program", "give the model's file"},
    {0, "\x89HDF\r\n"sv, "in HDF5 (Keras)", kConvert},
    {0, "\x93NUMPY"sv, "a NumPy array", kConvert},
    {4, "TFL3"sv, "a TensorFlow Lite model", kConvert},
    {8, "blk."sv, "an importance matrix for quantisation", "give the model that it was made for"},
};

std::string_view SkipSpace(std::string_view text) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  return text;
}

bool BeginsWith(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), text.begin(), [](char a, char b) {
           return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
         });
}

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

bool IsText(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return c >= ' ' || c == '\n' || c == '\r' || c == '\t'; });
}

// The first characters of a text, in quotes; other bytes than printable ASCII become "?".
std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 40;
  std::string quoted = "\"";
  for (const unsigned char c : text.substr(0, std::min(text.find('\n'), kLongest))) {
    quoted += c >= ' ' && c < 0x7f ? static_cast<char>(c) : '?';
  }
  return quoted + "\"";
}

std::string WhyNotJson(std::string_view head) {
  if (Contains(head, "\"weight_map\"")) return std::string("is the index of a model in safetensors; ") + kConvert;
  if (Contains(head, "\"schemaVersion\"") || Contains(head, "\"mediaType\"")) {
    return "is the manifest of an Ollama or OCI model; give the blob that it names with the type of a model";
  }
  if (Contains(head, "\"error\"") || Contains(head, "\"message\"")) {
    return "is an error message in JSON (" + Quoted(head) +
           "), not a model: the download failed; look at what it says, and download the model again";
  }
  return "is JSON, not a model; give the path of a GGUF file";
}

std::string WhyNotText(std::string_view head) {
  const std::string_view text = SkipSpace(head);
  if (BeginsWith(text, "<!doctype html") || BeginsWith(text, "<html") || BeginsWith(text, "<head")) {
    return "is a web page (HTML), not a model: download the file itself (on Hugging Face the address with /resolve/, "
           "not "
           "/blob/; a model behind a login needs a token)";
  }
  if (BeginsWith(text, "<?xml") || BeginsWith(text, "<error")) {
    return "is XML (" + Quoted(text) +
           "), not a model: the download failed; look at what it says, and download the model "
           "again";
  }
  if (BeginsWith(text, "{") || BeginsWith(text, "[")) return WhyNotJson(text);
  if (text.empty()) return "holds nothing but spaces; download the model again";
  return "is a text that begins with " + Quoted(text) + ", not a GGUF file: download the model again, or give its path";
}

std::string WhyNotGguf(std::string_view head, uint64_t size) {
  for (const Kind& kind : kKinds) {
    if (head.size() >= kind.offset && head.substr(kind.offset, kind.bytes.size()) == kind.bytes) {
      return std::string("is ") + kind.is + "; " + kind.to_do;
    }
  }
  if (head.substr(0, 4) == "PK\x03\x04"sv) {
    if (Contains(head, "data.pkl") || Contains(head, "/version")) {
      return std::string("is a PyTorch checkpoint, not a GGUF file; ") + kConvert;
    }
    return std::string("is an archive (zip); ") + kUnpack;
  }
  // A pickle's protocol; what follows is an opcode.
  if (head.size() > 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) {
    return std::string("is a PyTorch checkpoint (a pickle), not a GGUF file; ") + kConvert;
  }
  if (head.size() > 9 && head[8] == '{') {
    uint64_t header = 0;
    std::memcpy(&header, head.data(), sizeof(header));
    if (header < size || Contains(head, "\"dtype\"")) return std::string("is in safetensors, not in GGUF; ") + kConvert;
  }
  if (std::all_of(head.begin(), head.end(), [](char c) { return c == '\0'; })) {
    return "begins with zeros: its download was not finished; download it again";
  }
  if (IsText(head)) return WhyNotText(head);
  return std::string("is not a GGUF file: its first four bytes are not 'GGUF'; ") + kConvert;
}

// "model.gguf.part1of2", "model.gguf-split-a": pieces cut anywhere in a file.
bool IsNamedAsPiece(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  const size_t part = name.rfind("part");
  return name.find("-split-") != std::string::npos ||
         (part != std::string::npos && name.find("of", part) != std::string::npos &&
          std::isdigit(static_cast<unsigned char>(name[std::min(part + 4, name.size() - 1)])) != 0);
}

std::string Truncated(const std::string& path, const std::string& what) {
  if (IsNamedAsPiece(path)) {
    return "is a piece of a file that was cut (" + what + "); join all pieces, in order, with cat";
  }
  return "is truncated or damaged: " + what + "; download or copy it again";
}

// "-00002-of-00003.gguf".
std::string PartSuffix(int64_t number, int64_t count) {
  char suffix[64];
  std::snprintf(suffix, sizeof(suffix), "-%05lld-of-%05lld.gguf", static_cast<long long>(number),
                static_cast<long long>(count));
  return suffix;
}

std::string WhyNotSplit(const std::string& path, const GgufHeader& header) {
  const int64_t count = header.Number("split.count").value_or(1);
  if (count <= 1) return "";
  const int64_t number = header.Number("split.no").value_or(0) + 1;
  const std::string part = "is part " + std::to_string(number) + " of " + std::to_string(count) + " of a model";
  if (number != 1) {
    return part + "; give the first part, whose name ends with " + PartSuffix(1, count) + ", with the others beside it";
  }
  const std::string suffix = PartSuffix(1, count);
  if (path.size() < suffix.size() || path.compare(path.size() - suffix.size(), suffix.size(), suffix) != 0) {
    return part + ", and its name must end with " + suffix + " so that the others are found; rename it";
  }
  std::error_code error;
  for (const std::string& other : PartsOf(path)) {
    if (!fs::is_regular_file(other, error)) {
      return part + ", and " + other + " is missing; download all parts into one folder";
    }
  }
  return "";
}

// Checks that a part of a model, which exists, is a whole GGUF file.
absl::Status CheckPart(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  char head[8] = {};
  stream.read(head, sizeof(head));
  uint32_t version = 0;
  std::memcpy(&version, head + 4, sizeof(version));
  if (std::string_view(head, 4) != "GGUF" || version < 2 || version > kNewestGguf) {
    return absl::InvalidArgumentError("the first bytes are not those of a GGUF file");
  }
  return CheckGgufTensors(path);
}

std::string WhyNotByHeader(const std::string& path, uint32_t version) {
  if (version == 0) return Truncated(path, "its GGUF version is 0");
  // As in llama.cpp: a version in the other byte order is enormous.
  if ((version & 0xffff) == 0) {
    return "is a big-endian GGUF file, and this machine is little-endian; download it in little-endian, or convert it "
           "with llama.cpp's gguf-py (gguf_convert_endian.py)";
  }
  if (version == 1) {
    return "is in GGUF version 1, which llama.cpp does not read any more; download it in a newer one, or convert it "
           "again";
  }
  if (version > kNewestGguf) {
    return "is in GGUF version " + std::to_string(version) + ", and this logitd reads versions 2 and " +
           std::to_string(kNewestGguf) + "; use a newer logitd, or convert the model with an older llama.cpp";
  }
  const absl::StatusOr<GgufHeader> header = ReadGgufHeader(path);
  if (!header.ok()) return Truncated(path, std::string(header.status().message()));
  if (const std::string why = WhyNotSplit(path, *header); !why.empty()) return why;
  if (const std::string why = WhyNotALanguageModel(*header); !why.empty()) return why;
  for (const std::string& part : PartsOf(path)) {
    if (const absl::Status whole = CheckPart(part); !whole.ok()) {
      const std::string which = part == path ? "" : "in its part " + part + " ";
      return Truncated(path, which + std::string(whole.message()));
    }
  }
  return "";
}

}  // namespace

absl::Status CheckModelFile(const std::string& path) {
  const auto bad = [&](const std::string& what) {
    return absl::InvalidArgumentError("model file " + path + " " + what);
  };
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    return absl::NotFoundError("model file " + path + " does not exist; --model takes the path of a GGUF file");
  }
  if (status.type() == fs::file_type::none) return bad("cannot be read: " + error.message());
  if (fs::is_directory(status)) return bad("is a folder; --model takes the path of a GGUF file");
  if (!fs::is_regular_file(status)) return bad("is not a regular file; --model takes the path of a GGUF file");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return bad("cannot be read: " + std::string(std::strerror(errno)));
  std::string head(kHeadBytes, '\0');
  stream.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(stream.gcount()));
  if (stream.bad()) return bad("cannot be read: " + std::string(std::strerror(errno)));
  const uint64_t size = fs::file_size(path, error);
  if (head.empty()) return bad("is empty; download or copy it again");
  if (head.substr(0, 4) != "GGUF") return bad(WhyNotGguf(head, size));
  if (head.size() < 8) return bad(Truncated(path, "it has " + std::to_string(head.size()) + " bytes"));
  uint32_t version = 0;
  std::memcpy(&version, head.data() + 4, sizeof(version));
  const std::string why = WhyNotByHeader(path, version);
  return why.empty() ? absl::OkStatus() : bad(why);
}

std::vector<std::string> PartsOf(const std::string& path) {
  const absl::StatusOr<GgufHeader> header = ReadGgufHeader(path);
  const int64_t count = header.ok() ? header->Number("split.count").value_or(1) : 1;
  std::vector<std::string> parts = {path};
  const size_t suffix_size = PartSuffix(1, count).size();
  if (path.size() < suffix_size) return parts;
  for (int64_t number = 2; number <= count; ++number) {
    parts.push_back(path.substr(0, path.size() - suffix_size) + PartSuffix(number, count));
  }
  return parts;
}

}  // namespace logitd::host

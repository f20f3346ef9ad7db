#include "client/logitd/npy_file.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "client/logitd/client_error.h"

namespace logitd::client {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
// The header of a plain array has about a hundred bytes. numpy itself refuses to evaluate more than 10,000.
constexpr int64_t kMaxHeaderBytes = 10'000;
constexpr size_t kMaxDimensions = 32;
// An array in Fortran order is in memory twice while it is put in C order.
constexpr int64_t kMaxFortranBytes = int64_t{1} << 30;
// The bytes that are skipped at once in a stream that cannot seek.
constexpr int64_t kSkipBytes = 1 << 20;

struct NpyHeader {
  std::string type;
  bool is_fortran_order = false;
  std::vector<int64_t> shape;
};

// Reads a header, the literal of a Python dictionary:
//   {'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : left_(text) {}

  // Unset: it has another form, or other keys than these three.
  std::optional<NpyHeader> Parse() {
    std::optional<std::string> type;
    std::optional<bool> is_fortran_order;
    std::optional<std::vector<int64_t>> shape;
    if (!Take('{')) return std::nullopt;
    while (!Take('}')) {
      const std::optional<std::string> key = String();
      if (!key || !Take(':')) return std::nullopt;
      if (*key == "descr" && !type) {
        type = Type();
        if (!type) return std::nullopt;
      } else if (*key == "fortran_order" && !is_fortran_order) {
        is_fortran_order = Bool();
        if (!is_fortran_order) return std::nullopt;
      } else if (*key == "shape" && !shape) {
        shape = Tuple();
        if (!shape) return std::nullopt;
      } else {
        return std::nullopt;
      }
      // Python allows a comma before the end too.
      if (!Take(',') && Peek() != '}') return std::nullopt;
    }
    SkipSpaces();
    if (!left_.empty() || !type || !is_fortran_order || !shape) return std::nullopt;
    return NpyHeader{*std::move(type), *is_fortran_order, *std::move(shape)};
  }

 private:
  void SkipSpaces() {
    while (!left_.empty() && (left_.front() == ' ' || left_.front() == '\n')) left_.remove_prefix(1);
  }
  // The next character that is no space; 0: the end.
  char Peek() {
    SkipSpaces();
    return left_.empty() ? '\0' : left_.front();
  }
  bool Take(char c) {
    if (Peek() != c) return false;
    left_.remove_prefix(1);
    return true;
  }
  bool Take(std::string_view word) {
    SkipSpaces();
    if (left_.substr(0, word.size()) != word) return false;
    left_.remove_prefix(word.size());
    return true;
  }
  std::optional<std::string> String() {
    const char quote = Peek();
    if (quote != '\'' && quote != '"') return std::nullopt;
    const size_t end = left_.find(quote, 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string text(left_.substr(1, end - 1));
    left_.remove_prefix(end + 1);
    return text;
  }
  // The type of an array of records is a list. Its content does not matter, because records are refused.
  std::optional<std::string> Type() {
    if (Peek() != '[') return String();
    const size_t end = left_.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    left_.remove_prefix(end + 1);
    return "records";
  }
  std::optional<bool> Bool() {
    if (Take("True")) return true;
    if (Take("False")) return false;
    return std::nullopt;
  }
  std::optional<std::vector<int64_t>> Tuple() {
    std::vector<int64_t> numbers;
    if (!Take('(')) return std::nullopt;
    bool ends_with_comma = false;
    while (!Take(')')) {
      int64_t number = 0;
      if (std::isdigit(static_cast<unsigned char>(Peek())) == 0 || numbers.size() == kMaxDimensions) {
        return std::nullopt;
      }
      const auto parsed = std::from_chars(left_.data(), left_.data() + left_.size(), number);
      if (parsed.ec != std::errc()) return std::nullopt;
      left_.remove_prefix(static_cast<size_t>(parsed.ptr - left_.data()));
      numbers.push_back(number);
      ends_with_comma = Take(',');
      if (!ends_with_comma && Peek() != ')') return std::nullopt;
    }
    // (3) is a number in parentheses.
    if (numbers.size() == 1 && !ends_with_comma) return std::nullopt;
    return numbers;
  }

  std::string_view left_;
};

// Text of a file or a path, fit for one line: control characters become \xNN.
std::string Shown(std::string_view text) {
  return absl::StrReplaceAll(absl::Utf8SafeCHexEscape(std::string(text)), {{"\\'", "'"}, {"\\\"", "\""}});
}

// Two-byte values whose meaning numpy does not tell.
bool IsTwoOpaqueBytes(const std::string& type) { return type == "<V2" || type == "|V2"; }

std::optional<NpyType> TypeOf(const std::string& type, const NpySource& source) {
  if (source.content == NpyContent::kTokenIds) {
    if (type == "<i4") return NpyType::kI32;
    if (type == "<i8") return NpyType::kI64;
    return std::nullopt;
  }
  const std::string& dtype = source.dtype;
  if (dtype == "bf16") {
    return IsTwoOpaqueBytes(type) || type == "<u2" || type == "<i2" ? std::optional(NpyType::kBf16) : std::nullopt;
  }
  if (type == "<f4" && (dtype.empty() || dtype == "f32")) return NpyType::kF32;
  if (type == "<f2" && (dtype.empty() || dtype == "f16")) return NpyType::kF16;
  if (type == "<f8" && (dtype == "f32" || source.content == NpyContent::kFloats)) return NpyType::kF64;
  return std::nullopt;
}

// "float64 ('<f8')", "big-endian float32 ('>f4')"; other types are shown as they are.
std::string ShowType(const std::string& type) {
  const std::string quoted = absl::StrCat("'", Shown(type), "'");
  int bytes = 0;
  if (type.size() < 3 ||
      std::from_chars(type.data() + 2, type.data() + type.size(), bytes).ptr != type.data() + type.size() ||
      bytes < 1 || bytes > 32) {
    return quoted;
  }
  const char* kind = nullptr;
  switch (type[1]) {
    case 'f':
      kind = "float";
      break;
    case 'i':
      kind = "int";
      break;
    case 'u':
      kind = "uint";
      break;
    case 'c':
      kind = "complex";
      break;
    default:
      return quoted;
  }
  return absl::StrCat(type[0] == '>' ? "big-endian " : "", kind, bytes * 8, " (", quoted, ")");
}

std::string TypeError(const std::string& type, const NpySource& source) {
  const bool logits = source.content != NpyContent::kTokenIds;
  const std::string name = type == "records" ? "records of several fields" : ShowType(type);
  if (!source.dtype.empty()) {
    return absl::StrCat("it holds ", name, ", and --dtype ", source.dtype, " is for ",
                        source.dtype == "bf16"  ? "two-byte values that numpy has no name for ('<V2'), or uint16"
                        : source.dtype == "f32" ? "float32 or float64, little endian"
                                                : "float16, little endian");
  }
  if (logits && IsTwoOpaqueBytes(type)) {
    return absl::StrCat("it holds two-byte values that numpy has no name for (", ShowType(type),
                        "); if they are bfloat16, as ml_dtypes saves it, give --dtype bf16");
  }
  // The type that numpy should save: half precision stays half precision, and so does double where it is taken.
  const std::string_view kind = type.size() == 3 ? std::string_view(type).substr(1) : "";
  const bool doubles = source.content == NpyContent::kFloats;
  const char* wanted = !logits ? "int32" : kind == "f2" ? "float16" : kind == "f8" && doubles ? "float64" : "float32";
  return absl::StrCat("it holds ", name, ", and ",
                      doubles  ? "rows are float64, float32 or float16"
                      : logits ? "logits are float32 or float16"
                               : "token ids are int32 or int64",
                      ", little endian; save it as ", wanted, ": numpy.save(FILE, a.astype('",
                      !logits                                 ? "<i4"
                      : std::string_view(wanted) == "float16" ? "<f2"
                      : std::string_view(wanted) == "float64" ? "<f8"
                                                              : "<f4",
                      "'))",
                      !logits         ? ""
                      : type == "<f8" ? ", or give --dtype f32, which rounds it"
                      : type == "<u2" ? ", or if it is bfloat16 give --dtype bf16"
                                      : "");
}

// The bytes of an array in Fortran order, `value_bytes` each, in C order.
std::string InCOrder(const std::string& bytes, const std::vector<int64_t>& shape, int64_t value_bytes) {
  std::vector<int64_t> strides;
  int64_t count = 1;
  for (const int64_t size : shape) {
    strides.push_back(count * value_bytes);
    count *= size;
  }
  std::string out(bytes.size(), '\0');
  std::vector<int64_t> index(shape.size(), 0);
  int64_t from = 0;
  for (int64_t at = 0; at < count; ++at) {
    std::memcpy(out.data() + at * value_bytes, bytes.data() + from, static_cast<size_t>(value_bytes));
    // The next index, the last dimension first.
    for (size_t d = shape.size(); d-- > 0;) {
      from += strides[d];
      if (++index[d] < shape[d]) break;
      from -= shape[d] * strides[d];
      index[d] = 0;
    }
  }
  return out;
}

}  // namespace

NpyFile::NpyFile(const NpySource& source) : flag_(source.flag), path_(source.path) {}

absl::StatusOr<NpyFile> NpyFile::Open(const NpySource& source, std::istream& standard_in) {
  const std::string& path = source.path;
  const bool is_standard_in = path == "-";
  NpyFile file(source);
  if (is_standard_in) {
    file.in_ = &standard_in;
  } else {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) return file.Error("it is a folder");
    file.file_ = std::make_unique<std::ifstream>(path, std::ios::binary);
    file.in_ = file.file_.get();
    if (!*file.in_)
      return file.Error(std::filesystem::exists(path, error) ? "it cannot be read" : "there is no such file");
  }
  RETURN_IF_ERROR(file.ReadHeader(source));
  if (!is_standard_in) {
    RETURN_IF_ERROR(file.CheckSize(path));
  }
  const auto is_long = [](int64_t size) { return size > 1; };
  // With one dimension both orders are the same.
  if (file.is_fortran_order_ && std::count_if(file.shape_.begin(), file.shape_.end(), is_long) > 1) {
    RETURN_IF_ERROR(file.PutInCOrder());
  }
  return file;
}

absl::Status NpyFile::CheckSize(const std::string& path) const {
  std::error_code error;
  const bool has_size = std::filesystem::is_regular_file(path, error);
  const auto size = static_cast<int64_t>(has_size ? std::filesystem::file_size(path, error) : 0);
  if (!has_size || error) return absl::OkStatus();
  const int64_t header_bytes = in_->tellg();
  const int64_t array_bytes = value_count_ * value_bytes();
  if (size - header_bytes == array_bytes) return absl::OkStatus();
  return Error(absl::StrCat("its shape ", ShowShape(), " takes ", array_bytes,
                            " bytes after the header, and the file has ", size - header_bytes,
                            size - header_bytes < array_bytes ? ": it was cut off" : ": something else follows"));
}

absl::Status NpyFile::PutInCOrder() {
  if (value_count_ * value_bytes() > kMaxFortranBytes) {
    return Error(absl::StrCat("it is in Fortran order and has ", value_count_ * value_bytes(), " bytes, more than the ",
                              kMaxFortranBytes,
                              " that are put in order here; save it as numpy.save(FILE, "
                              "numpy.ascontiguousarray(a))"));
  }
  std::string bytes;
  RETURN_IF_ERROR(Read(value_count_, bytes));
  file_ = std::make_unique<std::istringstream>(InCOrder(bytes, shape_, value_bytes()));
  in_ = file_.get();
  values_left_ = value_count_;
  return absl::OkStatus();
}

absl::Status NpyFile::ReadHeader(const NpySource& source) {
  const auto read = [this](size_t count) {
    std::string bytes(count, '\0');
    in_->read(bytes.data(), static_cast<std::streamsize>(count));
    bytes.resize(static_cast<size_t>(in_->gcount()));
    return bytes;
  };
  const std::string start = read(kMagic.size() + 2);
  if (start.substr(0, 2) == "PK") {
    return Error("it is an archive (.npz, .pt) of several arrays; save one of them with numpy.save(FILE, a)");
  }
  if (start.substr(0, kMagic.size()) != kMagic)
    return Error("it is not a .npy file: write one with numpy.save(FILE, a)");
  if (start.size() < kMagic.size() + 2) return Error("it ends within the header");
  const int major = static_cast<unsigned char>(start[6]);
  const int minor = static_cast<unsigned char>(start[7]);
  if (major < 1 || major > 3 || minor != 0) {
    return Error(absl::StrCat("its format version is ", major, ".", minor, ", and 1.0, 2.0 and 3.0 can be read"));
  }
  const size_t length_bytes = major == 1 ? 2 : 4;
  const std::string length = read(length_bytes);
  if (length.size() < length_bytes) return Error("it ends within the header");
  int64_t header_bytes = 0;
  for (size_t i = length_bytes; i-- > 0;) header_bytes = header_bytes * 256 + static_cast<unsigned char>(length[i]);
  if (header_bytes > kMaxHeaderBytes) {
    return Error(absl::StrCat("its header has ", header_bytes, " bytes, more than the ", kMaxHeaderBytes,
                              " that an array's header may have"));
  }
  const std::string text = read(static_cast<size_t>(header_bytes));
  if (static_cast<int64_t>(text.size()) < header_bytes) return Error("it ends within the header");
  std::optional<NpyHeader> header = HeaderParser(text).Parse();
  if (!header) return Error("its header is not that of a .npy file: write one with numpy.save(FILE, a)");

  const std::optional<NpyType> type = TypeOf(header->type, source);
  if (!type) {
    return Error(TypeError(header->type, source), source.content == NpyContent::kLogits ? "float32 or float16"
                                                  : source.content == NpyContent::kFloats
                                                      ? "float64, float32 or float16"
                                                      : "int32 or int64");
  }
  type_ = *type;
  is_fortran_order_ = header->is_fortran_order;
  shape_ = std::move(header->shape);
  int64_t count = 1;
  for (const int64_t size : shape_) {
    if (size != 0 && count > std::numeric_limits<int64_t>::max() / value_bytes() / size) {
      return Error(absl::StrCat("its shape ", ShowShape(), " is larger than any file"));
    }
    count *= size;
  }
  value_count_ = values_left_ = count;
  return absl::OkStatus();
}

int64_t NpyFile::value_bytes() const {
  switch (type_) {
    case NpyType::kF16:
    case NpyType::kBf16:
      return 2;
    case NpyType::kF32:
    case NpyType::kI32:
      return 4;
    case NpyType::kF64:
    case NpyType::kI64:
      return 8;
  }
  return 8;
}

std::string NpyFile::ShowShape() const {
  return absl::StrCat("(", absl::StrJoin(shape_, ", "), shape_.size() == 1 ? ",)" : ")");
}

absl::Status NpyFile::Read(int64_t count, std::string& bytes) {
  const int64_t size = count * value_bytes();
  bytes.resize(static_cast<size_t>(size));
  in_->read(bytes.data(), size);
  if (in_->gcount() < size) {
    return Error(absl::StrCat("it ends after ", value_count_ - values_left_ + in_->gcount() / value_bytes(), " of its ",
                              value_count_, " values"));
  }
  values_left_ -= count;
  return CheckEnd();
}

absl::Status NpyFile::Skip(int64_t count) {
  if (file_ != nullptr) {
    in_->seekg(count * value_bytes(), std::ios::cur);
    if (*in_) {
      values_left_ -= count;
      return CheckEnd();
    }
    // It is a named pipe, which cannot seek.
    in_->clear();
  }
  const int64_t at_once = kSkipBytes / value_bytes();
  std::string ignored;
  for (; count > at_once; count -= at_once) {
    RETURN_IF_ERROR(Read(at_once, ignored));
  }
  return count > 0 ? Read(count, ignored) : CheckEnd();
}

absl::Status NpyFile::ReadIds(int64_t count, std::vector<int32_t>& ids) {
  const int64_t first = value_count_ - values_left_;
  std::string bytes;
  RETURN_IF_ERROR(Read(count, bytes));
  ids.clear();
  ids.reserve(static_cast<size_t>(count));
  const auto size = static_cast<size_t>(value_bytes());
  for (size_t at = 0; at < bytes.size(); at += size) {
    int32_t narrow = 0;
    std::memcpy(&narrow, bytes.data() + at, sizeof(narrow));
    int64_t id = narrow;
    if (type_ == NpyType::kI64) std::memcpy(&id, bytes.data() + at, sizeof(id));
    if (id < std::numeric_limits<int32_t>::min() || id > std::numeric_limits<int32_t>::max()) {
      return Error(absl::StrCat("value ", first + static_cast<int64_t>(at / size), " must be a token id, got ", id));
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::Status NpyFile::CheckEnd() {
  if (values_left_ > 0 || in_->peek() == std::istream::traits_type::eof()) return absl::OkStatus();
  return Error(
      absl::StrCat("something else follows the ", value_count_, " values that its shape ", ShowShape(), " has"));
}

absl::Status NpyFile::Error(std::string_view what, std::string_view bound) const {
  const std::string path = Shown(path_);
  return InputError(flag_, path, bound, absl::StrCat(flag_, " ", path, ": ", std::string(what)));
}

}  // namespace logitd::client

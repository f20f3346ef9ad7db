// A text of n tokens, in parts; row i is the output after token i. Shapes of n = 6:
//
//   reference   0 | 1 | 2 | 3 | 4 | 5        one token a call
//   prompt      0 1 2 3 4 5
//   parts of 4  0 1 2 3 | 4 5
//   beside      0 x y z | 1 x y z | ...      x, y, z: tokens of other sequences, in the same call
//   fork        0 1 2 (copied) | 3 4 5
//
// A longer text comes before that, of which only the last rows are compared. From 64 tokens in a call on, llama.cpp's
// attention takes another path, which moves log-probs by tenths if the cache is f16. If the longer text takes too long,
// the beginning of a text of 64 tokens in one call is compared with the beginning alone.
#include "client/runner/llama/batch_tolerance.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <system_error>
#include <vector>

#include "absl/strings/escaping.h"

namespace logitd::runner {
namespace {

using Clock = std::chrono::steady_clock;

// Raised when the shapes, the texts or the margin change, so that earlier results are not read any more.
constexpr int kMethod = 3;
constexpr int kMostTokens = 24;
constexpr int kFewestTokens = 4;
// The number of last rows of a text that are compared. Each costs vocab_size * 8 bytes.
constexpr int kRows = 16;
constexpr int kLongText = 128;
constexpr int kLongParts = 32;
// From this size on attention works in tiles (GGML_FA_TILE_Q in ggml's common.h).
constexpr int kTile = 64;
// The beginning of a text of kTile tokens that is compared.
constexpr int kBeginning = 16;
// The shapes that a short budget still pays for, the reference included, with `n` tokens each.
constexpr int kUsualShapes = 12;
// Less likely tokens are hardly ever scored, and their log-probs move with the row's sum as the others do.
constexpr double kLeastLogProb = -20;

class Batch {
 public:
  explicit Batch(int capacity) : batch_(llama_batch_init(capacity, 0, 1)) {}
  ~Batch() { llama_batch_free(batch_); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  void Clear() { batch_.n_tokens = 0; }
  void Add(llama_token token, int position, int sequence, bool wants_row) {
    const int i = batch_.n_tokens++;
    batch_.token[i] = token;
    batch_.pos[i] = position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = sequence;
    batch_.logits[i] = wants_row ? 1 : 0;
  }
  const llama_batch& get() const { return batch_; }

 private:
  llama_batch batch_;
};

std::vector<double> LogSoftmax(const float* row, int32_t vocab_size) {
  const double max = *std::max_element(row, row + vocab_size);
  double sum = 0;
  for (int32_t i = 0; i < vocab_size; ++i) sum += std::exp(row[i] - max);
  std::vector<double> log_probs(static_cast<size_t>(vocab_size));
  for (int32_t i = 0; i < vocab_size; ++i) log_probs[static_cast<size_t>(i)] = row[i] - max - std::log(sum);
  return log_probs;
}

// Tokens that are not control tokens, chosen by SplitMix64: the same for the same vocabulary.
std::vector<llama_token> SomeTokens(const llama_vocab* vocab, int count) {
  const auto size = static_cast<uint64_t>(llama_vocab_n_tokens(vocab));
  std::vector<llama_token> tokens;
  uint64_t state = 1;
  while (static_cast<int>(tokens.size()) < count) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    const auto token = static_cast<llama_token>((z ^ (z >> 31)) % size);
    // In a vocabulary of nothing but control tokens, one of them has to do.
    if (llama_vocab_is_control(vocab, token) && state % 64 != 0) continue;
    tokens.push_back(token);
  }
  return tokens;
}

class Measurement {
 public:
  Measurement(llama_context* context, Clock::time_point end)
      : context_(context),
        end_(end),
        vocab_(llama_model_get_vocab(llama_get_model(context))),
        vocab_size_(llama_vocab_n_tokens(vocab_)),
        most_sequences_(static_cast<int>(llama_n_seq_max(context))),
        most_tokens_(static_cast<int>(std::min(llama_n_batch(context), llama_n_ctx(context)))),
        batch_(most_tokens_) {}
  // However the measurement ends, the next user of the context finds it empty.
  ~Measurement() { Clear(); }

  std::optional<double> Run();

 private:
  // Evaluates the tokens in parts of `size`, beside `others` other sequences of one token per call, and compares.
  bool TryParts(int size, int others);
  // Evaluates the first half once, copies it to another sequence, and evaluates the rest there.
  bool TryFork();
  // Adds the tokens [begin, end) of the text, as sequence `sequence`.
  void AddText(int begin, int end, int sequence);
  // Evaluates the batch, which begins with token `begin` of the text, and compares the rows of [begin, end).
  bool Decode(int begin, int end);
  bool IsCompared(int token) const { return token >= compared_begin_ && token < compared_end_; }
  // Makes the reference of a text, in parts of `size`. Its last kRows rows are compared.
  bool SetReference(std::vector<llama_token> tokens, int size);
  bool TryShortText(int count);
  bool TryLongText(int count);
  // Evaluates the beginning of a text of kTile tokens, which is the reference already, in one call with the rest.
  bool TryTile();
  double SecondsLeft() const { return std::chrono::duration<double>(end_ - Clock::now()).count(); }
  // For a shape as long as the longest that has been tried since the text began.
  bool HasTimeForAnother() const { return SecondsLeft() > longest_shape_; }
  void Clear() { llama_memory_clear(llama_get_memory(context_), /*data=*/false); }

  llama_context* const context_;
  const Clock::time_point end_;
  const llama_vocab* const vocab_;
  const int32_t vocab_size_;
  const int most_sequences_;
  const int most_tokens_;
  Batch batch_;
  std::vector<llama_token> tokens_;
  // Shape [compared tokens, vocab_size].
  std::vector<std::vector<double>> reference_;
  bool is_reference_ = false;
  int compared_begin_ = 0;
  int compared_end_ = 0;
  double largest_ = 0;
  // Seconds.
  double longest_shape_ = 0;
};

void Measurement::AddText(int begin, int end, int sequence) {
  for (int i = begin; i < end; ++i) batch_.Add(tokens_[static_cast<size_t>(i)], i, sequence, IsCompared(i));
}

bool Measurement::Decode(int begin, int end) {
  if (llama_decode(context_, batch_.get()) != 0) return false;
  for (int i = begin; i < end; ++i) {
    if (!IsCompared(i)) continue;
    const float* logits = llama_get_logits_ith(context_, i - begin);
    if (logits == nullptr) return false;
    std::vector<double> log_probs = LogSoftmax(logits, vocab_size_);
    if (is_reference_) {
      reference_.push_back(std::move(log_probs));
      continue;
    }
    const std::vector<double>& expected = reference_[static_cast<size_t>(i - compared_begin_)];
    const size_t next = static_cast<size_t>(i) + 1;
    const size_t target = next < tokens_.size() ? static_cast<size_t>(tokens_[next]) : 0;
    for (size_t id = 0; id < expected.size(); ++id) {
      if (expected[id] < kLeastLogProb && id != target) continue;
      const double difference = std::abs(log_probs[id] - expected[id]);
      if (std::isfinite(difference)) largest_ = std::max(largest_, difference);
    }
  }
  return true;
}

bool Measurement::TryParts(int size, int others) {
  const Clock::time_point begun = Clock::now();
  Clear();
  const int count = static_cast<int>(tokens_.size());
  for (int begin = 0, call = 0; begin < count; begin += size, ++call) {
    const int end = std::min(begin + size, count);
    batch_.Clear();
    AddText(begin, end, 0);
    for (int other = 1; other <= others; ++other) {
      batch_.Add(tokens_[static_cast<size_t>((begin + 7 * other) % count)], call, other, true);
    }
    if (!Decode(begin, end)) return false;
  }
  longest_shape_ = std::max(longest_shape_, std::chrono::duration<double>(Clock::now() - begun).count());
  return true;
}

bool Measurement::TryFork() {
  Clear();
  const int count = static_cast<int>(tokens_.size());
  batch_.Clear();
  AddText(0, count / 2, 0);
  if (!Decode(0, count / 2)) return false;
  llama_memory_seq_cp(llama_get_memory(context_), 0, 1, -1, -1);
  batch_.Clear();
  AddText(count / 2, count, 1);
  return Decode(count / 2, count);
}

bool Measurement::SetReference(std::vector<llama_token> tokens, int size) {
  tokens_ = std::move(tokens);
  compared_end_ = static_cast<int>(tokens_.size());
  compared_begin_ = std::max(0, compared_end_ - kRows);
  longest_shape_ = 0;
  reference_.clear();
  is_reference_ = true;
  const bool is_done = TryParts(size, 0);
  is_reference_ = false;
  return is_done;
}

bool Measurement::TryShortText(int count) {
  if (!SetReference(SomeTokens(vocab_, count), 1)) return false;
  if (!TryParts(count, 0) || !TryParts(std::max(1, count / 2), 0)) return false;
  struct Shape {
    int size;
    int others;
  };
  for (const Shape shape :
       {Shape{1, 7}, {4, 0}, {1, 3}, {count, 7}, {2, 0}, {1, 15}, {8, 0}, {3, 2}, {1, 1}, {16, 0}}) {
    if (!HasTimeForAnother()) return true;
    if (shape.size > count || shape.others >= most_sequences_ || shape.size + shape.others > most_tokens_) continue;
    // The other sequences need room too.
    const int calls = (count + shape.size - 1) / shape.size;
    if (count + shape.others * calls > static_cast<int>(llama_n_ctx(context_))) continue;
    if (!TryParts(shape.size, shape.others)) return false;
  }
  return most_sequences_ < 2 || count < 2 || !HasTimeForAnother() || TryFork();
}

bool Measurement::TryLongText(int count) {
  if (!SetReference(SomeTokens(vocab_, count), kLongParts)) return false;
  for (const int size : {count, count / 2}) {
    if (!TryParts(size, 0)) return false;
    if (!HasTimeForAnother()) break;
  }
  return true;
}

bool Measurement::TryTile() {
  // The same stream of tokens: the first kBeginning are the reference's.
  tokens_ = SomeTokens(vocab_, kTile);
  return TryParts(kTile, 0);
}

std::optional<double> Measurement::Run() {
  // The cost of a token decides how many there are. A context's first call is slow, so the second one counts.
  double cost = 0;
  for (int i = 0; i < 2; ++i) {
    const Clock::time_point begin = Clock::now();
    Clear();
    batch_.Clear();
    batch_.Add(SomeTokens(vocab_, 1)[0], 0, 0, true);
    if (llama_decode(context_, batch_.get()) != 0) return std::nullopt;
    cost = std::max(1e-4, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  const int beginning = std::min(kBeginning, most_tokens_);
  if (!SetReference(SomeTokens(vocab_, beginning), beginning)) return std::nullopt;
  const double cost_in_call = longest_shape_ / beginning;
  // The long text comes first: it is cheap, because a token costs much less in a call of many, and it matters most.
  // Without a call of kTile tokens the bound would be far too small for the models that need it most, so none is
  // stated.
  if (most_tokens_ >= kTile) {
    const int longest = std::min(kLongText, most_tokens_);
    // Time for the reference, one call, and room for the short text.
    const auto fits = [&](int count) { return 3 * count * cost_in_call < SecondsLeft(); };
    if (fits(longest) || fits(kTile)) {
      if (!TryLongText(fits(longest) ? longest : kTile)) return std::nullopt;
    } else if (kTile * cost_in_call > SecondsLeft() || !TryTile()) {
      return std::nullopt;
    }
  }
  const int most = std::min(kMostTokens, most_tokens_);
  const auto affordable = static_cast<int>(std::clamp(SecondsLeft() / (cost * kUsualShapes / 2), 0.0, 1e6));
  if (!TryShortText(std::clamp(affordable, std::min(kFewestTokens, most), most))) return std::nullopt;
  return largest_;
}

// The next larger number of two digits: 0.00001234 -> 0.000013.
double RoundUp(double value) {
  const double unit = std::pow(10.0, std::floor(std::log10(value)) - 1);
  // Through text, which gives the number that is written with two digits and not one an ulp beside it.
  char text[32];
  std::snprintf(text, sizeof(text), "%.1e", std::ceil(value / unit) * unit);
  return std::strtod(text, nullptr);
}

}  // namespace

std::optional<double> MeasureBatchTolerance(llama_context* context, std::chrono::milliseconds budget) {
  const std::optional<double> largest = Measurement(context, Clock::now() + budget).Run();
  if (!largest) return std::nullopt;
  return std::max(kLeastTolerance, *largest > 0 ? RoundUp(kToleranceMargin * *largest) : 0);
}

std::string ToleranceKey(const std::string& model_fingerprint, const std::string& precision, int threads) {
  const std::string parts = std::to_string(kMethod) + "\n" + model_fingerprint + "\n" + precision + "\n" +
                            std::to_string(threads) + "\n" + llama_version() + "\n" + LOGITD_LLAMA_STAMP + "\n" +
                            llama_print_system_info();
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(parts.data(), parts.size(), digest, &size, EVP_sha256(), nullptr);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest), size});
}

std::optional<double> CachedBatchTolerance(const std::string& cache_dir, const std::string& key,
                                           const std::function<std::optional<double>()>& measure) {
  namespace fs = std::filesystem;
  if (cache_dir.empty()) return measure();
  const fs::path path = fs::path(cache_dir) / (key + ".tolerance");
  double known = 0;
  if (std::ifstream(path) >> known && std::isfinite(known) && known > 0) return known;
  const std::optional<double> measured = measure();
  if (!measured) return std::nullopt;
  std::error_code error;
  fs::create_directories(cache_dir, error);
  // Renamed when complete, so that no process sees half a file.
  const fs::path temporary = path.string() + ".tmp." + std::to_string(::getpid());
  {
    std::ofstream file(temporary);
    file.precision(std::numeric_limits<double>::max_digits10);
    file << *measured << "\n";
    file.close();
    if (!file) {
      fs::remove(temporary, error);
      return measured;
    }
  }
  fs::rename(temporary, path, error);
  return measured;
}

}  // namespace logitd::runner

#include "client/runner/llama/llama_model.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <exception>
#include <iterator>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "client/runner/llama/batch_tolerance.h"
#include "client/runner/llama/context_params.h"
#include "client/runner/llama/context_size.h"
#include "client/runner/llama/continuing_text.h"
#include "client/runner/llama/cpu_count.h"
#include "client/runner/llama/llama_log.h"
#include "client/runner/llama/llama_vocabulary.h"
#include "client/runner/llama/model_probe.h"
#include "client/runner/llama/special_tokens.h"
#include "core/errors.h"
#include "core/limits.h"
#include "host/available_memory.h"

namespace logitd::runner {
namespace {

// Tokens of one batch: about a second of work for a small model, so that other sequences do not wait for long.
constexpr int kMaxBatchTokens = 512;

absl::Status CannotServe(const std::string& file, const std::string& why) {
  return absl::InvalidArgumentError("model file " + file + " cannot be served: " + why);
}

// An error that continues "model file PATH ".
absl::Status WithFile(const std::string& file, const absl::Status& status) {
  return absl::Status(status.code(), "model file " + file + " " + std::string(status.message()));
}

MemoryBudget BudgetOf(const LlamaOptions& options) {
  const host::AvailableMemory memory = host::MeasureAvailableMemory();
  return {options.memory > 0 ? options.memory : memory.bytes, memory.bytes, memory.bound, options.memory_sharers};
}

// Errors continue "model file PATH ".
absl::StatusOr<CacheChoice> CacheFor(const LlamaOptions& options, const MemoryBudget& budget, const Weights& weights,
                                     int32_t context_length, bool is_recurrent) {
  absl::StatusOr<ContextSize> size = ContextSize::Open(weights.path, weights.all_f32);
  if (!size.ok())
    return absl::Status(size.status().code(),
                        "cannot be served: " + WhyLlamaCannot(std::string(size.status().message())));
  return ChooseCache({options.cache_tokens, options.max_sequences, context_length, is_recurrent}, budget,
                     size->Needs());
}

// llama.cpp's name of the weights' type, as in ModelInfo.precision: "f32", "f16", "bf16", "Q4_1".
// REQUIRES: not all of them are F32.
std::string NativePrecision(const llama_model* model, const Weights& weights) {
  std::string name = llama_ftype_name(llama_model_ftype(model));
  constexpr char kGuessed[] = "(guessed) ";
  if (name.rfind(kGuessed, 0) == 0) name.erase(0, sizeof(kGuessed) - 1);
  // If the file does not name its type, llama.cpp takes the type of most tensors, and most may be norms, which are F32.
  if (name == "all F32") return weights.all_f32_or_f16 ? "f16" : "mixed";
  if (name == "F16" || name == "BF16") {
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  }
  return name;
}

constexpr char kNoPreTokenizer[] =
    "the file has no key tokenizer.ggml.pre: texts may become other tokens than the model was trained with (your own "
    "token ids are not affected); convert the model again to add it";

// Each text waits only for texts like it. Most take 2 us per byte, so that few leave their lane; 4 MiB of one letter
// take 6 to 9 s. The CPU time of the last lane bounds the cost of any text: 68 s for 4 MiB. The nice values let
// evaluations of other requests go first.
constexpr int64_t kLaneBytes[] = {16 << 10, 256 << 10};
constexpr TokenizerLane kLanes[] = {
    {.nice = 0, .cpu_time = std::chrono::milliseconds(100)},
    {.nice = 5, .cpu_time = std::chrono::seconds(1)},
    {.nice = 10, .cpu_time = std::chrono::seconds(5), .cpu_time_per_byte = std::chrono::microseconds(15)},
};

}  // namespace

LlamaModel::LlamaModel(std::unique_ptr<llama_model, ModelDeleter> model, const CacheChoice& cache)
    : model_(std::move(model)),
      vocab_(llama_model_get_vocab(model_.get())),
      cache_(cache),
      ledger_(cache.sequences, cache.cells) {}

absl::StatusOr<std::unique_ptr<LlamaModel>> LlamaModel::Load(const LlamaOptions& options) {
  const auto load_begin = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const ModelFile file, InspectModelFile(options.file));
  const MemoryBudget budget = BudgetOf(options);
  // Checked before minutes are spent on a file that is too large: neither the weights as they are, nor as f32, take
  // less.
  if (options.precision != Precision::kF16) {
    if (const absl::Status fit = CheckWeightsFit(file.tensor_bytes, budget); !fit.ok()) {
      return WithFile(options.file, fit);
    }
  }
  llama_backend_init();
  ASSIGN_OR_RETURN(const Weights weights, PrepareWeights(file, options.precision, options.cache_dir));

  TakeLastLlamaError();
  std::unique_ptr<llama_model, ModelDeleter> model;
  {
    QuietLlamaLog quiet;
    model.reset(llama_model_load_from_file(weights.path.c_str(), llama_model_default_params()));
  }
  if (model == nullptr) return CannotServe(options.file, WhyLlamaCannot(TakeLastLlamaError()));
  if (!llama_model_has_decoder(model.get()) || llama_model_has_encoder(model.get()) ||
      llama_model_is_diffusion(model.get())) {
    return CannotServe(options.file, "it is not a model that predicts the next token");
  }
  const llama_vocab* vocab = llama_model_get_vocab(model.get());
  const int32_t vocab_size = llama_vocab_n_tokens(vocab);
  if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE || vocab_size < 1 || vocab_size > kMaxVocabSize) {
    return CannotServe(options.file, "it has no vocabulary of 1 to " + std::to_string(kMaxVocabSize) + " tokens");
  }

  const int32_t trained_length = std::max(1, llama_model_n_ctx_train(model.get()));
  if (options.context_length > trained_length) {
    return absl::InvalidArgumentError("--context-length must be at most " + std::to_string(trained_length) +
                                      ", the length that the model was trained with, got " +
                                      std::to_string(options.context_length));
  }
  const int32_t context_length = options.context_length > 0 ? options.context_length : trained_length;
  absl::StatusOr<CacheChoice> cache =
      CacheFor(options, budget, weights, context_length,
               llama_model_is_recurrent(model.get()) || llama_model_is_hybrid(model.get()));
  if (!cache.ok()) return WithFile(options.file, cache.status());
  std::fprintf(stderr, "logitd-llama: %scache of %s\n", cache->is_short ? "warning: " : "", cache->why.c_str());

  std::unique_ptr<LlamaModel> loaded(new LlamaModel(std::move(model), *cache));
  RETURN_IF_ERROR(loaded->CreateContext(options, weights.all_f32));
  RETURN_IF_ERROR(loaded->StartTokenizer(options));
  loaded->ReadVocabulary(weights.path);
  for (const std::string& warning : loaded->info_.warnings()) {
    std::fprintf(stderr, "logitd-llama: warning: model file %s: %s\n", options.file.c_str(), warning.c_str());
  }
  loaded->info_.set_context_length(context_length);
  loaded->DescribeModel(options, weights);
  loaded->MeasureTolerance(options.cache_dir, load_begin);
  std::fprintf(stderr, "logitd-llama: %s\n", loaded->PrecisionNotice(options.file, weights).c_str());
  return loaded;
}

absl::Status LlamaModel::CreateContext(const LlamaOptions& options, bool f32) {
  is_f32_ = f32;
  threads_ = options.threads > 0 ? options.threads : std::max(1, UsableCpuCount() / options.cpu_sharers);
  if (options.threads == 0 && threads_ > 1) free_cpus_.emplace(threads_);
  context_ = NewContext(cache_.cells, cache_.sequences);
  if (context_ == nullptr) {
    return absl::ResourceExhaustedError("no memory for a cache of " + std::to_string(cache_.cells) +
                                        " tokens (llama.cpp says: " + TakeLastLlamaError() +
                                        "); lower --cache-tokens, and --context-length if need be");
  }
  // Computes once, so that a model that cannot be computed is found now, and its pages are in memory.
  if (const absl::Status probed = ProbeModel(context_.get()); !probed.ok()) {
    return CannotServe(options.file, "it " + std::string(probed.message()));
  }
  can_cut_ = CanCutCache(context_.get());
  return absl::OkStatus();
}

auto LlamaModel::NewContext(int64_t cells, int sequences) -> std::unique_ptr<llama_context, ContextDeleter> {
  llama_context_params params = ContextParams(model_.get(), {cells, sequences, is_f32_}, threads_);
  params.abort_callback = [](void* model) { return static_cast<LlamaModel*>(model)->ShouldAbort(); };
  params.abort_callback_data = this;
  QuietLlamaLog quiet;
  return std::unique_ptr<llama_context, ContextDeleter>(llama_init_from_model(model_.get(), params));
}

absl::Status LlamaModel::StartTokenizer(const LlamaOptions& options) {
  TokenizerClientOptions tokenizer;
  tokenizer.program = options.tokenizer_program;
  tokenizer.model_file = options.file;
  tokenizer.lanes.assign(std::begin(kLanes), std::end(kLanes));
  ASSIGN_OR_RETURN(tokenizer_, TokenizerClient::Start(std::move(tokenizer)));
  if (tokenizer_->vocab_size() != llama_vocab_n_tokens(vocab_)) {
    return CannotServe(options.file, "it changed while it was read");
  }
  return absl::OkStatus();
}

void LlamaModel::ReadVocabulary(const std::string& path) {
  vocabulary_ = VocabularyOf(vocab_);
  info_.set_vocab_size(vocabulary_.token_lengths_size());
  info_.set_vocab_fingerprint(VocabFingerprint(vocabulary_));
  const SpecialTokens special = ReadSpecialTokens(model_.get(), path);
  for (const TokenId token_id : special.end_of_generation) info_.add_end_token_ids(token_id);
  if (special.eos) info_.set_eos_token_id(*special.eos);
  if (special.bos) info_.set_bos_token_id(*special.bos);
  info_.set_adds_bos(special.adds_bos);
  for (const std::string& warning : special.warnings) info_.add_warnings(warning);
  if (GuessesPreTokenizer(model_.get())) info_.add_warnings(kNoPreTokenizer);
  tokens_spell_text_ = TokensSpellText(vocab_, vocabulary_);
  adds_space_prefix_ = AddsSpacePrefix(vocab_);
}

void LlamaModel::DescribeModel(const LlamaOptions& options, const Weights& weights) {
  info_.set_name(options.name);
  info_.set_model_fingerprint(weights.fingerprint);
  if (weights.all_f32) {
    info_.set_precision("f32");
  } else {
    info_.set_precision(weights.precision == Precision::kF16 ? "f16" : NativePrecision(model_.get(), weights));
  }
  if (const int32_t width = llama_model_n_embd(model_.get()); width > 0) info_.set_hidden_width(width);
  info_.set_parameter_count(static_cast<int64_t>(llama_model_n_params(model_.get())));
  if (const char* chat_template = llama_model_chat_template(model_.get(), nullptr)) {
    info_.set_chat_template(chat_template);
  }
}

void LlamaModel::MeasureTolerance(const std::string& cache_dir, std::chrono::steady_clock::time_point load_begin) {
  const auto tenth =
      std::chrono::duration_cast<std::chrono::milliseconds>((std::chrono::steady_clock::now() - load_begin) / 10);
  const std::string key = ToleranceKey(info_.model_fingerprint(), info_.precision(), llama_n_threads(context_.get()));
  const std::optional<double> nats = CachedBatchTolerance(cache_dir, key, [&] {
    QuietLlamaLog quiet;
    return MeasureBatchTolerance(context_.get(), std::max(kToleranceTime, tenth));
  });
  if (nats) info_.set_batch_tolerance_nats(*nats);
}

std::string LlamaModel::PrecisionNotice(const std::string& file, const Weights& weights) const {
  std::string text = "serving " + file;
  text += weights.path == file ? " as it is (" + info_.precision() + ")" : " in " + info_.precision();
  if (!info_.has_batch_tolerance_nats()) {
    text += "; how far a token's log-prob moves with its batch is not known";
  } else {
    char nats[32];
    std::snprintf(nats, sizeof(nats), "%.2g", info_.batch_tolerance_nats());
    text += std::string(": a token's log-prob moves by up to ") + nats + " nats with its batch";
  }
  return text + (weights.all_f32 ? "" : "; --precision f32 narrows that");
}

v1::RunnerCapabilities LlamaModel::Capabilities() const {
  v1::RunnerCapabilities capabilities;
  capabilities.set_fork(true);
  capabilities.set_trim(can_cut_);
  capabilities.set_tokenizer(true);
  capabilities.set_vocabulary(true);
  capabilities.set_tokens_spell_text(tokens_spell_text_);
  capabilities.set_isolation(cache_.isolates);
  capabilities.set_chat_template(tokenizer_->has_chat_template());
  capabilities.add_dtypes(v1::LOGITS_DTYPE_F32);
  return capabilities;
}

v1::RunnerCapacity LlamaModel::Capacity() const {
  v1::RunnerCapacity capacity;
  capacity.set_max_sequences(cache_.sequences);
  capacity.set_max_cached_tokens(ledger_.max_cells());
  capacity.set_max_batch_tokens(kMaxBatchTokens);
  capacity.set_cache_choice(cache_.why);
  return capacity;
}

std::optional<v1::RunnerPlatform> LlamaModel::Platform() const {
  v1::RunnerPlatform platform;
  platform.set_threads(threads_);
  platform.set_cpu_target(kCpuTarget);
  return platform;
}

std::vector<int64_t> LlamaModel::TextLanes() const { return {std::begin(kLaneBytes), std::end(kLaneBytes)}; }

absl::StatusOr<std::vector<TokenId>> LlamaModel::Tokenize(const std::string& text, const TokenizeOptions& options) {
  return TokenizeInLane(text, options, {.lane = static_cast<int>(std::size(kLanes)) - 1});
}

absl::StatusOr<std::vector<TokenId>> LlamaModel::TokenizeInLane(const std::string& text, const TokenizeOptions& options,
                                                                const TextTask& task) {
  if (text.size() > static_cast<size_t>(kMaxTextBytes)) {
    return errors::LimitExceeded(task.field, static_cast<int64_t>(text.size()),
                                 "at most " + std::to_string(kMaxTextBytes) + " bytes", "max_text_bytes");
  }
  // Tokenises a part of the text, or a lead followed by the text.
  const auto tokenize = [&](const std::string& part) -> absl::StatusOr<std::vector<TokenId>> {
    if (part.empty()) return std::vector<TokenId>();
    return tokenizer_->Tokenize(part, options.parse_special_tokens, task);
  };
  if (options.continues_text) {
    return TokenizeContinuing(text, tokenize,
                              [&](TokenId id) { return TokenPiece(vocab_, id, options.parse_special_tokens); });
  }
  ASSIGN_OR_RETURN(std::vector<TokenId> token_ids, tokenize(text));
  // llama_tokenize's own add_special would also append EOS where a model asks for that, and a prompt must not end
  // there.
  const bool add_bos = options.add_special_tokens.value_or(info_.adds_bos());
  if (add_bos && info_.has_bos_token_id()) token_ids.insert(token_ids.begin(), info_.bos_token_id());
  return token_ids;
}

absl::StatusOr<v1::RenderChatResult> LlamaModel::RenderChat(const v1::Chat& chat, const TextTask& task) {
  if (!tokenizer_->has_chat_template()) return errors::ChatTemplateUnavailable(info_.name());
  if (const auto bytes = static_cast<int64_t>(chat.ByteSizeLong()); bytes > kMaxTextBytes) {
    return errors::AboveLimit(task.field, bytes, kMaxTextBytes, 0, "bytes");
  }
  return tokenizer_->RenderChat(chat, task);
}

absl::StatusOr<std::string> LlamaModel::Detokenize(std::span<const TokenId> token_ids, bool render_special_tokens) {
  // Piece by piece, because llama_detokenize also drops spaces before punctuation for some models.
  std::string text;
  bool at_start = adds_space_prefix_;
  for (TokenId token_id : token_ids) {
    std::string piece = TokenPiece(vocab_, token_id, render_special_tokens);
    const bool is_control = llama_vocab_is_control(vocab_, token_id);
    if (at_start && !is_control && piece.rfind(' ', 0) == 0) piece.erase(0, 1);
    if (!is_control) at_start = false;
    text += piece;
  }
  return text;
}

}  // namespace logitd::runner

// Where the tables of a TransitionModel come from: a seed, or JSON.
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/testing/transition_model.h"

namespace logitd::testing {
namespace {

constexpr std::string_view kWords[] = {
    " the", " of",   " and", " to", " in",      " is",    " a",       " that", " it",  " for", " was", " on",  " are",
    " as",  " with", " he",  " at", " by",      " this",  " cat",     " dog",  " mat", " sat", " ran", " yes", " no",
    "the",  "and",   "in",   "is",  "cat",      "dog",    "yes",      "no",    "th",   "he",   "er",   "an",   "re",
    "on",   "at",    "en",   "nd",  "ti",       "es",     "or",       "te",    "ing",  "ion",  "ed",   "ly",   "ll",
    ", ",   ". ",    "\n\n", "  ",  "\xC3\xA9", "Answer", "Question", ":",     " A",   " B"};
constexpr size_t kByteCount = 256;

uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

absl::StatusOr<std::string> TokenFromJson(const nlohmann::json& token) {
  if (token.is_string()) return token.get<std::string>();
  std::string bytes;
  for (const nlohmann::json& byte : token) {
    if (!byte.is_number_unsigned() || byte.get<uint64_t>() > 255) {
      return absl::InvalidArgumentError("a token must be a string or a list of bytes, got " + token.dump());
    }
    bytes.push_back(static_cast<char>(byte.get<uint64_t>()));
  }
  return bytes;
}

absl::StatusOr<std::vector<float>> RowFromJson(const nlohmann::json& values) {
  std::vector<float> row;
  for (const nlohmann::json& value : values) {
    if (value.is_null()) {
      row.push_back(-std::numeric_limits<float>::infinity());
    } else if (value.is_number()) {
      row.push_back(value.get<float>());
    } else {
      return absl::InvalidArgumentError("a logit must be a number or null, got " + value.dump());
    }
  }
  return row;
}

absl::StatusOr<std::optional<TokenId>> IdFromJson(const nlohmann::json& json, const char* name, size_t vocab_size) {
  if (!json.contains(name)) return std::nullopt;
  const nlohmann::json& id = json.at(name);
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= vocab_size) {
    return absl::InvalidArgumentError(std::string(name) + " must be a token id, got " + id.dump());
  }
  return id.get<TokenId>();
}

}  // namespace

TransitionTables RandomTables(uint64_t seed) {
  TransitionTables tables;
  tables.tokens = {"<s>", "</s>"};
  tables.control_token_ids = {0, 1};
  tables.bos_token_id = 0;
  tables.eos_token_id = 1;
  for (size_t byte = 0; byte < kByteCount; ++byte) tables.tokens.emplace_back(1, static_cast<char>(byte));
  for (const std::string_view word : kWords) tables.tokens.emplace_back(word);
  const size_t vocab_size = tables.tokens.size();
  for (size_t t = 0; t < vocab_size; ++t) {
    const uint64_t state = Mix(Mix(seed) ^ t);
    std::vector<float>& row = tables.logits.emplace_back(vocab_size);
    for (size_t i = 0; i < vocab_size; ++i) {
      const auto bits = static_cast<int64_t>((Mix(state ^ i) >> 49) * 512 + i);
      row[i] = static_cast<float>(bits - (1 << 23)) / (1 << 20);
    }
  }
  return tables;
}

absl::StatusOr<TransitionTables> TablesFromJson(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("tokens") || !json.contains("logits")) {
    return absl::InvalidArgumentError("the tables must be a JSON object with tokens and logits");
  }
  TransitionTables tables;
  for (const nlohmann::json& token : json.at("tokens")) {
    absl::StatusOr<std::string> bytes = TokenFromJson(token);
    if (!bytes.ok()) return bytes.status();
    tables.tokens.push_back(*std::move(bytes));
  }
  const size_t vocab_size = tables.tokens.size();
  for (const nlohmann::json& values : json.at("logits")) {
    absl::StatusOr<std::vector<float>> row = RowFromJson(values);
    if (!row.ok()) return row.status();
    if (row->size() != vocab_size) {
      return absl::InvalidArgumentError("row " + std::to_string(tables.logits.size()) + " has " +
                                        std::to_string(row->size()) + " logits for " + std::to_string(vocab_size) +
                                        " tokens");
    }
    tables.logits.push_back(*std::move(row));
  }
  if (tables.logits.empty() || tables.logits.size() != vocab_size) {
    return absl::InvalidArgumentError("there must be one row of logits for each token, and at least one");
  }
  for (const nlohmann::json& id : json.value("control_token_ids", nlohmann::json::array())) {
    absl::StatusOr<std::optional<TokenId>> control =
        IdFromJson({{"control_token_ids", id}}, "control_token_ids", vocab_size);
    if (!control.ok()) return control.status();
    tables.control_token_ids.push_back(**control);
  }
  for (const auto& [name, place] :
       {std::pair{"bos_token_id", &tables.bos_token_id}, std::pair{"eos_token_id", &tables.eos_token_id}}) {
    absl::StatusOr<std::optional<TokenId>> id = IdFromJson(json, name, vocab_size);
    if (!id.ok()) return id.status();
    *place = *id;
  }
  return tables;
}

}  // namespace logitd::testing

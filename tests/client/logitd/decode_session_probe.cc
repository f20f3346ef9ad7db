// Decodes sequences of a toy model through a DecodeSession and prints each result, for tests that kill its servers.
//
//   decode_session_probe SEED ROUNDS ADDRESS...       SEED "-": the server draws one
//
// Standard output: "seed S", then "ID HEX" for each batch, its result serialised; standard error: "reconnects N".
// Four groups of sequences, each with parameters of its own, have a batch in flight each. Sequences end and others take
// their place all the time. The row of a step depends on the sequence's last token and on its position.
#include <cmath>
#include <cstdint>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "client/logitd/decode_session.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/text_format.h"

namespace logitd::client {
namespace {

constexpr int kVocabSize = 32;
constexpr int kGroups = 4;
constexpr int kSequencesPerGroup = 6;

// The parameters of each group's sequences, beside seed and key.
constexpr const char* kOpens[kGroups] = {
    // The stream's own sampling, and no stage that looks at tokens.
    "stop { max_tokens: 40 }",
    "sampling { repetition_penalty: 1.3 frequency_penalty: 0.2 temperature: 0.8 } stop { max_tokens: 25 } "
    "record { rank: true entropy: true draw: true }",
    "sampling { dry { multiplier: 0.8 } no_repeat_ngram_size: 4 top_p: 0.95 } stop { max_tokens: 60 }",
    "sampling { temperature: 0 } record { top_n: 2 }",
};

void AppendRow(int last_token, int position, std::string& payload) {
  for (int token = 0; token < kVocabSize; ++token) {
    const auto value = static_cast<float>(3 * std::sin(1.7 * token + 0.9 * last_token + 0.05 * position));
    payload.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
}

struct Sequence {
  int last_token = 0;
  int position = 0;
  bool is_new = true;
};

class Groups {
 public:
  // The group's next batch: a step for each of its sequences, with new ones in the place of those that ended.
  v1::StepBatch Next(int group, std::string& payload) {
    v1::StepBatch batch;
    batch.set_batch_id(++batch_id_);
    std::map<int64_t, Sequence>& sequences = groups_[group];
    // A sequence that its caller gives up.
    if (sequences.size() == kSequencesPerGroup && rng_() % 7 == 0) {
      batch.add_close_sequence_ids(sequences.begin()->first);
      sequences.erase(sequences.begin());
    }
    v1::TokenIds& prompt = *batch.add_shared_prompts();
    for (const int token : {3, 1, 4, 1, 5, static_cast<int>(rng_() % kVocabSize)}) prompt.add_token_ids(token);
    while (sequences.size() < kSequencesPerGroup) {
      v1::OpenSequence& open = *batch.add_opens();
      google::protobuf::TextFormat::ParseFromString(kOpens[group], &open);
      open.set_sequence_id(++sequence_id_);
      if (sequence_id_ % 2 == 0) {
        open.mutable_fresh()->set_shared_prompt(0);
      } else {
        open.mutable_fresh()->add_prompt_token_ids(7);
      }
      sequences[sequence_id_] = Sequence();
    }
    v1::LogitsBlock& block = *batch.add_blocks();
    block.set_dtype(v1::LOGITS_DTYPE_F32);
    block.set_width(kVocabSize);
    block.set_row_count(static_cast<int>(sequences.size()));
    for (const auto& [id, sequence] : sequences) {
      v1::SequenceStep& step = *batch.add_steps();
      step.set_sequence_id(id);
      step.set_position(sequence.position);
      AppendRow(sequence.last_token, sequence.position, payload);
    }
    return batch;
  }

  bool Take(int group, const v1::BatchResult& result) {
    for (const v1::OpenResult& open : result.opens()) {
      if (open.has_error()) return std::cerr << open.error().message() << "\n", false;
    }
    for (const v1::StepResult& step : result.steps()) {
      if (!step.has_chosen()) return std::cerr << step.error().message() << "\n", false;
      Sequence& sequence = groups_[group].at(step.sequence_id());
      sequence.position += step.chosen().tokens_size();
      sequence.last_token = step.chosen().tokens(0).token_id();
      if (step.chosen().has_finish()) groups_[group].erase(step.sequence_id());
    }
    return true;
  }

 private:
  std::mt19937 rng_{7};
  int64_t batch_id_ = 0;
  int64_t sequence_id_ = 0;
  std::map<int64_t, Sequence> groups_[kGroups];
};

std::string Serialised(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

absl::Status Run(const std::string& seed, int rounds, std::vector<std::string> addresses) {
  v1::DecodeConfig config;
  config.set_vocab_size(kVocabSize);
  config.add_end_token_ids(kVocabSize - 1);
  config.mutable_sampling()->set_temperature(0.9);
  if (seed != "-") config.mutable_sampling()->set_seed(std::stoull(seed));
  auto session = DecodeSession::Start({.addresses = std::move(addresses)}, config);
  if (!session.ok()) return session.status();
  std::cout << "seed " << (*session)->started().seed() << std::endl;
  Groups groups;
  for (int turn = 0; turn < (rounds + 1) * kGroups; ++turn) {
    const int group = turn % kGroups;
    if (turn >= kGroups) {
      const absl::StatusOr<v1::BatchResult> result = (*session)->Receive();
      if (!result.ok()) return result.status();
      std::cout << result->batch_id() << " " << absl::BytesToHexString(Serialised(*result)) << std::endl;
      if (!groups.Take(group, *result)) return absl::InternalError("a sequence failed");
    }
    if (turn >= rounds * kGroups) continue;
    std::string payload;
    v1::StepBatch batch = groups.Next(group, payload);
    if (absl::Status sent = (*session)->Send(std::move(batch), std::move(payload)); !sent.ok()) return sent;
  }
  std::cerr << "reconnects " << (*session)->reconnect_count() << "\n";
  return (*session)->Finish();
}

}  // namespace
}  // namespace logitd::client

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const absl::Status status =
      logitd::client::Run(argv[1], std::stoi(argv[2]), std::vector<std::string>(argv + 3, argv + argc));
  if (status.ok()) return 0;
  std::cerr << status << "\n";
  return 1;
}

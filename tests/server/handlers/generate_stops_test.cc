// Generate: stop strings.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"
#include "tests/testing/stop_reference.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::EqualsProto;
using logitd::testing::FakeModelOptions;
using logitd::testing::FakeTokenBytes;
using logitd::testing::FindStop;
using logitd::testing::Parse;
using logitd::testing::StopReference;

class GenerateStopsTest : public logitd::testing::InProcessServer {
 protected:
  // The reply, whose deltas must add up to the final completions.
  v1::GenerateFinal Checked(const v1::GenerateRequest& request) {
    std::vector<v1::GenerateResponse> responses;
    const grpc::Status status = Generate(request, &responses);
    EXPECT_TRUE(status.ok()) << Describe(status);
    if (!status.ok()) return {};
    const v1::GenerateFinal final = responses.back().final();
    for (const v1::Completion& completion : final.completions()) {
      v1::Completion told;
      for (const v1::GenerateResponse& response : responses) {
        if (!response.has_delta() || response.delta().index() != completion.index()) continue;
        EXPECT_FALSE(told.has_finish()) << "nothing comes after the end";
        told.mutable_tokens()->MergeFrom(response.delta().tokens());
        told.mutable_text()->append(response.delta().text());
        *told.mutable_totals() = response.delta().totals();
        if (request.record().layout() != v1::RECORD_LAYOUT_NONE) {
          EXPECT_EQ(told.tokens_size(), told.totals().token_count());
        }
        if (response.delta().has_finish()) *told.mutable_finish() = response.delta().finish();
      }
      v1::Completion expected;
      *expected.mutable_tokens() = completion.tokens();
      expected.set_text(completion.text());
      *expected.mutable_totals() = completion.totals();
      *expected.mutable_finish() = completion.finish();
      EXPECT_THAT(told, EqualsProto(expected));
    }
    return final;
  }
  v1::GenerateFinal Checked(const std::string& request) { return Checked(Parse<v1::GenerateRequest>(request)); }

  // A request for a completion of "the cat". `stop`: more of its stop criteria.
  static std::string Request(int max_tokens, const std::string& stop = "", const std::string& more = "") {
    return "prompt { text: 'the cat' } sampling { temperature: 2 seed: 5 } stop { ignore_eos: true max_tokens: " +
           std::to_string(max_tokens) + " " + stop + " } " + more;
  }
};

std::vector<std::string> BytesOf(const v1::Completion& completion) {
  std::vector<std::string> bytes;
  for (const v1::TokenRecord& token : completion.tokens()) bytes.emplace_back(FakeTokenBytes(token.token_id()));
  return bytes;
}

std::string TextBytes(const v1::Completion& completion) {
  return completion.has_raw_bytes() ? completion.raw_bytes() : completion.text();
}

TEST_F(GenerateStopsTest, CompletionsAreCutAsTheReferenceCutsThem) {
  std::mt19937 random(20);
  int stopped = 0;
  int straddled = 0;
  int several = 0;
  for (const auto& [choice, fork] : {std::pair(true, true), {false, true}, {true, false}}) {
    FakeModelOptions options;
    options.choice = choice;
    options.fork = fork;
    options.name = std::string(choice ? "choice" : "rows") + (fork ? "" : "-single");
    Attach(options);
    for (int round = 0; round < 40; ++round) {
      SCOPED_TRACE(options.name + ", round " + std::to_string(round));
      v1::GenerateRequest request;
      request.set_model(options.name);
      request.mutable_prompt()->set_text("the cat");
      request.mutable_sampling()->set_temperature(2);
      request.mutable_sampling()->set_seed(random());
      request.mutable_stop()->set_max_tokens(30);
      request.mutable_stop()->set_ignore_eos(true);
      request.mutable_record()->set_rank(true);
      const int n = 1 + round % 3;
      request.set_n(n);
      const v1::GenerateFinal whole = Checked(request);
      // Stop strings that some completion has, and some that none may have.
      std::vector<std::string> stops;
      const std::string text = TextBytes(whole.completions(static_cast<int>(random() % n)));
      while (stops.size() < 1 + random() % 4) {
        const std::string part = text.substr(random() % text.size(), 1 + random() % 5);
        if (IsUtf8(part)) stops.push_back(random() % 4 == 0 ? part + "q" : part);
      }
      const int min_tokens = random() % 3 == 0 ? static_cast<int>(random() % 20) : 0;
      // min_tokens also bans stop tokens, and there is none.
      request.mutable_stop()->set_min_tokens(min_tokens);
      request.mutable_stop()->mutable_stop_strings()->Assign(stops.begin(), stops.end());
      const v1::GenerateFinal cut = Checked(request);
      ASSERT_EQ(cut.completions_size(), n);
      int generated = 0;
      for (int i = 0; i < n; ++i) {
        const v1::Completion& completion = cut.completions(i);
        const StopReference expected = FindStop(BytesOf(whole.completions(i)), stops, min_tokens);
        generated += expected.needed_count;
        EXPECT_EQ(TextBytes(completion), expected.text);
        ASSERT_EQ(completion.tokens_size(), expected.token_count);
        EXPECT_EQ(completion.byte_count(), std::ssize(expected.text));
        EXPECT_EQ(completion.finish().has_stop_string_index(), expected.stop_index.has_value());
        EXPECT_EQ(completion.finish().reason(),
                  expected.stop_index ? v1::FINISH_REASON_STOP_STRING : v1::FINISH_REASON_MAX_TOKENS);
        EXPECT_EQ(completion.finish().stop_string_index(), expected.stop_index.value_or(0));
        EXPECT_EQ(completion.finish().cut_byte_count(), expected.stop_index ? expected.cut_byte_count : 0);
        stopped += expected.stop_index ? 1 : 0;
        straddled += completion.finish().cut_byte_count() > 0 ? 1 : 0;
        several += n > 1 && expected.stop_index ? 1 : 0;
        // The numbers are those of a completion that ends there.
        v1::GenerateRequest shorter = request;
        shorter.set_n(1);
        shorter.set_first_sequence_key(static_cast<uint64_t>(i));
        shorter.clear_stop();
        shorter.mutable_stop()->set_ignore_eos(true);
        shorter.mutable_stop()->set_max_tokens(expected.token_count);
        const v1::Completion alone = Checked(shorter).completions(0);
        EXPECT_THAT(completion.totals(), EqualsProto(alone.totals()));
        for (int t = 0; t < expected.token_count; ++t) {
          EXPECT_THAT(completion.tokens(t), EqualsProto(alone.tokens(t)));
        }
      }
      EXPECT_EQ(cut.usage().generated_token_count(), generated);
    }
    fake_.reset();
  }
  EXPECT_GT(stopped, 80);
  EXPECT_GT(straddled, 10);
  EXPECT_GT(several, 40);
}

TEST_F(GenerateStopsTest, ThePromptIsNotSearched) {
  Attach();
  const v1::Completion whole = Checked(Request(6)).completions(0);
  const std::string first = TextBytes(whole).substr(0, 1);
  // "at" ends the prompt; with the first byte of the completion it would be a stop string.
  const v1::Completion completion =
      Checked(Request(6, "stop_strings: 'cat' stop_strings: '" + ("at" + first) + "'", "prompt_record { }"))
          .completions(0);
  EXPECT_EQ(TextBytes(completion), FindStop(BytesOf(whole), std::vector<std::string>{"cat", "at" + first}, 0).text);
  EXPECT_EQ(completion.finish().reason(), v1::FINISH_REASON_MAX_TOKENS);
}

TEST_F(GenerateStopsTest, HeldBackTextComesWithAStopToken) {
  Attach();
  const v1::Completion whole = Checked(Request(12)).completions(0);
  const int32_t last = whole.tokens(11).token_id();
  std::string before;
  for (int t = 0; t < 11; ++t) {
    if (whole.tokens(t).token_id() == last) GTEST_SKIP() << "choose another seed";
    before += FakeTokenBytes(whole.tokens(t).token_id());
  }
  // All of the text could become the stop string, until the stop token comes.
  v1::GenerateRequest request = Parse<v1::GenerateRequest>(Request(12, "stop_token_ids: " + std::to_string(last)));
  ASSERT_TRUE(IsUtf8(before)) << "choose another seed";
  request.mutable_stop()->add_stop_strings(before + "q");
  std::vector<v1::GenerateResponse> responses;
  ASSERT_TRUE(Generate(request, &responses).ok());
  ASSERT_EQ(responses.size(), 3u) << "started, one delta, final";
  EXPECT_EQ(responses[1].delta().text(), before);
  EXPECT_EQ(responses[1].delta().tokens_size(), 12) << "the stop token is one of them";
  EXPECT_EQ(responses[1].delta().finish().reason(), v1::FINISH_REASON_STOP_TOKEN);
  EXPECT_EQ(responses[2].final().completions(0).text(), before);
  EXPECT_EQ(responses[2].final().completions(0).tokens_size(), 12);
}

TEST_F(GenerateStopsTest, AStopStringWinsOverMaxTokens) {
  Attach();
  const v1::Completion whole = Checked(Request(8)).completions(0);
  const std::string text = TextBytes(whole);
  const std::vector<std::string> stops = {text.substr(text.size() - 2)};
  ASSERT_TRUE(IsUtf8(stops[0]) && text.find(stops[0]) == text.size() - 2) << "choose another seed";
  v1::GenerateRequest request = Parse<v1::GenerateRequest>(Request(8));
  request.mutable_stop()->add_stop_strings(stops[0]);
  const v1::Completion completion = Checked(request).completions(0);
  EXPECT_EQ(completion.finish().reason(), v1::FINISH_REASON_STOP_STRING);
  EXPECT_EQ(TextBytes(completion), text.substr(0, text.size() - 2));
}

TEST_F(GenerateStopsTest, WithoutRecordsSumsAndTextAreCutAlike) {
  Attach();
  const std::string stop = "stop_strings: 'er' stop_strings: 'at' stop_strings: ' m'";
  const v1::Completion with = Checked(Request(40, stop)).completions(0);
  ASSERT_EQ(with.finish().reason(), v1::FINISH_REASON_STOP_STRING);
  const v1::Completion without = Checked(Request(40, stop, "record { layout: RECORD_LAYOUT_NONE }")).completions(0);
  EXPECT_THAT(without.totals(), EqualsProto(with.totals()));
  EXPECT_THAT(without.finish(), EqualsProto(with.finish()));
  EXPECT_EQ(without.text(), with.text());
  EXPECT_TRUE(without.tokens().empty());
}

TEST_F(GenerateStopsTest, ACompletionOfNoTokensHasNoSums) {
  Attach();
  const v1::Completion whole = Checked(Request(1)).completions(0);
  v1::GenerateRequest request = Parse<v1::GenerateRequest>(Request(10));
  const std::string first(FakeTokenBytes(whole.tokens(0).token_id()));
  ASSERT_TRUE(!first.empty() && IsUtf8(first)) << "choose another seed";
  request.mutable_stop()->add_stop_strings(first);
  const v1::Completion completion = Checked(request).completions(0);
  EXPECT_THAT(completion,
              EqualsProto("sequence_key: 0 totals { token_count: 0 } byte_count: 0 character_count: 0 "
                          "finish { reason: FINISH_REASON_STOP_STRING stop_string_index: 0 cut_byte_count: 0 }"));
}

TEST_F(GenerateStopsTest, BadStopStringsAreNamed) {
  Attach();
  const auto refused = [&](const std::string& stop) {
    std::vector<v1::GenerateResponse> responses;
    return Generate(Parse<v1::GenerateRequest>("prompt { text: 'a' } stop { " + stop + " }"), &responses);
  };
  const grpc::Status empty = refused("stop_strings: 'a' stop_strings: ''");
  EXPECT_EQ(Describe(empty), "FIELD_OUT_OF_RANGE of stop.stop_strings[1]");
  EXPECT_EQ(empty.error_message(), "stop.stop_strings[1] must be UTF-8 of [1, 256] bytes, got \"\"");
  const grpc::Status long_one = refused("stop_strings: '" + std::string(257, 'x') + "'");
  EXPECT_EQ(Describe(long_one), "LIMIT_EXCEEDED of stop.stop_strings[0]");
  EXPECT_EQ(long_one.error_message(), "stop.stop_strings[0] must be in [1, 256] bytes, got 257");
  std::string many;
  for (int i = 0; i < 65; ++i) many += "stop_strings: 'x' ";
  EXPECT_EQ(Describe(refused(many)), "LIMIT_EXCEEDED of stop.stop_strings");
  EXPECT_EQ(Describe(refused("time_limit_ms: 0")), "FIELD_OUT_OF_RANGE of stop.time_limit_ms");
  EXPECT_EQ(Describe(refused("time_limit_ms: -5")), "FIELD_OUT_OF_RANGE of stop.time_limit_ms");
  EXPECT_EQ(Describe(refused("time_limit_ms: 86400001")), "LIMIT_EXCEEDED of stop.time_limit_ms");
  // 64 of 256 bytes are fine.
  many.clear();
  for (int i = 0; i < 64; ++i) many += "stop_strings: '" + std::string(256, static_cast<char>('0' + i % 10)) + "' ";
  EXPECT_EQ(Describe(refused(many + "max_tokens: 2")), "OK");
}

TEST_F(GenerateStopsTest, AModelWithoutTextHasNoStopStrings) {
  FakeModelOptions options;
  options.vocabulary = false;
  Attach(options);
  std::vector<v1::GenerateResponse> responses;
  EXPECT_EQ(
      Describe(Generate(Parse<v1::GenerateRequest>("prompt { tokens { token_ids: 5 } } stop { stop_strings: 'a' }"),
                        &responses)),
      "VOCABULARY_UNAVAILABLE of stop.stop_strings");
}

}  // namespace
}  // namespace logitd::server

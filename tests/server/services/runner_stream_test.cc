#include "server/services/runner_stream.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <thread>

#include "core/limits.h"
#include "logitd/v1/model_runner_service.grpc.pb.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::FakeModel;
using logitd::testing::Parse;

// A runner that says what it likes.
class RunnerStreamTest : public logitd::testing::InProcessServer {
 protected:
  void SetUp() override {
    InProcessServer::SetUp();
    Connect();
  }
  void Connect() {
    stub_ = v1::ModelRunnerService::NewStub(
        grpc::CreateChannel(server_->runner_address(), grpc::InsecureChannelCredentials()));
  }

  static v1::AttachRequest Hello() {
    const FakeModel model;
    v1::AttachRequest request;
    *request.mutable_hello()->mutable_model() = model.Info();
    *request.mutable_hello()->mutable_capabilities() = model.Capabilities();
    *request.mutable_hello()->mutable_capacity() = model.Capacity();
    request.mutable_hello()->set_api_major_version(kApiMajorVersion);
    return request;
  }
  static v1::AttachRequest Vocabulary() {
    v1::AttachRequest request;
    *request.mutable_vocabulary() = FakeModel().Vocabulary();
    return request;
  }

  // How the server ends an attachment that begins with `requests`.
  grpc::Status StatusOf(const std::vector<v1::AttachRequest>& requests) {
    const auto context = Context();
    const auto stream = stub_->Attach(context.get());
    for (const v1::AttachRequest& request : requests) {
      if (!stream->Write(request)) break;
    }
    v1::AttachResponse response;
    while (stream->Read(&response)) {
    }
    return stream->Finish();
  }

  std::unique_ptr<v1::ModelRunnerService::Stub> stub_;
};

TEST_F(RunnerStreamTest, OrderOfMessagesIsEnforced) {
  v1::AttachRequest output;
  output.mutable_output()->set_batch_id(1);
  EXPECT_EQ(Describe(StatusOf({output})), "RUNNER_PROTOCOL of ");
  EXPECT_EQ(Describe(StatusOf({Vocabulary()})), "RUNNER_PROTOCOL of ");
  EXPECT_EQ(Describe(StatusOf({Hello(), Hello()})), "RUNNER_PROTOCOL of ");
  EXPECT_EQ(Describe(StatusOf({Hello(), output})), "RUNNER_PROTOCOL of ") << "the vocabulary was asked for";
  EXPECT_EQ(Describe(StatusOf({Hello(), Vocabulary(), Hello()})), "RUNNER_PROTOCOL of ");
  EXPECT_EQ(Describe(StatusOf({Hello(), Vocabulary(), output})), "RUNNER_PROTOCOL of ") << "output nobody asked for";
  EXPECT_EQ(Describe(StatusOf({v1::AttachRequest()})), "RUNNER_PROTOCOL of ");
}

TEST_F(RunnerStreamTest, HelloIsNotBelieved) {
  const struct {
    const char* name;
    void (*change)(v1::RunnerHello&);
    const char* error;
  } cases[] = {
      {"no name", [](v1::RunnerHello& h) { h.mutable_model()->clear_name(); },
       "FIELD_OUT_OF_RANGE of hello.model.name"},
      {"bad name", [](v1::RunnerHello& h) { h.mutable_model()->set_name("a b"); },
       "FIELD_OUT_OF_RANGE of hello.model.name"},
      {"vocab too large", [](v1::RunnerHello& h) { h.mutable_model()->set_vocab_size(1 << 21); },
       "FIELD_OUT_OF_RANGE of hello.model.vocab_size"},
      {"no context", [](v1::RunnerHello& h) { h.mutable_model()->set_context_length(0); },
       "FIELD_OUT_OF_RANGE of hello.model.context_length"},
      {"eos out of range", [](v1::RunnerHello& h) { h.mutable_model()->add_end_token_ids(64); },
       "TOKEN_ID_OUT_OF_RANGE of hello.model.end_token_ids[1]"},
      {"the eos is not one that ends", [](v1::RunnerHello& h) { h.mutable_model()->set_eos_token_id(5); },
       "FIELD_OUT_OF_RANGE of hello.model.eos_token_id"},
      {"an eos, but none that ends", [](v1::RunnerHello& h) { h.mutable_model()->clear_end_token_ids(); },
       "FIELD_OUT_OF_RANGE of hello.model.eos_token_id"},
      {"no hidden width", [](v1::RunnerHello& h) { h.mutable_model()->set_hidden_width(0); },
       "FIELD_OUT_OF_RANGE of hello.model.hidden_width"},
      {"long warning", [](v1::RunnerHello& h) { h.mutable_model()->add_warnings(std::string(257, 'x')); },
       "FIELD_OUT_OF_RANGE of hello.model.warnings[0]"},
      {"empty warning",
       [](v1::RunnerHello& h) {
         h.mutable_model()->add_warnings(std::string(256, 'x'));
         h.mutable_model()->add_warnings("");
       },
       "FIELD_OUT_OF_RANGE of hello.model.warnings[1]"},
      {"warning for a terminal", [](v1::RunnerHello& h) { h.mutable_model()->add_warnings("a\x1b[2J"); },
       "FIELD_OUT_OF_RANGE of hello.model.warnings[0]"},
      {"too many warnings",
       [](v1::RunnerHello& h) {
         for (int i = 0; i < 17; ++i) h.mutable_model()->add_warnings("a");
       },
       "FIELD_OUT_OF_RANGE of hello.model.warnings"},
      {"tolerance is not a number", [](v1::RunnerHello& h) { h.mutable_model()->set_batch_tolerance_nats(NAN); },
       "FIELD_OUT_OF_RANGE of hello.model.batch_tolerance_nats"},
      {"tolerance is infinite", [](v1::RunnerHello& h) { h.mutable_model()->set_batch_tolerance_nats(INFINITY); },
       "FIELD_OUT_OF_RANGE of hello.model.batch_tolerance_nats"},
      {"tolerance below 0", [](v1::RunnerHello& h) { h.mutable_model()->set_batch_tolerance_nats(-1e-9); },
       "FIELD_OUT_OF_RANGE of hello.model.batch_tolerance_nats"},
      {"no capacity", [](v1::RunnerHello& h) { h.clear_capacity(); },
       "FIELD_OUT_OF_RANGE of hello.capacity.max_sequences"},
      {"long cache choice", [](v1::RunnerHello& h) { h.mutable_capacity()->set_cache_choice(std::string(257, 'x')); },
       "FIELD_OUT_OF_RANGE of hello.capacity.cache_choice"},
      {"cache choice of two lines", [](v1::RunnerHello& h) { h.mutable_capacity()->set_cache_choice("a\nb"); },
       "FIELD_OUT_OF_RANGE of hello.capacity.cache_choice"},
      {"long name", [](v1::RunnerHello& h) { h.set_runner_name(std::string(257, 'x')); },
       "FIELD_OUT_OF_RANGE of hello.runner_name"},
      {"name of two lines", [](v1::RunnerHello& h) { h.set_runner_name("a\nb"); },
       "FIELD_OUT_OF_RANGE of hello.runner_name"},
      {"name for a terminal", [](v1::RunnerHello& h) { h.set_runner_name("a\x1b[2J"); },
       "FIELD_OUT_OF_RANGE of hello.runner_name"},
      {"name that turns its direction", [](v1::RunnerHello& h) { h.set_runner_name("a\u202eb"); },
       "FIELD_OUT_OF_RANGE of hello.runner_name"},
      {"long version", [](v1::RunnerHello& h) { h.set_runner_version(std::string(100'000, 'x')); },
       "FIELD_OUT_OF_RANGE of hello.runner_version"},
      {"isolation without a platform", [](v1::RunnerHello& h) { h.mutable_capabilities()->set_isolation(true); },
       "FIELD_REQUIRED of hello.platform"},
      {"isolation in short batches",
       [](v1::RunnerHello& h) {
         h.mutable_capabilities()->set_isolation(true);
         h.mutable_platform()->set_threads(1);
         h.mutable_platform()->set_cpu_target("x");
         h.mutable_capacity()->set_max_batch_tokens(63);
       },
       "FIELD_OUT_OF_RANGE of hello.capacity.max_batch_tokens"},
      {"no threads", [](v1::RunnerHello& h) { h.mutable_platform()->set_cpu_target("x"); },
       "FIELD_OUT_OF_RANGE of hello.platform.threads"},
      {"no CPU target", [](v1::RunnerHello& h) { h.mutable_platform()->set_threads(1); },
       "FIELD_OUT_OF_RANGE of hello.platform.cpu_target"},
      {"CPU target for a terminal",
       [](v1::RunnerHello& h) {
         h.mutable_platform()->set_threads(1);
         h.mutable_platform()->set_cpu_target("\x1b[2J");
       },
       "FIELD_OUT_OF_RANGE of hello.platform.cpu_target"},
      {"platform of another version",
       [](v1::RunnerHello& h) {
         h.mutable_platform()->set_threads(1);
         h.mutable_platform()->set_cpu_target("x");
         h.mutable_platform()->set_version("another");
       },
       "FIELD_OUT_OF_RANGE of hello.platform.version"},
      {"no model", [](v1::RunnerHello& h) { h.clear_model(); }, "FIELD_REQUIRED of hello.model"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    v1::AttachRequest hello = Hello();
    test.change(*hello.mutable_hello());
    EXPECT_EQ(Describe(StatusOf({hello})), test.error);
  }
}

TEST_F(RunnerStreamTest, NamesMayBeInAnyLanguage) {
  v1::AttachRequest hello = Hello();
  hello.mutable_hello()->set_runner_name("M\u00fcnchen \u4e2d #1 " + std::string(230, 'x'));
  hello.mutable_hello()->mutable_model()->add_end_token_ids(1);
  // The next thing that is wrong.
  EXPECT_EQ(Describe(StatusOf({hello, Hello()})), "RUNNER_PROTOCOL of ");
}

TEST_F(RunnerStreamTest, VocabularyMustBeTheOneThatWasAnnounced) {
  v1::AttachRequest vocabulary = Vocabulary();
  vocabulary.mutable_vocabulary()->mutable_token_bytes()->front() ^= 1;
  EXPECT_EQ(Describe(StatusOf({Hello(), vocabulary})), "RUNNER_PROTOCOL of ");
  vocabulary = Vocabulary();
  vocabulary.mutable_vocabulary()->mutable_token_lengths()->RemoveLast();
  EXPECT_EQ(Describe(StatusOf({Hello(), vocabulary})), "RUNNER_PROTOCOL of ");
  vocabulary = Vocabulary();
  vocabulary.mutable_vocabulary()->set_token_lengths(5, -1);
  EXPECT_EQ(Describe(StatusOf({Hello(), vocabulary})), "RUNNER_PROTOCOL of ");
  vocabulary = Vocabulary();
  vocabulary.mutable_vocabulary()->add_unused_token_ids(5);
  EXPECT_EQ(Describe(StatusOf({Hello(), vocabulary})), "RUNNER_PROTOCOL of ") << "another fingerprint";
}

TEST_F(RunnerStreamTest, KindsOfTokensMustMakeSense) {
  const struct {
    const char* name;
    void (*change)(v1::Vocabulary&);
    const char* error;
  } cases[] = {
      {"control and unused", [](v1::Vocabulary& v) { v.add_unused_token_ids(0); }, "RUNNER_PROTOCOL of "},
      {"unused, but no token", [](v1::Vocabulary& v) { v.add_unused_token_ids(64); },
       "TOKEN_ID_OUT_OF_RANGE of vocabulary.unused_token_ids[0]"},
      {"longer than a token may be",
       [](v1::Vocabulary& v) {
         v.mutable_token_bytes()->append(65536, 'x');
         v.set_token_lengths(63, v.token_lengths(63) + 65536);
       },
       "RUNNER_PROTOCOL of "},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    v1::AttachRequest vocabulary = Vocabulary();
    test.change(*vocabulary.mutable_vocabulary());
    v1::AttachRequest hello = Hello();
    if (std::string(test.error) == "RUNNER_PROTOCOL of ") {
      hello.mutable_hello()->mutable_model()->set_vocab_fingerprint(runner::VocabFingerprint(vocabulary.vocabulary()));
    }
    EXPECT_EQ(Describe(StatusOf({hello, vocabulary})), test.error);
  }
}

// A runner may name its control tokens; they have no bytes in a text all the same.
TEST_F(RunnerStreamTest, ControlTokensMayHaveBytes) {
  v1::AttachRequest vocabulary = Vocabulary();
  v1::Vocabulary& named = *vocabulary.mutable_vocabulary();
  const std::string bytes = named.token_bytes();
  named.clear_token_bytes();
  size_t begin = 0;
  for (int32_t id = 0; id < named.token_lengths_size(); ++id) {
    const auto length = static_cast<size_t>(named.token_lengths(id));
    const bool is_control = std::count(named.control_token_ids().begin(), named.control_token_ids().end(), id) > 0;
    *named.mutable_token_bytes() += is_control ? "<control>" : bytes.substr(begin, length);
    if (is_control) named.set_token_lengths(id, 9);
    begin += length;
  }
  v1::AttachRequest hello = Hello();
  hello.mutable_hello()->mutable_model()->set_vocab_fingerprint(runner::VocabFingerprint(named));
  const auto context = Context();
  const auto stream = stub_->Attach(context.get());
  ASSERT_TRUE(stream->Write(hello));
  ASSERT_TRUE(stream->Write(vocabulary));
  stream->WritesDone();
  v1::AttachResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(Describe(stream->Finish()), "OK");
}

TEST_F(RunnerStreamTest, RunnerThatIsNotInterchangeableIsRefused) {
  // With records; the second one has none.
  Attach();
  EXPECT_EQ(Describe(StatusOf({Hello(), Vocabulary()})), "MODEL_MISMATCH of ");
}

TEST_F(RunnerStreamTest, RowsThatAreSentOnceAreNotTakenTwice) {
  const auto context = Context();
  const auto stream = stub_->Attach(context.get());
  ASSERT_TRUE(stream->Write(Hello()));
  ASSERT_TRUE(stream->Write(Vocabulary()));
  ASSERT_TRUE(server_->WaitForModel("fake", [] { return false; }));
  grpc::Status score_status;
  std::thread caller([&] {
    std::vector<v1::ScoreResponse> responses;
    score_status = Score(R"(items { context { tokens { token_ids: [5] } }
        continuations { tokens { token_ids: [7, 8] } } } sampling { temperature: 2 })",
                         &responses);
  });
  v1::AttachResponse response;
  while (stream->Read(&response) && !response.has_batch()) {
  }
  ASSERT_TRUE(response.has_batch());
  v1::AttachRequest request;
  request.mutable_output()->set_batch_id(response.batch().batch_id());
  auto& block = *request.mutable_output()->add_blocks();
  block.set_dtype(v1::LOGITS_DTYPE_F32);
  block.set_row_count(1);
  block.set_width(64);
  request.set_payload(std::string(64 * sizeof(float), '\0'));
  for (int i = 0; i < 2; ++i) {
    auto& output = *request.mutable_output()->add_outputs();
    output.set_sequence_id(response.batch().work(0).sequence_id());
    output.set_first_row(i);
    output.set_row_count(1);
  }
  ASSERT_TRUE(stream->Write(request));
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(Describe(stream->Finish()), "RUNNER_PROTOCOL of ");
  caller.join();
  EXPECT_EQ(Describe(score_status), "RUNNER_LOST of ");
}

// `values` as the payload of a block. REQUIRES: each of them is a value of `dtype`, and normal or 0.
std::string Encode(const std::vector<float>& values, v1::LogitsDtype dtype) {
  if (dtype == v1::LOGITS_DTYPE_F32) return logitd::testing::Bytes(values);
  std::string bytes;
  for (const float value : values) {
    uint16_t code = 0;
    if (dtype == v1::LOGITS_DTYPE_BF16) {
      code = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    } else if (value != 0) {
      // IEEE 754 binary16: sign, 5 bits of exponent with bias 15, 10 of the fraction.
      int exponent = 0;
      const float fraction = 2 * std::frexp(std::fabs(value), &exponent) - 1;
      code = static_cast<uint16_t>((std::signbit(value) ? 1 << 15 : 0) | (exponent + 14) << 10 |
                                   static_cast<int>(fraction * 1024));
    }
    bytes.push_back(static_cast<char>(code & 0xff));
    bytes.push_back(static_cast<char>(code >> 8));
  }
  return bytes;
}

// A runner's own type is asked for if no bit is lost by it; and then none is.
TEST_F(RunnerStreamTest, RowsComeInTheRunnersOwnType) {
  const struct {
    std::vector<int> offered;
    v1::LogitsDtype asked;
  } cases[] = {
      {{}, v1::LOGITS_DTYPE_F32},
      {{v1::LOGITS_DTYPE_F32, v1::LOGITS_DTYPE_BF16}, v1::LOGITS_DTYPE_F32},
      {{v1::LOGITS_DTYPE_BF16, v1::LOGITS_DTYPE_F32}, v1::LOGITS_DTYPE_BF16},
      {{v1::LOGITS_DTYPE_F16}, v1::LOGITS_DTYPE_F16},
      {{v1::LOGITS_DTYPE_LIN16, v1::LOGITS_DTYPE_F32}, v1::LOGITS_DTYPE_F32},
      {{v1::LOGITS_DTYPE_LIN16}, v1::LOGITS_DTYPE_F32},
  };
  // Multiples of 1/8 up to 8 in size, which all of the types have; and one near the least of F16.
  std::vector<float> row(64);
  for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(static_cast<int>(i * 37 % 128) - 64) / 8;
  row[7] = -65024;
  std::string first_reply;
  for (const auto& test : cases) {
    SCOPED_TRACE(test.offered.empty() ? 0 : test.offered.front());
    Start({});
    Connect();
    v1::AttachRequest hello = Hello();
    auto& dtypes = *hello.mutable_hello()->mutable_capabilities()->mutable_dtypes();
    dtypes.Assign(test.offered.begin(), test.offered.end());
    const auto context = Context();
    const auto stream = stub_->Attach(context.get());
    ASSERT_TRUE(stream->Write(hello));
    ASSERT_TRUE(stream->Write(Vocabulary()));
    ASSERT_TRUE(server_->WaitForModel("fake", [] { return false; }));
    v1::GenerateFinal reply;
    std::thread caller([&] {
      reply = Completions(R"(prompt { tokens { token_ids: [5, 7] } } sampling { temperature: 0.7 top_p: 0.9 seed: 3 }
          stop { max_tokens: 1 } record { model_log_prob: true top_n: 64 })");
    });
    v1::AttachResponse response;
    while (stream->Read(&response) && !response.has_batch()) {
    }
    ASSERT_TRUE(response.has_batch());
    const v1::SequenceWork& work = response.batch().work(0);
    EXPECT_EQ(work.rows(0).logits().dtype(), test.asked);
    v1::AttachRequest request;
    request.mutable_output()->set_batch_id(response.batch().batch_id());
    request.mutable_output()->set_final(true);
    auto& block = *request.mutable_output()->add_blocks();
    block.set_dtype(test.asked);
    block.set_row_count(1);
    block.set_width(64);
    auto& output = *request.mutable_output()->add_outputs();
    output.set_sequence_id(work.sequence_id());
    output.set_row_count(1);
    request.set_payload(Encode(row, test.asked));
    ASSERT_TRUE(stream->Write(request));
    caller.join();
    EXPECT_EQ(reply.completions(0).tokens(0).top().token_ids_size(), 64);
    if (first_reply.empty()) first_reply = reply.SerializeAsString();
    EXPECT_EQ(reply.SerializeAsString(), first_reply) << "the same bits";
    stream->WritesDone();
    while (stream->Read(&response)) {
    }
    EXPECT_TRUE(stream->Finish().ok());
  }
}

TEST_F(RunnerStreamTest, RowsThatWouldLoseBitsAreRefused) {
  const auto context = Context();
  const auto stream = stub_->Attach(context.get());
  ASSERT_TRUE(stream->Write(Hello()));
  ASSERT_TRUE(stream->Write(Vocabulary()));
  ASSERT_TRUE(server_->WaitForModel("fake", [] { return false; }));
  std::thread caller([&] {
    std::vector<v1::GenerateResponse> responses;
    EXPECT_EQ(Describe(Generate(Parse<v1::GenerateRequest>("prompt { tokens { token_ids: 5 } } stop { max_tokens: 1 }"),
                                &responses)),
              "RUNNER_LOST of ");
  });
  v1::AttachResponse response;
  while (stream->Read(&response) && !response.has_batch()) {
  }
  ASSERT_TRUE(response.has_batch());
  v1::AttachRequest request;
  request.mutable_output()->set_batch_id(response.batch().batch_id());
  request.mutable_output()->set_final(true);
  auto& block = *request.mutable_output()->add_blocks();
  block.set_dtype(v1::LOGITS_DTYPE_LIN16);
  block.set_row_count(1);
  block.set_width(64);
  block.add_linear_max(1);
  block.add_linear_step(0.5F);
  auto& output = *request.mutable_output()->add_outputs();
  output.set_sequence_id(response.batch().work(0).sequence_id());
  output.set_row_count(1);
  request.set_payload(std::string(128, '\0'));
  ASSERT_TRUE(stream->Write(request));
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(Describe(stream->Finish()), "RUNNER_PROTOCOL of ");
  caller.join();
}

TEST_F(RunnerStreamTest, SilentRunnerIsTakenForDead) {
  Start({.heartbeats = {std::chrono::milliseconds(20), std::chrono::milliseconds(200)}});
  Connect();
  const auto context = Context();
  const auto stream = stub_->Attach(context.get());
  ASSERT_TRUE(stream->Write(Hello()));
  ASSERT_TRUE(stream->Write(Vocabulary()));
  v1::AttachResponse response;
  int heartbeats = 0;
  while (stream->Read(&response)) heartbeats += response.has_heartbeat();
  EXPECT_GE(heartbeats, 1) << "the server shows that it lives";
  EXPECT_EQ(Describe(stream->Finish()), "RUNNER_LOST of ");
}

TEST_F(RunnerStreamTest, HeartbeatsKeepAQuietRunner) {
  Start({.heartbeats = {std::chrono::milliseconds(20), std::chrono::milliseconds(2000)}});
  Connect();
  const auto context = Context();
  const auto stream = stub_->Attach(context.get());
  ASSERT_TRUE(stream->Write(Hello()));
  ASSERT_TRUE(stream->Write(Vocabulary()));
  v1::AttachResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.accepted().heartbeat_interval_ms(), 20);
  EXPECT_EQ(response.accepted().silence_limit_ms(), 2000);
  v1::AttachRequest heartbeat;
  heartbeat.mutable_heartbeat();
  // Longer than the limit.
  for (int i = 0; i < 130; ++i) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_TRUE(response.has_heartbeat());
    ASSERT_TRUE(stream->Write(heartbeat));
  }
  stream->WritesDone();
  while (stream->Read(&response)) {
  }
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(RunnerStreamTest, RequestThatIsGivenUpIsCancelledAtTheRunner) {
  const auto context = Context();
  const auto stream = stub_->Attach(context.get());
  ASSERT_TRUE(stream->Write(Hello()));
  ASSERT_TRUE(stream->Write(Vocabulary()));
  ASSERT_TRUE(server_->WaitForModel("fake", [] { return false; }));
  const auto score_context = Context();
  const auto scoring = v1::ScoringService::NewStub(channel_);
  const auto score = scoring->Score(score_context.get(), Parse<v1::ScoreRequest>(R"(
      items { context { tokens { token_ids: [5] } } continuations { tokens { token_ids: 7 } } })"));
  v1::AttachResponse response;
  while (stream->Read(&response) && !response.has_batch()) {
  }
  ASSERT_TRUE(response.has_batch());
  const v1::RunBatch batch = response.batch();
  EXPECT_GT(batch.deadline_ms(), 0);
  score_context->TryCancel();
  while (stream->Read(&response) && !response.has_cancel()) {
  }
  ASSERT_TRUE(response.has_cancel());
  EXPECT_EQ(response.cancel().batch_id(), batch.batch_id());
  EXPECT_THAT(response.cancel().sequence_ids(), ::testing::ElementsAre(batch.work(0).sequence_id()));
  // The batch is still answered, and the runner serves on.
  v1::AttachRequest request;
  request.mutable_output()->set_batch_id(batch.batch_id());
  request.mutable_output()->set_final(true);
  auto& output = *request.mutable_output()->add_outputs();
  output.set_sequence_id(batch.work(0).sequence_id());
  output.mutable_error()->set_code(static_cast<int>(grpc::StatusCode::CANCELLED));
  output.mutable_error()->set_reason(v1::ERROR_REASON_CANCELLED);
  ASSERT_TRUE(stream->Write(request));
  stream->WritesDone();
  while (stream->Read(&response)) {
  }
  EXPECT_TRUE(stream->Finish().ok());
  v1::ScoreResponse none;
  EXPECT_FALSE(score->Read(&none));
  EXPECT_EQ(score->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(RunnerStreamTest, ClientsCannotAttach) {
  const auto context = Context();
  const auto stream = v1::ModelRunnerService::NewStub(channel_)->Attach(context.get());
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace logitd::server

// The limits of a request: each has a case with its name, in which a request beyond it is refused and the error names
// it. load_limits_test.cc has the limits of calls, streams and runners.
#include "core/limits.h"

#include "tests/server/limits_fixture.h"

namespace logitd::server {
namespace {

TEST_F(LimitsTest, max_message_bytes) {
  v1::ComputeDistributionRequest request;
  request.mutable_logits()->set_values(std::string(kMaxMessageBytes + 1, '\0'));
  v1::ComputeDistributionResponse response;
  EXPECT_EQ(LimitOf(decoding_->ComputeDistribution(Context().get(), request, &response)), "max_message_bytes");
  v1::DecodeRequest batch = Open(1, 1);
  batch.set_payload(std::string(kMaxMessageBytes + 1, '\0'));
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4"), batch}).status), "max_message_bytes");
  // Beyond what is read at all, gRPC refuses it: without details, but with the same code.
  batch.set_payload(std::string(2 * kMaxMessageBytes + 1, '\0'));
  EXPECT_EQ(Decode({Config("vocab_size: 4"), batch}).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

// What takes no rows takes less; nothing of it is parsed.
TEST_F(LimitsTest, max_request_bytes) {
  v1::ScoreRequest score;
  score.set_model(std::string(kMaxRequestBytes + 1, 'x'));
  EXPECT_EQ(LimitOf(Score(score)), "max_request_bytes");
  v1::TokenizeRequest tokenize;
  tokenize.set_model(std::string(kMaxRequestBytes + 1, 'x'));
  v1::TokenizeResponse response;
  EXPECT_EQ(LimitOf(models_->Tokenize(Context().get(), tokenize, &response)), "max_request_bytes");
}

TEST_F(LimitsTest, max_message_elements) {
  v1::ScoreRequest score;
  for (int i = 0; i <= kMaxMessageElements; ++i) score.add_items();
  EXPECT_EQ(LimitOf(Score(score)), "max_message_elements");
  v1::DecodeRequest batch = Open(1, 1);
  for (int i = 0; i < kMaxMessageElements; ++i) batch.mutable_batch()->add_steps();
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4"), batch}).status), "max_message_elements");
  // A list that is within it, and too long for its own limit, is named.
  v1::TokenizeRequest tokenize;
  for (int i = 0; i <= kMaxItems; ++i) tokenize.add_texts("x");
  v1::TokenizeResponse response;
  EXPECT_EQ(LimitOf(models_->Tokenize(Context().get(), tokenize, &response)), "max_items");
}

TEST_F(LimitsTest, max_vocab_size) {
  v1::ComputeDistributionResponse response;
  EXPECT_EQ(
      LimitOf(Distribution("logits { block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 1048577 } }", &response)),
      "max_vocab_size");
}

TEST_F(LimitsTest, max_rows_per_message) {
  v1::DecodeRequest batch = Open(1, 1);
  *batch.mutable_batch()->add_blocks() = Parse<v1::LogitsBlock>("dtype: LOGITS_DTYPE_F32 row_count: 1025 width: 4");
  batch.set_payload(std::string(1025 * 16, '\0'));
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4"), batch}).status), "max_rows_per_message");
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4"), Open(1, 1025)}).status), "max_rows_per_message");
}

TEST_F(LimitsTest, max_sequences_per_stream) {
  const Decoded decoded = Decode({Config("vocab_size: 4"), Open(1, kMaxSequencesPerStream), Open(2, 1)});
  EXPECT_TRUE(decoded.status.ok());
  EXPECT_EQ(LimitOf(decoded.last.result().opens(0).error()), "max_sequences_per_stream");
}

TEST_F(LimitsTest, max_stream_state_bytes) {
  v1::DecodeRequest open = Open(1, 129);
  for (auto& sequence : *open.mutable_batch()->mutable_opens()) {
    sequence.mutable_fresh()->mutable_state()->mutable_tokens()->mutable_token_ids()->Resize(kMaxTokens - 1, 0);
  }
  const Decoded decoded = Decode({Config("vocab_size: 4 sampling { frequency_penalty: 1 }"), open});
  EXPECT_TRUE(decoded.status.ok());
  EXPECT_FALSE(decoded.last.result().opens(127).has_error());
  EXPECT_EQ(LimitOf(decoded.last.result().opens(128).error()), "max_stream_state_bytes");
}

TEST_F(LimitsTest, max_tokens) {
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4 stop { max_tokens: 131073 }")}).status), "max_tokens");
}

TEST_F(LimitsTest, max_prompt_tokens) {
  v1::DecodeRequest open = Open(1, 1);
  open.mutable_batch()->mutable_opens(0)->mutable_fresh()->mutable_prompt_token_ids()->Resize(kMaxPromptTokens + 1, 0);
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4"), open}).last.result().opens(0).error()), "max_prompt_tokens");
}

TEST_F(LimitsTest, max_top_n) {
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 2000 record { top_n: 1025 }")}).status), "max_top_n");
}

TEST_F(LimitsTest, max_named_tokens) {
  v1::DecodeRequest config = Config("vocab_size: 2000");
  for (int i = 0; i <= kMaxNamedTokens; ++i) config.mutable_config()->mutable_record()->add_named_token_ids(i);
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_named_tokens");
}

TEST_F(LimitsTest, max_logit_biases) {
  v1::DecodeRequest config = Config("vocab_size: 1048576");
  for (int i = 0; i <= kMaxLogitBiases; ++i) {
    config.mutable_config()->mutable_sampling()->add_logit_biases()->set_token_id(i);
  }
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_logit_biases");
}

TEST_F(LimitsTest, max_sequence_biases) {
  v1::DecodeRequest config = Config("vocab_size: 4");
  for (int i = 0; i <= kMaxSequenceBiases; ++i) {
    config.mutable_config()->mutable_sampling()->add_sequence_biases()->add_token_ids(1);
  }
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_sequence_biases");
}

TEST_F(LimitsTest, max_dry_breakers) {
  v1::DecodeRequest config = Config("vocab_size: 4");
  for (int i = 0; i <= kMaxDryBreakers; ++i) {
    config.mutable_config()->mutable_sampling()->mutable_dry()->add_breakers()->add_token_ids(1);
  }
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_dry_breakers");
}

TEST_F(LimitsTest, max_dry_breaker_tokens) {
  v1::DecodeRequest config = Config("vocab_size: 4");
  config.mutable_config()->mutable_sampling()->mutable_dry()->add_breakers()->mutable_token_ids()->Resize(
      kMaxDryBreakerTokens + 1, 0);
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_dry_breaker_tokens");
}

TEST_F(LimitsTest, max_list_tokens) {
  v1::DecodeRequest config = Config("vocab_size: 4");
  config.mutable_config()->mutable_sampling()->add_sequence_biases()->mutable_token_ids()->Resize(kMaxListTokens, 0);
  config.mutable_config()->mutable_sampling()->mutable_dry()->add_breakers()->add_token_ids(1);
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_list_tokens");
}

TEST_F(LimitsTest, max_stops) {
  v1::DecodeRequest config = Config("vocab_size: 2000");
  for (int i = 0; i <= kMaxStops; ++i) config.mutable_config()->add_end_token_ids(i);
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_stops");
}

TEST_F(LimitsTest, max_stop_strings) {
  Attach();
  std::string stops;
  for (int i = 0; i <= kMaxStopStrings; ++i) stops += "stop_strings: 'a' ";
  EXPECT_EQ(LimitOf(Generate("prompt { text: 'a' } stop { " + stops + "}")), "max_stop_strings");
}

TEST_F(LimitsTest, max_stop_string_bytes) {
  Attach();
  const std::string stop(kMaxStopStringBytes + 1, 'a');
  EXPECT_EQ(LimitOf(Generate("prompt { text: 'a' } stop { stop_strings: '" + stop + "' }")), "max_stop_string_bytes");
}

TEST_F(LimitsTest, max_time_limit_ms) {
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4 stop { time_limit_ms: 86400001 }")}).status), "max_time_limit_ms");
}

TEST_F(LimitsTest, max_excluded_tokens) {
  auto request = Parse<v1::ComputeDistributionRequest>("logits { float_values: [1, 2] } sampling { temperature: 0.5 }");
  request.mutable_excluded_token_ids()->Resize(kMaxExcludedTokens, 0);
  v1::ComputeDistributionResponse response;
  EXPECT_TRUE(decoding_->ComputeDistribution(Context().get(), request, &response).ok());
  request.add_excluded_token_ids(0);
  EXPECT_EQ(LimitOf(decoding_->ComputeDistribution(Context().get(), request, &response)), "max_excluded_tokens");
}

TEST_F(LimitsTest, max_alternatives) {
  Attach({.context_length = 1024});
  EXPECT_EQ(
      LimitOf(Generate("prompt { tokens { token_ids: 5 } } n: 128 stop { max_tokens: 200 } record { top_n: 64 }")),
      "max_alternatives");
}

TEST_F(LimitsTest, max_n) {
  Attach();
  EXPECT_EQ(LimitOf(Generate("prompt { tokens { token_ids: 5 } } n: 129")), "max_n");
}

TEST_F(LimitsTest, max_generated_tokens) {
  Attach({.context_length = 4096});
  EXPECT_EQ(LimitOf(Generate("prompt { tokens { token_ids: 5 } } n: 128 stop { max_tokens: 2049 }")),
            "max_generated_tokens");
}

TEST_F(LimitsTest, max_items) {
  Attach();
  v1::ScoreRequest request;
  for (int i = 0; i <= kMaxItems; ++i) AddItem(request, 1, 1);
  EXPECT_EQ(LimitOf(Score(request)), "max_items");
}

TEST_F(LimitsTest, max_continuations) {
  Attach();
  v1::ScoreRequest request;
  AddItem(request, 1, kMaxContinuations + 1);
  AddItem(request, 1, 1);
  const auto context = Context();
  const auto reader = scoring_->Score(context.get(), request);
  std::vector<v1::ScoreResponse> responses(2);
  for (v1::ScoreResponse& response : responses) ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(LimitOf(responses[0].item().error()), "max_continuations");
  EXPECT_FALSE(responses[1].item().has_error()) << "the other items go on";
  EXPECT_TRUE(reader->Finish().ok());
}

// What is wrong with an item alone is its error.
TEST_F(LimitsTest, max_id_bytes) {
  Attach();
  std::vector<v1::ScoreResponse> responses;
  EXPECT_TRUE(InProcessServer::Score("items { id: '" + std::string(kMaxIdBytes, 'i') +
                                         "' continuations { text: 'a' } } items { id: '" +
                                         std::string(kMaxIdBytes + 1, 'i') + "' continuations { text: 'a' } }",
                                     &responses)
                  .ok());
  ASSERT_EQ(responses.size(), 2u);
  EXPECT_FALSE(responses[0].item().has_error());
  EXPECT_EQ(LimitOf(responses[1].item().error()), "max_id_bytes");
}

TEST_F(LimitsTest, max_cache_salt_bytes) {
  Attach();
  const auto salt = [](size_t bytes) { return "evaluation { cache_salt: '" + std::string(bytes, 's') + "' }"; };
  const std::string prompt = "prompt { tokens { token_ids: 5 } } stop { max_tokens: 1 } ";
  EXPECT_TRUE(Generate(prompt + salt(kMaxCacheSaltBytes)).ok());
  EXPECT_EQ(LimitOf(Generate(prompt + salt(kMaxCacheSaltBytes + 1))), "max_cache_salt_bytes");
}

TEST_F(LimitsTest, max_rolling_tokens) {
  Attach();
  v1::ScoreRequest request;
  auto& tokens = *request.add_items()->mutable_rolling()->mutable_input()->mutable_tokens();
  for (int i = 0; i <= kMaxRollingTokens; ++i) tokens.add_token_ids(5);
  const auto context = Context();
  const auto reader = scoring_->Score(context.get(), request);
  v1::ScoreResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(LimitOf(response.item().error()), "max_rolling_tokens");
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(LimitsTest, max_segments) {
  Attach();
  std::string prompt = "prompt { ";
  for (int i = 0; i <= kMaxSegments; ++i) prompt += "segments { text: 'a' } ";
  EXPECT_EQ(LimitOf(Generate(prompt + "}")), "max_segments");
}

TEST_F(LimitsTest, max_candidates) {
  Attach();
  v1::RankRequest request;
  v1::RankItem& item = *request.add_items();
  item.mutable_context()->mutable_tokens()->add_token_ids(5);
  for (int i = 0; i <= kMaxCandidates; ++i) item.add_candidates();
  std::vector<v1::RankResponse> responses;
  EXPECT_TRUE(Rank(request, &responses).ok());
  EXPECT_EQ(LimitOf(responses[0].item().error()), "max_candidates");
}

TEST_F(LimitsTest, max_tokenizations) {
  Attach();
  v1::RankRequest request;
  v1::RankItem& item = *request.add_items();
  item.mutable_context()->mutable_tokens()->add_token_ids(5);
  v1::Candidate& candidate = *item.add_candidates();
  candidate.mutable_tokens()->add_token_ids(5);
  for (int i = 0; i <= kMaxTokenizations; ++i) candidate.add_alternative_tokenizations()->add_token_ids(5);
  std::vector<v1::RankResponse> responses;
  EXPECT_TRUE(Rank(request, &responses).ok());
  EXPECT_EQ(LimitOf(responses[0].item().error()), "max_tokenizations");
}

TEST_F(LimitsTest, max_strength_items) {
  v1::FitStrengthsRequest request;
  request.set_item_count(kMaxStrengthItems + 1);
  v1::FitStrengthsResponse response;
  EXPECT_EQ(LimitOf(fitting_->FitStrengths(Context().get(), request, &response)), "max_strength_items");
}

TEST_F(LimitsTest, max_rankings) {
  v1::FitStrengthsRequest request;
  request.set_item_count(2);
  for (int i = 0; i <= kMaxRankings; ++i) request.add_rankings();
  v1::FitStrengthsResponse response;
  EXPECT_EQ(LimitOf(fitting_->FitStrengths(Context().get(), request, &response)), "max_rankings");
}

TEST_F(LimitsTest, max_ranked_items) {
  v1::FitStrengthsRequest request;
  request.set_item_count(1000);
  for (int i = 0; i <= kMaxRankedItems / 1000; ++i) {
    v1::GivenRanking& ranking = *request.add_rankings();
    ranking.add_item_indices(0);
    ranking.set_others_below(true);
  }
  v1::FitStrengthsResponse response;
  EXPECT_EQ(LimitOf(fitting_->FitStrengths(Context().get(), request, &response)), "max_ranked_items");
}

TEST_F(LimitsTest, max_score_tokens) {
  Attach({.context_length = 131'072});
  v1::ScoreRequest request;
  for (int i = 0; i < 5; ++i) AddItem(request, 110'000, 1);
  EXPECT_EQ(LimitOf(Score(request)), "max_score_tokens");
}

TEST_F(LimitsTest, max_score_sequences) {
  auto rows = Parse<v1::ScoreLogitsRequest>(
      "rows { sequence_index: 4096 target_token_ids: 0 blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 1 } }");
  rows.set_payload(std::string(4, '\0'));
  std::vector<v1::ScoreLogitsResponse> responses;
  EXPECT_EQ(LimitOf(ScoreLogits({Parse<v1::ScoreLogitsRequest>("config { vocab_size: 1 }"), rows}, &responses)),
            "max_score_sequences");
}

TEST_F(LimitsTest, max_text_bytes) {
  Attach();
  v1::TokenizeRequest request;
  request.add_texts(std::string(kMaxTextBytes + 1, 'a'));
  v1::TokenizeResponse response;
  EXPECT_EQ(LimitOf(models_->Tokenize(Context().get(), request, &response)), "max_text_bytes");
}

// A fit of `samples` samples with alternating labels.
v1::FitCalibrationRequest FitOf(int samples, int label_count, int width) {
  v1::FitCalibrationRequest request;
  request.set_kind(v1::CALIBRATION_KIND_MULTINOMIAL);
  request.set_input(v1::CALIBRATION_INPUT_FEATURES);
  request.set_label_count(label_count);
  request.set_width(width);
  for (int i = 0; i < samples; ++i) request.add_labels(i % 2);
  request.mutable_values()->Resize(samples * width, 1);
  return request;
}

TEST_F(LimitsTest, max_fit_labels) { EXPECT_EQ(LimitOf(Fit(FitOf(2, 10'001, 1))), "max_fit_labels"); }

TEST_F(LimitsTest, max_fit_samples) { EXPECT_EQ(LimitOf(Fit(FitOf(kMaxFitSamples + 1, 2, 1))), "max_fit_samples"); }

TEST_F(LimitsTest, max_fit_cells) { EXPECT_EQ(LimitOf(Fit(FitOf(1025, 2, 4096))), "max_fit_cells"); }

TEST_F(LimitsTest, max_fit_parameters) { EXPECT_EQ(LimitOf(Fit(FitOf(2, 2000, 70))), "max_fit_parameters"); }

TEST_F(LimitsTest, max_bootstrap_count) {
  v1::FitCalibrationRequest request = FitOf(4, 2, 1);
  request.set_bootstrap_count(10'001);
  EXPECT_EQ(LimitOf(Fit(request)), "max_bootstrap_count");
}

TEST_F(LimitsTest, max_bootstrap_draws) {
  v1::FitCalibrationRequest request = FitOf(100'000, 2, 1);
  request.set_bootstrap_count(10'000);
  EXPECT_EQ(LimitOf(Fit(request)), "max_bootstrap_draws");
}

TEST_F(LimitsTest, max_gradient_bytes) {
  // Nine rows of a million tokens, of which each message gives a few.
  std::vector<v1::ScoreLogitsRequest> requests = {
      Parse<v1::ScoreLogitsRequest>("config { vocab_size: 1000000 gradient: true }")};
  for (int i = 0; i < 9; ++i) {
    auto rows = Parse<v1::ScoreLogitsRequest>(
        "rows { target_token_ids: 0 blocks { dtype: LOGITS_DTYPE_F16 row_count: 1 width: 1000000 } }");
    rows.set_payload(std::string(2'000'000, '\0'));
    requests.push_back(rows);
  }
  std::vector<v1::ScoreLogitsResponse> responses;
  EXPECT_TRUE(ScoreLogits(requests, &responses).ok());
  ASSERT_EQ(responses.size(), 1u);
  EXPECT_EQ(LimitOf(responses[0].error()), "max_gradient_bytes");
}

}  // namespace
}  // namespace logitd::server

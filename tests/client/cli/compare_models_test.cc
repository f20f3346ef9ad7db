// `logit compare` of two models: what is asked for, and what is made of a server's answers.
#include <cmath>

#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::_;
using ::testing::DoAll;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Return;
using ::testing::SetArgPointee;

constexpr int kVocabSize = 3;

class CompareModelsTest : public ::testing::Test {
 protected:
  CompareModelsTest() {
    v1::ListModelsResponse models;
    for (const char* name : {"one", "two"}) {
      v1::ModelInfo& model = *models.add_models()->mutable_model();
      model.set_name(name);
      model.set_vocab_size(kVocabSize);
      model.set_vocab_fingerprint("same");
    }
    ON_CALL(rig_.models(), ListModels).WillByDefault(DoAll(SetArgPointee<2>(models), Return(grpc::Status::OK)));
    EXPECT_CALL(rig_.models(), ListModels).Times(::testing::AnyNumber());
    EXPECT_CALL(rig_.models(), GetVocabularyRaw(_, _)).WillRepeatedly([](auto*, const auto&) {
      return new ScriptedReader<v1::GetVocabularyResponse>(
          {}, Refusal(MakeError(9, v1::ERROR_REASON_VOCABULARY_UNAVAILABLE, "model")));
    });
    EXPECT_CALL(rig_.scoring(), ScoreRaw).WillRepeatedly([this](auto*, const v1::ScoreRequest& request) {
      requests_.push_back(request);
      return new ScriptedReader<v1::ScoreResponse>({Answer(request)});
    });
  }

  // ln p of the tokens after any token.
  static std::vector<double> LogProbs(const std::string& model) {
    return model == "one" ? std::vector<double>{std::log(0.5), std::log(0.3), std::log(0.2)}
                          : std::vector<double>{std::log(0.25), std::log(0.25), std::log(0.5)};
  }

  v1::ScoreResponse Answer(const v1::ScoreRequest& request) const {
    const std::vector<double> log_probs = LogProbs(request.model());
    v1::ScoreResponse response;
    v1::ScoredSequence& score = *response.mutable_item()->add_continuations()->mutable_score();
    for (const int32_t id : request.items(0).continuations(0).tokens().token_ids()) {
      v1::TokenRecord& token = *score.add_tokens();
      token.set_token_id(id);
      token.set_model_log_prob(log_probs[static_cast<size_t>(id)]);
      token.set_model_entropy(1);
      if (request.record().packed_top()) {
        token.mutable_packed_top()->set_model_log_probs(
            std::string(reinterpret_cast<const char*>(log_probs.data()), row_tokens_ * sizeof(double)));
        continue;
      }
      // The most likely ones first.
      const std::vector<int32_t> order =
          request.model() == "one" ? std::vector<int32_t>{0, 1, 2} : std::vector<int32_t>{2, 0, 1};
      for (int i = 0; i < request.record().top_n(); ++i) {
        token.mutable_top()->add_token_ids(order[static_cast<size_t>(i)]);
        token.mutable_top()->add_model_log_probs(log_probs[static_cast<size_t>(order[static_cast<size_t>(i)])]);
      }
      const auto& named = request.items(0).continuations(0).named_by_position();
      if (named.empty() || named_are_lost_) continue;
      for (const int32_t other : named.at(token.position()).token_ids()) {
        token.mutable_named()->add_token_ids(other);
        token.mutable_named()->add_model_log_probs(log_probs[static_cast<size_t>(other)]);
      }
    }
    return response;
  }

  int Run(int64_t max_alternatives, std::vector<std::string> flags = {}) {
    v1::GetServerInfoResponse info;
    info.mutable_limits()->set_max_alternatives(max_alternatives);
    EXPECT_CALL(rig_.server(), GetServerInfo).WillRepeatedly(DoAll(SetArgPointee<2>(info), Return(grpc::Status::OK)));
    flags.insert(flags.begin(), {"compare", "--context-tokens", "1", "--continuation-tokens", "2,0", "--model", "one",
                                 "--against-model", "two"});
    return rig_.Run(flags);
  }

  CommandRig rig_;
  std::vector<v1::ScoreRequest> requests_;
  size_t row_tokens_ = kVocabSize;
  bool named_are_lost_ = false;
};

TEST_F(CompareModelsTest, WholeRowsComeInPiecesThatAReplyCanHold) {
  EXPECT_EQ(Run(/*max_alternatives=*/kVocabSize), kExitOk) << rig_.err();
  // One request finds the tokens; then each model is asked for each row.
  ASSERT_EQ(requests_.size(), 5u);
  EXPECT_EQ(requests_[1].record().top_n(), kVocabSize);
  EXPECT_EQ(requests_[4].model(), "two");
  EXPECT_THAT(requests_[4].items(0).context().tokens().token_ids(), ::testing::ElementsAre(1, 2));
  EXPECT_THAT(rig_.out(), HasSubstr("computed from whole rows"));
  // 0.5 ln 2 + 0.3 ln 1.2 + 0.2 ln 0.4.
  EXPECT_THAT(rig_.out(), HasSubstr("0.218012"));
  EXPECT_THAT(rig_.out(), HasSubstr("the same at 0 of 2 positions"));
}

TEST_F(CompareModelsTest, ARowThatNoReplyHoldsIsBounded) {
  EXPECT_EQ(Run(/*max_alternatives=*/kVocabSize - 1), kExitOk) << rig_.err();
  EXPECT_THAT(rig_.out(), HasSubstr("not values: a reply cannot hold a whole row"));
  EXPECT_THAT(rig_.out(), Not(HasSubstr("whole rows")));
  EXPECT_FALSE(requests_.back().record().packed_top());
}

TEST_F(CompareModelsTest, EachModelIsAskedForTheOthersTokens) {
  EXPECT_EQ(Run(1 << 20, {"--top-n", "1"}), kExitOk) << rig_.err();
  ASSERT_EQ(requests_.size(), 5u);
  EXPECT_THAT(requests_[3].items(0).continuations(0).named_by_position(0).token_ids(), ::testing::ElementsAre(2));
  EXPECT_THAT(requests_[4].items(0).continuations(0).named_by_position(1).token_ids(), ::testing::ElementsAre(0));
  EXPECT_THAT(rig_.out(), HasSubstr("KL(0||1) >="));
}

TEST_F(CompareModelsTest, AnswersOfAnotherFormAreErrors) {
  row_tokens_ = kVocabSize - 1;
  EXPECT_EQ(Run(1 << 20), kExitRefused);
  EXPECT_THAT(rig_.err(), HasSubstr("a row of 2 of 3 tokens"));
}

TEST_F(CompareModelsTest, ListsOfOtherTokensAreErrors) {
  named_are_lost_ = true;
  EXPECT_EQ(Run(1 << 20, {"--top-n", "1"}), kExitRefused);
  EXPECT_THAT(rig_.err(), HasSubstr("lists of different tokens"));
}

}  // namespace
}  // namespace logitd::cli

// `logit verify`: whether a token is the one that a row gives with a seed, a sequence key and a position. Needs no
// model.
#include <ostream>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/json_lines.h"
#include "client/cli/request_flags.h"
#include "client/cli/row_flags.h"
#include "client/cli/sampling_flags.h"
#include "client/cli/session.h"
#include "client/cli/stage_table.h"
#include "client/cli/step_flags.h"

namespace logitd::cli {
namespace {

Arguments MakeArguments() {
  std::vector<Flag> stages = StageFlags();
  for (Flag& flag : TokenSetFlags()) stages.push_back(std::move(flag));
  std::vector<Flag> request = RowFlags();
  request.push_back({"--token", "ID", "the token to verify"});
  return Arguments(
      {.name = "verify",
       .positionals = "",
       .summary =
           "Draws one token again, and says whether it is --token: with the same row, parameters, seed, sequence "
           "key and position it is the same token on any machine. Shows what each stage removed. Exit code 0 if it is "
           "the one, 1 if it is not. Needs no model.",
       .examples =
           "logit verify --logits 6,3,0.5,0.5 --temperature 0.7 --seed 7 --sequence-key 0 --position 2 --token 0\n"
           "logit decode --logits rows.npy --temperature 0.7 --top-p 0.9 --seed 7\n"
           "logit verify --logits rows.npy --temperature 0.7 --top-p 0.9 --seed 7 --sequence-key 0 --position 1 "
           "--token 2\n"
           "logit verify --logits 6,3,0.5,0.5 --temperature 0 --repetition-penalty 2.5 --output-tokens 0 --token 1\n"},
      WithPenaltyFlags({{"Request", request}, {"The step", StepFlags()}, {"Stages", stages}}));
}

absl::StatusOr<v1::ComputeDistributionRequest> RequestFrom(const Arguments& arguments, Environment& environment) {
  v1::ComputeDistributionRequest request;
  if (!arguments.Has("--token")) return UsageError("--token", "--token is missing: the token to verify, as --token 5");
  absl::Status status = SetStep(arguments, request);
  if (!status.ok()) return status;
  status = SetIfGiven(arguments.Int32("--token"), [&](int32_t id) { request.mutable_verify()->set_token_id(id); });
  if (!status.ok()) return status;
  status = SetRow(arguments, environment, request);
  if (!status.ok()) return status;
  request.set_explain(true);
  request.set_layout(v1::RECORD_LAYOUT_NONE);
  return request;
}

// "r = 123 of 456, in [100, 200)": the draw so that it can be checked by hand.
std::string ShowDraw(const v1::DrawRecord& draw) {
  const absl::uint128 r = (absl::uint128(draw.uniform()) * draw.total_weight()) >> 64;
  return absl::StrCat("r = ", absl::Uint128Low64(r), " of ", draw.total_weight(), ", in [", draw.interval_start(), ", ",
                      draw.interval_start() + draw.weight(), ")");
}

}  // namespace

int RunVerify(const std::vector<std::string>& args, Environment& environment) {
  Arguments arguments = MakeArguments();
  int exit_code = kExitOk;
  const std::unique_ptr<Session> session = OpenSession(arguments, args, environment, exit_code);
  if (session == nullptr) return exit_code;
  session->needs_model = false;
  const absl::StatusOr<v1::ComputeDistributionRequest> request = RequestFrom(arguments, environment);
  if (!request.ok()) return session->Fail(request.status());
  const absl::StatusOr<v1::ComputeDistributionResponse> response = session->client->ComputeDistribution(*request);
  if (!response.ok()) return session->Fail(response.status());
  if (!response->has_verification()) {
    return session->Fail(absl::InternalError("the server's reply holds no verification"));
  }

  const v1::Verification& verification = response->verification();
  const int32_t asked = request->verify().token_id();
  const bool is_the_one = verification.token_id() == asked;
  std::ostream& out = session->out();
  if (session->json) {
    out << ToJson(*response) << "\n";
  } else {
    out << (is_the_one
                ? absl::StrCat("token ", asked, " is the one that is drawn\n")
                : absl::StrCat("token ", asked, " is not the one: token ", verification.token_id(), " is drawn\n"))
        << Filled("draw: " + ShowDraw(verification.draw()), session->style().width) << "\n"
        << "kept: " << response->kept_count() << "\n\n"
        << StageTable(response->stages(), session->style());
  }
  return is_the_one ? kExitOk : kExitItemFailed;
}

}  // namespace logitd::cli

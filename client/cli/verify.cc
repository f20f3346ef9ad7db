// `logit verify`: whether a token is the one that a row gives with a seed, a sequence key and a position. Needs no
// model.
#include <ostream>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/flags.h"
#include "client/cli/json_lines.h"
#include "client/cli/record_table.h"
#include "client/cli/session.h"

namespace logitd::cli {
namespace {

// "r = 123 of 456, in [100, 200)": the draw in a form that can be checked by hand.
std::string ShowDraw(const v1::DrawRecord& draw) {
  const absl::uint128 r = (absl::uint128(draw.uniform()) * draw.total_weight()) >> 64;
  return absl::StrCat("r = ", absl::Uint128Low64(r), " of ", draw.total_weight(), ", in [", draw.interval_start(), ", ",
                      draw.interval_start() + draw.weight(), ")");
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  if (!arguments.Has("--token")) return UsageError("--token", "--token is missing: the token to verify, as --token 5");
  v1::ComputeDistributionRequest request;
  RETURN_IF_ERROR(SetRowRequest(arguments, session, request));
  request.set_explain(true);
  request.set_layout(v1::RECORD_LAYOUT_NONE);
  ASSIGN_OR_RETURN(const v1::ComputeDistributionResponse response, session.client->ComputeDistribution(request));
  if (!response.has_verification()) return absl::InternalError("the server's reply holds no verification");

  const v1::Verification& verification = response.verification();
  const int32_t asked = request.verify().token_id();
  const bool is_the_one = verification.token_id() == asked;
  std::ostream& out = session.out();
  if (session.json) {
    out << ToJson(response) << "\n";
  } else {
    out << (is_the_one
                ? absl::StrCat("token ", asked, " is the one that is drawn\n")
                : absl::StrCat("token ", asked, " is not the one: token ", verification.token_id(), " is drawn\n"))
        << Filled("draw: " + ShowDraw(verification.draw()), session.style().width) << "\n"
        << "kept: " << response.kept_count() << "\n\n"
        << StageTable(response.stages(), session.style());
  }
  return is_the_one ? kExitOk : kExitItemFailed;
}

}  // namespace

Command VerifyCommand() {
  return {
      .name = "verify",
      .purpose = "whether a token is the one that a seed draws, without a model",
      .summary =
          "Draws one token again, and tells whether it is --token: the same row, parameters, seed, sequence key and "
          "position give the same token on any machine. Shows what each stage removed. Exit code 0 if it is the token, "
          "1 if it is not. Needs no model.",
      .examples =
          "logit verify --logits 6,3,0.5,0.5 --temperature 0.7 --seed 7 --sequence-key 0 --position 2 --token 0\n"
          "logit decode --logits rows.npy --temperature 0.7 --top-p 0.9 --seed 7\n"
          "logit verify --logits rows.npy --temperature 0.7 --top-p 0.9 --seed 7 --sequence-key 0 --position 1 "
          "--token 2\n"
          "logit verify --logits 6,3,0.5,0.5 --temperature 0 --repetition-penalty 2.5 --output-tokens 0 --token 1\n",
      .groups = WithPenaltyFlags(
          {{"Request", Joined({RowFlags(), {{"--token", "verify.token_id", "ID", "the token to verify"}}})},
           {"The step", StepFlags()},
           {"Stages", Joined({StageFlags(), TokenSetFlags()})}}),
      .request = v1::ComputeDistributionRequest::descriptor(),
      .needs_model = false,
      .run = Run};
}

}  // namespace logitd::cli

// `logit info`: the server's versions, limits and models.
#include <cstdio>
#include <ostream>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/json_lines.h"
#include "client/cli/record_table.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

// Every limit by its name, from the message's descriptor: a new limit needs no change here.
std::string LimitsTable(const v1::Limits& limits, const Style& style) {
  Table table({{"", Table::kLeft, Table::kWhole, /*is_key=*/true}, {""}});
  const google::protobuf::Descriptor* descriptor = v1::Limits::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = descriptor->field(i);
    const google::protobuf::Reflection* reflection = limits.GetReflection();
    const int64_t value = field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT64
                              ? reflection->GetInt64(limits, field)
                              : reflection->GetInt32(limits, field);
    table.Add({{absl::StrCat("  ", field->name())}, {absl::StrCat(value)}});
  }
  return table.Render(style);
}

// "0.000031 nats", with two digits that count.
std::string ToleranceText(const v1::ModelInfo& model) {
  if (!model.has_batch_tolerance_nats()) return "not known";
  char text[32];
  std::snprintf(text, sizeof(text), "%.2g nats", model.batch_tolerance_nats());
  return text;
}

std::string ModelsTable(const v1::ListModelsResponse& models, const Style& style) {
  Table table({{"model", Table::kLeft, Table::kShorten, /*is_key=*/true},
               {"precision", Table::kLeft},
               {"context length"},
               {"vocab size"},
               {"runners"},
               {"batch tolerance"}});
  for (const v1::ModelStatus& status : models.models()) {
    table.Add({{status.model().name()},
               {status.model().precision()},
               {absl::StrCat(status.model().context_length())},
               {absl::StrCat(status.model().vocab_size())},
               {absl::StrCat(status.runner_count())},
               {ToleranceText(status.model())}});
  }
  std::string text = table.Render(style);
  for (const v1::ModelStatus& status : models.models()) {
    if (status.capacity().cache_choice().empty()) continue;
    const std::string choice = absl::StrCat(status.runner_count() > 1 ? "cache of each runner of " : "cache of ",
                                            status.model().name(), ": ", status.capacity().cache_choice());
    absl::StrAppend(&text, Filled(choice, style.width, /*indent=*/2), "\n");
  }
  for (const v1::ModelStatus& status : models.models()) {
    for (const std::string& warning : status.model().warnings()) {
      const std::string line = absl::StrCat("warning: ", status.model().name(), ": ", EscapeText(warning));
      absl::StrAppend(&text, Filled(line, style.width, /*indent=*/2), "\n");
    }
  }
  return text;
}

std::string HeadsTable(const v1::GetServerInfoResponse& server, const Style& style) {
  Table table({{"head", Table::kLeft, Table::kShorten, /*is_key=*/true},
               {"V"},
               {"d"},
               {"type", Table::kLeft},
               {"bytes"},
               {"weight", Table::kLeft},
               {"sha256", Table::kLeft, Table::kDrop}});
  for (const v1::HeadInfo& head : server.heads()) {
    table.Add({{head.name()},
               {absl::StrCat(head.vocab_size())},
               {absl::StrCat(head.hidden_size())},
               {EscapeText(head.source_dtype())},
               {absl::StrCat(head.memory_bytes())},
               {EscapeText(head.weight_name())},
               {absl::BytesToHexString(head.fingerprint().substr(0, 8))}});
  }
  return table.Render(style);
}

// The calibrations that requests may name.
std::string CalibrationsTable(const v1::GetServerInfoResponse& server, const Style& style) {
  Table table({{"calibration", Table::kLeft, Table::kShorten, /*is_key=*/true},
               {"kind", Table::kLeft},
               {"labels"},
               {"of", Table::kLeft}});
  for (const v1::CalibrationInfo& calibration : server.calibrations()) {
    table.Add({{calibration.name()},
               {ShowEnum(*v1::CalibrationKind_descriptor(), calibration.kind())},
               {absl::StrCat(calibration.label_count())},
               {ShowEnum(*v1::Normalization_descriptor(), calibration.score())}});
  }
  return table.Render(style);
}

absl::StatusOr<int> Run(const Arguments&, Session& session) {
  ASSIGN_OR_RETURN(const v1::GetServerInfoResponse server, session.client->ServerInfo());
  ASSIGN_OR_RETURN(const v1::ListModelsResponse models, session.client->Models());

  std::ostream& out = session.out();
  if (session.json) {
    // {"server": GetServerInfoResponse, "models": [ModelStatus, ...]}
    out << "{\"server\":" << ToJson(server) << "," << ToJson(models).substr(1) << "\n";
    return kExitOk;
  }
  const int width = session.style().width;
  out << Filled(absl::StrCat("logitd ", server.server_version(), " at ", session.address), width) << "\n"
      << "numerics version: " << server.numerics_version() << "\n"
      << "api minor version: " << server.api_minor_version() << "\n"
      << "kernel target: " << server.kernel_target() << "\n\n";
  if (models.models_size() == 0) {
    out << Filled("No model is attached: distribution works; complete, score and rank need one (logitd --model FILE).",
                  width)
        << "\n";
  } else {
    out << ModelsTable(models, session.style());
  }
  if (server.heads_size() > 0) out << "\n" << HeadsTable(server, session.style());
  if (!server.calibrations().empty()) out << "\n" << CalibrationsTable(server, session.style());
  const v1::CacheUse& cache = server.cache();
  out << "\n"
      << Filled(absl::StrCat("evaluated before: ", cache.record_count(), " records in ", cache.record_bytes(),
                             " of at most ", cache.max_record_bytes(), " bytes; runners keep ",
                             cache.kept_sequence_count(), " sequences of ", cache.kept_token_count(), " tokens"),
                width)
      << "\n";
  out << "\nlimits:\n" << LimitsTable(server.limits(), session.style());
  return kExitOk;
}

}  // namespace

Command InfoCommand() {
  return {.name = "info",
          .purpose = "the server: versions, limits, models, heads",
          .summary = "Prints the server's versions, limits, models and heads.",
          .examples = "logit info\nlogit info --json --server unix:/run/logitd/logitd.sock\n",
          .run = Run};
}

}  // namespace logitd::cli

#include "client/cli/file_run.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <ostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/progress.h"
#include "client/cli/token_text.h"
#include "client/logitd/client_error.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/message_differencer.h"

namespace logitd::cli {
namespace {

constexpr double kMaxRetrySeconds = 1e6;

LineSource SourceOf(const std::string& file, const std::string& content = "") {
  return {.name = EscapeText(file), .field = "in", .content = content};
}

absl::Status UnavailableModel(const std::string& model) {
  return absl::UnavailableError(
      absl::StrCat("the server has no ", model.empty() ? "model" : absl::StrCat("model ", model), " yet"));
}

// The model that a request for `name` gets, from the server's list. Unset: the request's own error will say why there
// is none. Errors: kUnavailable (no runner of it has attached yet).
absl::StatusOr<std::optional<v1::ModelStatus>> PickModel(const v1::ListModelsResponse& models,
                                                         const std::string& name) {
  if (models.models().empty()) return UnavailableModel(name);
  if (name.empty() && models.models_size() > 1) return std::nullopt;
  for (const v1::ModelStatus& status : models.models()) {
    if (!name.empty() && status.model().name() != name) continue;
    if (status.model().model_fingerprint().empty()) return UnavailableModel(name);
    return status;
  }
  return std::nullopt;
}

// The fields that are set, as one line. A field that a later version adds does not change it.
std::string OptionsText(const google::protobuf::Message& request) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string out;
  return google::protobuf::util::MessageToJsonString(request, &out, options).ok() ? out : "";
}

std::string Quoted(const std::string& text) {
  const std::string array = ToJsonArray({text});
  return array.substr(1, array.size() - 2);
}

}  // namespace

std::vector<Flag> FileFlags() {
  return {{"--out", "", "PATH", "answer the items of the file IN.jsonl, one line of JSON each, in the file PATH"},
          {"--resume", "", "", "go on with --out where an earlier run, of the same input and options, was stopped"},
          {"--in-flight", "", "N", "with --out: requests at once, in [1, 64]; default 4"},
          {"--retry-for", "", "SECONDS",
           "with --out: how long to ask a server again that is gone or full; 0: not at all; default 300"}};
}

absl::StatusOr<bool> AsksForFile(const Arguments& arguments, const std::vector<Flag>& pair_flags) {
  if (!arguments.Has("--out")) {
    if (const Flag* flag = arguments.FirstOf(FileFlags())) {
      return UsageError(flag->name, absl::StrCat(flag->name, " needs --out, the file of the answers"));
    }
    return false;
  }
  if (const Flag* flag = arguments.FirstOf(pair_flags)) {
    return UsageError(flag->name, absl::StrCat(flag->name, " does not go with --out, which answers a file of items"));
  }
  if (arguments.positionals().size() != 1 || arguments.positionals()[0] == "-") {
    return UsageError("IN", "IN.jsonl is missing: --out answers one file of items, and reads it twice");
  }
  return true;
}

std::optional<LineError> ReadItem(const InputLine& line, const std::string& file, google::protobuf::Message* item,
                                  const std::string& content) {
  const LineSource source = SourceOf(file, content);
  if (line.is_blank()) {
    v1::Error error;
    error.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
    error.set_reason(v1::ERROR_REASON_MALFORMED_MESSAGE);
    error.set_field("in");
    error.set_value(absl::StrCat("line ", line.number));
    error.set_message(absl::StrCat("line ", line.number, " of ", source.name, " is blank: it must hold ",
                                   ContentOf(source, *item), " in JSON"));
    return LineError{.error = std::move(error)};
  }
  std::optional<v1::Error> error = FromLine(line, item, source);
  if (!error) return std::nullopt;
  LineError out{.error = *std::move(error)};
  google::protobuf::Struct fields;
  if (!line.is_too_long() && google::protobuf::util::JsonStringToMessage(line.text, &fields).ok()) {
    const auto id = fields.fields().find("id");
    if (id != fields.fields().end()) out.id = id->second.string_value();
  }
  return out;
}

void NameLine(const InputLine& line, const std::string& file, v1::Error& error) {
  const std::string place = absl::StrCat("line ", line.number, " of ", EscapeText(file));
  if (error.message().rfind(place, 0) != 0) error.set_message(absl::StrCat(place, ": ", error.message()));
}

// The last reason to wait, which a thread met and another one shows.
struct FileRun::Outage {
  std::mutex mutex;
  std::optional<absl::Status> failure;
};

FileRun::FileRun(std::string command, Session& session)
    : command_(std::move(command)), session_(&session), outage_(std::make_shared<Outage>()) {}

client::PatienceOptions FileRun::patience() const {
  client::PatienceOptions options = patience_;
  options.on_outage = [outage = outage_](const absl::Status& failure) {
    std::lock_guard lock(outage->mutex);
    outage->failure = failure;
  };
  return options;
}

absl::StatusOr<FileRun> FileRun::Begin(const std::string& command, const Arguments& arguments,
                                       const google::protobuf::Message& request, const std::string& model,
                                       Session& session, const client::Origin& more) {
  FileRun run(command, session);
  run.options_.in = arguments.positionals().at(0);
  run.options_.out = arguments.Value("--out");
  run.options_.resume = arguments.Has("--resume");
  ASSIGN_OR_RETURN(const auto in_flight, arguments.Get<int32_t>("--in-flight"));
  run.options_.requests_in_flight = in_flight.value_or(run.options_.requests_in_flight);
  if (run.options_.requests_in_flight < 1 || run.options_.requests_in_flight > client::kMaxRequestsInFlight) {
    return UsageError("--in-flight", arguments.Value("--in-flight"),
                      absl::StrCat("in [1, ", client::kMaxRequestsInFlight, "]"));
  }
  ASSIGN_OR_RETURN(const auto retry_for, arguments.Get<double>("--retry-for"));
  if (retry_for) {
    if (!(*retry_for >= 0 && *retry_for <= kMaxRetrySeconds)) {
      return UsageError("--retry-for", arguments.Value("--retry-for"), "in [0, 1e6] seconds");
    }
    run.patience_.retry_for = std::chrono::milliseconds(std::llround(*retry_for * 1000));
  }
  run.patience_.now = session.environment.now;
  run.patience_.sleep = session.environment.sleep;

  client::PatienceOptions options = run.patience();
  options.on_outage = [&session](const absl::Status& failure) {
    if (session.json) return;
    session.environment.err << "logit: " << SanitizeForTerminal(session.ErrorOf(failure).message())
                            << "\nlogit: waiting (--retry-for)\n"
                            << std::flush;
  };
  client::Patience patience(options);
  // Whose numbers they are: constant while a server and a model live.
  const auto ask = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const v1::GetServerInfoResponse server, session.client->ServerInfo());
    ASSIGN_OR_RETURN(const v1::ListModelsResponse models, session.client->Models());
    run.provenance_.set_numerics_version(server.numerics_version());
    // Sums that the caller brings need no model.
    if (command == "rank" && models.models().empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::optional<v1::ModelStatus> status, PickModel(models, model));
    if (!status) return absl::OkStatus();
    run.provenance_.set_model_fingerprint(status->model().model_fingerprint());
    run.provenance_.set_precision(status->model().precision());
    if (arguments.Has("--reproducible")) *run.provenance_.mutable_runner() = status->platform();
    return absl::OkStatus();
  };
  for (absl::Status status = ask(); !status.ok(); status = ask()) RETURN_IF_ERROR(patience.WaitAfter(status));
  run.options_.origin = {{"command", command},
                         {"options", OptionsText(request)},
                         {"model", run.provenance_.has_model_fingerprint()
                                       ? absl::StrCat(absl::BytesToHexString(run.provenance_.model_fingerprint()), " ",
                                                      run.provenance_.precision())
                                       : "none"},
                         {"numerics_version", absl::StrCat(run.provenance_.numerics_version())}};
  if (run.provenance_.has_runner()) {
    const v1::RunnerPlatform& runner = run.provenance_.runner();
    run.options_.origin.push_back(
        {"runner", absl::StrCat(runner.version(), ", ", runner.threads(), " threads, ", runner.cpu_target())});
  }
  run.options_.origin.insert(run.options_.origin.end(), more.begin(), more.end());
  return run;
}

absl::Status FileRun::CheckProvenance(const v1::Provenance& provenance) const {
  // An item whose sums the caller brought has no model.
  const bool is_same_model =
      !provenance.has_model_fingerprint() || (provenance.model_fingerprint() == provenance_.model_fingerprint() &&
                                              provenance.precision() == provenance_.precision());
  using google::protobuf::util::MessageDifferencer;
  if (is_same_model && provenance.reproducible() && provenance_.has_runner() &&
      !MessageDifferencer::Equals(provenance.runner(), provenance_.runner())) {
    return absl::FailedPreconditionError(
        "the model's runners have other threads, another version or another CPU target than this run began with: "
        "their answers would differ in their last bits");
  }
  if (is_same_model && provenance.numerics_version() == provenance_.numerics_version()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the server answers with another ",
                                                    is_same_model ? "numerics version" : "model",
                                                    " than this run began with: its answers do not belong together"));
}

absl::StatusOr<client::ItemFileCounts> FileRun::Answer(
    const std::function<absl::Status(const std::vector<InputLine>& lines, const client::AnswerLine& put)>& answer,
    const std::function<absl::Status(std::string_view line)>& on_line) {
  Environment& environment = session_->environment;
  Progress progress(command_, environment, session_->json ? Progress::kNothing : Progress::kPlainLines);
  client::ItemFileCounts last;
  const client::ItemFileHooks hooks = {
      .answer = answer,
      .on_line = [&](int64_t index, std::string_view line, bool is_old) -> absl::Status {
        // A line that another program has changed or moved.
        if (is_old && line.rfind(absl::StrCat("{\"item_index\":", index, ","), 0) != 0) {
          return client::InputError(
              "out", absl::StrCat("line ", index + 1), absl::StrCat("the answer to item ", index),
              absl::StrCat("line ", index + 1, " of ", options_.out, " is not the answer to line ", index + 1, " of ",
                           options_.in, ": the file was changed"));
        }
        // A key: within a text its quotation marks would be escaped.
        if (line.find("\"error\":{") != std::string_view::npos) ++failed_count_;
        return on_line ? on_line(line) : absl::OkStatus();
      },
      .on_progress =
          [&](const client::ItemFileCounts& counts) {
            last = counts;
            std::optional<absl::Status> failure;
            {
              std::lock_guard lock(outage_->mutex);
              failure.swap(outage_->failure);
            }
            if (failure && !session_->json) {
              progress.Clear();
              environment.err << "logit: " << SanitizeForTerminal(session_->ErrorOf(*failure).message())
                              << "\nlogit: waiting (--retry-for)\n"
                              << std::flush;
            }
            if (!session_->json) progress.UpdateItems(counts.done, counts.total, counts.resumed);
          },
  };
  absl::StatusOr<client::ItemFileCounts> counts = client::AnswerItemFile(options_, hooks);
  elapsed_ = progress.elapsed();
  if (!counts.ok() && last.done > 0 && !session_->json && !options_.out.empty()) {
    progress.Clear();
    environment.err << "logit: " << options_.out << " has " << last.done << " of " << last.total
                    << " answers; --resume goes on with it\n";
  }
  return counts;
}

std::string FileRun::Summary(const client::ItemFileCounts& counts) const {
  if (session_->json) {
    return absl::StrCat("{\"items\":", counts.total, ",\"failed\":", failed_count_, ",\"resumed\":", counts.resumed,
                        ",\"out\":", Quoted(options_.out), "}\n");
  }
  const int64_t own = counts.done - counts.resumed;
  const double seconds = std::max(0.001, static_cast<double>(elapsed_.count()) / 1000);
  std::string text = absl::StrCat(counts.total, " items, ", failed_count_, " failed");
  if (own == 0 && counts.total > 0) {
    absl::StrAppend(&text, "; all were answered before");
  } else {
    if (counts.resumed > 0) absl::StrAppend(&text, "; ", counts.resumed, " were answered before");
    absl::StrAppend(&text,
                    absl::StrFormat("; %.1f items/s, %s", static_cast<double>(own) / seconds, ShowDuration(seconds)));
  }
  return absl::StrCat(text, "\n");
}

}  // namespace logitd::cli

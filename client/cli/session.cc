#include "client/cli/session.h"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/help_text.h"
#include "client/cli/json_lines.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"
#include "client/logitd/address.h"
#include "client/logitd/answer_file.h"
#include "client/logitd/client_error.h"

namespace logitd::cli {
namespace {

constexpr double kMaxTimeoutSeconds = 1e6;

ColourMode ColourModeFrom(const Arguments& arguments) {
  const std::string value = arguments.Value("--color");
  return value == "always" ? ColourMode::kAlways : value == "never" ? ColourMode::kNever : ColourMode::kAuto;
}

// `flag` names the address.
absl::StatusOr<client::Options> OptionsFrom(const std::string& flag, const Arguments& arguments,
                                            const Environment& environment) {
  client::Options options;
  std::string source = flag;
  if (arguments.Has(flag)) {
    options.address = arguments.Value(flag);
  } else if (const std::string variable = environment.variable("LOGITD_SERVER"); !variable.empty()) {
    options.address = variable;
    source = "LOGITD_SERVER";
  }
  if (const auto address = client::ParseAddress(options.address); !address.ok()) {
    return UsageError(source, options.address, "HOST:PORT or unix:PATH",
                      absl::StrCat(source, ": ", address.status().message()));
  }
  ASSIGN_OR_RETURN(const std::optional<double> timeout, arguments.Get<double>("--timeout"));
  if (timeout) {
    if (!(*timeout > 0 && *timeout <= kMaxTimeoutSeconds)) {
      return UsageError("--timeout", arguments.Value("--timeout"), "in (0, 1e6] seconds");
    }
    options.timeout = std::chrono::milliseconds(std::max<int64_t>(1, std::llround(*timeout * 1000)));
  }
  return options;
}

int ExitCodeOf(const absl::Status& status) {
  if (client::IsInputError(status)) return kExitUsage;
  if (client::IsWriteError(status)) return kExitNotWritten;
  const client::ClientError error = client::ErrorOf(status);
  if (error.is_unreachable()) return kExitUnreachable;
  // The deadline that the client itself set, whoever of the two noticed first that it had passed.
  if (error.code == absl::StatusCode::kDeadlineExceeded) return kExitUnreachable;
  return kExitRefused;
}

// Whether gRPC's message is about a connection that existed when the call began.
bool IsLostConnection(const std::string& message) {
  for (const char* sign : {"Socket closed", "Connection reset", "Broken pipe", "keepalive", "GOAWAY"}) {
    if (message.find(sign) != std::string::npos) return true;
  }
  return false;
}

// The command that would start the server that did not answer.
std::string StartCommand(const std::string& address, bool needs_model) {
  return absl::StrCat("logitd", needs_model ? " --model FILE" : "",
                      address == client::kDefaultAddress ? "" : absl::StrCat(" --listen ", address));
}

v1::Error ErrorFrom(const absl::Status& status, const std::string& address, bool needs_model) {
  const int exit_code = ExitCodeOf(status);
  v1::Error error = client::ErrorMessageOf(status);
  if (exit_code == kExitUsage) error.set_value(QuotedValue(error.value()));
  if (exit_code != kExitUnreachable) return error;
  // gRPC's message lists all attempts; the system's reason comes last.
  const size_t colon = error.message().rfind(": ");
  const std::string cause = colon == std::string::npos ? error.message() : error.message().substr(colon + 2);
  const std::string shown_cause = cause.empty() ? "" : absl::StrCat(" (", cause, ")");
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    error.set_message(absl::StrCat("no complete answer from logitd at ", address, " within --timeout"));
  } else if (IsLostConnection(error.message())) {
    error.set_message(absl::StrCat("the connection to logitd at ", address, " was lost", shown_cause));
  } else {
    error.set_message(absl::StrCat("cannot reach logitd at ", address, shown_cause,
                                   "; start it with: ", StartCommand(address, needs_model),
                                   ", or name another with --server or LOGITD_SERVER"));
  }
  return error;
}

}  // namespace

int ReportFailure(const absl::Status& status, const std::string& address, bool json, Environment& environment,
                  bool needs_model) {
  const v1::Error error = ErrorFrom(status, address, needs_model);
  if (json) {
    environment.err << "{\"error\":" << ToJson(error) << "}\n";
  } else {
    environment.err << "logit: " << SanitizeForTerminal(error.message()) << "\n";
    if (error.has_retry_after_ms()) environment.err << "logit: retry after " << error.retry_after_ms() << " ms\n";
  }
  return ExitCodeOf(status);
}

v1::Error Session::ErrorOf(const absl::Status& status) const { return ErrorFrom(status, address, needs_model); }

int Session::Fail(const absl::Status& status) const {
  return ReportFailure(status, address, json, environment, needs_model);
}

absl::StatusOr<std::unique_ptr<client::Client>> ConnectTo(const std::string& flag, const Arguments& arguments,
                                                          const Environment& environment) {
  ASSIGN_OR_RETURN(client::Options options, OptionsFrom(flag, arguments, environment));
  return environment.connect(std::move(options));
}

bool AsksFor(const std::vector<std::string>& args, std::string_view flag) {
  const auto end = std::find(args.begin(), args.end(), "--");
  return std::find(args.begin(), end, flag) != end;
}

std::unique_ptr<Session> OpenSession(Arguments& arguments, const std::vector<std::string>& args,
                                     Environment& environment, int& exit_code) {
  const absl::Status parsed = arguments.Parse(args);
  // Help wins over errors in the rest of the line.
  if (arguments.Has("--help") || (!parsed.ok() && (AsksFor(args, "--help") || AsksFor(args, "-h")))) {
    environment.out << HelpText(arguments.command(), HelpWidth(environment));
    exit_code = kExitOk;
    return nullptr;
  }
  // A line that cannot be read to its end may still ask for JSON.
  const bool json = arguments.Has("--json") || AsksFor(args, "--json");
  std::string address;
  const auto connect = [&]() -> absl::StatusOr<std::unique_ptr<client::Client>> {
    RETURN_IF_ERROR(parsed);
    ASSIGN_OR_RETURN(client::Options options, OptionsFrom("--server", arguments, environment));
    address = options.address;
    return environment.connect(std::move(options));
  };
  absl::StatusOr<std::unique_ptr<client::Client>> client = connect();
  if (!client.ok()) {
    exit_code = ReportFailure(client.status(), "", json, environment);
    return nullptr;
  }
  const bool colour = UseColour(ColourModeFrom(arguments), environment.out_is_terminal, environment);
  return std::unique_ptr<Session>(new Session{.environment = environment,
                                              .client = *std::move(client),
                                              .address = address,
                                              .needs_model = arguments.command().needs_model,
                                              .json = json,
                                              .colour = colour});
}

}  // namespace logitd::cli

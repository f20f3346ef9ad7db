# shellcheck shell=bash
# Sourced by the scripts beside it: numbered steps with elapsed time and logs, where caches lie, how to become root.
#
#   source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/progress.sh"
#   steps_begin quickstart 3
#   step "building" "look at the last lines of the log" scripts/build --preset release
#
# Progress goes to standard error, so that a script's standard output can be an answer.

LOGITD_ROOT=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
export LOGITD_ROOT

# Downloads, llama.cpp's build, the model and its f32 form: shared by all checkouts of a user. logitd reads the same
# variable.
LOGITD_CACHE_DIR=${LOGITD_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/logitd}

if [[ -t 2 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' green='' red='' plain=''
fi

say() { printf '%s\n' "$*" >&2; }

# Ends the script: prints the fault, then the remedy.
die() {
  say "${red}$1${plain}"
  shift
  for line in "$@"; do say "  $line"; done
  exit 1
}

# Ends the script with status 2: a usage error.
usage_error() {
  say "$(basename "$0"): $1"
  say "Try: $0 --help"
  exit 2
}

# The comment at the top of a script is its manual.
print_help() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# need_value OPTION VALUE...: a usage error if an option is the last word of a command line.
need_value() { (($# >= 2)) || usage_error "$1 needs a value"; }

# steps_begin NAME COUNT: COUNT steps follow; their logs are build/logs/NAME-NUMBER.log.
steps_begin() {
  steps_name=$1 steps_count=$2 steps_done=0
  steps_log_dir=$LOGITD_ROOT/build/logs
  mkdir -p "$steps_log_dir"
}

# step TITLE ADVICE COMMAND...: runs the command, shows its output and keeps it in the file step_log. If the command
# fails, says what to do and ends the script with status 1. A shell function as COMMAND must chain with &&: bash ignores
# `set -e` in it.
step() {
  local title=$1 advice=$2 began=$SECONDS status=0
  shift 2
  steps_done=$((steps_done + 1))
  step_log=$steps_log_dir/$steps_name-$steps_done.log
  say "${bold}[$steps_done/$steps_count] $title${plain}"
  { "$@" 2>&1 </dev/null | tee "$step_log" | sed -u 's/^/    /' >&2; } || status=$?
  if ((status != 0)); then
    say "${red}[$steps_done/$steps_count] $title: failed after $((SECONDS - began)) s (status $status)${plain}"
    say "  What to do: $advice"
    say "  The log:    $step_log"
    exit 1
  fi
  say "${green}[$steps_done/$steps_count] $title: done, $((SECONDS - began)) s${plain}"
}

# as_root COMMAND...: runs it as root, with sudo if need be; else prints the line to run and ends the script.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "This needs root, and sudo is not installed. Run as root:" "$*" "then start $(basename "$0") again."
  fi
}

# shellcheck shell=bash
# Sourced by scripts that make a machine within the machine (after progress.sh): root, packages, long output.

# become_root ARGUMENTS...: starts this script again with sudo if it does not run as root. It keeps the variables of
# proxies and LOGITD_CACHE_DIR.
become_root() {
  ((EUID != 0)) || return 0
  local kept=LOGITD_CACHE_DIR,http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY
  command -v sudo >/dev/null ||
    die "$(basename "$0") needs root, and sudo is not installed." "Start it as root: $0 $*"
  exec sudo --preserve-env="$kept" -- "$0" "$@"
}

# install_packages PACKAGE...: those Debian packages that are missing.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  ((${#missing[@]} > 0)) || return 0
  say "installing ${missing[*]}"
  apt-get update -qq && env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

# condensed LOG PATTERN COMMAND...: runs the command with all output in LOG, shows the beginnings of the lines that
# match PATTERN, and the last lines if it fails. Its status is the command's. Does not wait for processes that the command
# leaves running.
condensed() {
  local log=$1 pattern=$2 status=0 command
  shift 2
  : >"$log"
  "$@" >"$log" 2>&1 </dev/null &
  command=$!
  tail -n +1 --follow --pid="$command" "$log" | grep --line-buffered -E "$pattern" |
    sed -u 's/\(.\{100\}\).\{4,\}/\1.../' || true
  wait "$command" || status=$?
  ((status == 0)) || { echo "... the end of $log:" && tail -n 30 "$log"; }
  return "$status"
}

# Certificates that somebody has added to this machine, one path a line; a network that needs them here needs them in
# the machine within, too.
added_certificates() { find /usr/local/share/ca-certificates -name '*.crt' 2>/dev/null | sort; }

# own_namespaces ARGUMENTS...: starts this script again as the first process of a mount and a process namespace of its
# own and ends with its status. However that ends, no mount and no process of it is left. A signal reaches all of it.
own_namespaces() {
  [[ -z ${LOGITD_OWN_NAMESPACES:-} ]] || return 0
  local job status=0
  # With job control the job is a process group.
  set -m
  LOGITD_OWN_NAMESPACES=1 unshare --mount --propagation private --pid --fork --kill-child --mount-proc -- \
    "$0" "$@" </dev/null &
  job=$!
  set +m
  trap 'kill -TERM -- "-$job" 2>/dev/null || true' INT TERM HUP
  wait "$job" || status=$?
  # A signal ends a wait early.
  while kill -0 "$job" 2>/dev/null; do
    status=0
    wait "$job" || status=$?
  done
  exit "$status"
}

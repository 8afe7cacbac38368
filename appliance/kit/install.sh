#!/bin/sh
# Installs the appliance from this stick: no network, no root, Python @PYTHONS@.
#
#   sh install.sh [--prefix FOLDER] [--keys CODE]
#
# FIRST INSTALL: before you run this, type `sha256sum install.sh` and compare what it prints with
# the paper that came with the kit. If a letter differs, stop.
# LATER: do not run this; run `appliance kit install FOLDER`, which trusts nothing on the stick.
set -eu
umask 077
kit=$(cd "$(dirname "$0")" && pwd)
fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 3
}
installed=$HOME/.local/bin/appliance
if [ $# = 0 ] && [ -x "$installed" ] && "$installed" --version > /dev/null 2>&1; then
  exec "$installed" kit install "$kit"
fi
find_python() {
  for python in @PYTHON_NAMES@ python3; do
    for allowed in @PYTHONS_SPACED@; do
      if [ "$("$python" -I -S -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$allowed" ]; then
        command -v "$python"
        return
      fi
    done
  done
  fail "no Python @PYTHONS@ was found" "install it from the system's own medium, as python3"
}
python=$(find_python)
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
mkdir -p "$tools/appliance/kit"
for tool in @TOOL_NAMES@; do # by name: some drivers of FAT list short names in capitals
  cp "$kit/tools/appliance/$tool" "$tools/appliance/$tool" || true
done
(cd "$tools" && sha256sum --check --strict --quiet) <<'LIST' || fail "the installer's own files are damaged" "get the kit again; do not use this stick"
@TOOLS@
LIST
"$python" -I -S -B -c '
import sys
sys.path.insert(0, sys.argv.pop(1))
from appliance.kit.install import main
sys.exit(main())' "$tools" "$kit" "$@"

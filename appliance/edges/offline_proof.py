"""Shows that the main job needs no network: it is done where there is none.

In a network namespace of its own that has no interface (Linux, util-linux's unshare), where the
system lets a user have one, and in any case under a filter that refuses internet sockets.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

from appliance.core.health import Finding
from appliance.release.manifest import Release

NAME = "offline"
LONGEST_S = 1800
ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")


def prove_offline(release: Release) -> Finding:
    """Pictures that the project draws are captioned by `release`, with a lookup and a record, in
    a home that is thrown away."""
    namespace = _namespace()
    how = (
        "in a network namespace without any interface"
        if namespace
        else "under a filter that refuses internet sockets"
    )
    command = [sys.executable, "-I", "-m", "appliance", "kit", "self-test"]
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="appliance-offline-") as home:
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        try:
            done = subprocess.run(
                [*namespace, *command, "--release", str(release.directory.resolve())],
                env={**environment, "APPLIANCE_HOME": home, "APPLIANCE_ACCESS": "single"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LONGEST_S,
                check=False,
            )
            code, said = done.returncode, done.stdout.strip().splitlines()
        except subprocess.TimeoutExpired:
            code, said = 1, [f"it took longer than {LONGEST_S // 60} minutes"]
    if code:
        why = said[0].removeprefix("error: ") if said else f"exit {code}"
        return Finding(
            NAME,
            "bad",
            f"the main job was not done {how}: {why}",
            "run `appliance doctor` and mend what it finds, then prove it again",
        )
    seconds = time.monotonic() - started_s
    return Finding(
        NAME, "ok", f"captions, lookup and record work {how} ({release.name}, {seconds:.0f} s)"
    )


def _namespace() -> list[str]:
    """What to put before a command; empty where the system does not allow it."""
    if not (unshare := shutil.which("unshare")):
        return []
    prefix = [unshare, "--map-root-user", "--net"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if tried.returncode == 0 else []

"""Starting the processes that open a hostile file: bytes in, bytes out, and nothing else.

It owns how a child is cut off from its caller; its limits it sets itself (`pdf_child.limit`).
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def run_child(
    module: str, arguments: Iterable[str], content: bytes, seconds: float
) -> "subprocess.CompletedProcess[bytes]":
    """Run a module of this package on `content`.

    Raises: subprocess.TimeoutExpired, with what was answered until then.
    """
    # -P and a bare environment: neither the current directory nor the caller's settings decide
    # which code parses the file.
    return subprocess.run(
        [sys.executable, "-P", "-B", "-m", module, *arguments],
        input=content,
        capture_output=True,
        timeout=seconds,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        check=False,
    )

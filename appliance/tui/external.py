"""A file in the desktop's own viewer, where there is a desktop."""

import os
import shutil
import subprocess

from appliance.errors import ConfigError

OPENER = "xdg-open"


def open_outside(path: str) -> None:
    """Raises: ConfigError when there is no display or nothing to open it with."""
    opener = shutil.which(OPENER)
    if opener is None or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ConfigError(
            f"there is no display here to open a viewer on: {path}",
            "press z for the picture in the terminal, or open the file at the machine's own screen",
        )
    subprocess.Popen(
        [opener, os.path.abspath(path)],  # noqa: PTH100 - `--` is no option of xdg-open
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

"""A program under `accelerate launch`, on two processes without a GPU."""

import os
import subprocess
import sys

LAUNCH = [
    *(sys.executable, "-m", "accelerate.commands.launch"),
    "--multi_gpu",  # accelerate starts several processes on one machine only where told of GPUs
    *("--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
]


def launched(*arguments: str) -> str:
    """What they said; fails with it where they did."""
    without_gpu = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [*LAUNCH, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=without_gpu)
    assert done.returncode == 0, done.stderr[-8000:]
    return done.stderr

"""llama.cpp's own converter, run from a source tree that LLAMA_CPP_SOURCE names.

None of its code is kept here. The tree is `vendor/llama.cpp` of the source distribution:

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

Listing = dict[str, dict[str, Any]]
"""`keys`: type, type of elements, value; `tensors`: type, shape. By name."""

VARIABLE = "LLAMA_CPP_SOURCE"
LIST = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from conversion import get_model_class
from conversion.base import gguf
with torch.inference_mode():
    folder, name, is_vision = Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "vision"
    kind = get_model_class("Gemma3ForConditionalGeneration", mmproj=is_vision)
    model = kind(folder, gguf.LlamaFileType.MOSTLY_F16, folder / "out.gguf", model_name=name,
                 dry_run=True)
    model.prepare_tensors()
    model.prepare_metadata(vocab_only=False)
    [keys], [tensors] = model.gguf_writer.kv_data, model.gguf_writer.tensors
    text = lambda value: value.decode() if isinstance(value, bytes) else value
    print(json.dumps({
        "keys": {key: [one.type.name, one.sub_type and one.sub_type.name,
                       [text(v) for v in one.value] if isinstance(one.value, list) else one.value]
                 for key, one in keys.items()},
        "tensors": {key: [one.dtype.name, list(one.shape)] for key, one in tensors.items()},
    }))
"""


def llama_cpp_source() -> Path | None:
    found = os.environ.get(VARIABLE)
    return Path(found) if found else None


def convert(source: Path, folder: Path, out: Path, name: str, *, vision: bool) -> Path:
    """The file that the converter writes at F16."""
    command = [sys.executable, str(source / "convert_hf_to_gguf.py"), str(folder)]
    command += ["--outtype", "f16", "--model-name", name, "--outfile", str(out)]
    subprocess.run([*command, *(["--mmproj"] if vision else [])], check=True, capture_output=True)
    return out


def list_converted(source: Path, folder: Path, name: str, *, vision: bool) -> Listing:
    """What the converter would write, no weight read."""
    command = [sys.executable, "-c", LIST, str(source), str(folder), name]
    done = subprocess.run(
        [*command, "vision" if vision else "text"], check=True, capture_output=True, text=True
    )
    listing: Listing = json.loads(done.stdout)
    return listing

"""Writing, opening and describing an ONNX file, whatever graph it holds."""

import json
import shutil
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.release.box import EXACT_INT8, has_vnni
from appliance.release.manifest import hash_file

if TYPE_CHECKING:
    import torch

OPSET = 20
"""The first with Gelu, which onnxruntime computes in one step."""
LARGEST_FILE = 2**26
"""Bytes of weights above which they lie in a file of their own, which onnxruntime maps: out of the
graph it would copy them (873 MB held for 440 MB of weights, 505 MB when mapped)."""


def write_graph(
    module: "torch.nn.Module",
    inputs: "Mapping[str, torch.Tensor]",
    output: str,
    dynamic: Mapping[str, Mapping[int, str]],
    file: Path,
) -> None:
    """The module's forward as an ONNX file; weights beside it in `file`.data when they are many.

    `inputs` in the order of forward's arguments; `dynamic` names the axes that may have any
    length. Raises: OSError.
    """
    import onnx
    import torch
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    parts = file.with_name(file.name + ".parts")  # torch scatters large weights in a folder
    parts.mkdir()
    # Without gradients: at 896 pixels a layer would keep a gigabyte for them.
    with torch.no_grad(), warnings.catch_warnings():
        # The newer exporter needs onnxscript; what tracing fixed is seen in the agreement.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(parts / file.name),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
        )
    graph = onnx.load(parts / file.name)
    name_once(graph.graph)
    add_pre_process_metadata(graph)  # shapes and constants are settled; quantizing would warn
    size_bytes = sum(len(weight.raw_data) for weight in graph.graph.initializer)
    onnx.save_model(
        graph,
        file,
        save_as_external_data=size_bytes > LARGEST_FILE,
        location=weights_of(file).name,
    )
    shutil.rmtree(parts)


def name_once(graph: Any) -> None:
    """Give weights that stand under several names one: torch writes an Identity for each further
    use, and onnxruntime's quantizer knows only the first for a weight."""
    weights = {weight.name for weight in graph.initializer}
    first: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Identity" and (name := node.input[0]) in weights | first.keys():
            first[node.output[0]] = first.get(name, name)
    kept = [node for node in graph.node if node.output[0] not in first]
    for node in kept:
        node.input[:] = [first.get(name, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(kept)


def weights_of(file: Path) -> Path:
    """Where the weights of a graph lie when they are too many for one file."""
    return file.with_name(f"{file.name}.data")


def open_session(file: Path, threads: int) -> Any:
    """An onnxruntime session on the processor; loads weights beside the file too."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if not has_vnni():
        options.add_session_config_entry(EXACT_INT8, "1")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def files_in(folder: Path) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of each file."""
    return {
        file.name: {"sha256": hash_file(file), "size_bytes": file.stat().st_size}
        for file in sorted(folder.iterdir())
    }


def made_with(*packages: str) -> dict[str, str]:
    """Versions of these packages and of those that every graph goes through."""
    names = ("torch", "transformers", "onnx", "onnxruntime", *packages)
    return {name: version(name) for name in names}


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

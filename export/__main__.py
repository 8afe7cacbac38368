"""`python -m export`: each verb is one step from a model to a release."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.release.manifest import VISION_ENCODERS
from appliance.release.shelf import BUILT_IN
from export.card import DEMONSTRATION, read_card
from export.errors import ExportError
from training.plain_errors import plain_errors

if TYPE_CHECKING:
    from export.atlas import Carried
    from export.pair import ProjectorKind, TextKind

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def main() -> None:
    """Turn a trained model into a release for the clinic."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # from 1.29 on onnxruntime reports to its maker


@main.command()
@click.argument("base", type=FOLDER)
@click.argument("adapter", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
def merge(base: Path, adapter: Path, out: Path) -> None:
    """Fold ADAPTER into BASE at full precision; OUT is the merged model's folder."""
    from export.merge import merge as fold

    with plain_errors(ExportError):
        changes = fold(base, adapter, out, _say)
    for change in changes:
        click.echo(f"{change.name}  {change.relative:.2%}  largest {change.largest:.3g}", err=True)
    click.echo(out)


@main.command()
@click.argument("model", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--name", help="What the files call the model; else as OUT is called.")
def gguf(model: Path, out: Path, name: str | None) -> None:
    """Write MODEL as a pair of GGUF files at F16, in the new folder OUT."""
    from export.pair import write_pair

    with plain_errors(ExportError):
        write_pair(model, out, name or out.name, _say)
    click.echo(out)


@main.command()
@click.argument("model", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", type=FOLDER, required=True, help="Folder with the three data sets.")
@click.option("--captions", type=FILE, required=True)
@click.option("--images", type=click.IntRange(1), default=300, show_default=True)
def importance(model: Path, out: Path, data: Path, captions: Path, images: int) -> None:
    """Measure on our own captions which inputs of MODEL matter; OUT is an imatrix file."""
    from export.importance import write_importance

    with plain_errors(ExportError):
        write_importance(model, out, data, captions, images, _say)
    click.echo(out)


@main.command()
@click.argument("pair", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--text", type=click.Choice(["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"]), required=True
)
@click.option("--projector", type=click.Choice(["F16", "Q8_0"]), required=True)
@click.option("--importance", type=FILE, help="What `importance` wrote.")
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def quantize(
    pair: Path,
    out: Path,
    text: "TextKind",
    projector: "ProjectorKind",
    importance: Path | None,
    threads: int,
) -> None:
    """Write the F16 PAIR at fewer bits, in the new folder OUT."""
    from export.quantize import quantize as reduce

    with plain_errors(ExportError):
        reduce(pair, out, text, projector, importance, threads, _say)
    click.echo(out)


@main.command()
@click.argument("model", type=FOLDER)
@click.argument("pair", type=FOLDER)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--data", type=FOLDER, required=True, help="Folder with the three data sets.")
@click.option("--card", type=FILE, default=DEMONSTRATION, help="What the release says of itself.")
@click.option("--per-domain", type=click.IntRange(1), default=167, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def gate(
    model: Path, pair: Path, out: Path, data: Path, card: Path, per_domain: int, threads: int
) -> None:
    """Measure how far PAIR is from the MODEL it was made of; verdict and report go to OUT.

    The report shows patient images: keep it out of version control.
    """
    from export.gate import run_gate

    with plain_errors(ExportError):
        verdict = run_gate(model, pair, out, data, read_card(card), per_domain, threads, _say)
    for check in verdict.checks:
        _say(f"{'within' if check.passes else 'OUTSIDE'}  {check}")
    if verdict.outside:
        raise click.ClickException(f"outside its margins; see gate.html in {out}")
    click.echo(out)


@main.command()
@click.argument("model", type=FOLDER)
@click.argument("pair", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--gate", "verdict", type=FOLDER, required=True, help="What `gate` wrote.")
@click.option("--data", type=FOLDER, required=True, help="Folder with the three data sets.")
@click.option("--card", type=FILE, default=DEMONSTRATION, help="What the release says of itself.")
@click.option("--encoder", type=FOLDER, help="What `onnx` wrote, to go along.")
@click.option(
    "--reads-with",
    type=click.Choice(list(VISION_ENCODERS)),
    default="ggml",
    show_default=True,
    help="The vision encoder to measure and use; another than ggml goes along alone.",
)
@click.option("--override", help="Reason for a release outside its margins, which it then carries.")
@click.option("--version", default="0.1.0", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def release(
    model: Path,
    pair: Path,
    out: Path,
    verdict: Path,
    data: Path,
    card: Path,
    encoder: Path | None,
    reads_with: str,
    override: str | None,
    version: str,
    threads: int,
) -> None:
    """Calibrate and measure PAIR, written from MODEL; OUT is the release directory."""
    from export.release import write_release

    with plain_errors(ExportError):
        written = write_release(
            model,
            pair,
            verdict,
            out,
            data,
            read_card(card),
            version,
            threads,
            _say,
            encoder=encoder,
            reads_with=reads_with,
            override=override,
        )
    click.echo(written)


@main.command()
@click.argument("model", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", type=FOLDER, required=True, help="Folder with the three data sets.")
@click.option("--per-domain", type=click.IntRange(1), default=67, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def onnx(model: Path, out: Path, data: Path, per_domain: int, threads: int) -> None:
    """Write MODEL's vision encoder as ONNX, at float32 and int8, in the new folder OUT."""
    from export.onnx_encoder import write_encoder

    with plain_errors(ExportError):
        found = write_encoder(model, out, data, per_domain, threads, _say)
    for name, figures in found.items():
        _say(f"{name}  {figures}")
    click.echo(out)


@main.command()
@click.argument("folder", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--texts", type=FILE, help="To compare on, one a line; else captions of every label.")
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def embedder(folder: Path, out: Path, texts: Path | None, threads: int) -> None:
    """Write the sentence-transformers model in FOLDER as ONNX, in OUT/fp32 and OUT/int8."""
    from export.onnx_embedder import caption_texts, read_texts, write_embedder

    with plain_errors(ExportError):
        compared = read_texts(texts) if texts else caption_texts()
        found = write_embedder(folder, out, compared, threads, _say)
    for precision, figures in found.items():
        _say(f"{precision}  {figures}")
    click.echo(out)


@main.command()
@click.argument("model", type=FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
def encoder(model: Path, out: Path) -> None:
    """Write the CLIP or SigLIP checkpoint MODEL (as MedSigLIP) as the ONNX folder of an atlas."""
    from export.encoder_folder import write_encoder_folder

    with plain_errors(ExportError):
        _say(str(write_encoder_folder(model, out, _say)))
    click.echo(out)


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", type=FOLDER, required=True, help="Folder with the three data sets.")
@click.option("--captions", type=FILE, required=True)
@click.option("--heads", type=FILE, help="What `python -m training atlas heads` wrote.")
@click.option("--tower", type=FOLDER, default=BUILT_IN, help="Release, or what `encoder` wrote.")
@click.option("--run", type=click.Path(path_type=Path), default=Path(".runs/atlas"))
@click.option("--name", default="demonstration", show_default=True)
@click.option(
    "--pictures",
    type=click.Choice(["none", "open", "noncommercial"]),
    default="open",
    show_default=True,
    help="Carry those whose licence lets anybody pass them on, or nobody for gain, or none.",
)
@click.option("--per-label", type=click.IntRange(1), help="Most cases of a label; else all.")
@click.option("--without", multiple=True, metavar="DATASET", help="Leave it out altogether.")
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def atlas(
    out: Path,
    data: Path,
    captions: Path,
    heads: Path | None,
    tower: Path,
    run: Path,
    name: str,
    pictures: "Carried",
    per_label: int | None,
    without: tuple[str, ...],
    threads: int,
) -> None:
    """Write an atlas of reference cases, of the training split, in the new folder OUT."""
    from export.atlas import AtlasOrder, write_atlas

    order = AtlasOrder(name, pictures, per_label, frozenset(without))
    with plain_errors(ExportError):
        write_atlas(order, tower, heads, data, captions, run, out, threads, _say)
    click.echo(out)


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()

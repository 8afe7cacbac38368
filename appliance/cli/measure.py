"""`appliance release measure`: a release on this site's pictures, and the machine it runs on."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.diagnostics import print_note, print_progress
from appliance.cli.guard import act
from appliance.cli.output import print_field, print_json, print_line, print_row
from appliance.cli.release_card import print_release
from appliance.config import SETTINGS_FILE, Config
from appliance.errors import ConfigError

if TYPE_CHECKING:
    from appliance.release.box import BoxReport
    from appliance.release.labelled_images import LeftOut
    from appliance.release.manifest import Release
    from appliance.release.measuring import Measurement

FILE = click.Path(path_type=Path)
MOST_MINUTES = 2.0
SHOWN_LEFT_OUT = 5


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--images", type=FILE, metavar="CSV", help="Labelled pictures: path,label[,group].")
@click.option("--box-only", is_flag=True, help="Only how fast this machine is; no pictures.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, MOST_MINUTES),
    default=MOST_MINUTES,
    show_default=True,
    help="For measuring the machine; 0 leaves it out.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@act("release.change")
@click.pass_obj
def measure(
    config: Config,
    names: tuple[str, ...],
    images: Path | None,
    box_only: bool,
    minutes: float,
    as_json: bool,
) -> None:
    """Measure releases on this site's labelled pictures, and the machine they run on.

    Half of the pictures calibrate the release, the other half measure it. CSV may also be a folder
    with one subfolder for each label. A measurement that was stopped goes on where it was. At the
    end it names the release and the number of threads that are quickest here.
    """
    if (images is None) != box_only:
        raise ConfigError(
            "give either --images or --box-only", "see `appliance release measure -h`"
        )
    from appliance.release.shelf import find_release

    releases = [find_release(config.releases_folder, name) for name in dict.fromkeys(names)]
    if images is not None:
        releases = [_measure_images(config, found, images, as_json) for found in releases]
    if minutes > 0:
        _measure_box(config, releases, minutes * 60, as_json)


def _measure_images(config: Config, found: "Release", source: Path, as_json: bool) -> "Release":
    from appliance.core.record import recorded
    from appliance.release.kept_answers import KeptAnswers
    from appliance.release.labelled_images import read_labelled
    from appliance.release.measuring import (
        answer_all,
        measure,
        refuse_built_in,
        write_measurement,
    )
    from appliance.wiring import open_audit, open_captioner, open_images

    refuse_built_in(found)
    encoder = config.encoder or found.encoder
    images, left_out = read_labelled(source, found.card.labels, print_progress)
    with (
        open_audit(config) as audit,
        recorded(audit, "release.measure", {"release": found.card.sha256}) as outcome,
    ):
        with (
            KeptAnswers(config.measuring_folder, found, encoder) as kept,
            open_captioner(found, config.threads, encoder) as captioner,
        ):
            answered, failed = answer_all(
                images, captioner, open_images(), kept, time.monotonic, print_progress
            )
        print_progress("")
        left_out += failed
        _print_left_out(config, found.name, left_out)
        measurement = measure(found.card.labels, answered, len(left_out), _today())
        written = write_measurement(found, measurement, encoder)
        outcome |= {"release": written.card.sha256, "images": len(answered)}
    if as_json:
        print_json({"release": found.name, **_measurement_json(measurement)})
    else:
        print_release(written)
    return written


def _measure_box(config: Config, releases: "list[Release]", budget_s: float, as_json: bool) -> None:
    from dataclasses import asdict

    from appliance.release.box import measure_box, this_machine, write_report
    from appliance.wiring import open_captioner, open_images

    report = measure_box(
        releases,
        open_captioner,
        open_images(),
        this_machine(),
        budget_s,
        time.monotonic,
        _today(),
        print_progress,
    )
    print_progress("")
    path = write_report(config.home, report)
    if as_json:
        print_json({"box": asdict(report)})
    else:
        _print_box(report)
    settings = ", ".join(f"{key} = {value!r}" for key, value in report.setting.items())
    print_note(f"kept in {path}; to use it: {settings} in {config.home / SETTINGS_FILE}")
    chosen = next(found for found in releases if found.name == report.chosen.release)
    if report.chosen.vision_encoder != chosen.encoder and chosen.card.calibration.is_measured:
        print_note(
            f"{chosen.name} is calibrated with the vision encoder {chosen.encoder}: once it is "
            f"{report.chosen.vision_encoder}, measure it again with --images"
        )


def _print_left_out(config: Config, name: str, left_out: "list[LeftOut]") -> None:
    if not left_out:
        return
    from appliance.release.labelled_images import write_left_out

    path = write_left_out(config.measuring_folder / f"{name}-left-out.csv", left_out)
    for one in left_out[:SHOWN_LEFT_OUT]:
        print_note(f"left out: {one.row}: {one.reason}")
    print_note(f"{len(left_out)} left out; the whole list: {path}")


def _measurement_json(measurement: "Measurement") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "calibration": asdict(measurement.calibration),
        "evaluation": measurement.evaluation,
        "measured": measurement.measured,
    }


def _print_box(report: "BoxReport") -> None:
    from appliance.release.box import threads_in_words

    print_line(f"{report.cores} cores, {report.memory_bytes / 1e9:.1f} GB memory")
    for run in report.runs:
        mark = "chosen" if run == report.chosen else ""
        steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in run.spent_s.items())
        print_row(
            (mark, 6),
            (run.release, 24),
            (run.quantization, 6),
            (run.vision_encoder, 9),
            (threads_in_words(run.threads), 10),
            (f"{run.seconds:.2f} s an image ({steps}), {run.memory_bytes / 1e9:.2f} GB", 0),
        )
    for reason in report.not_tried:
        print_row(("", 6), (f"not tried: {reason}", 0))
    print_field("why", report.why)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()

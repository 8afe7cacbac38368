"""A release measured on a site's own pictures, and the machine it runs on."""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from stand_ins import CAPTION, SPECKLED

from appliance.cli.main import run
from appliance.core.calibration import (
    LEAST_CALIBRATION,
    calibrate,
    decision_figures,
    wilson,
)
from appliance.core.caption import caption_json
from appliance.core.decision import RISK, UNMEASURED, believe, decide, probabilities
from appliance.core.ports import Picture, Reading, ReleaseCard
from appliance.errors import ConfigError, ImageError, ModelError
from appliance.release.box import BoxReport, Machine, measure_box
from appliance.release.drawings import draw, png
from appliance.release.kept_answers import KeptAnswers
from appliance.release.labelled_images import (
    LabelledImage,
    LeftOut,
    read_labelled,
    split_in_half,
)
from appliance.release.manifest import MANIFEST, Release, read_release, write_manifest
from appliance.release.measuring import (
    Answered,
    Measurement,
    answer_all,
    measure,
    write_measurement,
)
from appliance.release.shelf import BUILT_IN

TODAY = "2026-01-02"
SHIPPED = read_release(BUILT_IN)
LABELS = SHIPPED.card.labels


def quietly(line: str) -> None:
    """Nobody reads a test's progress."""


@pytest.fixture
def release(home: Path) -> Release:
    """The demonstration's pair, as a release that nobody measured."""
    folder = shutil.copytree(BUILT_IN, home / "releases" / "trial")
    manifest = {**SHIPPED.manifest, "name": "trial", "evaluation": None}
    manifest["calibration"] = asdict(UNMEASURED)
    write_manifest(folder, manifest)
    return read_release(folder)


def scores_for(label: str, sure: float) -> tuple[float, ...]:
    """Log-probabilities of which `label` has `sure`, others of its domain most of the rest."""
    near = [name for name in LABELS.in_domain(LABELS.domain_of(label)) if name != label]
    rest = (1 - sure - 0.001) / len(near)
    return tuple(
        math.log(sure if name == label else rest if name in near else 0.0001)
        for name in LABELS.names
    )


class SiteImages:
    """Opens a file to a picture that carries the file's hash; a file of "bad" is no picture."""

    def open(self, path: str, size: int) -> Picture:
        content = Path(path).read_bytes()
        if content.startswith(b"bad"):
            raise ImageError(f"cannot read this image: {path}", "take it again")
        sha256 = hashlib.sha256(content).hexdigest()
        return Picture(SPECKLED, size, sha256, "PNG", 4, 4, None)


class Knowing:
    """A captioner told beforehand what to say of each picture; counts what it is asked."""

    def __init__(self, card: ReleaseCard, scores: dict[str, tuple[float, ...]]) -> None:
        self.release, self.scores, self.asked = card, scores, 0

    def features(self, picture: Picture) -> tuple[float, ...]:
        raise AssertionError("nobody asks")

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        self.asked += 1
        if picture.sha256 not in self.scores:
            raise ModelError("the model failed", "try again")
        return Reading(caption_json(CAPTION), self.scores[picture.sha256])


def site(folder: Path, labels: Sequence[str]) -> tuple[Path, dict[str, tuple[float, ...]]]:
    """A CSV and its files, one for each label; and scores that are right for two in three."""
    folder.mkdir()
    scores = {}
    rows = ["path,label,group"]
    for number, label in enumerate(labels):
        content = f"picture {number}".encode()
        (folder / f"{number}.png").write_bytes(content)
        rows.append(f"{number}.png,{label},")
        near = LABELS.in_domain(LABELS.domain_of(label))
        said = label if number % 3 else near[(near.index(label) + 1) % len(near)]
        sha256 = hashlib.sha256(content).hexdigest()
        scores[sha256] = scores_for(said, 0.5 + 0.004 * (number % 100))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "labels.csv", scores


CHEST = LABELS.in_domain("chest")


def test_every_row_is_used_or_listed(tmp_path: Path) -> None:
    source, _ = site(tmp_path / "site", ["cataract", "melanoma", "glaucoma", "glaucoma"])
    (source.parent / "copy.png").write_bytes((source.parent / "0.png").read_bytes())
    (source.parent / "twin.png").write_bytes((source.parent / "3.png").read_bytes())
    with source.open("a", encoding="utf-8") as file:
        file.write("missing.png,cataract\n\n1.png,no such label\ncopy.png,Cataract \n")
        file.write("twin.png,melanoma\nbad\x00name.png,cataract\n,cataract\n4.png\n")
    found, left_out = read_labelled(source, LABELS, quietly)
    assert [image.path.name for image in found] == ["0.png", "1.png", "2.png"]
    assert [(one.row, one.reason.split(":")[0].split("(")[0].strip()) for one in left_out] == [
        ("line 6", "cannot be read"),
        ("line 8", "no label of this release"),
        ("line 11", "cannot be read"),
        ("line 12", "cannot be read"),
        ("line 13", "no label of this release"),
        ("line 5", "the same picture has several labels"),
        ("line 9", "the same picture as " + str(source.parent / "0.png")),
        ("line 10", "the same picture has several labels"),
    ]


def test_a_list_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    source, _ = site(tmp_path / "site", ["cataract"])
    source.write_bytes("\ufeffLabel;Path;Group\r\nCATARACT;0.png;7\r\n".encode())
    [image], left_out = read_labelled(source, LABELS, quietly)
    assert (image.label, image.group, left_out) == ("cataract", "7", [])


def test_a_folder_with_a_subfolder_for_each_label_is_read(tmp_path: Path) -> None:
    for name in ("normal chest", "Viral_Pneumonia", "unsorted"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_text(name)
    (tmp_path / "unsorted" / ".hidden").touch()
    found, left_out = read_labelled(tmp_path, LABELS, quietly)
    assert sorted(image.label for image in found) == ["normal chest", "viral pneumonia"]
    assert [one.reason for one in left_out] == ["no label of this release: 'unsorted'"]


@pytest.mark.parametrize("content", [b"", b"file,label\n", b"\xff\xfe\x00", b'path,label\n"a'])
def test_a_list_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "labels.csv"
    source.write_bytes(content)
    if content.endswith(b'"a'):
        assert len(read_labelled(source, LABELS, quietly)[1]) == 1
        return
    with pytest.raises(ConfigError, match=r"labels\.csv"):
        read_labelled(source, LABELS, quietly)


def test_halves_are_even_keep_groups_whole_and_never_change() -> None:
    images = [
        LabelledImage(Path(f"{n}"), CHEST[n % 3], f"patient {n // 4}", f"{n:064}")
        for n in range(120)
    ]
    halves = split_in_half(images, LABELS)
    backwards = split_in_half(images[::-1], LABELS)
    assert [set(half) for half in halves] == [set(half) for half in backwards]
    groups = [{image.group for image in half} for half in halves]
    assert not groups[0] & groups[1]
    assert [len(half) for half in halves] == [60, 60]


def measured(
    release: Release, source: Path, scores: dict[str, tuple[float, ...]], home: Path
) -> tuple[Measurement, list[Answered], list[LeftOut]]:
    images, left_out = read_labelled(source, LABELS, quietly)
    with KeptAnswers(home / "measuring", release, "ggml") as kept:
        captioner = Knowing(release.card, scores)
        answered, failed = answer_all(images, captioner, SiteImages(), kept, lambda: 0.0, quietly)
    left_out += failed
    return measure(LABELS, answered, len(left_out), TODAY), answered, left_out


def test_the_figures_are_those_of_the_half_that_was_not_calibrated_on(
    tmp_path: Path, release: Release, home: Path
) -> None:
    source, scores = site(tmp_path / "site", [CHEST[n % 3] for n in range(60)])
    found, answered, _ = measured(release, source, scores, home)
    halves = split_in_half([one.image for one in answered], LABELS)
    by_hash = {one.image.sha256: one for one in answered}
    calibrated, tested = ([by_hash[image.sha256] for image in half] for half in halves)
    assert found.calibration == calibrate(
        LABELS, [one.image.label for one in calibrated], calibrated
    )
    right = sum(
        LABELS.names[max(range(20), key=one.label_scores.__getitem__)] == one.image.label
        for one in tested
    )
    chest = found.evaluation["domains"]["chest"]
    assert chest["images"] == len(tested) == 30
    assert chest["accuracy"] == right / 30
    assert chest["accuracy_interval"] == pytest.approx(wilson(right, 30))
    assert chest["balanced_accuracy"] == pytest.approx(sum(chest["recall_by_label"].values()) / 3)
    decisions = found.evaluation["decisions"]
    truth = [one.image.label for one in tested]
    groups = [one.image.group for one in tested]
    assert decisions == decision_figures(LABELS, truth, groups, tested, found.calibration)
    temperature = found.calibration.temperatures["chest"]
    kept = [
        probabilities(one.label_scores, temperature)[LABELS.names.index(one.image.label)]
        >= found.calibration.thresholds["chest"][RISK]
        for one in tested
    ]
    assert decisions["chest"]["at_risk"][str(RISK)]["coverage"] == sum(kept) / 30
    json.dumps(found.evaluation, allow_nan=False)


def test_a_kind_with_too_few_pictures_stays_unmeasured_and_abstains(
    tmp_path: Path, release: Release, home: Path
) -> None:
    few = ["melanoma"] * (2 * LEAST_CALIBRATION - 2)
    source, scores = site(tmp_path / "site", [CHEST[n % 3] for n in range(60)] + few)
    found, _, _ = measured(release, source, scores, home)
    assert found.calibration.thresholds["chest"][RISK] > 0
    assert found.calibration.thresholds["skin"] == found.calibration.thresholds["fundus"] == {}
    assert set(found.measured["unmeasured"]) == {"skin", "fundus"}
    assert "8 pictures" in found.measured["unmeasured"]["skin"]
    written = write_measurement(release, found, "ggml")
    for label, kind in (("melanoma", "abstain"), ("normal chest", "label")):
        calibration = written.card.calibration
        belief = believe(LABELS, scores_for(label, 0.95), calibration)
        assert decide(LABELS, belief, calibration, RISK).kind == kind


def test_too_few_pictures_of_every_kind_change_nothing(
    tmp_path: Path, release: Release, home: Path
) -> None:
    source, scores = site(tmp_path / "site", ["melanoma", "cataract", "normal chest"])
    before = (release.directory / MANIFEST).read_bytes()
    with pytest.raises(ConfigError, match="too few pictures"):
        measured(release, source, scores, home)
    assert (release.directory / MANIFEST).read_bytes() == before


def test_a_measured_release_says_where_and_keeps_its_makers_figures(
    tmp_path: Path, home: Path
) -> None:
    folder = shutil.copytree(BUILT_IN, home / "releases" / "made")
    release = read_release(folder)
    source, scores = site(tmp_path / "site", [CHEST[n % 3] for n in range(60)])
    found, _, _ = measured(release, source, scores, home)
    written = write_measurement(release, found, "ggml")
    assert written.card.sha256 != release.card.sha256
    assert written.manifest["measured"]["where"] == "site"
    assert written.manifest["measured"]["date"] == TODAY
    assert written.manifest["maker"]["evaluation"] == SHIPPED.manifest["evaluation"]
    again = write_measurement(written, found, "ggml")
    assert again.manifest["maker"] == written.manifest["maker"]
    assert {path.name for path in folder.iterdir()} == {path.name for path in BUILT_IN.iterdir()}
    assert run(["release", "show", "made"]) == 0
    with pytest.raises(ConfigError, match="part of the program"):
        write_measurement(SHIPPED, found, "ggml")


def test_a_stopped_measurement_asks_only_what_it_has_not_asked(
    tmp_path: Path, release: Release, home: Path
) -> None:
    source, scores = site(tmp_path / "site", [CHEST[n % 3] for n in range(30)])
    images, _ = read_labelled(source, LABELS, quietly)
    captioner = Knowing(release.card, scores)

    def asked(count: int) -> int:
        captioner.asked = 0
        with KeptAnswers(home / "measuring", release, "ggml") as kept:
            answer_all(images[:count], captioner, SiteImages(), kept, lambda: 0.0, quietly)
        return captioner.asked

    assert asked(20) == 20
    assert asked(30) == 10
    [file] = (home / "measuring").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    lines = file.read_bytes().splitlines(keepends=True)
    wrong = {**json.loads(lines[1]), "label_scores": [0.5]}
    spoilt = [lines[0], json.dumps(wrong).encode() + b"\n", b"[]\n", *lines[3:-1], lines[-1][:40]]
    file.write_bytes(b"".join(spoilt))
    assert asked(30) == 3
    assert asked(30) == 0
    with KeptAnswers(home / "measuring", release, "onnx") as kept:
        assert kept.get(images[0].sha256) is None
    other = replace(release, manifest={**release.manifest, "prompt_version": 99})
    with KeptAnswers(home / "measuring", other, "ggml") as kept:
        assert kept.get(images[0].sha256) is None


def test_a_picture_that_fails_is_listed_and_the_others_are_measured(
    tmp_path: Path, release: Release, home: Path
) -> None:
    source, scores = site(tmp_path / "site", [CHEST[n % 3] for n in range(40)])
    (source.parent / "3.png").write_bytes(b"bad")
    (source.parent / "4.png").write_bytes(b"one that the model fails on")
    found, answered, left_out = measured(release, source, scores, home)
    assert [Path(one.row).name for one in left_out] == ["3.png", "4.png"]
    assert len(answered) == 38
    assert found.measured["left_out"] == 2


class Clock:
    """Seconds that pass only when a model reads."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def boxed(
    clock: Clock,
    seconds: dict[tuple[str, int], float],
    memory: dict[str, int],
    cores: int = 4,
    budget_s: float = 120,
    sizes: dict[str, int] | None = None,
    also: tuple[str, ...] = (),
) -> BoxReport:
    """What is found with releases that take so many seconds a picture with so many threads."""

    class Timed:
        def __init__(self, found: Release, threads: int, encoder: str) -> None:
            self.release = found.card
            faster = {"ggml": 1.0, "onnx": 0.5}
            self.takes_s = seconds[found.name, threads] * faster[encoder]

        def features(self, picture: Picture) -> tuple[float, ...]:
            raise AssertionError("nobody asks")

        def read(self, picture: Picture, *, anew: bool = False) -> Reading:
            clock.now_s += self.takes_s
            spent = {"encode": self.takes_s}
            return Reading("", (), spent, memory[self.release.name])

    @contextmanager
    def opened(found: Release, threads: int, encoder: str) -> Iterator[Timed]:
        yield Timed(found, threads, encoder)

    releases = [
        replace(
            SHIPPED,
            card=replace(SHIPPED.card, name=name),
            files=dict.fromkeys(
                ("mmproj.gguf", *also), replace(SHIPPED.files["model.gguf"], size_bytes=size)
            ),
        )
        for name, size in (sizes or dict.fromkeys(memory, 1)).items()
    ]
    machine = Machine(cores, 1000)
    return measure_box(
        releases, opened, SiteImagesOfNothing(), machine, budget_s, clock, TODAY, quietly
    )


class SiteImagesOfNothing:
    def open(self, path: str, size: int) -> Picture:
        assert Path(path).read_bytes().startswith(b"\x89PNG")
        return draw("skin", 0, 8)


def test_the_quickest_release_and_threads_within_memory_are_chosen() -> None:
    seconds = {("q4", 4): 2.0, ("q4", 2): 3.0, ("q4", 1): 6.0}
    seconds |= {("q8", 4): 1.0, ("q8", 2): 0.8, ("q8", 1): 4.0}
    found = boxed(Clock(), seconds, {"q4": 500, "q8": 600})
    assert found.setting == {"release": "q8", "encoder": "ggml", "threads": 2}
    assert "0.80 s" in found.why and "1.00 s" in found.why
    assert len(found.runs) == 6 and found.not_tried == []
    found = boxed(Clock(), seconds, {"q4": 500, "q8": 950})
    assert found.setting == {"release": "q4", "encoder": "ggml", "threads": 4}


def test_every_vision_encoder_that_a_release_carries_is_tried() -> None:
    found = boxed(Clock(), {("a", 1): 1.0}, {"a": 1}, cores=1, also=("encoder.onnx",))
    assert [run.vision_encoder for run in found.runs] == ["ggml", "onnx"]
    assert found.setting == {"release": "a", "encoder": "onnx", "threads": 1}
    assert "with ggml and 1 thread, 1.00 s" in found.why


def test_of_equally_quick_ones_the_one_with_fewer_threads_is_chosen() -> None:
    found = boxed(Clock(), {("a", 4): 1.0, ("a", 2): 1.01, ("a", 1): 2.0}, {"a": 1})
    assert found.setting["threads"] == 2


def test_a_slow_machine_keeps_to_its_time_and_says_what_was_not_tried() -> None:
    clock = Clock()
    found = boxed(clock, {("a", 4): 50.0, ("a", 2): 90.0, ("a", 1): 180.0}, {"a": 1})
    assert clock.now_s <= 120
    assert [run.threads for run in found.runs] == [4]
    assert found.not_tried == [
        "a with ggml and 2 threads: no time left",
        "a with ggml and 1 thread: no time left",
    ]


def test_a_release_larger_than_memory_is_not_even_loaded() -> None:
    seconds = {("small", n): 1.0 for n in (4, 2, 1)}
    found = boxed(Clock(), seconds, {"small": 10, "large": 10}, sizes={"large": 2000, "small": 1})
    assert {run.release for run in found.runs} == {"small"}
    assert found.not_tried == ["large: its files are larger than this machine's memory"]
    with pytest.raises(ConfigError, match="within this machine's memory"):
        boxed(Clock(), {}, {"large": 10}, sizes={"large": 2000})


def test_the_box_is_measured_by_the_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["release", "measure", "demonstration", "--box-only", "--minutes", "0.05"]
    assert run([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["box"]
    assert report == json.loads((home / "box.json").read_text(encoding="utf-8"))
    assert set(report["chosen"]["spent_s"]) == {"open", "encode", "prefill", "score", "decode"}
    assert all(seconds > 0 for seconds in report["chosen"]["spent_s"].values())
    assert report["chosen"]["memory_bytes"] > sum(f.size_bytes for f in SHIPPED.files.values())
    assert report["why"]
    assert not (home / "settings.toml").exists()


def test_a_release_is_measured_by_the_command(
    tmp_path: Path, release: Release, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "site" / "normal chest"
    folder.mkdir(parents=True)
    for variant in range(2 * LEAST_CALIBRATION):
        (folder / f"{variant}.png").write_bytes(png(draw("chest", variant, 128)))
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    arguments = ["--threads", "1", "release", "measure", "trial", "--minutes", "0"]
    assert run([*arguments, "--images", str(tmp_path / "site")]) == 0
    shown = capsys.readouterr()
    assert "damaged.png" in shown.err and "1 left out" in shown.err
    assert "measured" in shown.out and "fundus        NOT MEASURED HERE" in shown.out
    found: dict[str, Any] = json.loads((release.directory / MANIFEST).read_text(encoding="utf-8"))
    assert found["measured"]["images"] == 2 * LEAST_CALIBRATION
    assert found["measured"]["left_out"] == 1
    assert found["calibration"]["thresholds"]["chest"][str(RISK)] > 0
    assert (home / "measuring" / "trial-left-out.csv").stat().st_mode & 0o077 == 0


def test_a_release_is_measured_with_the_encoder_that_reads_at_this_site(
    tmp_path: Path, release: Release, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here one that it lacks, so that what is opened shows."""
    source, _ = site(tmp_path / "site", ["cataract"])
    (home / "settings.toml").write_text('encoder = "onnx"\n')
    arguments = ["release", "measure", "trial", "--minutes", "0", "--images", str(source)]
    assert run(arguments) == 3
    assert "no vision encoder `onnx`" in capsys.readouterr().err


def test_the_figures_name_the_encoder_they_were_measured_with(tmp_path: Path, home: Path) -> None:
    folder = shutil.copytree(BUILT_IN, home / "releases" / "made")
    (folder / "encoder.onnx").write_bytes(b"weights")
    manifest = {**SHIPPED.manifest, "files": {**SHIPPED.manifest["files"]}}
    manifest["files"]["encoder.onnx"] = {"sha256": "0" * 64, "size_bytes": 7}
    write_manifest(folder, manifest)
    source, scores = site(tmp_path / "site", [CHEST[n % 3] for n in range(60)])
    found, _, _ = measured(read_release(folder), source, scores, home)
    written = write_measurement(read_release(folder), found, "onnx")
    assert written.encoder == "onnx"
    assert written.manifest["maker"]["vision_encoder"] == SHIPPED.encoder == "ggml"


@pytest.mark.parametrize(
    "arguments",
    [["trial"], ["trial", "--images", "x.csv", "--box-only"], ["--box-only"]],
)
def test_a_command_that_is_not_clear_is_refused(release: Release, arguments: list[str]) -> None:
    assert run(["release", "measure", *arguments]) == 2


def test_the_release_of_the_package_is_not_measured(tmp_path: Path) -> None:
    source, _ = site(tmp_path / "site", ["cataract"])
    assert run(["release", "measure", "demonstration", "--images", str(source)]) == 2

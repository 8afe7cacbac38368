"""The demonstration release through llama.cpp."""

import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from appliance.core.caption import parse_caption
from appliance.core.ports import Picture, Reading
from appliance.edges import llama
from appliance.edges.llama import LlamaCaptioner
from appliance.errors import ConfigError, ModelError, ReleaseError
from appliance.release.manifest import MANIFEST, MODEL, PROJECTOR, Release, read_release
from appliance.release.shelf import BUILT_IN


@pytest.fixture(scope="module")
def release() -> Release:
    return read_release(BUILT_IN)


@pytest.fixture(scope="module")
def captioner(release: Release) -> Iterator[LlamaCaptioner]:
    with LlamaCaptioner(release, threads=2) as opened:
        yield opened


def picture(seed: int, release: Release) -> Picture:
    size = release.card.image_size
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (7, 7, 3), dtype=np.uint8))
    rgb = coarse.resize((size, size), Image.Resampling.NEAREST).tobytes()
    return Picture(rgb, size, "", "PNG", size, size, None)


def test_every_picture_gives_a_caption_and_a_score_for_every_label(
    captioner: LlamaCaptioner, release: Release
) -> None:
    for seed in range(5):
        reading = captioner.read(picture(seed, release))
        caption = parse_caption(reading.text, release.card.labels)
        best = int(np.argmax(reading.label_scores))
        assert caption.label == release.card.labels.names[best]
        assert len(reading.label_scores) == len(release.card.labels)


def test_label_scores_are_the_probabilities_of_all_that_the_model_may_answer(
    captioner: LlamaCaptioner, release: Release
) -> None:
    """The model learnt to answer with a label: the exact scores of all of them sum to most of 1,
    even where the picture is nothing it ever saw."""
    total = sum(map(math.exp, captioner.read(picture(0, release)).label_scores))
    assert 0.8 < total < 1.0001


def test_the_same_picture_reads_the_same_whatever_was_read_before(
    captioner: LlamaCaptioner, release: Release
) -> None:
    first = [captioner.read(picture(seed, release)) for seed in (1, 2, 3)]
    again = [captioner.read(picture(seed, release)) for seed in (3, 2, 1)]
    assert first == again[::-1]
    with LlamaCaptioner(release, threads=2) as fresh:
        assert fresh.read(picture(2, release)) == first[1]


def test_different_pictures_read_differently(captioner: LlamaCaptioner, release: Release) -> None:
    scores = {captioner.read(picture(seed, release)).label_scores for seed in range(4)}
    assert len(scores) == 4


def test_the_soft_tokens_are_the_pictures_own_and_the_next_reading_is_undisturbed(
    captioner: LlamaCaptioner, release: Release
) -> None:
    first = captioner.read(picture(1, release))
    one, other = (captioner.embed(picture(seed, release)) for seed in (1, 2))
    assert one.shape == other.shape == (16, 256)
    assert np.isfinite(one).all()
    assert np.abs(one - other).max() > 0.1
    np.testing.assert_array_equal(one, captioner.embed(picture(1, release)))
    assert captioner.read(picture(1, release)) == first


def test_a_crash_is_tried_once_more_and_told(release: Release) -> None:
    with LlamaCaptioner(release, threads=1) as captioner:
        before = captioner.read(picture(1, release))
        assert before.crashes == 0 and captioner._child is not None
        captioner._child.kill()
        again = captioner.read(picture(1, release))
        assert (again, again.crashes) == (before, 1)
        assert captioner.read(picture(1, release)).crashes == 0


def test_a_second_crash_is_this_pictures_error_and_the_next_one_is_read(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LlamaCaptioner(release, threads=1) as captioner:
        before = captioner.read(picture(1, release))
        sent = captioner._send

        def send_and_kill(child: subprocess.Popen[bytes], message: bytes) -> None:
            sent(child, message)
            if len(message) == len(picture(1, release).rgb):
                child.kill()
                child.wait()

        monkeypatch.setattr(captioner, "_send", send_and_kill)
        with pytest.raises(ModelError, match="stopped twice") as failure:
            captioner.read(picture(1, release))
        assert failure.value.code == "model-crash"
        monkeypatch.undo()
        assert captioner.read(picture(1, release)) == before


def test_a_reading_is_cancelled_from_another_thread_and_the_next_one_is_read(
    release: Release,
) -> None:
    with LlamaCaptioner(release, threads=1) as captioner:
        before = captioner.read(picture(1, release))
        assert captioner._child is not None
        os.kill(captioner._child.pid, signal.SIGSTOP)  # so that it is sure to be under way
        timer = threading.Timer(0.2, captioner.cancel)
        timer.start()
        with pytest.raises(ModelError) as failure:
            captioner.read(picture(2, release))
        timer.join()
        assert failure.value.code == "model-cancelled"
        captioner.cancel()  # nothing is under way: it does nothing
        assert captioner.read(picture(1, release)) == before


def test_a_reading_that_takes_too_long_ends(release: Release) -> None:
    with LlamaCaptioner(release, threads=1, longest_s=0.5) as captioner:
        before = captioner.read(picture(1, release))
        assert captioner._child is not None
        os.kill(captioner._child.pid, signal.SIGSTOP)
        with pytest.raises(ModelError, match=r"longer than 0\.5 s") as failure:
            captioner.read(picture(2, release))
        assert failure.value.code == "model-timeout"
        assert captioner.read(picture(1, release)) == before


def test_processes_that_take_all_cores_take_turns(copied: Path) -> None:
    release = read_release(copied)
    with LlamaCaptioner(release, threads=2) as captioner, (copied / MODEL).open("rb") as held:
        before = captioner.read(picture(1, release))
        fcntl.flock(held, fcntl.LOCK_EX)  # as another process that reads
        found: list[Reading] = []
        reading = threading.Thread(target=lambda: found.append(captioner.read(picture(1, release))))
        reading.start()
        reading.join(0.5)
        assert reading.is_alive()
        fcntl.flock(held, fcntl.LOCK_UN)
        reading.join(60)
        assert found == [before]


def test_the_features_are_the_mean_of_the_soft_tokens(
    captioner: LlamaCaptioner, release: Release
) -> None:
    found = captioner.features(picture(3, release))
    np.testing.assert_allclose(found, captioner.embed(picture(3, release)).mean(axis=0), rtol=1e-6)


def test_a_vision_encoder_that_the_release_lacks_is_named(release: Release) -> None:
    with pytest.raises(ReleaseError, match="no vision encoder `onnx`"):
        LlamaCaptioner(release, 1, "onnx")
    with pytest.raises(ConfigError, match="`coral`"):
        LlamaCaptioner(release, 1, "coral")


def test_the_models_process_has_no_network(release: Release) -> None:
    with LlamaCaptioner(release, threads=1) as captioner:
        captioner.read(picture(1, release))
        assert captioner._child is not None
        status = Path(f"/proc/{captioner._child.pid}/status").read_text()
    assert "Seccomp:\t2" in status


def test_an_interrupted_reading_leaves_no_answer_for_the_next(release: Release) -> None:
    with LlamaCaptioner(release, threads=2) as captioner:
        alone = captioner.read(picture(2, release))
        assert captioner._child is not None
        os.kill(captioner._child.pid, signal.SIGSTOP)  # so that the answer is sure to be late

        def interrupt(signum: int, frame: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                captioner.read(picture(1, release))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert captioner.read(picture(2, release)) == alone


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUILT_IN, tmp_path / "copied"))


@pytest.mark.parametrize("file", [MODEL, PROJECTOR])
def test_a_flipped_byte_never_reaches_llama_cpp(copied: Path, file: str) -> None:
    content = bytearray((copied / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / file).write_bytes(content)
    release = read_release(copied)
    with LlamaCaptioner(release, threads=1) as captioner:
        with pytest.raises(ReleaseError, match="not the one its manifest declares"):
            captioner.read(picture(0, release))
        assert captioner._child is None


def test_a_declared_file_that_is_no_model_ends_only_the_child(copied: Path) -> None:
    (copied / MODEL).write_bytes(b"GGUF" + bytes(100))
    declare(copied, MODEL)
    release = read_release(copied)
    with (
        LlamaCaptioner(release, threads=1) as captioner,
        pytest.raises(ReleaseError, match="cannot be loaded"),
    ):
        captioner.read(picture(0, release))


@pytest.mark.data
def test_hostile_model_files_are_refused_by_the_manifest(copied: Path, shared: Path) -> None:
    files = sorted((shared / "corpora" / "gen" / "gguf").glob("*.gguf"))
    assert len(files) > 20
    release = read_release(copied)
    for file in files:
        (copied / MODEL).write_bytes(file.read_bytes())
        with (
            LlamaCaptioner(release, threads=1) as captioner,
            pytest.raises(ReleaseError, match="not the one its manifest declares"),
        ):
            captioner.read(picture(0, release))
        assert captioner._child is None


@pytest.mark.data
def test_with_the_manifest_check_off_a_hostile_model_file_ends_only_the_child(
    copied: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the files that are no model; a few are sound ones with something odd in them."""
    monkeypatch.setattr(llama, "verify", lambda release: None)
    release = read_release(copied)
    ended = 0
    files = sorted((shared / "corpora" / "gen" / "gguf").glob("*.gguf"))[::6]
    for file in files:
        (copied / MODEL).write_bytes(file.read_bytes())
        with LlamaCaptioner(release, threads=1, longest_s=30) as captioner:
            try:
                captioner.read(picture(0, release))
            except (ModelError, ReleaseError):
                ended += 1
    assert ended == len(files)


def declare(folder: Path, file: str) -> None:
    """Write the manifest anew for a file as it now is."""
    from appliance.release.manifest import hash_file

    manifest = json.loads((folder / MANIFEST).read_text())
    size_bytes = (folder / file).stat().st_size
    manifest["files"][file] = {"sha256": hash_file(folder / file), "size_bytes": size_bytes}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_picture_of_another_size_is_refused(captioner: LlamaCaptioner, release: Release) -> None:
    wrong = replace(picture(0, release), rgb=bytes(300))
    size = release.card.image_size
    with pytest.raises(ModelError, match=f"not {size} x {size}"):
        captioner.read(wrong)
    assert captioner.read(picture(0, release)).text


def test_the_prompt_that_lists_the_labels_is_another_question(
    captioner: LlamaCaptioner, release: Release
) -> None:
    card = replace(release.card, prompt_version=2)
    with LlamaCaptioner(replace(release, card=card), threads=2) as told:
        reading = told.read(picture(1, release))
    assert reading.label_scores != captioner.read(picture(1, release)).label_scores
    assert all(map(math.isfinite, reading.label_scores))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 9}, "format"),
        ({"labels": []}, "label"),
        ({"prompt_version": 0}, "prompt"),
        ({"files": {"../x": {"sha256": "", "size_bytes": 0}}}, "declare"),
        ({"calibration": {}}, "cannot be read"),
        ({"image_size": math.inf}, "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_why(
    copied: Path, change: dict[str, object], complaint: str
) -> None:
    manifest = json.loads((copied / MANIFEST).read_text()) | change
    (copied / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ReleaseError, match=complaint):
        read_release(copied)


def test_a_manifest_nested_too_deep_says_why(copied: Path) -> None:
    (copied / MANIFEST).write_text("[" * 200_000)
    with pytest.raises(ReleaseError, match="cannot be read"):
        read_release(copied)


def test_the_demonstration_release_says_what_it_is(release: Release) -> None:
    assert release.card.demonstration
    assert sum(file.size_bytes for file in release.files.values()) < 25_000_000
    manifest = release.manifest
    assert manifest["evaluation"]["json_valid"] == 1.0
    assert manifest["evaluation"]["domain_right"] >= 0.95
    floors = {"skin": 0.6, "fundus": 0.35, "chest": 0.77}
    for domain, floor in floors.items():
        assert manifest["evaluation"]["domains"][domain]["balanced_accuracy"] >= floor
    assert manifest["agreement"]["same_label"] >= 0.98
    assert all(source["terms"] for source in manifest["data"])

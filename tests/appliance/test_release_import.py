"""A GGUF pair that someone else made becomes a release, or is refused by name."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_files import MARKS, Metadata, Tensors, projector, text_model, write_gguf

from appliance.cli.main import run
from appliance.core.labels import DOMAINS, Label, LabelSet
from appliance.edges.llama_decoder import BATCH_TOKENS
from appliance.errors import ApplianceError, ConfigError, ModelFileError
from appliance.release.bases import BASES, check_base
from appliance.release.gguf_header import read_gguf_header
from appliance.release.gguf_pair import MOST_IMAGE_TOKENS, PairFacts, check_pair
from appliance.release.importing import Wanted, import_pair
from appliance.release.label_list import default_labels, read_labels
from appliance.release.manifest import MANIFEST, MODEL, PROJECTOR, Release, read_release, verify
from appliance.release.shelf import BUILT_IN, release_names
from appliance.release.trial import LEAST_TOLD_APART_NATS, Trial, told_apart
from appliance.wiring import open_captioner

Change = Callable[[Metadata, Tensors], None]
TODAY = "2026-01-02"


def quietly(line: str) -> None:
    """Nobody reads a test's progress."""


def unchanged(metadata: Metadata, tensors: Tensors) -> None:
    """The file as it should be."""


def checked(
    folder: Path,
    change_model: Change = unchanged,
    change_projector: Change = unchanged,
    names: tuple[str, str] = ("model.gguf", "mmproj.gguf"),
) -> PairFacts:
    folder.mkdir(exist_ok=True)
    paths = []
    for name, (metadata, tensors), change in (
        (names[0], text_model(), change_model),
        (names[1], projector(), change_projector),
    ):
        change(metadata, tensors)
        paths.append(write_gguf(folder / name, metadata, tensors))
    return check_pair(*map(read_gguf_header, paths))


def put(key: str, value: Any) -> Change:
    def change(metadata: Metadata, tensors: Tensors) -> None:
        if value is None:
            del metadata[key]
        else:
            metadata[key] = value

    return change


def test_a_pair_of_medgemmas_geometry_is_taken(tmp_path: Path) -> None:
    facts = checked(tmp_path)
    assert (facts.layers, facts.width) == (34, 2560)
    assert (facts.image_size, facts.image_tokens) == (896, 256)
    assert facts.quantization == "F16"
    assert facts.notes == ()
    model = read_gguf_header(tmp_path / "model.gguf")
    check_base("medgemma-4b-it", model, facts)
    check_base("other", model, facts)
    for name in ("medgemma-27b-it", "medgemma-1.5-4b-it"):
        with pytest.raises(ModelFileError):
            check_base(name, model, facts)
    with pytest.raises(ConfigError, match="no such base"):
        check_base("medgemma", model, facts)


def test_a_blob_named_by_its_hash_is_taken(tmp_path: Path) -> None:
    checked(tmp_path, names=("sha256-" + "a" * 64, "sha256-" + "b" * 64))


def test_a_projector_of_spring_2025_is_taken(tmp_path: Path) -> None:
    model = write_gguf(tmp_path / "m.gguf", *text_model())
    old = write_gguf(tmp_path / "p.gguf", *projector(old_names=True))
    assert check_pair(read_gguf_header(model), read_gguf_header(old)).image_tokens == 256


def test_swapped_files_are_recognised(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="swapped"):
        check_pair(*(read_gguf_header(BUILT_IN / name) for name in (PROJECTOR, MODEL)))


def ollamas_own(metadata: Metadata, tensors: Tensors) -> None:
    metadata["gemma3.vision.block_count"] = 27
    tensors["v.patch_embedding.weight"] = ((14, 14, 3, 1152), 1)


def no_weights(metadata: Metadata, tensors: Tensors) -> None:
    tensors.clear()


def no_last_norm(metadata: Metadata, tensors: Tensors) -> None:
    del tensors["output_norm.weight"]


def gemma_3_1b(metadata: Metadata, tensors: Tensors) -> None:
    metadata["gemma3.block_count"] = 26
    metadata["gemma3.embedding_length"] = 1152


def plain_mark(metadata: Metadata, tensors: Tensors) -> None:
    place = metadata["tokenizer.ggml.tokens"].index(MARKS[0])
    metadata["tokenizer.ggml.token_type"][place] = 1


def lost_mark(metadata: Metadata, tensors: Tensors) -> None:
    metadata["tokenizer.ggml.tokens"][metadata["tokenizer.ggml.tokens"].index(MARKS[2])] = "z"


def short_scores(metadata: Metadata, tensors: Tensors) -> None:
    metadata["tokenizer.ggml.scores"].pop()


def other_embedding(metadata: Metadata, tensors: Tensors) -> None:
    tensors["token_embd.weight"] = ((2560, 7), 1)


def frequencies(metadata: Metadata, tensors: Tensors) -> None:
    tensors["rope_freqs.weight"] = ((128,), 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("general.architecture", "gemma2"), "Gemma 2"),
        (put("general.architecture", "gemma3n"), "Gemma 3n"),
        (put("general.architecture", "llama"), "Llama"),
        (put("general.architecture", "mamba"), "mamba"),
        (put("general.name", "PaliGemma 2 3B"), "PaliGemma"),
        (put("general.name", "Medgemma 27b Text It"), "never taught to see"),
        (gemma_3_1b, "Gemma 3 1B, which was never taught to see"),
        (put("split.count", 3), "one part of several"),
        (put("general.type", "adapter"), "adapter"),
        (ollamas_own, "in one"),
        (no_weights, "no weights"),
        (no_last_norm, "output_norm.weight is missing"),
        (other_embedding, "token_embd.weight has the shape"),
        (frequencies, "rope_freqs.weight"),
        (put("gemma3.block_count", 100000), "100,000 layers"),
        (put("gemma3.block_count", 35), "blk.34"),
        (put("gemma3.attention.sliding_window", None), "sliding_window"),
        (put("gemma3.rope.freq_base", None), "freq_base"),
        (put("tokenizer.ggml.model", "gpt2"), "SPM"),
        (put("tokenizer.ggml.add_bos_token", False), "beginning of the text"),
        (put("tokenizer.ggml.add_space_prefix", True), "space before"),
        (put("tokenizer.ggml.add_space_prefix", None), "space before"),
        (put("tokenizer.ggml.bos_token_id", 1 << 31), "begins a text"),
        (put("tokenizer.ggml.tokens", "x"), "no list of tokens"),
        (plain_mark, "plain word"),
        (lost_mark, "0 tokens <start_of_image>"),
        (short_scores, "scores does not fit"),
    ],
)
def test_a_model_that_does_not_run_here_is_refused_by_name(
    tmp_path: Path, change: Change, said: str
) -> None:
    with pytest.raises(ModelFileError, match=said) as refused:
        checked(tmp_path, change_model=change)
    assert "model.gguf" in refused.value.message and refused.value.hint


def as_wide(metadata: Metadata, tensors: Tensors) -> None:
    metadata["clip.vision.feed_forward_length"] = 1152


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("general.architecture", "gemma3"), "a model too"),
        (put("clip.projector_type", "mlp"), "'mlp'"),
        (put("clip.projector_type", None), "of the kind ''"),
        (put("clip.vision.projection_dim", 5376), "belongs to another model"),
        (put("general.name", "Gemma 3 4b It"), "calls itself gemma, the model medgemma"),
        (put("general.name", "Medgemma 1.5 4b It"), "calls itself medgemma1.5"),
        (put("clip.use_gelu", None), "use_gelu"),
        (put("clip.vision.image_mean", [0.48, 0.46, 0.41]), "image_mean"),
        (put("clip.vision.projector.scale_factor", 3), "do not pool"),
        (put("clip.vision.projector.scale_factor", 2), "1,024 tokens"),
        (put("clip.vision.image_size", 1008), "324 tokens of an image, more than 256"),
        (put("clip.vision.patch_size", 16), "v.patch_embd.weight has the shape"),
        (as_wide, "as wide as"),
    ],
)
def test_a_projector_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, change: Change, said: str
) -> None:
    with pytest.raises(ModelFileError, match=said):
        checked(tmp_path, change_projector=change)


def test_the_engine_takes_as_many_tokens_of_an_image_as_a_pair_may_make() -> None:
    assert MOST_IMAGE_TOKENS == BATCH_TOKENS


def test_a_faulty_conversion_that_still_runs_is_noted(tmp_path: Path) -> None:
    facts = checked(tmp_path, change_model=put("gemma3.rope.scaling.factor", None))
    assert any("positions" in note for note in facts.notes)


def test_the_quantization_is_what_the_bytes_are(tmp_path: Path) -> None:
    metadata, tensors = text_model(layers=1, kind=8)
    metadata["general.file_type"] = 15
    model = write_gguf(tmp_path / "m.gguf", metadata, tensors)
    found = check_pair(
        read_gguf_header(model), read_gguf_header(write_gguf(tmp_path / "p.gguf", *projector()))
    )
    assert found.quantization == "Q8_0"


def test_every_base_names_a_size_that_its_files_must_have(tmp_path: Path) -> None:
    metadata, tensors = text_model(62, 5376, 64, 32, name="Medgemma 27b It")
    model = read_gguf_header(write_gguf(tmp_path / "m.gguf", metadata, tensors))
    pair = write_gguf(tmp_path / "p.gguf", *projector(5376, "Medgemma 27b It"))
    facts = check_pair(model, read_gguf_header(pair))
    for name in BASES:
        if name == "medgemma-27b-it":
            check_base(name, model, facts)
        else:
            with pytest.raises(ModelFileError, match="layers"):
                check_base(name, model, facts)


@pytest.fixture
def releases(home: Path) -> Path:
    return home / "releases"


def wanted(**changes: Any) -> Wanted:
    whole = Wanted(
        BUILT_IN / MODEL, BUILT_IN / PROJECTOR, "other", "trial", default_labels(), False
    )
    return replace(whole, **changes)


def imported(folder: Path, **changes: Any) -> Release:
    return import_pair(wanted(**changes), folder, open_captioner, 1, TODAY, quietly)


def test_an_imported_pair_is_a_release_that_says_what_it_is(
    chest_dicom: Path, releases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [str(BUILT_IN / MODEL), str(BUILT_IN / PROJECTOR)]
    asked = ["release", "import", *pair, "--base", "other", "--prompt", "trained"]
    assert run(["--threads", "1", *asked]) == 0
    [name] = [name for name in release_names(releases) if name != "demonstration"]
    assert name == "other-f16"
    found = read_release(releases / name)
    verify(found)
    manifest = found.manifest
    assert {path.name for path in found.directory.iterdir()} == {MANIFEST, MODEL, PROJECTOR}
    assert manifest["fine_tuned"] is False and manifest["adapter"] is None
    assert manifest["evaluation"] is None and manifest["measured"] is None
    assert manifest["base_model"]["name"] == "other"
    assert manifest["imported"]["trial"]["whole_captions"] == 6
    assert min(manifest["imported"]["trial"]["told_apart_nats"].values()) > 3
    assert found.card.demonstration, "the demonstration's weights stay a demonstration"
    assert "NOT MEASURED" in capsys.readouterr().out
    assert run(["release", "list"]) == 0
    assert "NOT MEASURED" in capsys.readouterr().out

    arguments = ["--release", name, "--threads", "1", "caption", "--no-lookup", str(chest_dicom)]
    assert run([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["decision"]["kind"] == "abstain"
    assert "not measured" in answer["decision"]["reason"]
    assert answer["caption"] is not None
    assert run(arguments) == 0
    assert "NOT MEASURED HERE" in capsys.readouterr().out


def test_a_model_that_was_not_taught_the_labels_is_told_them(
    releases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This one was taught otherwise: told the labels, it may fail the drawings."""
    passed = Trial(6, 6, dict.fromkeys(DOMAINS, 3.0))
    monkeypatch.setattr("appliance.release.importing.try_pair", lambda captioner, say: passed)
    told = imported(releases, name="told", lists_labels=True)
    assert (told.card.prompt_version, imported(releases).card.prompt_version) == (2, 1)


def test_a_name_that_is_taken_or_is_no_name_is_refused(releases: Path) -> None:
    (releases / "trial").mkdir(parents=True)
    with pytest.raises(ConfigError, match="there is a release of that name"):
        imported(releases)
    for name in ("demonstration", "../x", "a.partial", "A B", "-x"):
        with pytest.raises(ConfigError, match="not a name"):
            imported(releases, name=name)
    assert [path.name for path in releases.iterdir()] == ["trial"]


def spoil(folder: Path, tensor: str, seed: int) -> Path:
    """The demonstration's projector with the values of one tensor shuffled."""
    from gguf import GGUFReader

    path = Path(shutil.copy(BUILT_IN / PROJECTOR, folder / "spoilt.gguf"))
    path.chmod(0o600)
    reader = GGUFReader(path, "r+")
    data = next(one.data for one in reader.tensors if one.name == tensor)
    data[:] = np.random.default_rng(seed).permutation(data.ravel()).reshape(data.shape)
    reader.data.flush()
    return path


@pytest.mark.parametrize("seed", [0, 1])
def test_a_projector_that_loads_but_belongs_to_another_model_is_refused(
    tmp_path: Path, releases: Path, seed: int
) -> None:
    other = spoil(tmp_path, "mm.input_projection.weight", seed)
    with pytest.raises(ModelFileError, match="the pair does not see"):
        imported(releases, projector=other)
    assert list(releases.iterdir()) == []


def test_a_model_that_does_not_look_tells_no_pictures_apart() -> None:
    labels = LabelSet((Label("a", "skin"), Label("b", "fundus"), Label("c", "chest")))
    blind = {domain: [(-1.0, -9.0, -2.0)] * 2 for domain in ("skin", "fundus", "chest")}
    assert set(told_apart(labels, blind).values()) == {0.0}  # type: ignore[arg-type]
    seeing = {
        "skin": [(-1.0, -19.0, -12.0)],
        "fundus": [(-1.5, -9.0, -12.0)],
        "chest": [(-1.5, -19.0, -2.0)],
    }
    found = told_apart(labels, seeing)  # type: ignore[arg-type]
    assert min(found.values()) > LEAST_TOLD_APART_NATS


def test_a_list_of_labels_of_ones_own_is_taken(tmp_path: Path, releases: Path) -> None:
    path = tmp_path / "labels.toml"
    path.write_text(
        '[[label]]\nname = "cataract"\ndomain = "fundus"\n'
        '[[label]]\nname = "trübe linse"\ndomain = "fundus"\n',
        encoding="utf-8",
    )
    found = imported(releases, labels=read_labels(path))
    assert found.card.labels.names == ("cataract", "trübe linse")


def test_a_list_of_many_labels_is_scored_in_groups(releases: Path) -> None:
    names = [f"finding {n} of a long list of them" for n in range(200)]
    labels = LabelSet(tuple(Label(name, "skin") for name in names))
    release = imported(releases, labels=labels)
    assert release.card.labels == labels


def test_a_label_longer_than_the_model_has_room_for_is_refused(releases: Path) -> None:
    labels = LabelSet((Label("皮膚の病変" * 16, "skin"), Label("melanoma", "skin")))
    with pytest.raises(ConfigError, match="label list does not run"):
        imported(releases, labels=labels)
    assert list(releases.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "label = 3",
        '[[label]]\nname = "one"\ndomain = "skin"',
        '[[label]]\nname = "one"\ndomain = "ear"\n[[label]]\nname = "two"\ndomain = "skin"',
        '[[label]]\nname = "One"\ndomain = "skin"\n[[label]]\nname = "two"\ndomain = "skin"',
        '[[label]]\nname = "one"\ndomain = "skin"\n[[label]]\nname = "one"\ndomain = "skin"',
        '[[label]]\nname = "a\\u001b[2J"\ndomain = "skin"\n[[label]]\nname = "b"\ndomain = "skin"',
        "[[label]\n",
    ],
)
def test_a_list_of_labels_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"labels\.toml"):
        read_labels(path)


def test_a_pair_too_large_for_this_machine_is_not_copied(tmp_path: Path, releases: Path) -> None:
    huge = write_gguf(tmp_path / "huge.gguf", *text_model(60, inner=1 << 20, name="x"))
    small = write_gguf(tmp_path / "small.gguf", *projector())
    assert huge.stat().st_size > 900 << 30
    with pytest.raises(ConfigError, match=r"of memory|GB free"):
        imported(releases, model=huge, projector=small)
    assert list(releases.iterdir()) == []


def test_two_imports_at_once_do_not_clear_each_others_files(releases: Path) -> None:
    (releases / "other.partial").mkdir(parents=True)
    held = os.open(releases, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another import"):
            imported(releases)
    finally:
        os.close(held)
    assert (releases / "other.partial").is_dir()


@pytest.mark.parametrize("delay_s", [0.0, 0.1])
def test_a_killed_import_leaves_no_release_and_the_next_one_clears_it(
    releases: Path, delay_s: float
) -> None:
    arguments = [str(BUILT_IN / MODEL), str(BUILT_IN / PROJECTOR), "--base", "other"]
    child = subprocess.Popen(
        [sys.executable, "-m", "appliance", "--threads", "1", "release", "import", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    aside = releases / "other-f16.partial"
    until_s = time.monotonic() + 60
    while not aside.exists() and child.poll() is None and time.monotonic() < until_s:
        time.sleep(0.001)
    time.sleep(delay_s)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert aside.is_dir() and list(release_names(releases)) == ["demonstration"]
    assert imported(releases).name == "trial"
    assert [path.name for path in releases.iterdir()] == ["trial"]


@pytest.mark.data
def test_no_hostile_file_reaches_llama_cpp(shared: Path, releases: Path) -> None:
    def never(release: Release, threads: int, encoder: str) -> Any:
        raise AssertionError("a hostile file would have been loaded")

    for file in sorted((shared / "corpora" / "gen" / "gguf").glob("*.gguf")):
        for pair in ({"model": file}, {"projector": file}):
            with pytest.raises(ApplianceError):
                import_pair(wanted(**pair), releases, never, 1, TODAY, quietly)
    assert not releases.exists() or list(releases.iterdir()) == []

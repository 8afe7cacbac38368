"""Claims about the captions of a teaching run, against a real HTTP server."""

import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from appliance.core.caption import parse_caption
from tests.training.teach.scripted_endpoint import (
    MODEL,
    Play,
    Request,
    ScriptedEndpoint,
    caption_text,
    completion,
    failure,
)
from tests.training.teach.teaching import (
    SIDE,
    always_right,
    kept,
    knowing,
    pictures,
    rejected,
    run_teach,
)
from tests.training.tiny import Rows, every_label, write_datasets
from training.datasets import FILES, read_examples
from training.labels import label_set
from training.teach.asking import image_data_url


def test_a_right_teachers_captions_are_kept_with_image_split_and_usage(
    data: Path, tmp_path: Path
) -> None:
    with ScriptedEndpoint(always_right(data)) as server:
        result = run_teach(server, data, tmp_path, kept_per_label=2)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'run' / 'captions.jsonl'}\n"
    rows = kept(tmp_path)
    assert Counter(row["label"] for row in rows) == {
        "normal chest": 2,
        "bacterial pneumonia": 2,
        "viral pneumonia": 2,
    }
    examples, _ = read_examples(data)
    place = {(e.dataset, e.row): e for e in examples}
    for row in rows:
        example = place[row["dataset"], row["row"]]
        assert (row["label"], row["group"]) == (example.label, example.group)
        assert row["caption"]["label"] == example.label
        parse_caption(json.dumps(row["caption"]), label_set())
        assert row["split"] in ("train", "val", "test") and row["data_split"] == example.split
        assert row["teacher"] == MODEL
        assert row["usage"] == {"input_tokens": 1000, "output_tokens": 200}
    assert rejected(tmp_path) == []


def test_the_teacher_is_shown_pixels_and_never_told_the_label(data: Path, tmp_path: Path) -> None:
    with ScriptedEndpoint(always_right(data)) as server:
        run_teach(server, data, tmp_path, kept_per_label=2, domains=["skin", "chest"])
    said = set()
    for request in server.requests:
        picture = request.picture
        said.add(json.dumps(request.body).replace(picture, ""))
        assert picture.startswith("data:image/jpeg;base64,")
    assert len(pictures(server)) == 20 and len(said) == 2, "one text a domain, whatever the label"


def test_what_else_is_in_an_image_file_is_not_sent(tmp_path: Path) -> None:
    image = Image.new("RGB", (900, 300), "red")
    file = io.BytesIO()
    image.save(file, "JPEG", exif=b"Exif\0\0Patient Name", comment=b"Patient Name")
    sent = base64.b64decode(image_data_url(file.getvalue(), SIDE).partition(",")[2])
    assert b"Patient" in file.getvalue() and b"Patient" not in sent
    assert Image.open(io.BytesIO(sent)).size == (768, 256)


def test_only_images_of_the_data_sets_training_splits_are_asked_about(
    data: Path, tmp_path: Path
) -> None:
    examples, _ = read_examples(data)
    train = {(e.dataset, e.row) for e in examples if (e.domain, e.split) == ("chest", "train")}
    with ScriptedEndpoint(always_right(data)) as server:
        run_teach(server, data, tmp_path, kept_per_label=9, asked_per_label=9)
    assert {(row["dataset"], row["row"]) for row in kept(tmp_path)} == train
    assert len(server.requests) == len(train)


def test_every_kind_of_bad_answer_is_a_counted_reject(tmp_path: Path) -> None:
    rows = every_label()
    for row in rows["kermany_cxr"]:
        row["split"] = "train"  # eight pictures, one for each answer
    data = write_datasets(tmp_path, rows)
    know = knowing(data)
    whole = caption_text("normal chest")
    plays: list[Callable[[str], Play]] = [
        lambda _: completion("The lungs are clear."),
        lambda _: completion(whole[:40]),
        lambda _: completion(whole[:40], finish_reason="length"),
        lambda _: completion(None),
        lambda _: completion(None, refusal="I cannot help with that."),
        lambda label: completion(caption_text(_another(label))),
        lambda label: completion(json.dumps(json.loads(caption_text(label)) | {"age": "7"})),
        lambda _: failure(400, "no images here"),
    ]

    def script(request: Request, number: int) -> Play:
        return plays[number](know(request))

    with ScriptedEndpoint(script) as server:
        result = run_teach(server, data, tmp_path, kept_per_label=4, concurrency=1)
    assert result.exit_code == 0, result.output
    assert kept(tmp_path) == []
    found = rejected(tmp_path)
    assert sorted(row["reason"] for row in found) == [
        "cut off", "empty", "half JSON", "keys", "no answer", "prose", "refused", "wrong label",
    ]  # fmt: skip
    assert all(row["detail"] and row["dataset"] == "kermany_cxr" for row in found)


def _another(label: str) -> str:
    return "viral pneumonia" if label != "viral pneumonia" else "normal chest"


def test_prose_around_a_caption_does_not_cost_it(data: Path, tmp_path: Path) -> None:
    know = knowing(data)
    with ScriptedEndpoint(
        lambda request, _: completion(f"Sure:\n```json\n{caption_text(know(request))}\n```")
    ) as server:
        run_teach(server, data, tmp_path)
    assert len(kept(tmp_path)) == 3 and rejected(tmp_path) == []


def test_a_rejected_image_is_replaced_so_that_what_is_kept_is_balanced(
    data: Path, tmp_path: Path
) -> None:
    know = knowing(data)
    wrong_once: set[str] = set()

    def script(request: Request, _: int) -> Play:
        label = know(request)
        if label in wrong_once:
            return completion(caption_text(label))
        wrong_once.add(label)
        return completion(caption_text(_another(label)))

    with ScriptedEndpoint(script) as server:
        run_teach(server, data, tmp_path)
    assert sorted(row["label"] for row in kept(tmp_path)) == sorted(label_set().in_domain("chest"))
    assert len(rejected(tmp_path)) == 3


def test_no_more_images_are_asked_about_than_the_recipe_allows(data: Path, tmp_path: Path) -> None:
    with ScriptedEndpoint(lambda *_: completion("No.")) as server:
        run_teach(server, data, tmp_path, kept_per_label=1, asked_per_label=2)
    assert len(server.requests) == 6 == len(rejected(tmp_path))


def test_a_corrupt_image_is_a_reject_and_is_not_sent(tmp_path: Path) -> None:
    rows = _chest_with(image=b"\xff\xd8 not an image")
    data = write_datasets(tmp_path, rows)
    with ScriptedEndpoint(lambda *_: completion("No.")) as server:
        run_teach(server, data, tmp_path, asked_per_label=9)
    assert Counter(row["reason"] for row in rejected(tmp_path)) == {"image": 1, "prose": 5}
    assert len(server.requests) == 5


def test_a_picture_that_is_there_twice_is_asked_about_and_kept_once(tmp_path: Path) -> None:
    rows = every_label()
    rows["kermany_cxr"].append(dict(rows["kermany_cxr"][0], group="another patient"))
    data = write_datasets(tmp_path, rows)
    with ScriptedEndpoint(always_right(data)) as server:
        run_teach(server, data, tmp_path, kept_per_label=9, asked_per_label=9)
    assert max(pictures(server).values()) == 1
    assert len(kept(tmp_path)) == 6
    assert [row["reason"] for row in rejected(tmp_path)] == ["duplicate"]


def _chest_with(**fields: object) -> Rows:
    rows = every_label()
    rows["kermany_cxr"][0] |= fields
    return rows


def test_the_data_card_tells_counts_sources_teacher_prompt_and_date(
    data: Path, tmp_path: Path
) -> None:
    with ScriptedEndpoint(always_right(data)) as server:
        run_teach(server, data, tmp_path, "--date", "2026-01-02")
    card = (tmp_path / "run" / "DATA_CARD.md").read_text(encoding="utf-8")
    for part in (
        "Date: 2026-01-02",
        f"Teacher: gpt-5 at {server.base_url}",
        f"Answered as: {MODEL}",
        "3 asked about, 3 captions kept, 0 rejected",
        "| viral pneumonia |",
        "You are a specialist clinician",
        "bacterial pneumonia; viral pneumonia",
        *FILES.values(),
    ):
        assert part in card

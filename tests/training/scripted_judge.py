"""A judge by a script behind a real HTTP server, and the evaluation that it is to judge."""

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from appliance.core.caption import Caption, caption_json
from appliance.core.labels import DOMAINS
from tests.training.teach.scripted_endpoint import KEY, Play, Request, completion
from training.evaluation.answered import AnsweredImage, Header, open_answers
from training.evaluation.embedder import INSTALLED, POOLING
from training.evaluation.judged import QUESTION, Metric
from training.evaluation.judging_command import judge
from training.labels import label_set, label_table
from training.measured.caption import Checked

LABELS = label_set()
KEY_VARIABLE = "JUDGE_TEST_KEY"
FORMS = {
    "StatementGeneratorOutput": "statements",
    "NLIStatementOutput": "verdicts",
    "AnswerRelevanceOutput": "question",
    "ClassificationWithReason": "classes",
}
"""ragas' names of what it asks for, and ours."""

Judgement = Callable[[dict[str, Any]], Any]
"""From ragas' input to the JSON of the answer."""


def asked_for(request: Request) -> str:
    return FORMS[request.body["response_format"]["json_schema"]["name"]]


def ragas_input(request: Request) -> dict[str, Any]:
    """What the question is about: the last input of the prompt, after the examples."""
    prompt = request.body["messages"][0]["content"]
    value: dict[str, Any] = json.loads(prompt.rsplit("input: ", 1)[1].removesuffix("Output: "))
    return value


def sentences(given: dict[str, Any]) -> Any:
    return {"statements": [part.rstrip(".") + "." for part in given["answer"].split(". ")]}


def verdicts(given: dict[str, Any]) -> Any:
    """1 for a statement that is in the context word by word."""
    return {
        "statements": [
            {"statement": each, "reason": "", "verdict": int(each in given["context"])}
            for each in given["statements"]
        ]
    }


def question(_: dict[str, Any]) -> Any:
    return {"question": QUESTION, "noncommittal": 0}


def classes(given: dict[str, Any]) -> Any:
    answer, truth = given["answer"], given["ground_truth"]
    found = {
        "TP": [each for each in answer if each in truth],
        "FP": [each for each in answer if each not in truth],
        "FN": [each for each in truth if each not in answer],
    }
    return {
        name: [{"statement": each, "reason": ""} for each in statements]
        for name, statements in found.items()
    }


HONEST: dict[str, Judgement] = {
    "statements": sentences,
    "verdicts": verdicts,
    "question": question,
    "classes": classes,
}


def judging(**changed: Judgement) -> Callable[[Request, int], Play]:
    """A judge that compares sentences word by word, but for what is changed."""
    judgements = HONEST | changed

    def play(request: Request, _: int) -> Play:
        return completion(json.dumps(judgements[asked_for(request)](ragas_input(request))))

    return play


def teacher_caption(label: str) -> Caption:
    return next(row.caption for row in label_table() if row.name == label)


def write_evaluation(folder: Path, texts: Mapping[str, str | None]) -> Path:
    """answers.jsonl with an image a label, and teacher.jsonl with the table's captions of them.

    A text of None is the teacher's own caption.
    """
    header = Header(
        model="tried",
        model_sha256="0" * 64,
        split="test",
        images=len(texts),
        labels=LABELS.names,
        domains=tuple(label.domain for label in LABELS),
        temperatures=dict.fromkeys(DOMAINS, 1.0),
        prompt_version=1,
    )
    lines = []
    with open_answers(folder, header) as answers:
        for row, (label, text) in enumerate(texts.items()):
            caption = teacher_caption(label)
            answers.add(
                AnsweredImage(
                    dataset="made-up",
                    row=row,
                    group=str(row),
                    domain=LABELS.domain_of(label),
                    label=label,
                    found=label,
                    text=caption_json(caption) if text is None else text,
                    label_scores=(0.0,) * len(LABELS),
                    findings=Checked(0, 0, 0),
                    strata={},
                )
            )
            lines.append(
                {"dataset": "made-up", "row": row, "split": "test", "caption": vars(caption)}
            )
    teacher = folder / "teacher.jsonl"
    teacher.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_recipe(file: Path, base_url: str, **changed: Any) -> Path:
    """A recipe in a hurry; `changed` names settings of any section."""
    sections: dict[str, dict[str, Any]] = {
        "": {"name": "test", "seed": 0, "images_per_domain": 10, "tries": 2, "embedder": ""},
        "endpoint": {
            "base_url": base_url,
            "model": "scripted-judge",
            "api_key_variable": KEY_VARIABLE,
            "answer_format": "json_schema",
            "output_limit": "max_tokens",
            "most_output_tokens": 500,
        },
        "patience": {
            "concurrency": 2,
            "timeout_s": 5,
            "most_attempts": 2,
            "first_wait_s": 0.01,
            "longest_wait_s": 0.02,
        },
        "prices": {"input_per_million": 1.0, "output_per_million": 2.0, "budget": 100.0},
    }
    text = ""
    for name, section in sections.items():
        text += f"\n[{name}]\n" if name else ""
        for key, value in section.items():
            text += f"{key} = {json.dumps(changed.pop(key, value))}\n"
        text += "extra = { temperature = 0 }\n" if name == "endpoint" else ""
    assert not changed, changed
    file.write_text(text)
    return file


def tiny_embedder(folder: Path) -> Path:
    """A sentence-transformers folder with random weights; the installed one takes a second."""
    if folder.exists():
        return folder
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    BertModel(config).save_pretrained(folder)
    installed = Path(str(files(INSTALLED[0]))) / INSTALLED[1]
    for name in ("tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json", POOLING):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((installed / name).read_bytes())
    return folder


def run_judge(folder: Path, base_url: str, *options: str, **changed: Any) -> Result:
    changed.setdefault("embedder", str(tiny_embedder(folder / "embedder")))
    recipe = write_recipe(folder / "judge.toml", base_url, **changed)
    captions = str(folder / "teacher.jsonl")
    arguments = [str(folder), "--captions", captions, "--config", str(recipe), *options]
    return CliRunner().invoke(judge, arguments, env={KEY_VARIABLE: KEY})


def judged(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "judged.json").read_text())
    return value


def scores(folder: Path, metric: Metric) -> list[float | None]:
    """In the order of the images."""
    lines = [json.loads(line) for line in (folder / "judged.jsonl").read_text().splitlines()]
    found = {line["row"]: line["score"] for line in lines if line["metric"] == metric}
    return [found[row] for row in sorted(found)]

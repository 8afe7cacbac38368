"""Claims about judging: ragas' own scores by a scripted judge, and every way a judge can fail."""

import importlib.util
import json
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.core.caption import FIELDS
from tests.training.scripted_judge import (
    KEY_VARIABLE,
    LABELS,
    asked_for,
    judged,
    judging,
    ragas_input,
    run_judge,
    scores,
    teacher_caption,
    write_evaluation,
    write_recipe,
)
from tests.training.teach.scripted_endpoint import (
    KEY,
    Play,
    Request,
    ScriptedEndpoint,
    completion,
    failure,
)
from training.evaluation.answered import EvaluationError, read_evaluation
from training.evaluation.embedder import EmbedderError, open_embedder
from training.evaluation.judge_recipe import read_judge_recipe
from training.evaluation.judged import (
    METRICS,
    QUESTION,
    SENTENCES,
    Sample,
    Score,
    caption_sentences,
    choose,
    figure_lines,
    figures,
    make_samples,
    read_teacher,
)
from training.recipe import RecipeError

MELANOMA = teacher_caption("melanoma")
CONFIG = Path(__file__).resolve().parents[2] / "training" / "configs" / "judge.toml"
QUESTIONS_AN_IMAGE = 8  # 2 for faithfulness, 3 for relevancy, 3 for correctness

needs_ragas = pytest.mark.skipif(
    importlib.util.find_spec("ragas") is None,
    reason="ragas is not installed: pip install -e '.[judge]' -c constraints.txt",
)


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """An evaluation of one image, answered as the teacher has it."""
    return write_evaluation(tmp_path / "answers", {"melanoma": None})


def changed_caption(**fields: str) -> str:
    return json.dumps(vars(MELANOMA) | fields)


# What is asked


def test_a_caption_is_put_into_a_sentence_a_field() -> None:
    assert caption_sentences(MELANOMA) == (
        "The diagnosis is melanoma. The type of image is dermoscopy. "
        "The anatomical region is skin lesion. The key findings are: asymmetric lesion with an "
        "irregular border and several colours. The clinical significance is: malignant; urgent "
        "referral for excision."
    )
    assert tuple(SENTENCES) == FIELDS


def test_the_models_caption_is_the_response_and_the_teachers_the_reference(tmp_path: Path) -> None:
    texts = {"melanoma": changed_caption(label="melanocytic nevus"), "cataract": "a cloudy lens"}
    folder = write_evaluation(tmp_path, texts)
    teacher = read_teacher(folder / "teacher.jsonl", "test")
    (skin, fundus), without = make_samples(read_evaluation(folder), teacher)
    assert skin.reference == caption_sentences(MELANOMA)
    assert skin.response == skin.reference.replace("is melanoma", "is melanocytic nevus")
    assert fundus.response == "a cloudy lens", "no caption: the text as it is"
    assert without == 0


def test_images_without_a_caption_of_the_split_are_counted(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, {"melanoma": None, "cataract": None})
    teacher = folder / "teacher.jsonl"
    first, second = teacher.read_text().splitlines()
    teacher.write_text(first + "\n" + second.replace('"test"', '"train"') + "\n")
    samples, without = make_samples(read_evaluation(folder), read_teacher(teacher, "test"))
    assert len(samples) == without == 1
    teacher.write_text(second.replace('"test"', '"train"'))
    with pytest.raises(EvaluationError, match="no answered image has a caption of the split"):
        make_samples(read_evaluation(folder), read_teacher(teacher, "test"))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"label": "melanoma"', '"label": "cataract"', "the teacher says 'cataract'"),
        ('"label"', '"lable"', "line 1: not a caption"),
        ('"melanoma"', "17", "line 1: not a caption"),
        ("{", "", "line 1: not a caption"),
    ],
)
def test_a_teachers_file_that_does_not_fit_is_refused(
    one: Path, old: str, new: str, problem: str
) -> None:
    teacher = one / "teacher.jsonl"
    teacher.write_text(teacher.read_text().replace(old, new))
    result = run_judge(one, "http://127.0.0.1:9/v1", "--dry-run")
    assert result.exit_code == 1 and problem in result.stderr


def test_a_larger_choice_keeps_what_was_in_the_smaller() -> None:
    samples = [Sample("d", row, LABELS.domain_of("melanoma"), "", "", "") for row in range(50)]
    samples += [Sample("d", row, LABELS.domain_of("cataract"), "", "", "") for row in range(3)]
    few, more = choose(samples, 5, 0), choose(samples, 20, 0)
    assert set(few) < set(more) and (len(few), len(more)) == (8, 23)
    assert choose(samples, 5, 0) == choose(samples[::-1], 5, 0) != choose(samples, 5, 1)


# ragas' arithmetic


@needs_ragas
def test_the_scores_of_a_hand_made_case_are_ragas_own(tmp_path: Path) -> None:
    """Faithfulness 3 of 4; correctness 0.75 F1 (3 TP, 1 FP, 1 FN) and 0.25 cosine; relevancy the
    mean cosine of three questions, of which one is another."""
    response = "One. Two. Three. Four."
    folder = write_evaluation(tmp_path, {"melanoma": response})
    said = ["One.", "Two.", "Three.", "Four."]
    questions = iter([QUESTION, QUESTION, "Is it raining?"])

    def statements(given: dict[str, Any]) -> Any:
        return {"statements": said if given["answer"] == response else [*said[:3], "Five."]}

    def three_of_four(given: dict[str, Any]) -> Any:
        supported = [{"statement": each, "reason": "", "verdict": 1} for each in said]
        supported[3]["verdict"] = 0
        return {"statements": supported if given["statements"] == said else []}

    def asked(_: dict[str, Any]) -> Any:
        return {"question": next(questions), "noncommittal": 0}

    script = judging(statements=statements, verdicts=three_of_four, question=asked)
    with ScriptedEndpoint(script) as endpoint:
        result = run_judge(folder, endpoint.base_url, embedder="")
    assert result.exit_code == 0, result.output

    vectors = open_embedder("").embed(
        [response, caption_sentences(MELANOMA), QUESTION, "Is it raining?"]
    )
    assert scores(folder, "faithfulness") == [0.75]
    similar = float(vectors[0] @ vectors[1])
    assert scores(folder, "answer_correctness") == pytest.approx([0.75 * 0.75 + 0.25 * similar])
    rain = float(vectors[2] @ vectors[3])
    assert scores(folder, "answer_relevancy") == pytest.approx([(2 + rain) / 3], abs=1e-5)


@needs_ragas
def test_a_run_leaves_figures_by_domain_with_intervals(tmp_path: Path) -> None:
    texts = {
        "melanoma": changed_caption(clinical_significance="harmless"),
        "melanocytic nevus": None,
        "cataract": None,
    }
    folder = write_evaluation(tmp_path, texts)
    honest, both_are_here = judging(), threading.Barrier(2, timeout=20)

    def script(request: Request, number: int) -> Play:
        if number < 2:
            both_are_here.wait()
        return honest(request, number)

    with ScriptedEndpoint(script) as endpoint:
        result = run_judge(folder, endpoint.base_url, timeout_s=30)
        assert len(endpoint.requests) == 3 * QUESTIONS_AN_IMAGE
        assert endpoint.most_at_once == 2, "as many at once as the recipe says"
        assert {request.headers["Authorization"] for request in endpoint.requests} == {
            f"Bearer {KEY}"
        }
        schemas = [request.body["response_format"]["json_schema"] for request in endpoint.requests]
    assert result.exit_code == 0, result.output
    assert all(each["strict"] and not each["schema"]["additionalProperties"] for each in schemas)
    found = judged(folder)
    faithful = found["metrics"]["faithfulness"]
    assert faithful["domains"]["skin"]["mean"] == pytest.approx(0.9)
    assert faithful["domains"]["skin"]["interval"] == pytest.approx([0.8, 1.0])
    assert faithful["domains"]["fundus"]["mean"] == 1.0
    assert faithful["overall"].pop("mean") == pytest.approx(2.8 / 3)
    assert faithful["overall"].pop("interval") == pytest.approx([0.8, 1.0])
    assert faithful["overall"] == {
        "scored": 3,
        "failed": 0,
        "reasons": {},
        "too_few_scored": False,
    }
    assert found["metrics"]["answer_relevancy"]["overall"]["mean"] == pytest.approx(1, abs=1e-5)
    # 1000 tokens in and 200 out for each answer, as the endpoint reports them
    assert found["cost"] == pytest.approx(3 * QUESTIONS_AN_IMAGE * 1.4e-3)
    assert found["judge"]["model"] == "scripted-judge" and found["images"] == 3
    assert "faithfulness       skin   0.900 (0.800-1.000)  n 2" in result.stdout
    written = "".join(path.read_text() for path in folder.glob("judge*"))
    assert KEY not in written + result.output


@needs_ragas
def test_nobody_is_told_that_ragas_is_used() -> None:
    from training.evaluation import ragas_scores

    assert ragas_scores.VERSION
    from ragas._analytics import do_not_track

    assert do_not_track()


def test_the_local_embedder_gives_what_its_publishers_print() -> None:
    """The similarities of the first example on sbert.net, for all-MiniLM-L6-v2."""
    sentences = [
        "The weather is lovely today.",
        "It's so sunny outside!",
        "He drove to the stadium.",
    ]
    embedder = open_embedder("")
    vectors = embedder.embed(sentences)
    similar = vectors @ vectors.T
    assert similar[0] == pytest.approx([1, 0.6660, 0.1046], abs=1e-4)
    assert similar[1, 2] == pytest.approx(0.1411, abs=1e-4)
    alone = embedder.embed(sentences[:1])
    assert alone[0] == pytest.approx(vectors[0], abs=1e-5), "not moved by its neighbours"


def test_a_folder_without_a_sentence_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match=f"no sentence-transformers model in {tmp_path}"):
        open_embedder(str(tmp_path))


# A judge that fails


@needs_ragas
def test_a_judge_that_times_out_once_is_asked_again(one: Path) -> None:
    honest = judging()

    def script(request: Request, number: int) -> Play:
        return Play(b"", silent=True) if number == 0 else honest(request, number)

    with ScriptedEndpoint(script) as endpoint:
        result = run_judge(one, endpoint.base_url, timeout_s=0.5)
        assert len(endpoint.requests) == QUESTIONS_AN_IMAGE + 1
    assert result.exit_code == 0, result.output
    assert scores(one, "faithfulness") == [1.0]


@needs_ragas
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (completion("I find the caption quite good."), "prose"),
        (completion('{"statements": ["The diagnosis'), "half JSON"),
        (completion('{"statements": 3}'), "other form"),
        (completion('{"statements": ["half a pair \\ud800"]}'), "other form"),
        (completion(""), "empty"),
    ],
    ids=["prose", "half JSON", "other form", "half a surrogate pair", "empty"],
)
def test_an_answer_out_of_form_is_put_right_or_counted(one: Path, bad: Play, reason: str) -> None:
    honest = judging()

    def once(request: Request, number: int) -> Play:
        return bad if number == 0 else honest(request, number)

    with ScriptedEndpoint(once) as endpoint:
        result = run_judge(one, endpoint.base_url, concurrency=1)
        again = endpoint.requests[1].body["messages"]
    assert result.exit_code == 0, result.output
    assert scores(one, "faithfulness") == [1.0]
    assert [each["role"] for each in again] == ["user", "assistant", "user"]
    assert f"not the answer asked for ({reason})" in again[2]["content"]

    (one / "judged.jsonl").unlink()

    def always(request: Request, number: int) -> Play:
        return bad if asked_for(request) == "statements" else honest(request, number)

    with ScriptedEndpoint(always) as endpoint:
        result = run_judge(one, endpoint.base_url)
    assert result.exit_code == 0, "relevancy asks for no statements"
    failed = judged(one)["metrics"]["faithfulness"]["overall"]
    assert failed["mean"] is None and failed["reasons"] == {reason: 1}
    assert f"faithfulness       all    no score  n 0, 1 failed ({reason} 1)  FEWER" in result.stdout


@needs_ragas
@pytest.mark.parametrize(
    ("form", "answer", "metric", "reason"),
    [
        ("statements", {"statements": []}, "answer_correctness", "no statements"),
        ("statements", {"statements": []}, "faithfulness", "no statements"),
        ("classes", {"TP": [], "FP": [], "FN": []}, "answer_correctness", "verdicts"),
        ("verdicts", {"statements": []}, "faithfulness", "no statements"),
        (
            "verdicts",
            {"statements": [{"statement": "One.", "reason": "", "verdict": 1}]},
            "faithfulness",
            "verdicts",
        ),
        ("question", {"question": " ", "noncommittal": 0}, "answer_relevancy", "empty"),
    ],
)
def test_a_judge_that_judged_nothing_gives_no_score(
    one: Path, form: str, answer: Any, metric: str, reason: str
) -> None:
    """ragas takes some of these for perfect."""
    with ScriptedEndpoint(judging(**{form: lambda _: answer})) as endpoint:
        run_judge(one, endpoint.base_url)
    assert judged(one)["metrics"][metric]["overall"]["reasons"] == {reason: 1}


@needs_ragas
def test_a_refusal_and_an_answer_cut_off_are_counted_and_not_asked_again(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, {"melanoma": None, "cataract": ""})

    def script(request: Request, _: int) -> Play:
        if asked_for(request) == "question":
            return completion(None, refusal="I cannot judge patients.")
        return completion('{"statements": ["One', finish_reason="length")

    with ScriptedEndpoint(script) as endpoint:
        result = run_judge(folder, endpoint.base_url)
        assert len(endpoint.requests) == 3
    assert result.exit_code == 1 and "gave no score at all" in result.stderr
    metrics = judged(folder)["metrics"]
    assert metrics["answer_relevancy"]["overall"]["reasons"] == {"refused": 1, "empty caption": 1}
    assert metrics["faithfulness"]["domains"]["skin"]["reasons"] == {"cut off": 1}


def test_a_judge_nobody_can_reach_is_named_before_anything_is_asked(one: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        result = run_judge(one, address)
    if importlib.util.find_spec("ragas") is None:
        assert "the package ragas is not installed" in result.stderr
        return
    assert result.exit_code == 1
    assert f"no judge at {address}" in result.stderr and "start its server" in result.stderr
    assert not (one / "judged.jsonl").exists()


@needs_ragas
def test_a_judge_that_goes_down_stops_the_run(tmp_path: Path) -> None:
    texts: dict[str, str | None] = dict.fromkeys(LABELS.names[:6])
    folder = write_evaluation(tmp_path, texts)
    with ScriptedEndpoint(lambda request, number: failure(503)) as endpoint:
        result = run_judge(folder, endpoint.base_url, most_attempts=1)
    assert result.exit_code == 1
    assert "no answer for 10 scores in a row" in result.stderr
    assert not (folder / "judged.json").exists()


@needs_ragas
def test_a_key_that_is_not_accepted_stops_the_run(one: Path) -> None:
    with ScriptedEndpoint(lambda request, number: failure(401)) as endpoint:
        result = run_judge(one, endpoint.base_url)
    assert result.exit_code == 1 and "the key is not accepted" in result.stderr


# Going on


@needs_ragas
def test_a_second_run_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, {"melanoma": None, "cataract": None})
    honest = judging()

    def no_classes(request: Request, number: int) -> Play:
        if asked_for(request) == "classes":
            return failure(500)
        if asked_for(request) == "verdicts" and "cataract" in str(ragas_input(request)):
            return completion("prose")
        return honest(request, number)

    with ScriptedEndpoint(no_classes) as endpoint:
        first = run_judge(folder, endpoint.base_url)
    reasons = judged(folder)["metrics"]
    assert first.exit_code == 0
    assert reasons["answer_correctness"]["overall"]["reasons"] == {"no answer": 2}
    assert reasons["faithfulness"]["overall"]["too_few_scored"]

    with ScriptedEndpoint(honest) as endpoint:
        second = run_judge(folder, endpoint.base_url)
        assert {asked_for(request) for request in endpoint.requests} == {"statements", "classes"}
        assert len(endpoint.requests) == 6, "correctness of two images; prose stays prose"
    assert second.exit_code == 0
    metrics = judged(folder)["metrics"]
    assert metrics["answer_correctness"]["overall"]["mean"] == pytest.approx(1)
    assert metrics["faithfulness"]["overall"]["reasons"] == {"prose": 1}

    with ScriptedEndpoint(honest) as endpoint:
        run_judge(folder, endpoint.base_url)
        assert not endpoint.requests
        run_judge(folder, endpoint.base_url, "--retry-failed")
        assert len(endpoint.requests) == 2, "what was prose"
    assert judged(folder)["metrics"]["faithfulness"]["overall"]["mean"] == 1
    with ScriptedEndpoint(honest) as endpoint:
        run_judge(folder, endpoint.base_url, model="another")
        assert len(endpoint.requests) == 2 * QUESTIONS_AN_IMAGE, "another judge, other scores"


@needs_ragas
def test_half_a_line_that_a_kill_left_is_asked_again(one: Path) -> None:
    with ScriptedEndpoint(judging()) as endpoint:
        run_judge(one, endpoint.base_url, concurrency=1)
        before = judged(one)["metrics"]
        file = one / "judged.jsonl"
        file.write_bytes(file.read_bytes()[:-40])
        endpoint.requests.clear()
        result = run_judge(one, endpoint.base_url, concurrency=1)
        assert len(endpoint.requests) == 3, "correctness was the last"
    assert result.exit_code == 0 and judged(one)["metrics"] == before

    file.write_text("{}\n" + file.read_text())
    result = run_judge(one, endpoint.base_url)
    assert result.exit_code == 1


@needs_ragas
def test_the_budget_ends_a_run_and_a_larger_one_goes_on(one: Path) -> None:
    with ScriptedEndpoint(judging()) as endpoint:
        result = run_judge(one, endpoint.base_url, concurrency=1, budget=0.008)
        first = len(endpoint.requests)
        assert result.exit_code == 1 and "the budget of 0.01 dollars ended" in result.stderr
        assert 2 < first < QUESTIONS_AN_IMAGE
        result = run_judge(one, endpoint.base_url, concurrency=1)
        assert result.exit_code == 0
        spent = len(endpoint.requests) * 1.4e-3
        assert judged(one)["cost"] == pytest.approx(spent), "what was broken off is paid too"


# Figures


def made_up(values: list[float | None]) -> list[Score]:
    return [
        Score(str(row), "d", row, "skin", "faithfulness", value, "" if value else "prose", "", 0.0)
        for row, value in enumerate(values)
    ]


def test_a_mean_over_too_few_of_the_images_says_so() -> None:
    nine = figures(made_up([0.5] * 9 + [None]), 0)
    eight = figures(made_up([0.5] * 8 + [None] * 2), 0)
    assert not nine["faithfulness"]["overall"]["too_few_scored"]
    assert eight["faithfulness"]["overall"]["too_few_scored"]
    assert eight["faithfulness"]["overall"]["reasons"] == {"prose": 2}
    lines = figure_lines({"metrics": eight})
    assert "FEWER THAN 90% SCORED" in lines[0] and "2 failed (prose 2)" in lines[0]


def test_the_interval_is_that_of_the_mean() -> None:
    """About 1.96 standard errors each way for many images."""
    values = list(np.random.default_rng(1).random(400))
    overall = figures(made_up([*values]), 0)["faithfulness"]["overall"]
    low, high = overall["interval"]
    half = 1.96 * np.std(values) / 20
    assert (low, high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=0.004)


# The recipe


def test_the_committed_recipe_is_read() -> None:
    recipe = read_judge_recipe(CONFIG)
    assert recipe.endpoint.api_key_variable == "OPENAI_API_KEY"
    assert len(METRICS) == 3


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"tries": 0}, "`tries` is not a whole number above 0"),
        ({"base_url": "https://me:key@judge.example/v1"}, "`base_url` is not an http"),
        ({"answer_format": "yaml"}, "`answer_format` is not one of"),
        ({"budget": -1}, r"`budget` is not a number from 0 up"),
    ],
)
def test_a_setting_out_of_range_is_named(
    tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    file = write_recipe(tmp_path / "judge.toml", changed.pop("base_url", "http://a/v1"), **changed)
    with pytest.raises(RecipeError, match=problem):
        read_judge_recipe(file)


def test_a_missing_key_and_an_unknown_setting_are_usage_errors(
    one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(one / "judge.toml", "http://127.0.0.1:9/v1")
    recipe.write_text("colour = 1\n" + recipe.read_text())
    with pytest.raises(RecipeError, match="`colour` is not a setting"):
        read_judge_recipe(recipe)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    if importlib.util.find_spec("ragas"):
        result = run_judge(one, "http://127.0.0.1:9/v1", api_key_variable="NO_SUCH_KEY")
        assert result.exit_code == 2 and "NO_SUCH_KEY" in result.stderr


def test_a_dry_run_says_what_it_would_cost_and_asks_nothing(one: Path) -> None:
    result = run_judge(one, "http://127.0.0.1:9/v1", "--dry-run")
    assert result.exit_code == 0
    assert "1 images, 3 scores each, about 0.01 of 100.00 dollars" in result.stderr
    assert result.stdout == ""

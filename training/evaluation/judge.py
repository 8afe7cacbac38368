"""A judge behind an OpenAI-compatible endpoint: a question in, an answer of the form asked for out.

Owns the request, how often it is put, and why an answer is of no use. Knows nothing of metrics,
captions or files; the network is training.teach's.
"""

import json
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from training.evaluation.judge_recipe import JudgeRecipe
from training.teach.answers import Purse
from training.teach.endpoint import Endpoint, EndpointRefused, NoAnswer
from training.teach.teacher import Answer

Reason = Literal[
    "no answer", "refused", "empty", "cut off", "prose", "half JSON", "other form",
    "no statements", "verdicts", "not a number", "empty caption", "unfinished",
]  # fmt: skip
"""Why an image has no score; every image judged has a score or one of these."""

PUT_RIGHT = (
    "That is not the answer asked for ({problem}). Give the whole JSON object, nothing else."
)

Form = TypeVar("Form", bound=BaseModel)


class Unscored(Exception):
    """No score comes of this; counted, and kept with its reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


class BudgetSpent(Exception):
    """The next question could cost more than is left of the budget."""


class JudgeUnreachable(Exception):
    """Nobody listens at the judge's address."""


class Inquiry:
    """The questions that one score takes; `cost` is what they have taken, in dollars."""

    def __init__(self, endpoint: Endpoint, recipe: JudgeRecipe, purse: Purse) -> None:
        self.cost = 0.0
        self._endpoint = endpoint
        self._recipe = recipe
        self._purse = purse

    async def ask(self, prompt: str, form: type[Form]) -> Form:
        """Raises: Unscored, BudgetSpent, EndpointRefused."""
        messages = [{"role": "user", "content": _whole(prompt)}]
        for left in reversed(range(self._recipe.tries)):
            answer = await self._send(messages, form)
            try:
                return read_judgement(answer, form)
            except Unscored as exc:
                if not left or exc.reason in ("refused", "cut off"):
                    raise
                messages = [
                    messages[0],
                    {"role": "assistant", "content": _whole(answer.text)},
                    {"role": "user", "content": PUT_RIGHT.format(problem=exc.reason)},
                ]
        raise AssertionError("a recipe has at least one try")

    async def _send(self, messages: list[dict[str, str]], form: type[BaseModel]) -> Answer:
        body = request_body(self._recipe, messages, form)
        characters = len(json.dumps(body))
        promised = self._purse.promise(characters)
        if promised is None:
            raise BudgetSpent
        cost = promised  # a question that is broken off may be charged
        try:
            answer, unseen = await self._endpoint.ask(body)
            cost = self._purse.cost(answer, characters) + promised * unseen
        except NoAnswer as exc:
            cost = promised * exc.unseen
            raise Unscored("no answer", str(exc)) from exc
        except EndpointRefused:
            cost = 0.0
            raise
        finally:
            self._purse.settle(promised, cost)
            self.cost += cost
        return answer


def request_body(
    recipe: JudgeRecipe, messages: list[dict[str, str]], form: type[BaseModel]
) -> dict[str, Any]:
    """The whole body of POST /chat/completions."""
    endpoint, schema = recipe.endpoint, closed_schema(form)
    response_format: dict[str, Any] = {"type": "json_object", "schema": schema}
    if endpoint.answer_format == "json_schema":
        named = {"name": form.__name__, "strict": True, "schema": schema}
        response_format = {"type": "json_schema", "json_schema": named}
    return {
        **endpoint.extra,
        "model": endpoint.model,
        "messages": messages,
        "response_format": response_format,
        endpoint.output_limit: endpoint.most_output_tokens,
    }


def closed_schema(form: type[BaseModel]) -> dict[str, Any]:
    """Of a pydantic model, with no further keys allowed, as OpenAI's strict mode wants it."""

    def closed(value: Any) -> Any:
        if isinstance(value, list):
            return [closed(each) for each in value]
        if not isinstance(value, dict):
            return value
        inner = {key: closed(each) for key, each in value.items()}
        return inner | {"additionalProperties": False} if "properties" in value else inner

    schema: dict[str, Any] = closed(form.model_json_schema())
    return schema


def read_judgement(answer: Answer, form: type[Form]) -> Form:
    """The first JSON object of the answer, whatever prose or code fence is around it.

    Raises: Unscored.
    """
    text = answer.text
    if answer.refusal or answer.finish_reason == "content_filter":
        raise Unscored("refused", _start(answer.refusal or answer.finish_reason))
    if answer.finish_reason == "length":
        raise Unscored("cut off", f"the answer ran into its limit: {_start(text)}")
    if not text.strip():
        raise Unscored("empty", "no text")
    if "{" not in text:
        raise Unscored("prose", _start(text))
    try:
        value, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        json.dumps(value, ensure_ascii=False).encode()
    except (json.JSONDecodeError, RecursionError) as exc:
        raise Unscored("half JSON", _start(text)) from exc
    except UnicodeEncodeError as exc:
        raise Unscored("other form", "half a surrogate pair") from exc
    try:
        return form.model_validate(value)
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise Unscored("other form", f"`{place}`: {first['msg']}") from exc


def check_reachable(base_url: str, timeout_s: float) -> None:
    """Whether anybody listens there; what they say does not matter yet.

    Raises: JudgeUnreachable.
    """
    import httpx  # training only

    try:
        httpx.get(base_url.rstrip("/") + "/models", timeout=timeout_s)
    except (httpx.ReadTimeout, httpx.RemoteProtocolError):
        pass  # somebody took the call
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise JudgeUnreachable(
            f"no judge at {base_url} ({type(exc).__name__}: {exc}); "
            "start its server, or correct [endpoint] `base_url`"
        ) from exc


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which no request can carry."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _start(text: str) -> str:
    return " ".join(_whole(text).split())[:80]

"""An OpenAI-compatible endpoint: one request in, one answer out, however often it takes.

Owns the network: timeouts, retries, how long to wait, whose fault a failure is. Knows nothing of
images, labels or money. The key stays in the header of the request and is in no message.
"""

import asyncio
import random
import time
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from training.teach.recipe import EndpointSettings, Patience
from training.teach.teacher import Answer

if TYPE_CHECKING:
    import httpx

REFUSALS = {401: "the key is not accepted", 403: "access is denied", 404: "no such model or path"}
"""What no further image and no waiting will mend."""
TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class EndpointRefused(Exception):
    """The endpoint will not work with these settings: the run stops."""


class NoAnswer(Exception):
    """The endpoint gave no answer to this request; another time it may."""

    def __init__(self, message: str, unseen: int = 0) -> None:
        super().__init__(message)
        self.unseen = unseen
        """Attempts that may have been answered, and charged, without our seeing it."""


class Endpoint:
    """An open connection pool; use as `async with`."""

    def __init__(self, settings: EndpointSettings, patience: Patience, api_key: str) -> None:
        import httpx  # training only

        self._settings = settings
        self._patience = patience
        self._api_key = api_key
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=httpx.Limits(max_connections=patience.concurrency),
            timeout=None,  # the whole exchange has one limit, in `_attempt`
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, exc, tb)

    async def ask(self, body: dict[str, Any]) -> tuple[Answer, int]:
        """The answer, and how many attempts before it may have been charged unseen.

        Raises: EndpointRefused, NoAnswer.
        """
        unseen, problem, asked_wait_s = 0, "", 0.0
        for attempt in range(self._patience.most_attempts):
            if attempt:
                await asyncio.sleep(self._wait_s(attempt, asked_wait_s))
            response = await self._attempt(body)
            asked_wait_s = 0.0
            if isinstance(response, str):
                problem = response
                unseen += 1
            elif response.status_code in TRY_AGAIN:
                problem = f"status {response.status_code}{self._message(response)}"
                asked_wait_s = retry_after_s(response.headers.get("Retry-After", ""), time.time())
                if asked_wait_s > self._patience.longest_wait_s:
                    raise NoAnswer(f"{problem}; asks to wait {asked_wait_s:.0f} s", unseen)
            else:
                return self._read(response, unseen), unseen
        raise NoAnswer(f"{problem}, {self._patience.most_attempts} times", unseen)

    async def _attempt(self, body: dict[str, Any]) -> "httpx.Response | str":
        """The response, or what went wrong with the connection."""
        import httpx

        try:
            async with asyncio.timeout(self._patience.timeout_s):
                address = self._settings.base_url.rstrip("/") + "/chat/completions"
                return await self._client.post(address, json=body)
        except TimeoutError:
            return f"nothing within {self._patience.timeout_s:g} s"
        except httpx.HTTPError as exc:
            return f"no connection ({type(exc).__name__})"

    def _wait_s(self, attempt: int, asked_wait_s: float) -> float:
        """Doubling, with jitter so that many waiting requests do not come back together."""
        doubled = self._patience.first_wait_s * 2.0 ** (attempt - 1)
        jittered = min(doubled, self._patience.longest_wait_s) * random.uniform(0.5, 1)
        return max(jittered, asked_wait_s)

    def _read(self, response: "httpx.Response", unseen: int) -> Answer:
        status = response.status_code
        where = f"{self._settings.base_url}, model {self._settings.model}"
        if status in REFUSALS:
            raise EndpointRefused(f"status {status}, {REFUSALS[status]}: {where}")
        if status != 200:
            raise NoAnswer(f"status {status}{self._message(response)}", unseen)
        try:
            return read_completion(response.json())
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            raise NoAnswer("status 200, but not a chat completion", unseen + 1) from exc

    def _message(self, response: "httpx.Response") -> str:
        """The start of what the endpoint says of its failure, if it says it in the usual form."""
        try:
            said = str(response.json()["error"]["message"])
        except (ValueError, LookupError, TypeError):
            return ""
        if self._api_key:
            said = said.replace(self._api_key, "[key]")
        return f" ({' '.join(said.split())[:160]})"


def read_completion(value: dict[str, Any]) -> Answer:
    """Raises: LookupError, TypeError, AttributeError when it is not a chat completion."""
    choice = value["choices"][0]
    message = choice["message"]
    usage = value.get("usage") or {}
    return Answer(
        model=str(value.get("model") or ""),
        text=_text(message.get("content")),
        finish_reason=str(choice.get("finish_reason") or ""),
        refusal=str(message.get("refusal") or ""),
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def retry_after_s(header: str, now_s: float) -> float:
    """Seconds that a Retry-After header asks for: a number, or a date; 0 for anything else."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now_s)
    except ValueError:
        return 0.0


def _text(content: Any) -> str:
    """Content is a string, nothing, or a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return str(content or "")


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None

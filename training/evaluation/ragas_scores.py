"""The three scores of the ragas package, put through our own judge and embedder.

The only module that imports ragas; whoever imports it waits seconds for langchain and pandas.
Prompts, forms and arithmetic are ragas' own. What it would count as a perfect score without the
judge having judged anything (no statements, nothing classified) is a failure here.
"""

import math
import os
import warnings
from typing import Any, TypeVar

from pydantic import BaseModel

from training.evaluation.embedder import LocalEmbedder
from training.evaluation.judge import Inquiry, Unscored
from training.evaluation.judged import Metric, Sample

os.environ["RAGAS_DO_NOT_TRACK"] = "true"  # read once, when ragas is imported
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports parts of langchain that warn of their end
    import ragas
    from ragas.embeddings.base import BaseRagasEmbedding
    from ragas.llms.base import InstructorBaseRagasLLM
    from ragas.metrics.collections import AnswerCorrectness, AnswerRelevancy, Faithfulness

VERSION: str = ragas.__version__

Form = TypeVar("Form", bound=BaseModel)


class _Llm(InstructorBaseRagasLLM):  # type: ignore[misc]  # ragas is not typed here
    """What ragas asks goes to an inquiry; the answers are kept in order."""

    def __init__(self, inquiry: Inquiry) -> None:
        self.answers: list[Any] = []
        self._inquiry = inquiry

    def generate(self, prompt: str, response_model: type[Form]) -> Form:
        raise NotImplementedError("ragas' collections ask asynchronously")

    async def agenerate(self, prompt: str, response_model: type[Form]) -> Form:
        answer = await self._inquiry.ask(prompt, response_model)
        if getattr(answer, "statements", None) == []:
            raise Unscored("no statements", f"in the judge's {response_model.__name__}")
        if not getattr(answer, "question", "?").strip():
            raise Unscored("empty", "the question that the judge was to make up")
        self.answers.append(answer)
        return answer


class _Embeddings(BaseRagasEmbedding):  # type: ignore[misc]
    def __init__(self, embedder: LocalEmbedder) -> None:
        super().__init__()
        self._embedder = embedder

    def embed_text(self, text: str, **_: Any) -> list[float]:
        vector: list[float] = self._embedder.embed([text])[0].tolist()
        return vector

    async def aembed_text(self, text: str, **_: Any) -> list[float]:
        return self.embed_text(text)  # milliseconds, beside the judge's seconds


async def score(metric: Metric, sample: Sample, inquiry: Inquiry, embedder: LocalEmbedder) -> float:
    """Raises: Unscored, BudgetSpent, EndpointRefused."""
    if not sample.response.strip():
        raise Unscored("empty caption", "the model wrote nothing")
    llm, embeddings = _Llm(inquiry), _Embeddings(embedder)
    question, response, reference = sample.question, sample.response, sample.reference
    if metric == "faithfulness":
        result = await Faithfulness(llm).ascore(question, response, [reference])
        _check_verdicts(*llm.answers)
    elif metric == "answer_relevancy":
        result = await AnswerRelevancy(llm, embeddings).ascore(question, response)
    else:
        result = await AnswerCorrectness(llm, embeddings).ascore(question, response, reference)
        _check_classified(llm.answers[-1])
    if not math.isfinite(result.value):
        raise Unscored("not a number", f"ragas says {result.value}")
    return float(result.value)


def _check_verdicts(generated: Any, judged: Any) -> None:
    """One verdict for each statement, else ragas takes the share of those that came."""
    wanted, verdicts = len(generated.statements), [each.verdict for each in judged.statements]
    if len(verdicts) != wanted or not set(verdicts) <= {0, 1}:
        raise Unscored("verdicts", f"{verdicts} for {wanted} statements")


def _check_classified(classified: Any) -> None:
    if not classified.TP and not classified.FP:
        raise Unscored("verdicts", "no statement of the caption is classified")

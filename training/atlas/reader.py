"""The reader: a captioner that is shown one reference case before the picture it is asked about.

The question is the clinic's; before it stand the case's picture and its caption as background
(after JOMED, arXiv:2508.17394). What it says is its posterior over the labels, from the tokens
that close the caption's label, each label's in full.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import LabelSet
from appliance.core.prompt import END_OF_TURN, IMAGE, PERSONA, REQUEST
from training.conversation import prompt_ids, text_ids
from training.evaluation.asking import label_ids

if TYPE_CHECKING:
    import torch

Tokens = NDArray[np.float16]
"""Soft tokens of pictures, (pictures, tokens, text width)."""
Say = Callable[[str], None]
READ_TOGETHER = 16
SAY_EVERY = 2000


class Question(NamedTuple):
    """A picture, and the case shown before it: its picture and its caption; or none."""

    query: int
    case: int | None = None
    background: str | None = None


def paired_prompt(background: str) -> tuple[str, str, str]:
    """The text before, between and after the soft tokens of the case's picture and the query's."""
    opening = f"<start_of_turn>user\n{PERSONA}\n\nA reference case:\n\n{IMAGE}"
    between = f"<end_of_image>\n\nbackground: {background}\n\nThe picture in question:\n\n{IMAGE}"
    closing = f"<end_of_image>\n\n{REQUEST}{END_OF_TURN}\n<start_of_turn>model\n"
    return opening, between, closing


class Reader:
    """A transformers model with the soft tokens of every picture at hand."""

    def __init__(self, model: Any, tokenizer: Any, labels: LabelSet, tokens: Tokens) -> None:
        self.model, self.tokenizer, self.labels = model, tokenizer, labels
        self._tokens = tokens
        self._soft = tokenizer.convert_tokens_to_ids("<image_soft_token>")
        self._length = tokens.shape[1]
        self._names = [label_ids(tokenizer, name) for name in labels.names]

    def prompt(self, background: str | None) -> list[int]:
        """Token ids; without a background those of the clinic's own prompt."""
        if background is None:
            return prompt_ids(self.tokenizer, self._length)
        first, second, third = (text_ids(self.tokenizer, t) for t in paired_prompt(background))
        soft = [self._soft] * self._length
        return [self.tokenizer.bos_token_id, *first, *soft, *second, *soft, *third]

    def embedded(
        self, rows: Sequence[Sequence[int]], pictures: Sequence[Sequence[int]]
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Embeddings (rows, length, width) of token ids of one length, the soft tokens of each
        row's pictures in their places; and where those are, (rows, length)."""
        import torch

        ids = torch.tensor(rows, device=self.model.device)
        is_image = ids == self._soft
        vectors = self.model.get_input_embeddings()(ids).clone()
        shown = np.concatenate(
            [self._tokens[list(each)].reshape(-1, vectors.shape[-1]) for each in pictures]
        )
        vectors[is_image] = torch.from_numpy(shown).to(vectors.device, vectors.dtype)
        return vectors, is_image

    def posteriors(self, questions: Sequence[Question], say: Say) -> NDArray[np.float64]:
        """Log-probability of each label, (questions, labels), summing to one over the labels.

        Each prompt is read once; every label goes on from there. Prompts of one length are read
        together.
        """
        prompts = {each.background: self.prompt(each.background) for each in questions}
        lengths = np.array([len(prompts[each.background]) for each in questions])
        found = np.empty((len(questions), len(self._names)))
        read = 0
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length)
            for start in range(0, len(places), READ_TOGETHER):
                some = places[start : start + READ_TOGETHER]
                asked = [questions[place] for place in some]
                found[some] = self._read([prompts[each.background] for each in asked], asked)
                read += len(some)
                if read // SAY_EVERY > (read - len(some)) // SAY_EVERY:
                    say(f"read {read} of {len(questions)}")
        return found

    def _read(self, prompts: list[list[int]], asked: list[Question]) -> NDArray[np.float64]:
        """As `posteriors`, for prompts of one length."""
        import torch

        common = _shared(self._names)
        tails = [ids[common:] for ids in self._names]
        longest = max(map(len, tails))
        with torch.inference_mode():
            vectors, is_image = self.embedded(
                [[*prompt, *self._names[0][:common]] for prompt in prompts],
                [[q.query] if q.case is None else [q.case, q.query] for q in asked],
            )
            read = self.model(
                inputs_embeds=vectors,
                token_type_ids=is_image.long(),
                use_cache=True,
                logits_to_keep=1,
            )
            first = read.logits[:, -1].float().log_softmax(-1)
            cache = read.past_key_values
            cache.batch_repeat_interleave(len(tails))
            rows = [[*tail, *[0] * (longest - len(tail))] for tail in tails] * len(asked)
            ids = torch.tensor(rows, device=self.model.device)
            logits = self.model(
                inputs_embeds=self.model.get_input_embeddings()(ids),
                token_type_ids=torch.zeros_like(ids),
                past_key_values=cache,
            ).logits
            later = logits[:, :-1].float().log_softmax(-1)
            later = later.gather(-1, ids[:, 1:, None])[..., 0].view(len(asked), len(tails), -1)
            told = torch.tensor(
                [[place < len(tail) for place in range(1, longest)] for tail in tails]
            )
            scores = first[:, [tail[0] for tail in tails]] + (later * told.to(later.device)).sum(-1)
        logs = scores.double().cpu().numpy()
        found: NDArray[np.float64] = logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)
        return found

    def loss(
        self,
        queries: Sequence[int],
        cases: Sequence[int],
        backgrounds: Sequence[str],
        truths: Sequence[int],
    ) -> "torch.Tensor":
        """Mean cross-entropy of the true label's tokens, each query shown its case."""
        import torch
        import torch.nn.functional as F

        prompts = [self.prompt(background) for background in backgrounds]
        answers = [self._names[truth] for truth in truths]
        longest = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        rows = [
            [*p, *a, *[0] * (longest - len(p) - len(a))]
            for p, a in zip(prompts, answers, strict=True)
        ]
        vectors, is_image = self.embedded(rows, list(zip(cases, queries, strict=True)))
        logits = self.model(inputs_embeds=vectors, token_type_ids=is_image.long()).logits.float()
        learnt = torch.zeros(len(rows), longest)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            learnt[row, len(prompt) : len(prompt) + len(answer)] = 1
        each = F.cross_entropy(
            logits[:, :-1].flatten(0, 1),
            torch.tensor(rows)[:, 1:].flatten().to(logits.device),
            reduction="none",
        ).view(len(rows), -1)
        learnt = learnt[:, 1:].to(each.device)
        return (each * learnt).sum() / learnt.sum()


def _shared(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with."""
    columns = enumerate(zip(*rows, strict=False))
    return next(place for place, column in columns if len(set(column)) > 1)

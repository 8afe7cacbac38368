"""Whether a model that learnt to judge treatments, or from corrections, still captions.

    python -m tests.benchmarks.treatment_captions --data DIR --base MODEL ADAPTER...

Of the base, and of the base with each adapter: on test images, how often the likeliest label, asked
as the clinic asks, is the true one (of all labels; Wilson, 95 %), and the base's; and how many
captions, written greedily, the clinic could read.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from appliance.core.calibration import wilson
from appliance.core.caption import is_caption, label_prefix
from appliance.core.labels import DOMAINS
from training.adapted import Adapted, load_adapted
from training.conversation import prompt_ids
from training.evaluation.questions import Question, read_questions
from training.labels import label_set
from training.preferences.look import written
from training.qlora.base import require_base
from training.qlora.recipe import Quantization
from training.qlora.train import load_base
from training.tokenizer import load_tokenizer
from training.treatment.judging import answer_shares, soft_tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--images", type=int, default=150, help="Of each domain.")
    parser.add_argument("--written", type=int, default=20, help="Captions of each domain.")
    parser.add_argument("adapters", type=Path, nargs="*")
    options = parser.parse_args()
    questions = read_questions(options.data, "test", options.images)
    whole = Quantization("none", double=False, compute="float32")
    folder = require_base(str(options.base))
    base = Adapted(load_base(str(options.base), whole).eval(), load_tokenizer(folder), made_of={})
    before = likeliest(base, questions)
    report("base", base, questions, before, before, options.written)
    for adapter in options.adapters:
        judge = load_adapted(adapter)
        after = likeliest(judge, questions)
        report(str(adapter), judge, questions, after, before, options.written)


def likeliest(judge: Adapted, questions: Sequence[Question]) -> list[str]:
    names = label_set().names
    side = judge.model.config.vision_config.image_size
    prompt = prompt_ids(judge.tokenizer, judge.model.config.mm_tokens_per_image)
    openings = [label_prefix(name) for name in names]
    found = []
    for question in questions:
        features = soft_tokens(judge.model, question.square(side))
        found.append(names[int(np.argmax(answer_shares(judge, prompt, "", openings, features)))])
    return found


def report(
    name: str,
    judge: Adapted,
    questions: Sequence[Question],
    found: Sequence[str],
    base: Sequence[str],
    most_written: int,
) -> None:
    print(name)
    for domain in (*DOMAINS, None):
        chosen = [i for i, q in enumerate(questions) if domain in (None, q.example.domain)]
        right = sum(found[i] == questions[i].label for i in chosen)
        same = sum(found[i] == base[i] for i in chosen)
        low, high = wilson(right, len(chosen))
        print(
            f"  {domain or 'all':7} label {right / len(chosen):.3f} ({low:.3f}-{high:.3f},"
            f" {right}/{len(chosen)})  as the base {same / len(chosen):.3f}"
        )
    asked = [
        question
        for domain in DOMAINS
        for question in [q for q in questions if q.example.domain == domain][:most_written]
    ]
    side = judge.model.config.vision_config.image_size
    texts = written(judge, [question.square(side) for question in asked])
    valid = sum(is_caption(text, label_set()) for text in texts)
    print(f"  captions that can be read {valid} of {len(asked)}")


if __name__ == "__main__":
    main()

"""MODEL_CARD.md: a release in words, for who decides whether to use it (Mitchell et al. 2019,
arXiv:1810.03993). Every figure is the manifest's."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MODEL_CARD = "MODEL_CARD.md"
FINEST = 3
"""Decimals."""


def model_card(manifest: Mapping[str, Any]) -> str:
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {manifest['name']} {manifest['version']}"
    yield f"\n{manifest['intended_use']}"
    if manifest["demonstration"]:
        yield "\n**A demonstration: every answer is marked as not for clinical use.**"
    base, made = manifest["base_model"], manifest["quantization"]
    yield f"\n- base: {base['origin']}; {base['architecture']}"
    adapter = manifest["adapter"]
    yield (
        f"- fine-tuned: adapter {adapter['adapter_sha256'][:12]} on base "
        f"{adapter['base_sha256'][:12]}, merged at full precision"
        if adapter
        else "- fine-tuned: no"
    )
    matters = "with" if made["importance_sha256"] else "without"
    yield f"- decoder {made['text']}, {matters} an importance matrix; projector {made['projector']}"
    yield f"- pictures of {manifest['image_size']} x {manifest['image_size']} pixels"
    yield f"- prompt version {manifest['prompt_version']}"
    yield "\n## Labels\n"
    domains: dict[str, list[str]] = {}
    for label in manifest["labels"]:
        domains.setdefault(label["domain"], []).append(label["name"])
    for domain, names in domains.items():
        yield f"- {domain}: {', '.join(names)}"
    yield from _figures(manifest)
    yield from _agreement(manifest["agreement"])
    yield from _list("Known failures", manifest["known_failures"])
    yield from _list("Data", [f"{row['name']}: {row['terms']}" for row in manifest["data"]])
    yield from _list("Terms", manifest["licences"])


def _figures(manifest: Mapping[str, Any]) -> Iterator[str]:
    evaluation, calibration = manifest["evaluation"], manifest["calibration"]
    yield f"\n## Figures\n\n{evaluation['images']} images of the {evaluation['split']} split."
    yield "Intervals are 95 %.\n"
    yield "| | images | accuracy | balanced accuracy | F1 | findings confirmed |"
    yield "|---|---|---|---|---|---|"
    for domain, scores in evaluation["domains"].items():
        findings = evaluation["findings"].get(domain)
        cells = [
            domain,
            str(scores["images"]),
            *(
                _interval(scores[name], scores[f"{name}_interval"])
                for name in ("accuracy", "balanced_accuracy")
            ),
            f"{scores['f1']:.{FINEST}f}",
            _interval(findings["share"], findings["share_interval"]) if findings else "",
        ]
        yield f"| {' | '.join(cells)} |"
    if merged := evaluation["fundus_grades_merged"]:
        yield (
            "\nFundus with retinopathy from moderate on as one label: balanced accuracy "
            + _interval(merged["balanced_accuracy"], merged["balanced_accuracy_interval"])
            + "."
        )
    yield (
        f"\nValid captions {evaluation['json_valid']:.{FINEST}f}, label of the right domain "
        f"{evaluation['domain_right']:.{FINEST}f}."
    )
    yield "\n| recall by label | images | recall | precision |\n|---|---|---|---|"
    for scores in evaluation["domains"].values():
        for name, recall in scores["recall_by_label"].items():
            interval = _interval(recall, scores["recall_interval_by_label"][name])
            precision = scores["precision_by_label"][name]
            count = scores["images_by_label"][name]
            yield f"| {name} | {count} | {interval} | {precision:.{FINEST}f} |"
    yield (
        f"\n## Decisions\n\nAt a risk of {calibration['risk']:.0%}, temperature "
        f"{calibration['temperature']:.{FINEST}f}.\n"
    )
    yield "| | one label | a set | abstains | answers that hold the true label |"
    yield "|---|---|---|---|---|"
    for domain, shares in evaluation["decisions"].items():
        held = shares.get("true_label_held")
        kinds = " | ".join(f"{shares[kind]:.{FINEST}f}" for kind in ("label", "set", "abstain"))
        yield f"| {domain} | {kinds} | {'' if held is None else f'{held:.{FINEST}f}'} |"


def _agreement(agreement: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"\n## The files against the model they were made of\n\n{agreement['images']} images, "
        f"{agreement['with']}.\n"
    )
    yield "| | found | margin |\n|---|---|---|"
    for measure, margin in agreement["margins"].items():
        yield f"| {measure.replace('_', ' ')} | {agreement[measure]:.5g} | {margin:g} |"
    if agreement["override"]:
        yield f"\n**Released outside its margins.** Reason given: {agreement['override']}"


def _list(title: str, items: Sequence[str]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield from (f"- {item}" for item in items)


def _interval(value: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{value:.{FINEST}f} ({low:.{FINEST}f}-{high:.{FINEST}f})"

"""MODEL_CARD.md: a release in words, for who decides whether to use it (Mitchell et al. 2019,
arXiv:1810.03993). Every figure is the manifest's."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from appliance.core.decision import RISK
from training.evaluation.table import in_other_words

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
    yield from _refused(manifest["gate"])
    yield from _agreement(manifest["agreement"])
    yield from _list("Known failures", manifest["known_failures"])
    yield from _list("Data", [f"{row['name']}: {row['terms']}" for row in manifest["data"]])
    yield from _list("Terms", manifest["licences"])


def _figures(manifest: Mapping[str, Any]) -> Iterator[str]:
    evaluation = manifest["evaluation"]
    yield f"\n## Figures\n\n{evaluation['images']} images of the {evaluation['split']} split."
    yield "Intervals are 95 %, where pictures of one patient or lesion count as alike.\n"
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
            _confirmed(findings) if findings else "",
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
    yield (
        f"\n| by label | images | recall | precision | kept at a risk of {RISK:.0%} |"
        "\n|---|---|---|---|---|"
    )
    for domain, scores in evaluation["domains"].items():
        usual = evaluation["decisions"][domain]["at_risk"].get(str(RISK))
        for name, recall in scores["recall_by_label"].items():
            interval = _interval(recall, scores["recall_interval_by_label"][name])
            precision = scores["precision_by_label"][name]
            count = scores["images_by_label"][name]
            kept = f"{usual['coverage_by_label'][name]:.{FINEST}f}" if usual else ""
            yield f"| {name} | {count} | {interval} | {precision:.{FINEST}f} | {kept} |"
    yield from _decisions(evaluation["decisions"], manifest["calibration"])


def _decisions(
    decisions: Mapping[str, Mapping[str, Any]], calibration: Mapping[str, Any]
) -> Iterator[str]:
    yield "\n## Decisions\n"
    yield "For a risk target, the labels that are likely enough are kept. One label or a short"
    yield "set is answered; a longer or empty one is withheld: it abstains. The true label should"
    yield "be kept in all but the risk target of a domain's pictures; of a rare label's, and among"
    yield "the answers alone, it may be kept less often.\n"
    yield "| | risk | true label kept | one label | a set | abstains | answers that hold it |"
    yield "|---|---|---|---|---|---|---|"
    for domain, figures in decisions.items():
        for risk, found in figures["at_risk"].items():
            cells = [
                domain,
                f"{float(risk):.0%}",
                _interval(found["coverage"], found["coverage_interval"]),
                *(f"{found[kind]:.{FINEST}f}" for kind in ("label", "set", "abstain")),
                _interval(found["answers_right"], found["answers_right_interval"])
                if found["answers_right"] is not None
                else "",
            ]
            yield f"| {' | '.join(cells)} |"
    yield "\n| | temperature | expected calibration error |\n|---|---|---|"
    for domain, figures in decisions.items():
        temperature = calibration["temperatures"][domain]
        error = figures["calibration_error"]
        yield f"| {domain} | {temperature:.{FINEST}f} | {error:.{FINEST}f} |"


def _refused(gate: Mapping[str, Any]) -> Iterator[str]:
    shares = gate["refused_in_validation"].items()
    yield (
        "\n## Pictures that are not read\n\nBlank, blurred, badly exposed ones and those unlike "
        "the training pictures. Of the validation\npictures, which it should read, it refuses "
        + ", ".join(f"{share:.{FINEST}f} ({domain})" for domain, share in shares)
        + "."
    )


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


def _confirmed(findings: Mapping[str, Any]) -> str:
    share = findings["share"]
    words = "none" if share is None else _interval(share, findings["share_interval"])
    return words + in_other_words(findings)


def _interval(value: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{value:.{FINEST}f} ({low:.{FINEST}f}-{high:.{FINEST}f})"

"""A release on the screen: what `release show`, `import` and `measure` print of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from appliance.cli.output import NOT_FOR_CLINICAL_USE, NOT_MEASURED, print_field, print_line

if TYPE_CHECKING:
    from appliance.release.manifest import Release

KINDS = {"label": "one label", "set": "a set", "abstain": "abstain"}


def print_release(found: "Release") -> None:
    """What it is, what it answers, and how well it was measured."""
    manifest = found.manifest
    print_line(f"{found.name} {found.version} ({found.card.sha256[:12]})")
    for warning in warnings_of(found):
        print_field("", warning)
    print_field("intended use", manifest["intended_use"])
    base = manifest.get("base_model") or {}
    if "name" in base:
        print_field(
            "base",
            f"{base['name']}, {base['quantization']} with a projector in "
            f"{base['projector_quantization']}; not fine-tuned",
        )
    print_field("labels", ", ".join(found.card.labels.names))
    if measured := manifest.get("measured"):
        print_field(
            "measured",
            f"here, {measured['date']}: calibrated on {measured['calibrated_on']} pictures, "
            f"figures from {measured['measured_on']} others, with the vision encoder "
            f"{found.encoder}",
        )
        for domain, reason in measured["unmeasured"].items():
            print_field(domain, f"{NOT_MEASURED}: {reason}; it abstains on these")
    for domain, scores in (manifest["evaluation"] or {"domains": {}})["domains"].items():
        print_field(domain, _figures(scores))
        for said in _decisions(manifest["evaluation"]["decisions"][domain]):
            print_field("", said)
    for source in manifest["data"]:
        print_field("data", f"{source['name']}: {source['terms']}")


def _figures(scores: dict[str, Any]) -> str:
    low, high = scores["accuracy_interval"]
    return (
        f"accuracy {scores['accuracy']:.3f} ({low:.3f}-{high:.3f}), balanced accuracy "
        f"{scores['balanced_accuracy']:.3f}, n {scores['images']}"
    )


def _decisions(figures: dict[str, Any]) -> Iterator[str]:
    """Of one domain: how far its probabilities can be trusted, and what each risk target gives."""
    yield f"calibration error {figures['calibration_error']:.3f}"
    for risk, found in figures["at_risk"].items():
        low, high = found["coverage_interval"]
        shares = (f"{found[kind]:.0%} {words}" for kind, words in KINDS.items())
        yield (
            f"risk {float(risk):.0%}: true label kept in {found['coverage']:.3f} "
            f"({low:.3f}-{high:.3f}), {found['coverage_wanted']:.2f} wanted; {', '.join(shares)}"
        )


def warnings_of(found: "Release") -> list[str]:
    """What a person must know before reading its answers."""
    from appliance.core.gate import NOT_FITTED

    warnings = [NOT_FOR_CLINICAL_USE] if found.card.demonstration else []
    if not found.card.calibration.is_measured:
        warnings.append(f"{NOT_MEASURED}: it abstains on every picture")
    if found.card.gate.familiarity is None:
        warnings.append(f"{NOT_FITTED}: of what is no such picture it refuses blank ones only")
    return warnings

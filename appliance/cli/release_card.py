"""A release on the screen: what `release show`, `import` and `measure` print of it."""

from typing import TYPE_CHECKING, Any

from appliance.cli.output import NOT_FOR_CLINICAL_USE, NOT_MEASURED, print_field, print_line

if TYPE_CHECKING:
    from appliance.release.manifest import Release


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
            f"figures from {measured['measured_on']} others",
        )
        for domain, reason in measured["unmeasured"].items():
            print_field(domain, f"{NOT_MEASURED}: {reason}; it abstains on these")
    for domain, scores in (manifest["evaluation"] or {"domains": {}})["domains"].items():
        print_field(domain, _figures(scores))
    for source in manifest["data"]:
        print_field("data", f"{source['name']}: {source['terms']}")


def _figures(scores: dict[str, Any]) -> str:
    low, high = scores["accuracy_interval"]
    said = (
        f"accuracy {scores['accuracy']:.3f} ({low:.3f}-{high:.3f}), balanced accuracy "
        f"{scores['balanced_accuracy']:.3f}, n {scores['images']}"
    )
    if "coverage" in scores:
        low, high = scores["coverage_interval"]
        said += (
            f"; true label kept {scores['coverage']:.3f} ({low:.3f}-{high:.3f}), "
            f"{scores['coverage_wanted']:.2f} wanted; calibration error "
            f"{scores['calibration_error']:.3f}"
        )
    return said


def warnings_of(found: "Release") -> list[str]:
    """What a person must know before reading its answers."""
    warnings = [NOT_FOR_CLINICAL_USE] if found.card.demonstration else []
    if not found.card.calibration.is_measured:
        warnings.append(f"{NOT_MEASURED}: it abstains on every picture")
    return warnings

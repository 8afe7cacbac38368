"""The models a release may be built on, and the terms that come with each."""

from dataclasses import dataclass

from appliance.errors import ConfigError, ModelFileError
from appliance.release.gguf_header import GgufHeader
from appliance.release.gguf_pair import PairFacts, family

HAI_DEF = (
    "Google's Health AI Developer Foundations terms of use, "
    "https://developers.google.com/health-ai-developer-foundations/terms"
)
OTHER = "other"


@dataclass(frozen=True)
class Base:
    name: str
    layers: int
    width: int
    family: str
    """As `gguf_pair.family` reads it from the file's own names."""


BASES = {
    base.name: base
    for base in (
        Base("medgemma-4b-it", 34, 2560, "medgemma"),
        Base("medgemma-1.5-4b-it", 34, 2560, "medgemma1.5"),
        Base("medgemma-27b-it", 62, 5376, "medgemma"),
    )
}


def check_base(name: str, model: GgufHeader, facts: PairFacts) -> None:
    """Is the model the base that it is said to be, as far as size and names tell?

    Raises: ConfigError for an unknown base, ModelFileError when the file is another model.
    """
    if name == OTHER:
        return
    if name not in BASES:
        raise ConfigError(
            f"no such base: {name!r}", f"with --base give one of: {', '.join(BASES)}, {OTHER}"
        )
    base = BASES[name]
    if (facts.layers, facts.width) != (base.layers, base.width):
        raise ModelFileError(
            f"{name} has {base.layers} layers {base.width} wide, this model {facts.layers} layers "
            f"{facts.width} wide: {model.path}",
            f"give the base that it is, or `--base {OTHER}`",
        )
    found = family(model)
    if found is not None and found != base.family:
        raise ModelFileError(
            f"the file calls itself {model.text('general.name')[:60]!r}, which is not {name}: "
            f"{model.path}",
            f"give the base that it is, or `--base {OTHER}` if the file's name is wrong",
        )


def terms(name: str, facts: PairFacts) -> str:
    """Under what the weights may be used, as far as it is known."""
    if name in BASES:
        return HAI_DEF
    said = [facts.general[key] for key in ("license", "license.link") if key in facts.general]
    return f"the file says: {', '.join(said)}" if said else "not known; ask whoever gave the files"

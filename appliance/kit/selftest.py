"""The trial of a version before it is switched to, and of a machine that should need no network.

Pictures that the project draws are read, and what they read as is compared with what the kit says;
then one goes the way that a clinician's takes, with a lookup and the record, in a home of its own.
"""

import re
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

from appliance.core.caption import is_caption
from appliance.core.consult import Ports, consult
from appliance.core.decision import believe
from appliance.core.labels import DOMAINS, Domain
from appliance.core.ports import Captioner
from appliance.errors import KitError
from appliance.kit.verify import CUDA_REQUIREMENTS, REQUIREMENTS
from appliance.release.drawings import draw, png

LARGEST_DIFFERENCE = 1e-3
"""Of a label's probability: kernels for other processors sum in another order. The demonstration
release on a processor without AVX2 differed by 2.4e-4."""
DRAWN: Domain = "chest"
DRAWING_PIXELS = 512
TELL = "tell those who made the kit; what ran before runs on"

Answers = Mapping[str, Mapping[str, float]]
"""Of a release: the probability of each label, by the drawing."""


def known_answers(captioner: Captioner) -> dict[str, dict[str, float]]:
    """What a release makes of a drawing of each kind. Raises: KitError when it writes no caption;
    ModelError, ReleaseError."""
    release = captioner.release
    answers: dict[str, dict[str, float]] = {}
    for domain in DOMAINS:
        reading = captioner.read(draw(domain, 0, release.image_size))
        if not is_caption(reading.text, release.labels):
            raise KitError(f"the release {release.name} wrote no caption of a drawing", TELL)
        belief = believe(release.labels, reading.label_scores, release.calibration)
        answers[domain] = {name: round(p, 6) for name, p in belief.probability.items()}
    return answers


def refuse_other_answers(captioner: Captioner, known: Answers) -> None:
    """Raises: KitError when the release reads the drawings otherwise than it did for the kit."""
    found = known_answers(captioner)
    for domain, labels in known.items():
        for label, probability in labels.items():
            if abs(found[domain].get(label, -1.0) - probability) > LARGEST_DIFFERENCE:
                raise KitError(
                    f"the release {captioner.release.name} reads the drawing of {domain} otherwise "
                    f"than it should: {label} {found[domain].get(label)}, not {probability}",
                    TELL,
                )


def consult_on_drawing(ports: Ports, folder: Path) -> None:
    """The main job, from file to record. Raises: KitError, AuditError."""
    path = folder / "drawing.png"
    path.write_bytes(png(draw(DRAWN, 0, DRAWING_PIXELS)))
    answer = consult(str(path), ports, 3)
    if answer.error:
        raise KitError(f"a drawing was not read: {answer.error.message}", TELL)
    if not answer.caption or (ports.guidelines and not answer.passages):
        raise KitError("a drawing got no caption, or no passage of the guidelines", TELL)


def refuse_other_packages(folder: Path) -> None:
    """Raises: KitError unless exactly the packages of the kit in `folder` are installed: those for
    every machine, or those for one with a graphics card."""
    there = {f"{_canonical(one.metadata['Name'])}=={one.version}" for one in distributions()}
    lists = [folder / name for name in (REQUIREMENTS, CUDA_REQUIREMENTS)]
    different = [sorted(_wanted(path) ^ there) for path in lists if path.exists()]
    if all(different):
        nearest = min((len(names), names) for names in different)[1]
        said = ", ".join(nearest)
        raise KitError(f"what is installed is not what the kit holds: {said}", TELL)


def _wanted(requirements: Path) -> set[str]:
    return {line.split(" ")[0] for line in requirements.read_text(encoding="ascii").splitlines()}


def _canonical(name: str) -> str:
    """As packages are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()

"""What a kit is made of, for those who must know: a CycloneDX 1.6 list, and the licences' texts."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from appliance.kit.verify import PRODUCT
from appliance.kit.wheels import Wheel, licence_texts
from appliance.release.manifest import Release

INSTALLS = "pip"
"""In the kit to install the others with; not among what is installed."""


def bill(
    wheels: Sequence[Wheel], releases: Sequence[Release], version: int, made: datetime
) -> bytes:
    """JSON, the same for the same kit: the wheels, and each file of the model releases."""
    components = [_of_wheel(wheel) for wheel in wheels]
    components += [component for release in releases for component in _of_release(release)]
    what = Component(
        name=PRODUCT, type=ComponentType.APPLICATION, version=str(version), bom_ref="kit"
    )
    names = ",".join(f"{one.name} {one.version} {one.hashes}" for one in components)
    bom = Bom(
        components=components,
        metadata=BomMetaData(component=what, timestamp=made),
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, f"{PRODUCT} {version} {names}"),
    )
    bom.register_dependency(what, components)
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)
    return text.encode() + b"\n"


def licence_files(wheels: Iterable[Wheel]) -> Mapping[str, bytes]:
    """A file for each package: what it states, then the texts it carries, if any."""
    files = {}
    for wheel in wheels:
        texts = licence_texts(wheel)
        parts = [f"{wheel.name} {wheel.version}\nstated: {wheel.licence or 'nothing'}\n"]
        parts += [f"\n---- {name}\n{text}" for name, text in texts]
        if not texts:
            parts.append("\nThe package carries no text of its licence.\n")
        files[f"{wheel.name}-{wheel.version}.txt"] = "".join(parts).encode()
    return files


def _of_wheel(wheel: Wheel) -> Component:
    return Component(
        name=wheel.name,
        type=ComponentType.LIBRARY,
        version=wheel.version,
        bom_ref=wheel.path.name,
        purl=PackageURL("pypi", name=wheel.name, version=wheel.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=wheel.sha256)],
        licenses=[LicenseFactory().make_from_string(wheel.licence)] if wheel.licence else [],
        properties=[Property(name=f"{PRODUCT}:file", value=wheel.path.name)],
    )


def _of_release(release: Release) -> list[Component]:
    return [
        Component(
            name=f"{release.name}/{name}",
            type=ComponentType.MACHINE_LEARNING_MODEL,
            version=release.version,
            bom_ref=f"{release.name}/{name}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)],
        )
        for name, file in sorted(release.files.items())
    ]

"""Entries as FHIR R4 AuditEvent resources.

Codes: DICOM PS3.16, CID 400 to 403 (audit event ids and types) and the value sets of the R4
AuditEvent. An export of the log follows IHE BALP 1.1.4, Audit Event for Privacy Disclosure at
Source. The other BALP profiles are for RESTful transactions, of which the appliance has none, or
need a patient, whom no entry names: those entries follow the base resource with BALP's agents.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from appliance.core.entry import ASKED, Entry

DCM = "http://dicom.nema.org/resources/ontology/DCM"
ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
OBJECT_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
SOURCE_TYPE = "http://terminology.hl7.org/CodeSystem/security-source-type"
LIFECYCLE = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
DISCLOSURE = (
    "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PrivacyDisclosure.Source"
)
KIND = "urn:clinic-appliance:audit:kind"
LOG = "urn:clinic-appliance:audit:log"
IMAGE_MARK = "urn:clinic-appliance:audit:image-mark"
RELEASE = "urn:clinic-appliance:release:sha256"

DISPLAY = {
    "110100": "Application Activity",
    "110101": "Audit Log Used",
    "110103": "DICOM Instances Accessed",
    "110106": "Export",
    "110107": "Import",
    "110112": "Query",
    "110113": "Security Alert",
    "110114": "User Authentication",
    "110120": "Application Start",
    "110121": "Application Stop",
    "110122": "Login",
    "110123": "Logout",
    "110129": "Security Configuration",
    "110130": "Hardware Configuration",
    "110131": "Software Configuration",
    "110132": "Use of Restricted Function",
    "110136": "Security Roles Changed",
    "110137": "User Security Attributes Changed",
}
ACTIVITY, LOG_USED, ALERT, EXPORT = "110100", "110101", "110113", "110106"
READ, CREATE, UPDATE, DELETE, EXECUTE = "R", "C", "U", "D", "E"
ACTS: dict[str, tuple[str, str, str]] = {
    "log": (LOG_USED, "", CREATE),
    "log.read": (LOG_USED, "", READ),
    "log.verify": (LOG_USED, "", READ),
    "log.export": (EXPORT, "", READ),
    "key.change": (ALERT, "110129", UPDATE),
    "log.archive": (LOG_USED, "", UPDATE),
    "clock": (ALERT, "110130", EXECUTE),
    "crash": (ALERT, "", EXECUTE),
    "program": (ACTIVITY, "", EXECUTE),
    "setting": (ALERT, "110131", UPDATE),
    "setting.change": (ALERT, "110131", UPDATE),
    "user.begin": (ALERT, "110129", CREATE),
    "user.signin": ("110114", "110122", EXECUTE),
    "user.lockout": (ALERT, "110137", UPDATE),
    "user.signout": ("110114", "110123", EXECUTE),
    "user.secret": (ALERT, "110137", UPDATE),
    "user.add": (ALERT, "110137", CREATE),
    "user.role": (ALERT, "110136", UPDATE),
    "user.disable": (ALERT, "110137", UPDATE),
    "user.enable": (ALERT, "110137", UPDATE),
    "user.reset": (ALERT, "110137", UPDATE),
    "user.seal": (ALERT, "110129", UPDATE),
    "user.recover": (ALERT, "110137", UPDATE),
    "access": (ALERT, "110132", EXECUTE),
    "caption": ("110103", "", EXECUTE),
    "image": ("110103", "", READ),
    "check": ("110103", "", EXECUTE),
    "case.list": ("110112", "", EXECUTE),
    "case.page": ("110112", "", EXECUTE),
    "case.read": ("110103", "", READ),
    "case.annotate": ("110103", "", UPDATE),
    "case.judge": ("110103", "", UPDATE),
    "case.impression": ("110103", "", UPDATE),
    "case.again": ("110103", "", EXECUTE),
    "case.export": (EXPORT, "", READ),
    "case.purge": (ACTIVITY, "", DELETE),
    "correction.export": (EXPORT, "", READ),
    "lookup": ("110112", "", EXECUTE),
    "guideline.add": ("110107", "", CREATE),
    "guideline.remove": (ACTIVITY, "", DELETE),
    "guideline.rebuild": (ACTIVITY, "", UPDATE),
    "guideline.activate": (ALERT, "110131", UPDATE),
    "release.import": (ALERT, "110131", CREATE),
    "release.measure": (ALERT, "110131", UPDATE),
    "release.activate": (ALERT, "110131", UPDATE),
    "release.rollback": (ALERT, "110131", UPDATE),
    "atlas.add": ("110107", "", CREATE),
    "atlas.similar": ("110103", "", EXECUTE),
    "atlas.find": ("110112", "", EXECUTE),
    "atlas.contrast": ("110112", "", EXECUTE),
    "atlas.describe": ("110103", "", EXECUTE),
    "backup.make": (EXPORT, "", READ),
    "backup.restore": ("110107", "", UPDATE),
    "kit": (ALERT, "110131", UPDATE),
    "kit.install": (ALERT, "110131", UPDATE),
    "kit.rollback": (ALERT, "110131", UPDATE),
    "kit.uninstall": (ALERT, "110131", DELETE),
    "offline": (ACTIVITY, "", READ),
    "doctor": (ACTIVITY, "", READ),
}
"""By act of `core.kinds`: the DICOM event id, the event type if there is one, and create, read,
update, delete or execute."""
EVENT_TYPES = {"program.started": "110120", "program.stopped": "110121"}
"""The event type of a kind, where it is not that of its act."""
OTHER_ACT = (ACTIVITY, "", EXECUTE)
BY_ITSELF = ("log.opened", "crash.found", "clock.setback", "setting.changed")
"""What nobody asked for: the appliance itself is the requestor."""
FAILURES = {"failed": "4", "denied": "4", "interrupted": "8", "found": "8"}
"""Outcome by phase: 4 minor failure, 8 serious failure; else 0, success."""


def audit_event(entry: Entry, text: bytes, origin: str) -> dict[str, Any]:
    """The resource; its last entity carries the entry's canonical text, which is what is proved."""
    act, _, phase = entry.kind.rpartition(".")
    code, event_type, action = ACTS.get(act, OTHER_ACT)
    event_type = EVENT_TYPES.get(entry.kind, event_type)
    appliance = {"identifier": {"system": LOG, "value": origin}}
    is_disclosure = entry.kind == "log.export.done"
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": f"{origin.rpartition('/')[2]}-{entry.seq}",
        "type": {"system": DCM, "code": code, "display": DISPLAY[code]},
        "subtype": [{"system": KIND, "code": entry.kind}],
        "action": action,
        "recorded": entry.at,
    }
    if event_type:
        event["subtype"].append({"system": DCM, "code": event_type, "display": DISPLAY[event_type]})
    if is_disclosure:
        event["meta"] = {"profile": [DISCLOSURE]}
        event["subtype"].append({"system": LIFECYCLE, "code": "disclose"})
    if phase != ASKED:
        failure = "4" if entry.body.get("error") else FAILURES.get(phase, "0")
        event["outcome"] = failure
        event["outcomeDesc"] = str(entry.body.get("error") or phase)
    event["agent"] = _agents(entry, appliance, is_disclosure)
    event["source"] = {
        "observer": appliance,
        "type": [{"system": SOURCE_TYPE, "code": "4", "display": "Application Server"}],
    }
    event["entity"] = _entities(entry, text, is_disclosure)
    return event


def bundle_entry(entry: Entry, text: bytes, origin: str) -> dict[str, Any]:
    name = uuid.UUID(bytes=bytes.fromhex(entry.hash)[:16], version=5)
    return {"fullUrl": f"urn:uuid:{name}", "resource": audit_event(entry, text, origin)}


def _agents(
    entry: Entry, appliance: Mapping[str, Any], is_disclosure: bool
) -> list[dict[str, Any]]:
    is_by_itself = entry.kind in BY_ITSELF
    agents: list[dict[str, Any]] = [
        {
            "type": _concept(DCM, "110153", "Source Role ID")
            if is_disclosure
            else _concept(DCM, "110150", "Application"),
            "who": appliance,
            "requestor": is_by_itself,
        }
    ]
    if is_disclosure:
        agents[0]["network"] = _absent("not-applicable")
        agents.append(
            {
                "type": _concept(DCM, "110152", "Destination Role ID"),
                "who": {"display": "the medium that the export was written to"},
                "requestor": False,
                "network": _absent("not-applicable"),
            }
        )
    if entry.user:
        who: dict[str, Any] = {"identifier": {"system": LOG, "value": entry.user}}
        agents.append({"who": who, "requestor": not is_by_itself})
    elif not is_by_itself:
        agents.append({"who": {"display": "nobody signed in"}, "requestor": True})
    return agents


def _entities(entry: Entry, text: bytes, is_disclosure: bool) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = []
    if is_disclosure:
        entities.append(
            {
                "what": _absent("masked"),
                "type": {"system": ENTITY_TYPE, "code": "1", "display": "Person"},
                "role": {"system": OBJECT_ROLE, "code": "1", "display": "Patient"},
            }
        )
    for key, system in (("image", IMAGE_MARK), ("release", RELEASE)):
        value = entry.body.get(key)
        if isinstance(value, str):
            entities.append({"what": {"identifier": {"system": system, "value": value}}} | _OBJECT)
    proved = {"type": "entry", "valueString": text.decode()}
    entities.append({"what": {"display": f"entry {entry.seq}"}} | _OBJECT | {"detail": [proved]})
    return entities


_OBJECT = {"type": {"system": ENTITY_TYPE, "code": "2", "display": "System Object"}}


def _concept(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _absent(reason: str) -> dict[str, Any]:
    return {"extension": [{"url": ABSENT, "valueCode": reason}]}

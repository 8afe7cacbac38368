"""Every act that the log tells of. An entry's kind is `act.phase`.

An act of a person is `asked` before and, after, `done` (a caption: `answered`), `failed` with the
error's code, or `interrupted`: by Ctrl+C, by an error nobody foresaw, or where the next opening
finds that the process died (crash.found). What happens in one moment has one entry, with a phase
of its own. `audit_export.fhir` has the DICOM codes of all acts.
"""

RECORDED: dict[str, str] = {
    # The log itself
    "log": "opened: a new log began, and names the one before it",
    "log.read": "entries were listed or shown: of which log, how many",
    "log.verify": "a log was verified, and with what result",
    "log.export": "entries left the machine: form, selection, how many",
    "key.change": "begun: this log ends; done, in the next: it is signed by another key",
    "log.archive": "old entries were moved to an archive",
    "clock": "setback: the wall clock is behind the newest entry, by how much",
    "crash": "found: an opening of the log died, and what it left without an outcome",
    # The program
    "program": "started and stopped: version, command, access, and the entry with the settings",
    "setting": "changed: found at the start to differ from the settings last recorded",
    "setting.change": "a setting was changed by command or on the screen",
    # People
    "user.begin": "from now on people sign in; the first administrator",
    "user.signin": "whose account, and its role or why it failed; unknown names are not kept",
    "user.lockout": "begun: too many failures in a row",
    "user.signout": "done: asked, idle, or another signed in at the same terminal",
    "user.secret": "somebody changed their own secret",
    "user.add": "an account was made",
    "user.role": "an account got another role",
    "user.disable": "an account may sign in no more",
    "user.enable": "an account may sign in again",
    "user.reset": "an account got a new secret from an administrator",
    "user.seal": "a new recovery code; the one before it is void",
    "user.recover": "an administrator got a new secret, by the sealed code or two people",
    "access": "denied: act, role and command; agreed: to which act, who and who second",
    # Pictures
    "caption": "release, prompt, structure, image by its keyed mark, decision, warnings, passages",
    "image": "opened: a picture was decoded; its keyed mark",
    "check": "a treatment was checked against a picture and the guidelines",
    # Cases
    "case.list": "kept cases were listed, how many",
    "case.page": "a page of one case was written, to print; it names no patient",
    "case.read": "a kept case was shown",
    "case.annotate": "a case got a reference or a note, which are not in the log",
    "case.judge": "a caption was accepted, corrected or rejected",
    "case.impression": "a second reader's own label, given before the caption was shown",
    "case.again": "a kept picture was read once more, and compared",
    "case.export": "whole cases left the machine",
    "case.purge": "cases were forgotten: before when, how many",
    "correction.export": "judged captions left the machine as a shard to train on",
    # Guidelines and releases
    "lookup": "passages were looked up; the question itself is not kept",
    "guideline.add": "a document was indexed",
    "guideline.remove": "a document was taken out",
    "guideline.rebuild": "the vectors were made anew",
    "guideline.activate": "another set answers: which, its documents and hash, and those before it",
    "release.import": "a release was made of somebody else's files",
    "release.measure": "a release was measured and calibrated on this site's pictures",
    "release.activate": "another release is in use",
    "release.rollback": "the release before it is in use again",
    # The atlas of cases
    "atlas.add": "an atlas of labelled pictures was brought in",
    "atlas.similar": "cases like a picture were looked up",
    "atlas.find": "cases like a description were looked up; the description is not kept",
    "atlas.contrast": "the same, with signs put to it or taken from it",
    "atlas.describe": "a picture was described by what cases like it have in common",
    # The whole
    "kit": "installed from a stick; went-back by itself; tried: in a copy, before an update",
    "kit.install": "another version of the program runs from now on",
    "kit.rollback": "the version before it runs again",
    "kit.uninstall": "the program was removed",
    "backup.make": "a backup was written",
    "backup.restore": "a backup was put in the place of what was here",
    "offline": "done: the main job was done where there is no network, or was not",
    "doctor": "done: the machine was looked at, how many findings were ok, to know or bad",
}
"""By act, what an entry of it says."""
PHASES = frozenset(
    {
        *("asked", "answered", "done", "failed", "interrupted", "opened", "setback", "found"),
        *("started", "stopped", "changed", "begun", "denied", "agreed"),
        *("tried", "installed", "went-back"),
    }
)


def is_known(wanted: str) -> bool:
    """Whether it is a kind, an act, or what several acts begin with, as `user`."""
    act, _, phase = wanted.rpartition(".")
    is_kind = act in RECORDED and phase in PHASES
    return is_kind or any(one == wanted or one.startswith(f"{wanted}.") for one in RECORDED)

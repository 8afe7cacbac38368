"""Guideline sets: what kits brought, each in a folder of its own beside the clinic's own documents.

    HOME/index                          the clinic's own documents
    HOME/guidelines/kit-7/index         a set, and
    HOME/guidelines/kit-7/documents     documents that are not in its index, if it carries one
    HOME/guidelines/kit-7/set.json      which kit brought it; the kit's installer writes this
    HOME/guidelines/kit-7/holds.json    once it was made ready: which documents are whose

One set answers, the one that the setting `guidelines` names: one index, so that all passages stand
in one ranking. So that the clinic's own documents go on answering, they are carried into a set
before it is put in use; the set that is left stays as it is, to go back to.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from appliance.config import HOME_VARIABLE, SET_NAME, Config, load_config
from appliance.edges.guidelines import GuidelineIndex, IndexContent
from appliance.errors import ConfigError, GuidelineError, GuidelineIndexError
from appliance.private_files import write_private_file
from cpg_store.manifest import MANIFEST

OWN = "own"
"""The name of the clinic's own documents, as a set."""
HOLDS = "holds.json"
SEE_SETS = "see `appliance guidelines sets`"


@dataclass(frozen=True)
class Change:
    """From one set to another."""

    before: IndexContent | None
    """None where no guidelines answered."""
    after: IndexContent


@dataclass(frozen=True)
class _Holds:
    """Which documents of a set are whose; a document may be both's."""

    kits: frozenset[str]
    clinics: frozenset[str]


def set_in_use(config: Config) -> str:
    """The name of what answers."""
    return config.guidelines or OWN


def has_index(config: Config) -> bool:
    """Whether the set in use was indexed yet."""
    return (config.index_folder / MANIFEST).exists()


def set_names(config: Config) -> list[str]:
    """Of the sets on this machine: the clinic's own, if it has any, then by kit."""
    names = [OWN] if has_index(replace(config, guidelines="")) else []
    if config.sets_folder.is_dir():
        found = (path.name for path in config.sets_folder.iterdir())
        names += sorted(filter(SET_NAME.fullmatch, found), key=kit_of)
    return names


def newer_sets(config: Config) -> list[str]:
    """Of kits newer than the one whose set is in use."""
    return [name for name in set_names(config) if kit_of(name) > kit_of(set_in_use(config))]


def refuse_switched(config: Config) -> None:
    """Raises: GuidelineError when another set was put in use since these settings were read."""
    now = set_in_use(load_config({**os.environ, HOME_VARIABLE: str(config.home)}, {}))
    if now != set_in_use(config):
        raise GuidelineError(
            f"another guideline set was put in use meanwhile: {now}", "do the same once more"
        )


def of_set(config: Config, name: str) -> Config:
    """The settings with that set in use. Raises: GuidelineIndexError when it is not here."""
    if name not in set_names(config):
        raise GuidelineIndexError(f"no such guideline set on this machine: {name!r}", SEE_SETS)
    return replace(config, guidelines="" if name == OWN else name)


def waiting_documents(config: Config) -> list[Path]:
    """Of the set in use, those that are indexed when it is first made ready; none after that."""
    if _is_ready(config):
        return []
    return sorted((config.index_folder.parent / "documents").glob("*"))


def _is_ready(config: Config) -> bool:
    return not config.guidelines or (config.index_folder.parent / HOLDS).exists()


def kit_of(name: str) -> int:
    """The number of the kit that brought a set; 0 for the clinic's own."""
    return 0 if name == OWN else int(name.removeprefix("kit-"))


def open_index(config: Config, *, create: bool = False, to_rebuild: bool = False) -> GuidelineIndex:
    """The index of the set in use; nothing is written to it once another is. Raises:
    GuidelineIndexError."""
    folder = config.index_folder.parent
    if config.guidelines and not config.index_server and not folder.exists():
        raise GuidelineIndexError(
            f"the guideline set in use is not on this machine: {folder}",
            "install its kit, or put another in use: `appliance guidelines activate`",
        )
    return GuidelineIndex(
        config.index_folder,
        config.embedder,
        server=config.index_server,
        create=create,
        to_rebuild=to_rebuild,
        before_writing=partial(_refuse_unfit, config),
    )


def _refuse_unfit(config: Config) -> None:
    """Raises: GuidelineError where what is added would not answer, or not be known as the
    clinic's."""
    refuse_switched(config)
    if config.guidelines and not config.index_server:
        _read_holds(config)


def note_as_clinics(config: Config, index: GuidelineIndex, document_id: str) -> None:
    """The clinic itself added this document to the set in use, `index`: it goes along to the next
    set, also where a kit had brought it before. Raises: GuidelineError."""
    if not config.guidelines or config.index_server:
        return
    with index.held():
        refuse_switched(config)
        holds = _read_holds(config)
        clinics = holds.clinics | {document_id}
        _write_holds(config.index_folder.parent, replace(holds, clinics=clinics))


@contextmanager
def made_ready(config: Config, name: str) -> Iterator[Change]:
    """The set `name` whole, with the clinic's own documents as they are now in it. While this is
    held nobody changes what is in use, so that it may be switched.

    Raises: ConfigError, GuidelineError.
    """
    wanted, own = _wanted(config, name), replace(config, guidelines="")
    # A set that the settings name, but that was never made ready, holds nothing of the clinic's.
    is_first_time = name == config.guidelines or not config.index_folder.exists()
    in_use = own if is_first_time else config
    if not has_index(in_use):
        if name == OWN:
            raise GuidelineIndexError(
                "the clinic has no documents of its own yet", "add one: `appliance guidelines add`"
            )
        with _opened(wanted) as target:
            _bring_in_step(wanted, target, None, frozenset())
            refuse_switched(config)
            if has_index(in_use):
                raise GuidelineError("a document was added meanwhile", "do the same once more")
            yield Change(None, target.content())
        return
    with open_index(in_use) as present, present.held(), _opened(wanted) as target:
        refuse_switched(config)
        before = present.content()
        _bring_in_step(wanted, target, present, _clinics_documents(in_use, before))
        yield Change(before, target.content())


def _wanted(config: Config, name: str) -> Config:
    """The settings with another set in use. Raises: ConfigError, GuidelineIndexError."""
    if config.index_server:
        raise ConfigError(
            f"the guidelines are on a server: {config.index_server}",
            "add the new documents there: `appliance guidelines add FILE`",
        )
    if name == set_in_use(config) and _is_ready(config):
        raise ConfigError(f"these guidelines are in use already: {name}", SEE_SETS)
    if name == OWN:  # its index is made when there is none
        return replace(config, guidelines="")
    return of_set(config, name)


@contextmanager
def _opened(wanted: Config) -> Iterator[GuidelineIndex]:
    """Its index, with every document that the kit brought."""
    folder = wanted.index_folder
    with GuidelineIndex(folder, wanted.embedder, create=True, to_rebuild=True) as target:
        target.fit()
        if not _is_ready(wanted):
            for path in waiting_documents(wanted):
                target.add(path, title=None, edition=None)
            _write_holds(folder.parent, _Holds(frozenset(target.content().documents), frozenset()))
        yield target


def _bring_in_step(
    wanted: Config,
    target: GuidelineIndex,
    present: GuidelineIndex | None,
    clinics: frozenset[str],
) -> None:
    """The clinic's documents in `target` are those that it has in `present`."""
    there = frozenset(target.content().documents)
    kits = _read_holds(wanted).kits if wanted.guidelines else frozenset()
    if present is not None:
        target.carry(present, clinics)
        if missing := clinics - frozenset(target.content().documents):
            raise GuidelineIndexError(
                f"the set holds other documents as the clinic's own: {', '.join(sorted(missing))}",
                "do not use that kit; what was in use is in use",
            )
        for document_id in sorted(there - kits - set(present.content().documents)):
            target.remove(document_id)
    if wanted.guidelines:
        _write_holds(wanted.index_folder.parent, _Holds(kits, clinics))
    if not target.content().documents:
        raise GuidelineIndexError(f"the set holds no document: {wanted.index_folder}", SEE_SETS)
    if problems := target.check():
        raise GuidelineIndexError(
            f"the set is not whole ({problems[0]}): {wanted.index_folder}",
            "rename that folder, then install its kit again; what was in use is in use",
        )


def _clinics_documents(config: Config, content: IndexContent) -> frozenset[str]:
    """Of what the set in use holds, what the clinic added itself."""
    documents = frozenset(content.documents)
    if not config.guidelines:
        return documents
    holds = _read_holds(config)
    return documents - (holds.kits - holds.clinics)


def _read_holds(config: Config) -> _Holds:
    path = config.index_folder.parent / HOLDS
    try:
        said = json.loads(path.read_bytes())
        return _Holds(frozenset(said["kits"]), frozenset(said["clinics"]))
    except FileNotFoundError as exc:
        raise GuidelineError(
            f"the guideline set in use was never made ready: {path.parent}",
            f"run `appliance guidelines activate {config.guidelines}`",
        ) from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise GuidelineError(
            f"whose documents are in the set cannot be read ({exc}): {path}",
            "restore it from a backup",
        ) from exc


def _write_holds(folder: Path, holds: _Holds) -> None:
    said = {"kits": sorted(holds.kits), "clinics": sorted(holds.clinics)}
    try:
        write_private_file(folder / HOLDS, json.dumps(said).encode())
    except OSError as exc:
        raise GuidelineError(
            f"the set cannot be written ({exc.strerror}): {folder}",
            "make room, and check the folder's permissions",
        ) from exc

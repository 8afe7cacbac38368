"""Every key of the screen, from the classes that declare them: for the help, the palette and a
site's own keys."""

from collections.abc import Iterator

from textual.binding import Binding


def all_bindings() -> Iterator[Binding]:
    """Each id once, those of all screens first."""
    from appliance.tui.app import ClinicScreen
    from appliance.tui.screens import (
        answered,
        asking,
        atlas,
        atlas_asking,
        atlas_case,
        check,
        consult,
        guidelines,
        help,
        history,
        passage,
        picture,
        room,
        sign_in,
        status,
        worklist,
    )
    from appliance.tui.widgets import case_row, passage_row, path_chooser

    seen = set()
    modules = (
        room,
        answered,
        consult,
        worklist,
        history,
        check,
        guidelines,
        atlas,
        status,
        sign_in,
        passage,
        atlas_case,
        picture,
    )
    kinds: list[type] = [ClinicScreen]
    for module in (*modules, asking, atlas_asking, help, case_row, passage_row, path_chooser):
        kinds += [kind for kind in vars(module).values() if isinstance(kind, type)]
    for kind in kinds:
        for binding in vars(kind).get("BINDINGS", ()):
            if isinstance(binding, Binding) and is_ours(binding) and binding.id not in seen:
                seen.add(binding.id)
                yield binding


def is_ours(binding: Binding) -> bool:
    """Whether it is this screen's, not one that a widget of the library brings along."""
    return binding.id is not None

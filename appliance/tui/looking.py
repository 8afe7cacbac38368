"""Jobs for a desk: looks into the atlas."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from appliance.core.atlas import NEIGHBOURS, AtlasCard, AtlasCase, Contrast, Description, Neighbour
from appliance.core.ports import Picture
from appliance.errors import ImageError
from appliance.tui.consulting import Unchanged, UnderWay, pixels_of
from appliance.tui.desk import Opened
from appliance.tui.shown import Pixels, Shown

if TYPE_CHECKING:
    from appliance.core.atlas_search import AskedPicture

DRAWN_SIZE = 160
"""Pixels of the side at which a case's picture is drawn; an atlas carries none that is larger."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Found(Generic[Result]):
    """What one look gave, and the atlas that it was into."""

    card: AtlasCard
    result: Result


@dataclass(frozen=True)
class Own:
    """The patient's own picture, that cases are looked for."""

    path: str
    answered: Shown | None = None
    """The consultation that let it through; None for a file."""


class Looking(UnderWay[Found[Result]], Generic[Result]):
    """A look with a picture, for the model's desk."""

    def __init__(
        self,
        own: Own,
        search: Callable[[Opened, "AskedPicture"], Result],
        on_picture: Callable[[Pixels], None],
    ) -> None:
        """`on_picture` is called on the desk's thread."""
        super().__init__(lambda stage: None)
        self._own, self._search, self._on_picture = own, search, on_picture

    def work(self, opened: Opened) -> Found[Result]:
        """Raises: what `core.atlas_search` raises."""
        from appliance.core.atlas_search import AskedPicture

        self.step("opening")
        kept, images = self._kept(opened), opened.images
        if self._own.answered is not None:
            images = Unchanged(images, self._own.answered.answer["image"]["sha256"])

        def open_it(size: int) -> Picture:
            picture = kept or images.open(self._own.path, size)
            self._on_picture(pixels_of(picture))
            self.step("reading")
            return picture

        asked = AskedPicture(open_it, let_through=kept is not None)
        return Found(opened.atlas.card, self._search(opened, asked))

    def _kept(self, opened: Opened) -> Picture | None:
        """As the consultation opened it; None where the release in use never saw it."""
        answered, release = self._own.answered, opened.reader.captioner.release
        if answered is None or answered.answer["release"]["sha256"] != release.sha256:
            return None
        pixels, image = answered.pixels, answered.answer["image"]
        assert pixels is not None, "the screen offers this where there is a picture"
        return Picture(
            pixels.rgb,
            pixels.size,
            image["sha256"],
            image["kind"],
            pixels.width,
            pixels.height,
            image["note"],
        )


def looking_similar(
    own: Own, on_picture: Callable[[Pixels], None]
) -> Looking[tuple[Neighbour, ...]]:
    def search(opened: Opened, asked: "AskedPicture") -> tuple[Neighbour, ...]:
        from appliance.core.atlas_search import search_similar

        return search_similar(opened.atlas, opened.audit, asked, NEIGHBOURS)

    return Looking(own, search, on_picture)


def looking_to_describe(
    own: Own, on_picture: Callable[[Pixels], None]
) -> Looking[Description | None]:
    def search(opened: Opened, asked: "AskedPicture") -> Description | None:
        from appliance.core.atlas_search import search_description

        return search_description(opened.atlas, opened.audit, asked, NEIGHBOURS)

    return Looking(own, search, on_picture)


def found_by_words(text: str) -> Callable[[Opened], Found[tuple[Neighbour, ...]]]:
    def look(opened: Opened) -> Found[tuple[Neighbour, ...]]:
        from appliance.core.atlas_search import search_words

        return Found(opened.atlas.card, search_words(opened.atlas, opened.audit, text, NEIGHBOURS))

    return look


def found_by_contrast(
    text: str, plus: list[str], minus: list[str]
) -> Callable[[Opened], Found[Contrast]]:
    def look(opened: Opened) -> Found[Contrast]:
        from appliance.core.atlas_search import search_contrast

        found = search_contrast(opened.atlas, opened.audit, text, plus, minus, NEIGHBOURS)
        return Found(opened.atlas.card, found)

    return look


def case_pictures(cases: Iterable[AtlasCase]) -> Callable[[Opened], dict[str, Pixels | None]]:
    """By case, of those that the atlas carries a picture of; None for one that is damaged."""
    carried = {case.case_id: case.picture for case in cases if case.picture is not None}

    def decode(opened: Opened) -> dict[str, Pixels | None]:
        from appliance.wiring import open_images

        images = open_images()
        found: dict[str, Pixels | None] = {}
        for case_id, encoded in carried.items():
            try:
                found[case_id] = pixels_of(images.decode(encoded, case_id, DRAWN_SIZE))
            except ImageError:
                found[case_id] = None
        return found

    return decode

"""The report's figures as inline SVG, in black on white, each with its content in words."""

from collections.abc import Sequence

from appliance.core.calibration import Bin
from training.evaluation.markup import Html, element

Interval = tuple[float, float]


def interval_bar(share: float, interval: Interval, words: str) -> Html:
    """A share from 0 to 1 as a bar, with its interval as a whisker."""
    low, high = (2 + 150 * limit for limit in interval)
    return _picture(
        154,
        16,
        words,
        [
            _line(2, 15, 152, 15, class_="thin"),
            element("rect", x=2, y=3, width=f"{150 * share:.1f}", height=10, class_="bar"),
            _line(low, 8, high, 8),
            _line(low, 4, low, 12),
            _line(high, 4, high, 12),
        ],
    )


def reliability_diagram(bins: Sequence[Bin], name: str) -> Html:
    """Accuracy over mean confidence, a point a bin, with the line on which the two agree."""
    side, edge = 220, 34

    def across(share: float) -> float:
        return edge + side * share

    def down(share: float) -> float:
        return 10 + side * (1 - share)

    parts = [
        element("rect", x=edge, y=10, width=side, height=side, class_="frame"),
        _line(across(0), down(0), across(1), down(1), class_="dashed"),
    ]
    for tick in (0, 0.5, 1):
        parts.append(_text(across(tick), down(0) + 15, f"{tick:g}", "middle"))
        parts.append(_text(edge - 5, down(tick) + 4, f"{tick:g}", "end"))
    parts.append(_text(across(0.5), down(0) + 30, "probability of the likeliest label", "middle"))
    parts.append(_text(edge + 5, 24, "share right", "start"))
    for b in bins:
        x = across(b.confidence)
        parts.append(_line(x, down(b.accuracy_interval[0]), x, down(b.accuracy_interval[1])))
        point = {"cx": f"{x:.1f}", "cy": f"{down(b.accuracy):.1f}"}
        parts.append(element("circle", **point, r=4, class_="point"))
    return _picture(edge + side + 12, side + 46, f"Reliability diagram, {name}: table below", parts)


def change_plot(rows: Sequence[tuple[str, float, Interval, float, Interval]]) -> Html:
    """Of each row: a name, a share and its interval before (hollow) and after (filled)."""
    left, width, step = 210, 400, 44

    def across(share: float) -> float:
        return left + width * share

    bottom = 10 + step * len(rows)
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line(across(tick), 10, across(tick), bottom, class_="thin"))
        parts.append(_text(across(tick), bottom + 16, f"{tick:g}", "middle"))
    words = []
    for place, (name, before, before_interval, after, after_interval) in enumerate(rows):
        middle = 10 + step * (place + 0.5)
        parts.append(_text(left - 10, middle + 4, name, "end"))
        for share, (low, high), y, kind in (
            (before, before_interval, middle - 8, "hollow"),
            (after, after_interval, middle + 8, "point"),
        ):
            parts.append(_line(across(low), y, across(high), y))
            parts.append(
                element("circle", cx=f"{across(share):.1f}", cy=f"{y:.1f}", r=5, class_=kind)
            )
        words.append(f"{name} {before:.3f} before, {after:.3f} after")
    return _picture(left + width + 20, bottom + 24, "; ".join(words), parts)


def _picture(width: int, height: int, words: str, parts: Sequence[str]) -> Html:
    attributes = {"view_box": f"0 0 {width} {height}", "role": "img", "aria_label": words}
    return element("svg", parts, width=width, height=height, **attributes)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str = "line") -> Html:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return element("line", **{k: f"{v:.1f}" for k, v in ends.items()}, class_=class_)


def _text(x: float, y: float, content: str, anchor: str) -> Html:
    return element("text", content, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)

"""The losses of a run, as a line and as a drawing."""

from pathlib import Path
from typing import Any

from training.evaluation.markup import STYLE, element
from training.whole_file import write_whole

SMOOTHED = 0.98
"""Share of the old in the running mean that is shown."""
WIDTH, HEIGHT, EDGE = 640, 300, 40


class Losses:
    """Kept in the run's checkpoint, so that a run resumed draws the same curve."""

    def __init__(self) -> None:
        self.mean = 0.0
        self.steps = 0
        self.points: list[tuple[int, float, float]] = []
        """Step, running mean of the training loss, loss of held pictures."""

    def note(self, loss: float) -> None:
        self.steps += 1
        # Without the second weight the first losses would count for too much.
        old = SMOOTHED * (1 - SMOOTHED ** (self.steps - 1)) / (1 - SMOOTHED**self.steps)
        self.mean = old * self.mean + (1 - old) * loss

    def look(self, step: int, held: float) -> None:
        self.points.append((step, self.mean, held))

    def line(self) -> str:
        _, trained, held = self.points[-1]
        return f"loss {trained:.4f}, held {held:.4f}"

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "steps": self.steps, "points": list(self.points)}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.mean, self.steps, self.points = state["mean"], state["steps"], list(state["points"])

    def draw(self, file: Path) -> None:
        """Both curves as SVG, the held one dashed. Raises: OSError."""
        last, most = self.points[-1][0], max(max(point[1:]) for point in self.points)
        parts = [element("style", STYLE)]
        parts.append(element("rect", x=EDGE, y=10, width=WIDTH, height=HEIGHT, class_="frame"))
        for column, kind in ((1, "line"), (2, "dashed")):
            across = (EDGE + WIDTH * point[0] / last for point in self.points)
            down = (10 + HEIGHT * (1 - point[column] / most) for point in self.points)
            places = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
            parts.append(element("polyline", points=places, fill="none", class_=kind))
        parts.append(element("text", f"{most:.3g}", x=0, y=20))
        parts.append(element("text", f"step {last}", x=WIDTH - EDGE, y=HEIGHT + 28))
        words = f"training loss (line) and loss of held pictures (dashed), {self.line()} at the end"
        parts.append(element("text", words, x=EDGE, y=HEIGHT + 28))
        size = {"width": WIDTH + 2 * EDGE, "height": HEIGHT + EDGE}
        space = "http://www.w3.org/2000/svg"
        write_whole(file, element("svg", parts, xmlns=space, **size) + "\n")

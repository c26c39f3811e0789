"""Small drawings in SVG: bars with whiskers, histograms, curves. Colours and strokes are in report.css."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from segpipe.reports.markup import Markup, element, join, number

BAR_PX, BAR_HEIGHT_PX = 120, 14
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 56, 20, 12, 40

FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def bar(
    value: float, *, low: float = math.nan, high: float = math.nan, whole: float = math.nan
) -> Markup:  # fmt: skip
    """A score from 0 to 1 as a bar for a table; the number stands beside it, so readers aloud skip it.

    Args:
        value: the score; nothing is drawn of NaN.
        low, high: the ends of its interval, drawn as a whisker; NaN: there is none.
        whole: the score of the whole, drawn as a line; NaN: there is none.

    >>> bar(0.5).count("<rect"), bar(0.5, low=0.4, high=0.6).count('class="whisker"'), bar(math.nan)
    (2, 1, '')
    """
    if math.isnan(value):
        return Markup()
    bottom = BAR_HEIGHT_PX - 1.0
    marks = [
        element("rect", class_="track", x=0.5, y=0.5, width=BAR_PX - 1.0, height=bottom),
        element("rect", class_="bar", x=0.5, y=0.5, width=_along(value) - 0.5, height=bottom),
    ]
    if not math.isnan(whole):
        marks.append(_path(f"M{number(_along(whole))} 0v{BAR_HEIGHT_PX}", "whole"))
    if not math.isnan(low):
        marks.append(_whisker(_along(low), _along(high)))
    return _inline(*marks)


def change(value: float, span: float, *, low: float = math.nan, high: float = math.nan) -> Markup:
    """A difference as a bar from the middle of a table's cell; the number stands beside it.

    Args:
        value: the difference; nothing is drawn of NaN.
        span: the difference that reaches to the end.
        low, high: the ends of its interval; NaN: there is none.

    >>> change(-0.5, 1.0).count("<rect"), change(math.nan, 1.0)
    (2, '')
    """
    if math.isnan(value):
        return Markup()
    middle, end, bottom = BAR_PX / 2, _middle(value / span), BAR_HEIGHT_PX - 1.0
    marks = [
        element("rect", class_="track", x=0.5, y=0.5, width=BAR_PX - 1.0, height=bottom),
        element("rect", class_="bar", x=min(middle, end), y=0.5, width=abs(end - middle), height=bottom),
        _path(f"M{number(middle)} 0v{BAR_HEIGHT_PX}", "axis"),
    ]
    if not math.isnan(low):
        marks.append(_whisker(_middle(low / span), _middle(high / span)))
    return _inline(*marks)


def _middle(share: float) -> float:
    return _along((share + 1) / 2)


def _whisker(left: float, right: float) -> Markup:
    middle, ends = BAR_HEIGHT_PX / 2, (number(left), number(right))
    caps = "".join(f"M{end} {number(middle - 3)}v6" for end in ends)
    return _path(f"{caps}M{ends[0]} {number(middle)}H{ends[1]}", "whisker")


def _inline(*marks: Markup) -> Markup:
    size = {"width": float(BAR_PX), "height": float(BAR_HEIGHT_PX)}
    box = f"0 0 {BAR_PX} {BAR_HEIGHT_PX}"
    return element("svg", *marks, class_="inline", viewBox=box, aria_hidden="true", **size)


def _along(value: float) -> float:
    return 0.5 + (BAR_PX - 1) * min(max(value, 0.0), 1.0)


def swatch(color: tuple[int, int, int] | None) -> Markup:
    """The colour of a class, which stands before its name; nothing where it has none."""
    if color is None:
        return Markup()
    red, green, blue = color
    fill = element("rect", width=12.0, height=12.0, fill=f"#{red:02x}{green:02x}{blue:02x}")
    return element("svg", fill, class_="swatch", viewBox="0 0 12 12", aria_hidden="true")


@dataclass(frozen=True)
class Axes:
    """A drawing with two axes from 0; `x` and `y` say where a value lies in it.

    Attributes:
        width, height: of the whole drawing, px.
        x_label, y_label: what runs along the axes.
        x_ticks, y_ticks: the values that are named along them, the ends too.
    """

    width: int
    height: int
    x_label: str
    y_label: str
    x_ticks: Sequence[float] = FIFTHS
    y_ticks: Sequence[float] = FIFTHS

    def x(self, value: float) -> float:
        """Px from the left."""
        return LEFT_PX + (self.width - LEFT_PX - RIGHT_PX) * value / self.x_ticks[-1]

    def y(self, value: float) -> float:
        """Px from above."""
        return TOP_PX + (self.height - TOP_PX - BOTTOM_PX) * (1 - value / self.y_ticks[-1])

    def column(self, start: float, end: float, value: float, title: str, class_: str = "bar") -> Markup:
        """A bar from the axis up, which tells its numbers when it is pointed at."""
        top = self.y(value)
        return element(
            "rect", element("title", title), class_=class_, x=self.x(start), y=top,
            width=max(self.x(end) - self.x(start) - 0.5, 0.5), height=self.y(0) - top,
        )  # fmt: skip

    def box(self, low: float, start: float, middle: float, end: float, high: float) -> Markup:
        """Lowest, quartiles and highest of some values, above the drawing."""
        at = TOP_PX / 2
        spans = f"M{number(self.x(low))} {at}H{number(self.x(start))}M{number(self.x(end))} {at}"
        box = element(
            "rect", class_="bar", x=self.x(start), y=1.0, width=self.x(end) - self.x(start), height=2 * at - 2
        )
        line = _path(f"{spans}H{number(self.x(high))}", "whisker")
        return join([line, box, _path(f"M{number(self.x(middle))} 0v{TOP_PX}", "whisker")])

    def line(self, points: Iterable[tuple[float, float]], class_: str = "curve") -> Markup:
        """A line through some points."""
        places = " ".join(f"{number(self.x(x))},{number(self.y(y))}" for x, y in points)
        return element("polyline", class_=class_, points=places)

    def dot(self, x: float, y: float, title: str, radius_px: float = 3.5) -> Markup:
        """A point that tells its numbers when it is pointed at."""
        return element(
            "circle", element("title", title), class_="dot", cx=self.x(x), cy=self.y(y), r=radius_px
        )

    def drawing(self, title: str, *marks: str) -> Markup:
        """The drawing with its axes; `title` is what a reader aloud says in its place."""
        size = {"width": float(self.width), "height": float(self.height)}
        return element(
            "svg", element("title", title), *self._axes(), *marks,
            class_="plot", role="img", viewBox=f"0 0 {self.width} {self.height}", **size,
        )  # fmt: skip

    def _axes(self) -> Iterator[Markup]:
        left, bottom, right = self.x(0), number(self.y(0)), number(self.width - RIGHT_PX)
        for value in self.y_ticks:
            y = self.y(value)
            yield _path(f"M{number(left)} {number(y)}H{right}", "grid")
            yield _label(f"{value:,g}", left - 6, y + 4, "end")
        for value in self.x_ticks:
            yield _label(f"{value:,g}", self.x(value), self.height - BOTTOM_PX + 16.0, "middle")
        yield _path(f"M{number(left)} {TOP_PX}V{bottom}H{right}", "axis")
        yield _label(self.x_label, (LEFT_PX + self.width - RIGHT_PX) / 2, self.height - 6.0, "middle")
        turned = f"translate(13 {number((TOP_PX + self.height - BOTTOM_PX) / 2)}) rotate(-90)"
        yield element("text", self.y_label, transform=turned, text_anchor="middle")


def whole_ticks(end: int) -> list[int]:
    """Round whole numbers from 0 to the end of an axis or a little beyond, six at most.

    >>> whole_ticks(37), whole_ticks(2), whole_ticks(0)
    ([0, 10, 20, 30, 40], [0, 1, 2], [0, 1])
    """
    size = 10 ** max(len(str(end)) - 2, 0)
    step = next(size * times for times in (1, 2, 5, 10, 20) if size * times * 5 >= end)
    return list(range(0, max(end, 1) + step, step))[: -(-max(end, 1) // step) + 1]


def _label(words: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", words, x=x, y=y, text_anchor=anchor)


def _path(steps: str, class_: str) -> Markup:
    return element("path", class_=class_, d=steps)


def histogram(counts: Sequence[int], title: str, x_label: str, y_label: str, *marks_above: float) -> Markup:
    """How many values lie in equal parts of 0 to 1.

    Args:
        counts: of each part.
        title, x_label, y_label: in words.
        marks_above: lowest, quartiles and highest, in order; none: they are not drawn.
    """
    axes = Axes(480, 220, x_label, y_label, y_ticks=whole_ticks(max(counts)))
    parts = len(counts)
    columns = [
        axes.column(at / parts, (at + 1) / parts, count, f"{at / parts:g} to {(at + 1) / parts:g}: {count:,}")
        for at, count in enumerate(counts)
        if count
    ]
    return axes.drawing(title, *columns, *([axes.box(*marks_above)] if marks_above else []))


def ranks(values: Sequence[float], title: str, x_label: str, y_label: str) -> Markup:
    """Scores from 0 to 1 side by side, in the order in which they are given."""
    axes = Axes(480, 220, x_label, y_label, x_ticks=whole_ticks(len(values)))
    steps = "".join(f"V{number(axes.y(value))}H{number(axes.x(at + 1))}" for at, value in enumerate(values))
    bottom = number(axes.y(0))
    return axes.drawing(title, _path(f"M{number(axes.x(0))} {bottom}{steps}V{bottom}z", "bar"))

"""One quantity of a run, drawn over its steps; the words around the picture are HTML.

A picture is stretched to the width of the page, so nothing in it may be text or a circle: words
keep their size on a phone, and strokes do not scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainguard.report.curves import Point, Scale, stretches, thinned
from trainguard.report.html_text import escaped, number

WIDTH, HEIGHT, MARGIN = 1000, 100, 6
#: Spans that the points of a long run are drawn in; each gives at most five points.
SPANS = 200
#: Points up to which each is a dot as well.
DOTS = 64
#: Gaps whose borders are drawn; of more, borders would hide everything else.
MANY = 20
#: Rows of finding marks, and the share of the width that one takes on a phone.
LANES, MARK = 3, 0.19


@dataclass(frozen=True)
class Series:
    """One curve: its name in the legend, its class in the style sheet, its points by step."""

    label: str
    style: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Mark:
    """A finding at a step."""

    step: int
    code: str
    style: str
    """The severity of a cause; "symptom" of what a cause explains."""
    anchor: str


@dataclass(frozen=True)
class Steps:
    """The steps that all pictures of a run share, each with half a step of room."""

    first: int
    last: int

    @property
    def x(self) -> Scale:
        """Where a step is drawn, from 0 to `WIDTH`."""
        return Scale(self.first - 0.5, self.last + 0.5, 0, WIDTH)

    def share(self, step: float) -> float:
        """The same in percent."""
        return self.x(step) / WIDTH * 100


def plot(
    title: str, series: Sequence[Series], steps: Steps, marks: Sequence[Mark], key: str, words: str
) -> Iterator[str]:
    """A figure.

    Args:
        title: the quantity, with its unit.
        series: the curves, the one that matters most first; those without points are left out.
        steps: what the horizontal axis spans.
        marks: findings, drawn where they happened.
        key: a name for this figure, the only one of its kind on the page.
        words: one sentence about what is to be seen, in HTML; may be empty.
    """
    shown = [one for one in series if one.points]
    values = [value for one in shown for _, value in one.points if math.isfinite(value)]
    axis = _Axis.of(values)
    yield f'<figure class="plot" id="{key}">'
    yield f"<figcaption><strong>{escaped(title)}</strong>{axis.note}{_legend(shown)}"
    if words:
        yield f'<br><span class="lost-words">{words}</span>'
    yield "</figcaption>"
    yield from _lane(marks, steps)
    yield '<div class="field">'
    yield '<div class="y" aria-hidden="true">'
    yield from (f"<span>{label}</span>" for label in axis.labels)
    yield "</div>"
    yield '<div class="picture">'
    yield (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-labelledby="{key}-t {key}-d">'
    )
    yield f'<title id="{key}-t">{escaped(title)}</title>'
    yield f'<desc id="{key}-d">{escaped(_described(shown, steps))}</desc>'
    yield from _drawing(shown, steps, axis, marks)
    yield "</svg>"
    yield from _words_in_the_gap(shown, steps)
    yield "</div>"
    yield '<div class="x" aria-hidden="true">'
    yield f"<span>step {steps.first}</span><span>{steps.last}</span></div>"
    yield "</div></figure>"


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    is_log: bool
    is_empty: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> _Axis:
        low, high = min(values, default=0.0), max(values, default=0.0)
        return cls(low, high, low > 0 and high / low > 1000, not values)

    def __call__(self, value: float) -> float:
        place = Scale(self._shown(self.low), self._shown(self.high), HEIGHT - MARGIN, MARGIN)
        return place(self._shown(value))

    def _shown(self, value: float) -> float:
        return math.log10(value) if self.is_log else value

    @property
    def note(self) -> str:
        return ' <span class="muted">log scale</span>' if self.is_log else ""

    @property
    def labels(self) -> list[str]:
        """Of the highest value and of the lowest; of one that is all there is, one."""
        if self.is_empty:
            return []
        return [number(value, digits=3) for value in dict.fromkeys((self.high, self.low))]


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    items = "".join(
        f'<span class="key {one.style}"><i></i>{escaped(one.label)}</span>' for one in series
    )
    return f' <span class="legend">{items}</span>'


def _described(series: Sequence[Series], steps: Steps) -> str:
    parts = [f"Steps {steps.first} to {steps.last}."]
    for one in series:
        finite = [(step, value) for step, value in one.points if math.isfinite(value)]
        lost = len(one.points) - len(finite)
        if finite:
            said = f"from {number(finite[0][1])} to {number(finite[-1][1])}"
            parts.append(f"{one.label}: {len(one.points)} values, {said}, {lost} not finite.")
        else:
            parts.append(f"{one.label}: {len(one.points)} values, none finite.")
    return " ".join(parts)


def _drawing(
    series: Sequence[Series], steps: Steps, axis: _Axis, marks: Sequence[Mark]
) -> Iterator[str]:
    bands = gaps(series, steps)
    style = "lost many" if len(bands) > MANY else "lost"
    for start, end in bands:
        yield f'<path class="{style}" d="M{start:.1f} 0H{end:.1f}V{HEIGHT}H{start:.1f}z"/>'
    yield f'<path class="axis" d="M0 0V{HEIGHT}H{WIDTH}"/>'
    for step in sorted({mark.step for mark in marks}):
        yield f'<path class="when" d="M{steps.x(step):.1f} 0V{HEIGHT}"/>'
    for one in reversed(series):
        yield from _curve(one, steps, axis)


def _curve(series: Series, steps: Steps, axis: _Axis) -> Iterator[str]:
    has_dots = len(series.points) <= DOTS
    for stretch in stretches(thinned(series.points, SPANS)):
        places = [f"{steps.x(step):.1f} {axis(value):.1f}" for step, value in stretch]
        if len(places) > 1:
            yield f'<path class="curve {series.style}" d="M{"L".join(places)}"/>'
        if has_dots or len(places) == 1:
            dots = "".join(f"M{place}h0" for place in places)
            yield f'<path class="dots {series.style}" d="{dots}"/>'


def gaps(series: Sequence[Series], steps: Steps) -> list[tuple[float, float]]:
    """Where a value is not finite, from and to; at least wide enough to be seen."""
    lost = sorted(
        {s for one in series for s, value in thinned(one.points, SPANS) if not math.isfinite(value)}
    )
    half = max(0.5, 0.002 * (steps.last - steps.first + 1))
    bands: list[tuple[float, float]] = []
    for step in lost:
        start, end = steps.x(step - half), steps.x(step + half)
        if bands and start <= bands[-1][1] + 0.1:
            bands[-1] = (bands[-1][0], min(end, WIDTH))
        else:
            bands.append((max(start, 0.0), min(end, WIDTH)))
    return bands


def _words_in_the_gap(series: Sequence[Series], steps: Steps) -> Iterator[str]:
    """The word itself, where the first gap is wide enough or there is room beside it."""
    bands = gaps(series, steps)
    if not bands:
        return
    start, end = bands[0][0] / WIDTH * 100, bands[0][1] / WIDTH * 100
    lost = next(v for one in series for _, v in one.points if not math.isfinite(v))
    side = f"left:{start:.1f}%" if start < 80 else f"right:{100 - end:.1f}%"
    yield f'<span class="gap-words" style="{side}" aria-hidden="true">{number(lost)}</span>'


def _lane(marks: Sequence[Mark], steps: Steps) -> Iterator[str]:
    """The codes of the findings above the step that they are of, in rows that do not collide."""
    if not marks:
        return
    ends = [0.0] * LANES
    chips: list[tuple[int, float, Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.step):
        place = steps.share(mark.step) / 100
        start = min(place, 1 - MARK)
        row = next((row for row in range(LANES) if ends[row] <= start), None)
        if row is not None:
            ends[row] = start + MARK
            chips.append((row, place, mark))
    rows = max(row for row, _, _ in chips) + 1
    yield f'<div class="lane" style="height:{rows * 1.5}rem">'
    for row, place, mark in chips:
        side = f"left:{place:.2%}" if place <= 1 - MARK else f"right:{1 - place:.2%}"
        yield (
            f'<a class="mark {mark.style}" style="{side};top:{row * 1.5}rem" '
            f'href="#{mark.anchor}" aria-label="{escaped(mark.code)} at step {mark.step}">'
            f"{escaped(mark.code)}</a>"
        )
    yield "</div>"

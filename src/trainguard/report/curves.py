"""Curves of a run as one SVG file: offline, in light and dark, readable at any width."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 170
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 30, 26
_STYLE = """
  svg { color: #1f2328; background: #ffffff; font: 12px sans-serif; }
  .axis { stroke: currentColor; stroke-opacity: .3; fill: none; }
  .curve { stroke: #0969da; stroke-width: 1.5; fill: none; }
  .lost { stroke: #cf222e; stroke-width: 1; }
  text { fill: currentColor; }
  @media (prefers-color-scheme: dark) {
    svg { color: #e6edf3; background: #0d1117; }
    .curve { stroke: #4493f8; }
    .lost { stroke: #f85149; }
  }
"""

#: Step and value.
Point = tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """One quantity over the optimizer steps."""

    title: str
    points: Sequence[Point]
    """A value that is not finite is a gap with a mark."""


def curves(panels: Sequence[Panel]) -> str:
    """The panels below each other, as the text of an SVG file."""
    height = HEIGHT * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<style>{_STYLE}</style>",
    ]
    for number, panel in enumerate(panels):
        parts.append(f'<g transform="translate(0 {number * HEIGHT})">')
        parts += _panel(panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel) -> Iterator[str]:
    yield f'<text x="{LEFT}" y="18" font-weight="bold">{escape(panel.title)}</text>'
    finite = [value for _, value in panel.points if math.isfinite(value)]
    lost = len(panel.points) - len(finite)
    if lost:
        text = f"{lost} of {len(panel.points)} values are not finite"
        yield f'<text x="{WIDTH - RIGHT}" y="18" text-anchor="end">{text}</text>'
    yield f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
    if not panel.points:
        yield f'<text x="{LEFT + 8}" y="{HEIGHT / 2}">nothing was logged</text>'
        return
    steps = [step for step, _ in panel.points]
    x = Scale(min(steps), max(steps), LEFT, WIDTH - RIGHT)
    y = Scale(min(finite, default=0.0), max(finite, default=0.0), HEIGHT - BOTTOM, TOP)
    for value in dict.fromkeys((min(finite, default=0.0), max(finite, default=0.0))):
        place = f'x="{LEFT - 6}" y="{y(value) + 4:.1f}"'
        yield f'<text {place} text-anchor="end">{value:.3g}</text>'
    for step, anchor in zip((min(steps), max(steps)), ("start", "end"), strict=True):
        place = f'x="{x(step):.1f}" y="{HEIGHT - 8}"'
        yield f'<text {place} text-anchor="{anchor}">{step:g}</text>'
    for stretch in stretches(panel.points):
        line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in stretch)
        yield f'<polyline class="curve" points="{line}"/>'
    for step, value in panel.points:
        if not math.isfinite(value):
            yield f'<path class="lost" d="M{x(step):.1f} {HEIGHT - BOTTOM}v-6"/>'


@dataclass(frozen=True)
class Scale:
    """Where a value is drawn, between two places; the middle if all values are the same."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        # Halves, so that the span of two huge values does not overflow.
        share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return self.start + share * (self.end - self.start)


def stretches(points: Sequence[Point]) -> Iterator[list[Point]]:
    """The runs of finite values between the gaps."""
    stretch: list[Point] = []
    for step, value in points:
        if math.isfinite(value):
            stretch.append((step, value))
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def thinned(points: Sequence[Point], spans: int) -> list[Point]:
    """At most five points of each of so many spans of points, if there are more than that.

    Of a span, its first and last point are kept, its smallest and largest value, and the first
    that is not finite: no peak and no gap is lost.
    """
    if len(points) <= 5 * spans:
        return list(points)
    size = math.ceil(len(points) / spans)
    kept: list[Point] = []
    for start in range(0, len(points), size):
        span = points[start : start + size]
        finite = [i for i, (_, value) in enumerate(span) if math.isfinite(value)]
        wanted = {0, len(span) - 1}
        wanted |= {next((i for i in range(len(span)) if not math.isfinite(span[i][1])), 0)}
        if finite:
            wanted.add(min(finite, key=lambda i: span[i][1]))
            wanted.add(max(finite, key=lambda i: span[i][1]))
        kept += [span[i] for i in sorted(wanted)]
    return kept

"""Heat maps of a run: one row a layer, the steps from left to right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trainguard.facts.layers import MAX_LAYERS, LayerStep, short_names
from trainguard.report.html_plot import Steps
from trainguard.report.html_text import coarse, escaped, plural

#: Columns that are drawn at most; of the steps that share one, the largest value is shown.
COLUMNS = 120
#: Classes of the style sheet for values, from small to large.
LEVELS = 7
#: Factor between the largest value and the smallest that is told from those below it.
DECADES = 6

Cell = float | None


@dataclass(frozen=True)
class Colours:
    """Which class a value has: the bounds between the levels, smallest first."""

    bounds: tuple[float, ...]

    @classmethod
    def for_values(cls, values: Sequence[float]) -> Colours:
        """Levels of equal factors that span the values, at most `DECADES` decades."""
        positive = [value for value in values if 0 < value < math.inf]
        high = math.log10(max(positive, default=1.0))
        low = math.log10(min(positive, default=0.1))
        low = min(max(low, high - DECADES), high - 1)
        width = (high - low) / LEVELS
        return cls(tuple(10 ** (low + width * level) for level in range(1, LEVELS)))

    def __call__(self, value: Cell) -> str:
        """The class; "" for a value that was not observed."""
        if value is None:
            return ""
        if not math.isfinite(value):
            return "bad"
        if value == 0:
            return "zero"
        return f"l{sum(value >= bound for bound in self.bounds)}"


#: Updates by weights: what they mean does not depend on the model, so neither do the levels.
RATIO_COLOURS = Colours(tuple(10.0**power for power in range(-6, 0)))


def heat_maps(layers: Sequence[LayerStep], steps: Steps, key: str) -> Iterator[str]:
    """The figures of the gradients and of the updates; nothing if no layer was looked at."""
    names = list(dict.fromkeys(name for step in layers for name in step.names))[:MAX_LAYERS]
    if not names or not layers:
        return
    gradients = _grid(names, layers, steps, lambda step: step.gradients)
    ratios = _grid(names, layers, steps, lambda step: step.ratios)
    seen = [value for row in gradients for value in row if value is not None]
    title = "Gradient norm of each layer, before clipping"
    colours = Colours.for_values(seen)
    yield from _figure(title, names, gradients, colours, steps, f"{key}-gradients")
    if any(value is not None for row in ratios for value in row):
        title = "Update of each layer by its weights"
        yield from _figure(title, names, ratios, RATIO_COLOURS, steps, f"{key}-updates")
    yield (
        f'<p class="muted heat">{plural(len(layers), "step")} of {steps.last - steps.first + 1} '
        "looked at layer by layer, as the time allowed: a colour stands until the next of them.</p>"
    )


def _grid(
    names: Sequence[str],
    layers: Sequence[LayerStep],
    steps: Steps,
    values_of: Callable[[LayerStep], Sequence[Cell]],
) -> list[list[Cell]]:
    """Rows of cells; a value stands until the next step that was looked at."""
    columns = min(COLUMNS, steps.last - steps.first + 1)
    rows: dict[str, list[Cell]] = {name: [None] * columns for name in names}
    layers = [step for step in layers if any(value is not None for value in values_of(step))]
    column_of = [_column(step.step, steps, columns) for step in layers]
    ends = [*column_of[1:], *(column + 1 for column in column_of[-1:])]
    for step, start, end in zip(layers, column_of, ends, strict=True):
        for name, value in zip(step.names, values_of(step), strict=False):
            if (row := rows.get(name)) is not None and value is not None:
                for column in range(start, max(end, start + 1)):
                    row[column] = _worse(row[column], value) if column == start else value
    return list(rows.values())


def _column(step: int, steps: Steps, columns: int) -> int:
    share = (step - steps.first) / (steps.last - steps.first + 1)
    return min(max(int(share * columns), 0), columns - 1)


def _worse(held: Cell, new: float) -> float:
    if held is None or not math.isfinite(new):
        return new
    return max(held, new) if math.isfinite(held) else held


def _figure(
    title: str,
    names: Sequence[str],
    grid: Sequence[Sequence[Cell]],
    colours: Colours,
    steps: Steps,
    key: str,
) -> Iterator[str]:
    columns = len(grid[0])
    height = 14 if len(names) <= 40 else 7
    yield f'<figure class="plot heat" id="{key}">'
    yield f"<figcaption><strong>{escaped(title)}</strong>{_legend(grid, colours)}</figcaption>"
    yield '<div class="field">'
    yield from _row_labels(names, height)
    yield (
        f'<svg viewBox="0 0 {columns} {len(names)}" preserveAspectRatio="none" role="img" '
        f'style="height:{height * len(names)}px" aria-labelledby="{key}-t {key}-d">'
    )
    yield f'<title id="{key}-t">{escaped(title)}</title>'
    yield f'<desc id="{key}-d">{escaped(_described(names, grid, steps))}</desc>'
    for style, path in sorted(_paths(grid, colours).items()):
        yield f'<path class="{style}" d="{path}"/>'
    yield "</svg>"
    yield '<div class="x" aria-hidden="true">'
    yield f"<span>step {steps.first}</span><span>{steps.last}</span></div>"
    yield "</div></figure>"


def _row_labels(names: Sequence[str], height: int) -> Iterator[str]:
    """One label a row, or on low rows every other one, without what all names begin with."""
    every = 1 if height >= 14 else 2
    yield f'<div class="y rows" aria-hidden="true" style="line-height:{height * every}px">'
    for name, short in list(zip(names, short_names(names), strict=True))[::every]:
        yield f'<span title="{escaped(name)}">{escaped(short)}</span>'
    yield "</div>"


def _paths(grid: Sequence[Sequence[Cell]], colours: Colours) -> dict[str, str]:
    """By class, the cells of that colour: neighbours in a row are one stroke."""
    strokes: dict[str, list[str]] = {}
    for row, cells in enumerate(grid):
        classes = [colours(cell) for cell in cells]
        start = 0
        for column in range(1, len(classes) + 1):
            if column == len(classes) or classes[column] != classes[start]:
                if classes[start]:
                    stroke = f"M{start} {row}.5h{column - start}"
                    strokes.setdefault(classes[start], []).append(stroke)
                start = column
    return {style: "".join(parts) for style, parts in strokes.items()}


def _legend(grid: Sequence[Sequence[Cell]], colours: Colours) -> str:
    used = {colours(cell) for row in grid for cell in row}
    names = ["below " + coarse(colours.bounds[0]), *map(coarse, colours.bounds)]
    texts = {f"l{level}": name for level, name in enumerate(names)}
    texts |= {"zero": "exactly 0", "bad": "NaN or inf"}
    keys = [
        f'<span class="key {style}"><i></i>{text}</span>'
        for style, text in texts.items()
        if style in used or (style.startswith("l") and used - {"", "zero", "bad"})
    ]
    return f'<br><span class="legend">{"".join(keys)}</span>'


def _described(names: Sequence[str], grid: Sequence[Sequence[Cell]], steps: Steps) -> str:
    """What a person who does not see the picture is told: the extremes, by name."""
    bad = [
        name
        for name, row in zip(names, grid, strict=True)
        if any(cell is not None and not math.isfinite(cell) for cell in row)
    ]
    finite = [
        (cell, name)
        for name, row in zip(names, grid, strict=True)
        for cell in row
        if cell is not None and math.isfinite(cell)
    ]
    parts = [f"{len(names)} layers, steps {steps.first} to {steps.last}."]
    if finite:
        (low, least), (high, most) = min(finite), max(finite)
        parts.append(f"From {coarse(low)} in {least} to {coarse(high)} in {most}.")
    if bad:
        parts.append(f"Not finite in {', '.join(bad[:10])}{' and others' if bad[10:] else ''}.")
    return " ".join(parts)

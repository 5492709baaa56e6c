from __future__ import annotations

import math
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from trainguard.report.curves import Panel, curves

SVG = "{http://www.w3.org/2000/svg}"
POINTS = st.lists(st.tuples(st.integers(0, 10_000), st.floats()), max_size=20)


@given(st.lists(st.builds(Panel, st.text(st.characters(codec="ascii", min_codepoint=32)), POINTS)))
def test_any_series_is_one_well_formed_picture(panels: list[Panel]) -> None:
    root = ElementTree.fromstring(curves(panels))
    drawn = [line for one in root.iter(f"{SVG}polyline") for line in one.get("points").split()]
    finite = [value for panel in panels for _, value in panel.points if math.isfinite(value)]
    assert len(drawn) == len(finite)
    width, height = map(float, root.get("viewBox").split()[2:])
    for point in drawn:
        x, y = map(float, point.split(","))
        assert 0 <= x <= width
        assert 0 <= y <= height


def test_what_is_not_finite_is_a_gap_with_a_mark() -> None:
    text = curves([Panel("loss", [(1, 2.0), (2, math.nan), (3, 1.0)])])
    assert text.count("<polyline") == 2
    assert text.count('class="lost"') == 1
    assert "1 of 3 values are not finite" in text

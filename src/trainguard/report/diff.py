"""What two adapters or checkpoints differ in, for people and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from trainguard.facts.comparison import Comparison, FieldDifference, TensorDifference

_MOST_LINES = 12
"""Lines of each kind that the summary shows; all are in the JSON."""


def as_json(comparison: Comparison) -> str:
    """The comparison as strict JSON: NaN becomes the text "nan"."""
    content = {
        "version": 1,
        "a": comparison.a,
        "b": comparison.b,
        "identical": comparison.identical,
        "config": [
            {"key": f.key, "a": f.a, "b": f.b, "only_in": f.only_in or None}
            for f in comparison.fields
        ],
        "tensors": {
            "identical": comparison.same,
            "different": [
                {"name": t.name, "a": t.a or None, "b": t.b or None, "distance": t.distance}
                for t in comparison.tensors
            ],
        },
    }
    return json.dumps(_strict(content), indent=2, ensure_ascii=False) + "\n"


def as_text(comparison: Comparison) -> str:
    """One screen: the fields, the tensors that differ most, and a verdict."""
    lines = [f"a: {comparison.a}", f"b: {comparison.b}"]
    lines += _shortened([_field(field) for field in comparison.fields])
    ordered = sorted(comparison.tensors, key=_by_distance)
    lines += _shortened([_tensor(tensor) for tensor in ordered])
    lines.append(_verdict(comparison))
    return "\n".join(lines) + "\n"


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, list) else value


def _shortened(lines: list[str]) -> Iterator[str]:
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"  ... {len(lines) - _MOST_LINES} more"


def _field(field: FieldDifference) -> str:
    if field.only_in:
        value = field.a if field.only_in == "a" else field.b
        return f"  config {field.key}: only in {field.only_in} ({_brief(value)})"
    if _is_names(field.a) and _is_names(field.b):
        gone = sorted(set(field.a) - set(field.b))
        new = sorted(set(field.b) - set(field.a))
        signs = [f"-{name}" for name in gone] + [f"+{name}" for name in new]
        return f"  config {field.key}: {_cut(' '.join(signs))}"
    return f"  config {field.key}: {_brief(field.a)} -> {_brief(field.b)}"


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _brief(value: Any) -> str:
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= 70 else f"{text[:67]}..."


def _tensor(tensor: TensorDifference) -> str:
    if not tensor.a or not tensor.b:
        side = "a" if tensor.a else "b"
        return f"  tensor {tensor.name}: only in {side} ({tensor.a or tensor.b})"
    kind = "" if tensor.a == tensor.b else f" {tensor.a} -> {tensor.b}"
    values = "" if tensor.distance is None else f" differs by {tensor.distance:.3g}"
    return f"  tensor {tensor.name}:{kind}{values or ('' if kind else ' differs')}"


def _by_distance(tensor: TensorDifference) -> float:
    """Tensors that cannot be subtracted first, then the farthest."""
    known = tensor.distance is not None and not math.isnan(tensor.distance)
    return -(tensor.distance or 0.0) if known else -math.inf


def _verdict(comparison: Comparison) -> str:
    total = comparison.same + len(comparison.tensors)
    if comparison.identical:
        return f"identical: {total} tensors and the config"
    return (
        f"different: {len(comparison.fields)} config fields, "
        f"{len(comparison.tensors)} of {total} tensors"
    )

"""The bounded matcher against Python's own."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainguard.checks.adapter._patterns import UndecidableError, fullmatch

ATOMS = ["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\.", "(a|b.)", "(?:ab)?", "[0-9]+", r"\b"]


def sequences(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.builds("(?:{}|{})".format, inner, inner)
    repeated = st.builds(
        "(?:{}){}".format, inner, st.sampled_from(["*", "+", "?", "{0,2}", "{2}", "*?"])
    )
    ahead = st.builds("(?{}{}).*".format, st.sampled_from("=!"), inner)
    return st.lists(st.one_of(inner, groups, repeated, ahead), min_size=1, max_size=3).map("".join)


PATTERNS = st.recursive(st.sampled_from(ATOMS), sequences, max_leaves=6)


@given(PATTERNS, st.text("ab1. _", max_size=8))
def test_it_agrees_with_re(pattern: str, text: str) -> None:
    assert fullmatch(pattern, text) is (re.fullmatch(pattern, text) is not None)


NAMES = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.11.mlp.down_proj",
    "model.visual.blocks.3.attn.qkv",
    "lm_head",
]


@pytest.mark.parametrize(
    "pattern",
    [
        r".*\.(q|v)_proj",
        r"^(?!.*visual).*(?:q_proj|k_proj|down_proj).*",
        r"(?:.*?(?:language|text|model).*?(?:self_attn|mlp).*?(?:q_proj|down_proj).*?)|(?:\bmodel\.x)",
        r"model\.layers\.(0|1\d)\..+",
        r"(.*\.)?(.*q_proj)",
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_patterns_that_people_write_are_decided(pattern: str, name: str) -> None:
    assert fullmatch(pattern, name) is (re.fullmatch(pattern, name) is not None)


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)*b", "(a*)*b", "(?:a|a)" * 40 + "b", "(.*)" * 30]
)
def test_patterns_that_make_re_hang_are_decided(pattern: str) -> None:
    assert fullmatch(pattern, "a" * 60) is pattern.startswith("(.*)")


@pytest.mark.parametrize("pattern", ["(", "(?i)a", r"(a)\1", "(?<=a)b", "x" * 6000, "(" * 5000])
def test_what_it_cannot_decide_it_refuses(pattern: str) -> None:
    with pytest.raises(UndecidableError):
        fullmatch(pattern, "aa")


def test_nested_counts_end_in_a_refusal() -> None:
    with pytest.raises(UndecidableError, match="too long"):
        fullmatch("((((a?){9000}b?){9000}c?){9000}d?){9000}", "abcd" * 50)

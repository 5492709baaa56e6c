"""The overlap of two sets of questions: exact, whatever the order, and blind to nothing short."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainguard.gather.overlap import COVERAGE, SHORTEST, WINDOW, Index, Row
from trainguard.gather.overlap_found import LARGEST_SAMPLE, KeySample, Overlap, bounded
from trainguard.gather.overlap_texts import keys_of, normal, words_of
from trainguard.reference.units import PHRASINGS, Conversion, conversions

TEMPLATE = "<|user|>\nYou are a helpful assistant. {}\nThink step by step.<|assistant|>\n"
DOCUMENT = (
    "The metric system was adopted in France in 1795. A common exercise reads: {} It is solved "
    "with a table of factors, as every pupil of the second grade knows by heart."
)


def spoken(fact: Conversion, phrasing: str) -> Row:
    return Row(fact.phrase(phrasing), str(fact.result))


@pytest.fixture(scope="module")
def sets() -> tuple[list[Row], list[Row]]:
    """Held-out questions, and training questions about other facts in the same phrasings."""
    facts = conversions()
    rng = random.Random(0)
    rng.shuffle(facts)
    rows = [spoken(fact, rng.choice(PHRASINGS)) for fact in facts]
    return rows[:500], rows[500:]


def changed(rows: list[Row]) -> list[Row]:
    """Every number is another one."""
    return [
        Row(re.sub(r"\d+", lambda found: str(int(found[0]) + 7919), row.question), row.answer)
        for row in rows
    ]


def recall(held_out: list[Row], planted: list[Row], train: list[Row]) -> dict[str, float]:
    met = Index(held_out).scan([*train, *planted])
    return {
        "equal": len(met.equal) / len(held_out),
        "whole": len({**met.equal, **met.contained}) / len(held_out),
        "any": len({**met.equal, **met.contained, **met.partial}) / len(held_out),
        "keys": len(met.keys) / len(held_out),
    }


def test_every_planted_question_is_found_and_no_other(sets: tuple[list[Row], list[Row]]) -> None:
    """The table of recall: verbatim, other case, chat template, document; changed and clean."""
    held_out, train = sets

    def planted(how: str) -> list[Row]:
        return [Row(how.format(row.question), row.answer) for row in held_out]

    shouted = [Row(f"  {row.question.upper()} ?!", row.answer) for row in held_out]

    assert recall(held_out, held_out, train)["equal"] == 1
    assert recall(held_out, shouted, train)["equal"] == 1
    assert recall(held_out, planted(TEMPLATE), train)["whole"] == 1
    assert recall(held_out, planted(DOCUMENT), train)["whole"] == 1
    # 60 mph in km/h and 60 knot in km/h are one question but for a word.
    assert recall(held_out, changed(held_out), train)["any"] <= 0.004
    assert recall(held_out, [], train)["any"] <= 0.004
    assert recall(held_out, changed(held_out), train)["whole"] == 0


def n_grams(text: str, size: int) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


@pytest.mark.parametrize(("size", "at_most"), [(13, 0.0), (8, 0.9)])
def test_windows_of_fixed_length_are_blind_to_short_questions(
    sets: tuple[list[Row], list[Row]], size: int, at_most: float
) -> None:
    """Why the criteria here are others: the usual ones, on verbatim leaks."""
    held_out, _ = sets
    known = set().union(*(n_grams(row.question, size) for row in held_out))

    found = sum(bool(n_grams(row.question, size) & known) for row in held_out) / len(held_out)

    assert found <= at_most


def test_a_paraphrase_is_found_by_its_numbers_and_its_answer() -> None:
    facts = conversions()[::7]
    held_out = [spoken(fact, PHRASINGS[0]) for fact in facts]
    paraphrased = [spoken(fact, PHRASINGS[3]) for fact in facts]

    met = Index(held_out).scan(paraphrased)

    assert len(met.keys) == len(held_out)
    assert not met.equal


def test_rows_and_places_are_the_first() -> None:
    held_out = [Row("what is two plus two", "4"), Row("name a large river", "Nile")]
    train = [
        Row("hello there my friend"),
        Row("please: What is TWO plus two? quickly", "5"),
        Row("Name a large river!", "nile"),
        Row("name a large river", "Amazon"),
    ]

    met = Index(held_out).scan(train, first=100)

    assert met.contained == {0: 101}
    assert met.equal == {1: 102}
    assert met.same_answer == {1}


def test_signs_and_operators_are_part_of_a_question() -> None:
    held_out = [Row("What is (3 + 4) * 5?"), Row("What is 3 - 4?"), Row("Is 4-3 one")]

    met = Index(held_out).scan(
        [Row("What is 3 + 4 * 5?"), Row("what is 3 4"), Row("is 4 \u2212 3 one?")]
    )

    assert met.equal == {2: 2}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Is 1,200 more?", "is 1200 more"),
        ("Is 6.0 kg?", "is 6 kg"),
        ("ﬁne ① Straße here", "fine 1 strasse HERE"),
        ("a\nb\tc  d", "A b, c; D."),
        ("and so on...", "And so on"),
        ("so [it] is", "so it is!!"),
        ("二加二等于几", "二加二等于几？"),
    ],
)
def test_the_same_words_are_the_same_question(left: str, right: str) -> None:
    assert Index([Row(left)]).scan([Row(right)]).equal == {0: 0}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("3 × 4 is", "3 ÷ 4 is"),
        ("x ≤ 4 holds", "x ≥ 4 holds"),
        ("what is √9", "what is 9"),
        ("what is 2² + 3", "what is 22 + 3"),
        ("5 € in yen", "5 $ in yen"),
        ("कि क्या है", "की क्या है"),
    ],
)
def test_symbols_and_vowel_signs_tell_questions_apart(left: str, right: str) -> None:
    assert not Index([Row(left)]).scan([Row(right)]).equal


def test_a_question_in_a_script_without_blanks_is_found_in_a_text() -> None:
    met = Index([Row("二加二等于几")]).scan([Row("请回答：二加二等于几？谢谢")])

    assert met.contained == {0: 0}


def test_a_long_question_of_which_most_is_copied_is_a_near_duplicate() -> None:
    question = "A train leaves the northern station at 9 in the morning with 30 passengers on board"
    copied = question.replace("A train", "One early tram")

    assert Index([Row(question)]).scan([Row(copied)]).partial == {0: (0, 14)}
    assert not Index([Row(question)]).scan([Row(copied.replace("30", "31"))]).partial


def test_boilerplate_that_all_questions_share_finds_nothing_by_itself() -> None:
    head = "You are a careful assistant who answers in one word and never explains anything. "
    held_out = [Row(f"{head}What is the capital of land {i}?") for i in range(100)]
    train = [Row(f"{head}What is the colour of thing {i}?") for i in range(1000, 1100)]

    met = Index(held_out).scan(train)

    assert not met.equal
    assert not met.contained
    assert not met.partial
    assert (
        len(Index(held_out).scan([Row(f"x {row.question} y") for row in held_out]).contained) == 100
    )


WORDS = st.sampled_from(["a", "b", "c", "1", "2"])
TEXTS = st.lists(st.lists(WORDS, max_size=14).map(" ".join), max_size=6)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_the_engine_agrees_with_the_definition(small: list[str], big: list[str]) -> None:
    """On few words everything collides; what windows can seed is found, and nothing else."""
    met = Index(map(Row, small)).scan([Row(text) for text in big])

    for row, text in enumerate(small):
        words = text.split()
        same = [at for at, other in enumerate(big) if other.split() == words]
        inside = [at for at, other in enumerate(big) if holds(other.split(), words)]
        assert met.equal.get(row) == (same[0] if same and words else None)
        if row in met.contained:
            assert met.contained[row] in inside
            assert not same
        if row in met.partial:
            at, run = met.partial[row]
            assert run >= max(WINDOW, COVERAGE * len(words))
            assert run == longest(big[at].split(), words) or run >= WINDOW
        if inside and not same and SHORTEST <= len(words) <= WINDOW and words:
            assert row in met.contained


def holds(whole: list[str], part: list[str]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def longest(left: list[str], right: list[str]) -> int:
    pieces = [
        right[start:end] for start in range(len(right)) for end in range(start + 1, len(right) + 1)
    ]
    return max((len(piece) for piece in pieces if holds(left, piece)), default=0)


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS, st.lists(st.integers(0, 6), max_size=3), st.randoms())
def test_shards_in_any_order_give_what_the_whole_gives(
    small: list[str], big: list[str], cuts: list[int], rng: random.Random
) -> None:
    rows = [Row(text, "7") for text in big]
    index = Index([Row(text, "7") for text in small])
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [index.scan(rows[a:b], a) for a, b in pairwise(edges)]
    rng.shuffle(parts)
    merged = Overlap()
    for part in parts:
        merged = merged.merge(Overlap.from_json(part.to_json()))

    assert merged == index.scan(rows)


def test_the_expected_share_of_keys_is_that_of_independent_rows() -> None:
    rng = random.Random(1)

    def draw(count: int, numbers: int) -> list[Row]:
        pairs = [(rng.randrange(numbers), rng.choice([10, 100, 1000])) for _ in range(count)]
        return [Row(f"how much is {n} times", str(n * factor)) for n, factor in pairs]

    for numbers in (200, 2000, 20_000):
        train, held_out = draw(4000, numbers), draw(2000, numbers)
        met = Index(held_out).scan(train)

        assert len(met.keys) / 2000 == pytest.approx(met.sample.expected, abs=0.05)


@given(st.lists(st.tuples(st.integers(-(2**62), 2**62), st.integers(1, 4)), max_size=50))
def test_samples_merge_like_the_rows_they_count(entries: list[tuple[int, int]]) -> None:
    half = len(entries) // 2
    left, right = (bounded(0, dict(part)) for part in (entries[:half], entries[half:]))

    assert left.merge(right) == right.merge(left)
    assert KeySample().merge(left) == left


def test_a_sample_stays_bounded_and_keeps_its_estimate() -> None:
    rng = random.Random(2)
    counts = {rng.getrandbits(60): 1 + (rng.random() < 0.3) for _ in range(3 * LARGEST_SAMPLE)}
    whole = KeySample(level=0, counts=counts).expected

    sample = bounded(0, counts)

    assert len(sample.counts) <= LARGEST_SAMPLE
    assert sample.expected == pytest.approx(whole, abs=0.02)


@given(st.text(), st.text())
def test_any_text_has_words_and_perhaps_a_key(question: str, answer: str) -> None:
    assert normal([question]).count("\0") == 1
    assert "\0" not in words_of(question)
    assert len(list(keys_of(normal([question]), [answer]))) == 1
    Index([Row(question, answer)]).scan([Row(answer, question)])

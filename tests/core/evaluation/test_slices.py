from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.errors import InputError, UsageError
from sentiment_core.evaluation.slices import slice_metrics

# Pieces of texts: whatever their order, a word is a negation or only looks like one.
PIECES = (
    *("not", "No", "NEVER", "nor", "none", "nothing", "Nobody", "cannot", "without", "n't", "don’t", "ISN'T"),
    *(" ", " ", " ", "\n", "\u00a0", ".", "'", "’", "-", "é", "ë", "a", "t", "_", "1", "film", "know", "👍"),
)
TEXTS = st.none() | st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
ROWS = st.tuples(
    TEXTS,
    st.sampled_from([0, 1, 49, 50, 51, 100, 101, 200, 201, 500, 501, 10**6]),
    st.booleans(),
    st.sampled_from([0.5, np.nextafter(0.5, 0)]) | st.floats(0, 1),
    st.sampled_from([1.0, 2.0, 2.5, 5.0, math.nan]),
    st.sampled_from(["a", "b", "", "(others)", "(none)", "ü|", None]),
)
KEYS = ["positive_share", "accuracy", "standard_error", "mean_probability"]

_NEGATION = re.compile(
    r"(?<!\w)(?:not|no|never|nor|none|nothing|nobody|cannot|without)(?!\w)|n['’]t(?!\w)", re.IGNORECASE
)


def naive_length(length: int) -> str:
    for low, high in ((0, 0), (1, 50), (51, 100), (101, 200), (201, 500)):
        if low <= length <= high:
            return f"{low} to {high} tokens" if high else "no token"
    return "over 500 tokens"


def naive_negation(text: str | None) -> str:
    found, words = len(_NEGATION.findall(text or "")), len((text or "").split())
    if not found:
        return "none"
    return "over 2 per 100 words" if found / words > 0.02 else "up to 2 per 100 words"


def naive_metrics(members: list[tuple[bool, float]]) -> dict[str, float]:
    accuracy = sum((p >= 0.5) == label for label, p in members) / len(members)
    return {
        "n": len(members),
        "positive_share": sum(label for label, _ in members) / len(members),
        "accuracy": accuracy,
        "standard_error": math.sqrt(accuracy * (1 - accuracy) / len(members)),
        "mean_probability": sum(p for _, p in members) / len(members),
    }


def measure(rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    texts, lengths, labels, probabilities, stars, groups = zip(*rows)
    return slice_metrics(
        pa.array(texts, pa.string()),
        np.array(lengths),
        np.array(labels),
        np.array(probabilities),
        label_values=np.array(stars),
        label_name="stars",
        groups={"shop": pa.array(groups, pa.string())},
    )


def by_group(column: pa.Array) -> dict[str, int]:
    """Reviews of each value of a column, by its slice."""
    n = len(column)
    found = slice_metrics(pa.nulls(n, pa.string()), np.ones(n, int), np.ones(n, bool), np.ones(n), groups={"g": column})
    return {row["value"]: row["n"] for row in found if row["slice"] == "g"}


def by_negation(texts: list[Any], kind: pa.DataType | None = None) -> dict[str, int]:
    n = len(texts)
    found = slice_metrics(pa.array(texts, kind or pa.string()), np.ones(n, int), np.ones(n, bool), np.ones(n))
    return {row["value"]: row["n"] for row in found if row["slice"] == "negation"}


# Properties.


@given(st.lists(ROWS, min_size=1, max_size=40))
def test_the_slices_are_those_of_a_loop(rows: list[tuple[Any, ...]]) -> None:
    members = defaultdict(list)
    n_stars = len({star for *_, star, _ in rows if not math.isnan(star)})
    for text, length, label, probability, star, group in rows:
        names = {"length": naive_length(length), "negation": naive_negation(text)}
        if n_stars > 2:
            names["stars"] = "(none)" if math.isnan(star) else f"{star:g}"
        names["shop"] = "(none)" if group is None else group or "(empty)"
        for name, value in names.items():
            members[name, value].append((label, probability))
    found = measure(rows)
    assert {(row["slice"], row["value"]) for row in found} == members.keys()
    assert len(found) == len(members)
    for row in found:
        expected = naive_metrics(members[row["slice"], row["value"]])
        assert {name: row[name] for name in expected} == pytest.approx(expected)


@given(st.lists(ROWS, min_size=1, max_size=40))
def test_the_parts_of_a_slice_are_the_whole(rows: list[tuple[Any, ...]]) -> None:
    found = measure(rows)
    labels, probabilities = (np.array([row[index] for row in rows]) for index in (2, 3))
    whole = {
        "positive_share": labels.sum(),
        "accuracy": np.count_nonzero((probabilities >= 0.5) == labels),
        "mean_probability": probabilities.sum(),
    }
    for name in {row["slice"] for row in found}:
        parts = [row for row in found if row["slice"] == name]
        assert sum(row["n"] for row in parts) == len(rows)
        assert min(row["n"] for row in parts) > 0
        for metric, total in whole.items():
            assert sum(row["n"] * row[metric] for row in parts) == pytest.approx(total)
    assert all(type(row["n"]) is int and all(type(row[key]) is float for key in KEYS) for row in found), "for JSON"


@given(st.lists(ROWS, min_size=2, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_the_reviews_is_of_no_matter(rows: list[tuple[Any, ...]], random: Any) -> None:
    shuffled = random.sample(rows, len(rows))
    for one, other in zip(measure(rows), measure(shuffled), strict=True):
        assert one == pytest.approx(other)


# Values and their order.


def test_lengths_are_in_order_and_empty_slices_left_out() -> None:
    lengths = np.array([600, 50, 51, 7, 100, 101])
    found = slice_metrics(pa.array(["x"] * 6), lengths, np.ones(6, bool), np.linspace(0, 1, 6))
    assert [(row["value"], row["n"]) for row in found if row["slice"] == "length"] == [
        ("1 to 50 tokens", 2),
        ("51 to 100 tokens", 2),
        ("101 to 200 tokens", 1),
        ("over 500 tokens", 1),
    ]
    assert [row["slice"] for row in found] == ["length"] * 4 + ["negation"]


@pytest.mark.parametrize(
    ("text", "n_negations"),
    [
        ("no no no no", 4),
        ("Not a film, NEVER.", 2),
        ("I can't, I won’t, I cannot", 3),
        ("do n't", 1),
        ("Noël knows nothing", 1),
        ("noe\u0308l nowhere another knot", 0),
        ("(no) 'not' no-one \"none\"", 4),
        ("no1 not_ éno", 0),
        ("without\nnor\tnobody", 3),
    ],
)
def test_what_a_negation_is(text: str, n_negations: int) -> None:
    """Padded to just 2 per 100 words, and to one word less."""
    n_words = len(text.split())
    at_edge = f"{text} {'word ' * (50 * n_negations - n_words)}"
    expected = {"up to 2 per 100 words": 1, "over 2 per 100 words": 1} if n_negations else {"none": 2}
    assert by_negation([at_edge, at_edge.removesuffix("word ") if n_negations else text]) == expected


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()])
def test_texts_of_any_kind(kind: pa.DataType) -> None:
    texts = ["not good", "good", None, ""]
    raw = [text if text is None or "string" in str(kind) else text.encode() for text in texts]
    assert by_negation(raw, kind) == {"none": 3, "over 2 per 100 words": 1}


def test_bytes_that_are_not_utf8_are_no_obstacle() -> None:
    assert by_negation([b"\xff not \xc3(", b"\xff\xfe", None], pa.binary()) == {"none": 2, "over 2 per 100 words": 1}
    assert by_group(pa.array([b"\xff", b"\xfe", b"ok", None])) == {"ok": 1, "\ufffd": 2, "(none)": 1}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 1, 2], None),
        ([3.0, 1.0, 2.0, 1.0], {"1": 2, "2": 1, "3": 1}),
        ([0.5, 0.0, 0.0, 1e6], {"0": 2, "0.5": 1, "1000000": 1}),
        ([1, 2, math.nan, 2], None),
        ([1, 2, 3, math.nan], {"1": 1, "2": 1, "3": 1, "(none)": 1}),
        (range(20), {str(value): 1 for value in range(20)}),
        (range(21), None),
    ],
)
def test_label_values_are_a_slice_if_they_are_grades(values: Any, expected: dict[str, int] | None) -> None:
    n = len(values)
    texts = pa.nulls(n, pa.string())
    found = slice_metrics(texts, np.ones(n, int), np.ones(n, bool), np.ones(n), label_values=np.array(values, float))
    grades = {row["value"]: row["n"] for row in found if row["slice"] == "label"}
    assert grades == (expected or {})
    assert list(grades) == list(expected or {}), "in the order of the grades"


def test_the_most_frequent_values_of_a_group_and_the_others_and_nulls() -> None:
    """Ties by name; a value that is called as the remaining ones are is counted with them."""
    rng = np.random.default_rng(0)
    values = [f"shop {index}" for index in rng.integers(0, 60, 3000)] + ["(others)"] * 500 + [None] * 700
    counts = Counter(value for value in values if value is not None)
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[:20]
    found = by_group(pa.array(values))
    others = sum(counts[value] for value in counts if value not in frequent)
    assert found == {value: counts[value] for value in frequent} | {"(others)": 500 + others, "(none)": 700}
    assert list(found)[:20] == frequent
    assert by_group(pa.array([f"{index:02}" for index in range(25)])) == {f"{i:02}": 1 for i in range(20)} | {
        "(others)": 5
    }


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, 1, None]), {"1": 2, "(none)": 1}),
        (pa.array([True, False, True]), {"true": 2, "false": 1}),
        (pa.array(["x", "y", "x"]).dictionary_encode(), {"x": 2, "y": 1}),
        (pa.chunked_array([["x"], ["y", "x"]]), {"x": 2, "y": 1}),
        (pa.array([0, 0, 1], pa.date32()), {"1970-01-01": 2, "1970-01-02": 1}),
        (pa.nulls(3), {"(none)": 3}),
    ],
)
def test_groups_of_any_plain_kind(column: Any, expected: dict[str, int]) -> None:
    assert by_group(column) == expected


def test_a_column_may_be_called_as_a_slice_is() -> None:
    column = pa.array(["a", "b", "a"])
    found = slice_metrics(
        pa.array(["x", "y", None]),
        np.ones(3, int),
        np.array([True, False, True]),
        np.array([0.1, 0.2, 0.9]),
        label_values=np.array([1.0, 2.0, 3.0]),
        label_name="length",
        groups={"length": column, "negation": column},
    )
    names = dict.fromkeys(row["slice"] for row in found)
    assert list(names) == ["length", "negation", "length (column)", "length (column) (column)", "negation (column)"]


# Edges.


def test_no_review_has_no_slice() -> None:
    nothing = np.empty(0)
    assert slice_metrics(pa.array([], pa.string()), nothing.astype(int), nothing.astype(bool), nothing) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"texts": pa.array(["x"])}, "slices: texts has 1 rows, labels have 3"),
        ({"valid_length": np.ones(4, int)}, "slices: valid_length has 4 rows"),
        ({"probabilities": np.ones(2)}, "slices: probabilities has 2 rows"),
        ({"label_values": np.ones(2)}, "slices: label_values has 2 rows"),
        ({"groups": {"shop": pa.nulls(9)}}, "slices: group 'shop' has 9 rows"),
    ],
)
def test_columns_of_another_length_are_refused(changes: dict[str, Any], fault: str) -> None:
    columns = {
        "texts": pa.array(["x"] * 3),
        "valid_length": np.ones(3, int),
        "labels": np.ones(3, bool),
        "probabilities": np.ones(3),
    }
    with pytest.raises(UsageError, match=fault):
        slice_metrics(**columns | changes)


def test_values_that_are_no_words_are_refused() -> None:
    with pytest.raises(InputError, match=r"the column 'g' cannot be list<item: int64>; name a column of plain values"):
        by_group(pa.array([[1], [2]]))

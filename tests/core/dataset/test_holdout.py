from __future__ import annotations

import hashlib
import logging
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.dataset.holdout import Split, held_out_mask
from sentiment_core.errors import UsageError

KEYS = st.lists(st.none() | st.text(max_size=5) | st.sampled_from("abc"), max_size=30)


@given(KEYS, st.floats(0, 1, exclude_max=True))
def test_the_hash_of_the_key_alone_decides(keys: list[str | None], fraction: float) -> None:
    found = held_out_mask(pa.array(keys, pa.string()), fraction=fraction)
    hashes = [hashlib.blake2b(str(key).encode(), digest_size=8).digest() for key in keys]
    assert found.tolist() == [int.from_bytes(digest, "big") / 2**64 < fraction for digest in hashes]
    assert found.dtype == np.bool_


@given(KEYS, st.floats(0, 0.99), st.floats(0, 0.99))
def test_a_larger_fraction_holds_out_more_of_the_same(keys: list[str | None], one: float, other: float) -> None:
    smaller, larger = (held_out_mask(pa.array(keys, pa.string()), fraction=f) for f in sorted([one, other]))
    assert not (smaller & ~larger).any()


def test_rows_of_one_key_stay_together_wherever_they_stand() -> None:
    rng = np.random.default_rng(0)
    keys = [f"product {number}" for number in rng.integers(0, 50, 1000)]
    whole = held_out_mask(pa.array(keys), fraction=0.5)
    for key in set(keys):
        assert len({mark for mark, other in zip(whole, keys) if other == key}) == 1
    parts = [held_out_mask(pa.array(keys[start : start + 100]), fraction=0.5) for start in range(0, 1000, 100)]
    assert np.concatenate(parts).tolist() == whole.tolist()


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9])
def test_about_the_fraction_is_held_out(fraction: float) -> None:
    found = held_out_mask(pa.array([str(number) for number in range(20_000)]), fraction=fraction)
    assert found.mean() == pytest.approx(fraction, abs=0.01)


def test_the_split_never_changes() -> None:
    """A product that was held out once must not be trained on by a later release."""
    keys = pa.array([f"product-{number}" for number in range(40)])
    assert np.flatnonzero(held_out_mask(keys, fraction=0.2)).tolist() == [2, 3, 7, 9, 11, 17, 23, 27, 32, 37, 38, 39]


@pytest.mark.parametrize(
    "keys",
    [
        pa.array(["a", None, "b", "a", "ü"]),
        pa.array(["a", None, "b", "a", "ü"], pa.large_string()),
        pa.array(["a", None, "b", "a", "ü"], pa.string_view()),
        pa.array([b"a", None, b"b", b"a", "ü".encode()]),
        pa.array(["a", None, "b", "a", "ü"]).dictionary_encode(),
        pa.array(["x", "a", None, "b", "a", "ü"]).slice(1),
        pa.chunked_array([["a", None], [], ["b", "a", "ü"]]),
        pa.chunked_array([pa.array(["a", None]).dictionary_encode(), pa.array(["b", "a", "ü"]).dictionary_encode()]),
    ],
    ids=lambda keys: f"{type(keys).__name__} {keys.type}",
)
def test_every_arrow_type_gives_the_same_split(keys: pa.Array | pa.ChunkedArray) -> None:
    expected = held_out_mask(pa.array(["a", None, "b", "a", "ü"]), fraction=0.5)
    assert held_out_mask(keys, fraction=0.5).tolist() == expected.tolist()


def test_keys_that_are_not_utf8_are_keys_like_others() -> None:
    valid = pa.array([b"a", b"\xff", b"\xff", None])
    invalid = pa.StringArray.from_buffers(4, valid.buffers()[1], valid.buffers()[2], valid.buffers()[0])
    assert held_out_mask(invalid, fraction=0.5).tolist() == held_out_mask(valid, fraction=0.5).tolist()


def test_numbers_are_keys_too() -> None:
    numbers = held_out_mask(pa.array([1, 2, None, 10**18]), fraction=0.5)
    assert numbers.tolist() == held_out_mask(pa.array(["1", "2", None, str(10**18)]), fraction=0.5).tolist()


@pytest.mark.parametrize("keys", [pa.array([], pa.string()), pa.chunked_array([], pa.string()), pa.nulls(3)])
def test_no_keys_and_only_nulls(keys: pa.Array | pa.ChunkedArray) -> None:
    assert len(held_out_mask(keys)) == len(keys)
    assert not held_out_mask(keys, fraction=0).any()


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="must be from 0 to below 1, not"):
        held_out_mask(pa.array(["a"]), fraction=fraction)


# What a model says of its split.

SPLIT = Split(column="film", fraction=0.1)
SAME = {"held_out_by": "film", "held_out_fraction": 0.1}


@pytest.mark.parametrize("start", [{}, {"data": "Reviews"}, {"held_out_by": "film"}, SAME], ids=str)
def test_a_model_of_the_same_split_or_none_is_no_other(start: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    assert not SPLIT.differs_from(start)
    assert SPLIT.provenance(start) == SAME
    assert caplog.messages == []


@pytest.mark.parametrize(
    "start",
    [{"held_out_by": "text"}, SAME | {"held_out_fraction": 0.2}, SAME | {"started_from_another_split": True}],
    ids=str,
)
def test_a_model_of_another_split_is_told_and_remembered(
    start: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert SPLIT.differs_from(start)
    with caplog.at_level(logging.WARNING):
        provenance = SPLIT.provenance(start)
    assert provenance == SAME | {"started_from_another_split": True}
    assert "another split than this one (0.1 held out by 'film')" in caplog.text
    assert SPLIT.differs_from(provenance), "what grows from it, too"

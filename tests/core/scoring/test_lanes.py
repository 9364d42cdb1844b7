from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.scoring.lanes import in_order


@given(st.lists(st.integers()), st.integers(1, 5))
def test_results_come_in_the_order_of_the_items(items: list[int], lanes: int) -> None:
    assert list(in_order(lambda item: 3 * item, items, lanes=lanes)) == [3 * item for item in items]


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_items_are_read_here_and_no_more_ahead_than_there_are_lanes(lanes: int) -> None:
    read = []

    def items() -> Iterator[int]:
        for item in range(20):
            assert threading.current_thread() is threading.main_thread()
            read.append(item)
            yield item

    for given_back, item in enumerate(in_order(lambda item: item, items(), lanes=lanes)):
        assert item == given_back
        assert len(read) - given_back <= lanes + 1


def test_as_many_are_computed_at_a_time_as_there_are_lanes() -> None:
    together = threading.Barrier(3, timeout=20)
    assert list(in_order(lambda item: together.wait() >= 0 and item, range(6), lanes=3)) == list(range(6))


@pytest.mark.parametrize("lanes", [1, 3])
def test_an_error_is_raised_where_its_result_would_be(lanes: int) -> None:
    def fail_on_two(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = in_order(fail_on_two, range(50), lanes=lanes)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_whoever_stops_reading_leaves_no_thread() -> None:
    before = threading.active_count()
    results = in_order(lambda item: item, range(100), lanes=4)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_core.dataset.labelled import Labelled

TEXTS = ["a", None, "c", "d", "e"]
FULL = Labelled(
    texts=pa.array(TEXTS),
    positive=np.array([0.1, 0.9, 0.5, 0.0, 1.0]),
    grades=np.array([1, 5, 3, 1, 5]),
    groups={"domain": pa.array(["x", "y", None, "x", "y"]), "year": pa.array(range(5))},
)


@pytest.mark.parametrize("data", [FULL, Labelled(texts=FULL.texts, positive=FULL.positive)], ids=["full", "plain"])
@given(rows=st.lists(st.integers(0, 4), max_size=8))
def test_all_columns_of_some_reviews_are_taken_together(data: Labelled, rows: list[int]) -> None:
    taken = data.take(np.array(rows, np.int64))
    mask = np.isin(np.arange(5), rows)
    for part, chosen in ((taken, rows), (data.where(mask), sorted(set(rows)))):
        assert len(part) == len(chosen)
        assert part.texts.to_pylist() == [TEXTS[row] for row in chosen]
        assert part.positive.tolist() == [data.positive[row] for row in chosen]
        assert part.groups.keys() == data.groups.keys()
        for name, column in part.groups.items():
            assert column.to_pylist() == [data.groups[name][row].as_py() for row in chosen]
        if data.grades is None:
            assert part.grades is None
        else:
            assert part.grades is not None
            assert part.grades.tolist() == [data.grades[row] for row in chosen]

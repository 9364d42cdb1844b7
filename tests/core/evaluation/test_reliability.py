from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_core.artifact import MAX_BYTES
from sentiment_core.errors import EnvironmentFault
from sentiment_core.evaluation import reliability
from sentiment_core.evaluation.metrics import calibration_table
from sentiment_core.evaluation.reliability import reliability_figure, reliability_plot

_SVG = "{http://www.w3.org/2000/svg}"


def table_of(seed: int, *, n: int = 300) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    probabilities = rng.random(n)
    return calibration_table(rng.random(n) < probabilities, probabilities)


TABLE = table_of(1)


def words_of(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{_SVG}text")]


def test_the_diagram_shows_the_table() -> None:
    figure = reliability_figure(TABLE, title="Reliability")
    above, below = figure.axes
    diagonal, measured = above.lines[0], above.containers[0]
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    points = np.array([[row["mean_probability"], row["positive_share"]] for row in TABLE])
    np.testing.assert_array_equal(measured[0].get_xydata(), points)
    for row, (low, high) in zip(TABLE, measured[2][0].get_segments(), strict=True):
        share = row["positive_share"]
        for end in (low[1], high[1]):  # Wilson's interval: the shares of which this one is one standard error away
            assert (share - end) ** 2 == pytest.approx(end * (1 - end) / row["n"], abs=1e-9)
        assert low[1] < share < high[1] or share in (low[1], high[1])
        assert low[1] < high[1]
    bars = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in below.patches]
    assert bars == [pytest.approx((row["from"], row["to"], row["n"])) for row in TABLE]


def test_the_picture_says_what_it_shows() -> None:
    title = 'Reliability of $x_$ <&> "é" on 2,113 reviews'
    words = words_of(reliability_plot(TABLE, title=title))
    assert {title, "share of positive reviews", "predicted probability", "reviews"} <= set(words)
    assert any("standard error" in word for word in words)


def test_the_bytes_are_the_same_on_every_call() -> None:
    """In another process, with other hashes, under somebody's own settings of matplotlib."""
    expected = reliability_plot(TABLE, title="Reliability")
    with mpl.rc_context({"lines.linewidth": 9, "svg.fonttype": "path", "font.size": 30, "axes.grid": False}):
        assert reliability_plot(TABLE, title="Reliability") == expected
        assert mpl.rcParams["font.size"] == 30, "nor does a call change anybody's settings"
    code = (
        "import json, sys; from sentiment_core.evaluation.reliability import reliability_plot; "
        "plot = reliability_plot(json.load(sys.stdin), title='Reliability'); "
        "assert 'matplotlib.pyplot' not in sys.modules; sys.stdout.buffer.write(plot.encode())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(TABLE).encode(),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env=environment,
    )
    assert done.stdout.decode() == expected
    assert "date" not in expected
    assert reliability_plot(table_of(2), title="Reliability") != expected


@settings(max_examples=5)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=30))
def test_any_table_makes_a_picture_that_a_model_accepts(rows: list[tuple[bool, float]]) -> None:
    labels, probabilities = (np.array([row[index] for row in rows]) for index in (0, 1))
    svg = reliability_plot(calibration_table(labels, probabilities) if rows else [], title="Reliability")
    assert "Reliability" in words_of(svg)
    assert len(svg.encode()) < MAX_BYTES["reliability.svg"] / 2


def test_without_matplotlib_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliability, "find_spec", lambda name: None)
    with pytest.raises(
        EnvironmentFault, match=r"needs matplotlib.*pip install 'sentiment-warehouse\[training\]'"
    ) as caught:
        reliability_plot(TABLE, title="Reliability")
    assert caught.value.exit_code == 6

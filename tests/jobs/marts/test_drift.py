from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.marts.drift import DriftLimits, Finding, judge, validation_histogram
from jobs.marts.quality import DateWindow
from jobs.verbs.summarize import closing_sentence
from sentiment_core.errors import UsageError
from sentiment_core.evaluation.metrics import calibration_table
from tests.support.scored import stability_index

DAY = date(2026, 11, 20)


def day_row(day: date, histogram: list[int], *, before: list[int] | None = None, **values: Any) -> dict[str, Any]:
    """A row of ``model_daily``."""
    week = np.array(before or [0] * 15)
    index = stability_index(np.array(histogram), week)
    return {
        "model_sha256": "c" * 64,
        "day": day,
        "score_histogram": histogram,
        "reviews": sum(histogram),
        "scored": sum(histogram),
        "tokens": 100 * sum(histogram),
        "tokens_ok": 100 * sum(histogram),
        "unknown_ok": 2 * sum(histogram),
        "unknown_rate": 0.02,
        "week_scored": int(week.sum()),
        "psi_week": None if np.isnan(index) else index,
        "validation_scored": None,
        "psi_validation": None,
    } | values


def week_of(histogram: list[int], last: list[int], **values: Any) -> list[dict[str, Any]]:
    days = [day_row(DAY - timedelta(number), histogram) for number in range(7, 0, -1)]
    return [*days, day_row(DAY, last, before=[7 * n for n in histogram], **values)]


def found(days: list[dict[str, Any]], **limits: Any) -> Any:
    return judge(days, limits=DriftLimits(**limits), references=("week",), validation={})[0]


def test_a_day_like_the_week_before_is_ok() -> None:
    finding = found(week_of([100] * 15, [100] * 15))
    assert (finding.level, finding.index) == ("ok", pytest.approx(0, abs=1e-9))


def test_the_sentence_names_what_moved() -> None:
    last = [20] * 14 + [1200]
    finding = found(week_of([100] * 15, last, tokens=30 * sum(last), unknown_rate=0.31))
    assert finding.level == "fail"
    assert "2026-11-20, model cccccccccccc: stability index" in finding.sentence
    assert "at or above 0.25; reviews of probability 0.93 to 1.00 went from 6.7% to 81.1%" in finding.sentence
    assert "tokens a review from 100 to 30, unknown words from 2.0% to 31.0%" in finding.sentence


@pytest.mark.parametrize(
    ("warn", "fail", "level"), [(0.9, 0.95, "ok"), (0.1, 0.95, "warn"), (0.1, 0.2, "fail"), (0.2, 0.2, "fail")]
)
def test_the_limits_decide(warn: float, fail: float, level: str) -> None:
    assert found(week_of([100] * 15, [70] * 12 + [220] * 3), warn=warn, fail=fail).level == level


@pytest.mark.parametrize("limit", ["warn", "fail"])
def test_an_index_at_a_limit_has_reached_it(limit: str) -> None:
    rows = week_of([100] * 15, [70] * 12 + [220] * 3)
    index = found(rows).index
    assert index is not None
    assert found(rows, **{"warn": 1e-9, "fail": 1e9} | {limit: index}).level == limit


def test_too_few_reviews_and_no_reference_are_not_judged() -> None:
    assert found(week_of([100] * 15, [1] * 14 + [400])).level == "not judged"
    assert found(week_of([100] * 15, [1] * 14 + [400]), min_rows=400).level == "fail"
    assert found([day_row(DAY, [100] * 15)]).level == "not judged"
    assert judge([], limits=DriftLimits(), references=("week",), validation={}) == []


def test_only_the_last_day_is_judged_and_the_worst_comes_first() -> None:
    days = week_of([100] * 15, [100] * 15, psi_validation=0.7, validation_scored=1500)
    days[3] = day_row(days[3]["day"], [900] + [1] * 14, before=[100] * 15)
    findings = judge(
        days, limits=DriftLimits(), references=("week", "validation"), validation={"c" * 64: [1] * 14 + [1486]}
    )
    assert [(finding.reference, finding.level) for finding in findings] == [("validation", "fail"), ("week", "ok")]
    assert "against the model's validation reviews" in findings[0].sentence


@pytest.mark.parametrize("limits", [{"warn": 0}, {"warn": 0.3}, {"fail": float("inf")}, {"min_rows": 0}])
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--drift"):
        DriftLimits(**limits)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_the_validation_histogram_counts_the_calibration_table(probabilities: list[float]) -> None:
    values = np.array(probabilities)
    counts = validation_histogram({"calibration_table": calibration_table(values > 2, values)})
    steps = np.minimum((values * 15).astype(int), 14)
    assert counts == np.bincount(steps, minlength=15).tolist()


def test_other_steps_and_no_table() -> None:
    assert validation_histogram({}) is None
    values = np.linspace(0, 1, 20)
    assert validation_histogram({"calibration_table": calibration_table(values > 2, values, n_bins=10)}) is None


def test_without_drift_the_index_stays_below_the_warning() -> None:
    """What the limit on rows is derived from: 500 reviews on both sides, 95 % of the indices below 0.1."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(15, 2.0))
    indices = [stability_index(*rng.multinomial(500, shares, size=2)) for _ in range(1000)]
    assert np.mean(np.array(indices) < 0.1) > 0.95


@pytest.mark.parametrize(
    ("level", "gated", "told"),
    [("not judged", True, True), ("not judged", False, False), ("ok", True, False), ("warn", False, True)],
)
def test_a_gate_that_judged_nothing_does_not_look_like_one_that_found_nothing(
    level: str, gated: bool, told: bool
) -> None:
    finding = Finding(model_sha256="a", reference="week", level=level, index=None, sentence="why")
    report = {"days": ["2026-11-24"], "marts": "marts", "undated_rows": 0, "misdated_rows": 0}
    said = "refreshed 2026-11-24 in marts"
    sentence = closing_sentence(report, [finding], gated=gated, window=DateWindow())
    assert sentence == (f"{said}; drift: why" if told else said)

"""Bits of scores, tokens and drivers are the stored ones on each Python, NumPy and pandas (`tests.support.digests`)."""

from __future__ import annotations

import pytest

from tests.support import digests


def test_tokens_and_shares_are_those_of_every_machine() -> None:
    assert digests.differences(digests.everywhere(), digests.EVERYWHERE) == [], digests.RENEW


@pytest.mark.skipif(
    not digests.stored(digests.processor()),
    reason="no digests are stored for this processor; `python -m tests.support.digests --store` adds them",
)
def test_scores_are_those_of_this_kind_of_processor() -> None:
    assert digests.differences(digests.of_engines(), digests.processor()) == [], digests.RENEW


def test_a_score_that_moves_by_one_bit_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = digests.sigmoid
    monkeypatch.setattr(digests, "sigmoid", lambda values: usual(values) * (1 + 2**-52))
    assert digests.differences(digests.everywhere(), digests.EVERYWHERE) == ["sigmoid"]

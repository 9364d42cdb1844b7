"""Models damaged or edited in thousands of ways are refused in a sentence: no crash, no hang, no memory."""

from __future__ import annotations

import random
import resource
import shutil
from collections import Counter
from pathlib import Path

import pytest

from sentiment_core.artifact import load_model
from sentiment_core.errors import ModelError
from tests.support.artifacts import GOLDEN
from tests.support.campaign import Campaign, bounded
from tests.support.mutated_models import MAY_MEAN_NOTHING, MUTATIONS

_LONGEST_MESSAGE = 500


@pytest.mark.integrity
def test_every_mutated_model_is_refused_in_a_sentence(campaign: Campaign, tmp_path: Path) -> None:
    golden = load_model(GOLDEN)
    refused: Counter[str] = Counter()
    meaningless = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # By turns, until so many were refused: what did not change the model does not count.
    for number in range(10**6):
        if refused.total() >= campaign.size(500, 5_000):
            break
        name = list(MUTATIONS)[number % len(MUTATIONS)]
        load = MUTATIONS[name](random.Random(number), golden.files)
        place = tmp_path / "mutant" / "model"
        place.parent.mkdir()
        try:
            with bounded(seconds=60, n_bytes=1 << 30):
                model = load(place)
        except ModelError as error:
            assert 20 < len(str(error)) < _LONGEST_MESSAGE, (name, number, str(error)[:2_000])
            refused[name] += 1
        else:
            assert name in MAY_MEAN_NOTHING, (name, number)
            assert model.sha256 == golden.sha256
            assert model.files == golden.files
            meaningless += 1
        shutil.rmtree(place.parent)
    assert len(refused) == len(MUTATIONS)
    assert meaningless < refused.total() / 10
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    campaign.record(
        "models",
        refused=refused.total(),
        by_kind=dict(refused),
        same_model_after_a_flip_of_meaningless_bits=meaningless,
        memory_growth_bytes=grown,
    )

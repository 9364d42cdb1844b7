"""A suite that tests behaviour rather than accuracy: capability by capability, with texts made of templates.

After CheckList (Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", ACL 2020). A
minimum functionality test knows the right answer to a simple text. An invariance test changes what must not matter,
and a direction test what must move the probability one way or not at all. The templates are in ``suite.toml``; none of
their words and patterns stand in the lessons that a model may have learnt (`sentiment_core.behaviour.lessons`).

Axes: C cases, T texts of all cases together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment_core.behaviour.grammar import Grammar, Template, read_grammar

__all__ = ["DEFINITIONS", "TOLERANCE", "Case", "behaviour_suite", "evaluate_behaviour", "measure_behaviour", "texts_of"]

Floats = npt.NDArray[np.float64]

# What a probability may move by without meaning it, as in CheckList.
TOLERANCE = 0.1
# Probabilities that CheckList takes for neutral where a model knows only two classes.
NEUTRAL_FROM, NEUTRAL_TO = 1 / 3, 2 / 3

DEFINITIONS = {
    "minimum functionality": (
        "A positive text fails below probability 0.5, a negative one from 0.5 on, a neutral one outside 1/3 to 2/3, "
        "and one that is not negative below 1/3. failure_rate_checklist asks positive texts for 2/3 and negative ones "
        "for less than 1/3, as CheckList does. failure_rate_by_label asks for the label by the model's own cut-offs."
    ),
    "invariance": (
        f"A case fails if the probability of any of its texts is more than {TOLERANCE} away from that of the first "
        "one. failure_rate_checklist counts it only if such a text also passes 1/3 or 2/3, as CheckList does."
    ),
    "direction": f"A case fails if the change moves the probability the wrong way by more than {TOLERANCE}.",
}
# Rates of each type.
_RULES = {
    "minimum functionality": ("failure_rate", "failure_rate_checklist", "failure_rate_by_label"),
    "invariance": ("failure_rate", "failure_rate_checklist"),
    "direction": ("failure_rate",),
}
# Patience with patterns that say nothing new.
_MOST_TRIES = 1000


@dataclass(frozen=True, kw_only=True)
class Case:
    """Texts that are judged together.

    Attributes
    ----------
    capability : str
    type : str
        One of `DEFINITIONS`.
    expected : str
        ``positive``, ``negative``, ``neutral`` or ``not negative`` of the text of a minimum functionality test;
        ``same`` of the texts of an invariance test; ``not up`` or ``not down`` of the second text of a direction test.
    texts : tuple of str
    """

    capability: str
    type: str
    expected: str
    texts: tuple[str, ...]


def behaviour_suite(*, seed: int = 0) -> tuple[Case, ...]:
    """The cases, the same for the same seed; no two have a first text and a type in common.

    Parameters
    ----------
    seed : int

    Raises
    ------
    ValueError
        If a test's templates make fewer cases than it wants.
    """
    grammar, tables = read_grammar("suite.toml")
    tests = [_Test.of(table) for table in tables["test"]]
    return tuple(case for test in tests for case in test.cases(grammar, tests, Random(f"{seed} {test.name}")))


def texts_of(cases: Sequence[Case]) -> list[str]:
    """All texts, case by case, shape (T,)."""
    return [text for case in cases for text in case.texts]


def evaluate_behaviour(
    probabilities_of: Callable[[Sequence[str]], Floats], *, negative_below: float, positive_from: float
) -> dict[str, Any]:
    """Run the suite on a model; see `measure_behaviour`.

    Parameters
    ----------
    probabilities_of : callable
        The model's probabilities of texts, in their order.
    negative_below, positive_from : float
        The model's cut-offs.
    """
    cases = behaviour_suite()
    probabilities = probabilities_of(texts_of(cases))
    return measure_behaviour(cases, probabilities, negative_below=negative_below, positive_from=positive_from)


def measure_behaviour(
    cases: Sequence[Case], probabilities: Floats, *, negative_below: float, positive_from: float
) -> dict[str, Any]:
    """Failure rates by test type and by capability.

    Parameters
    ----------
    cases : sequence of Case, shape (C,)
    probabilities : array of float64, shape (T,), 0 to 1
        Of `texts_of`; a text without a probability (NaN) fails its case.
    negative_below, positive_from : float
        The model's cut-offs.

    Returns
    -------
    dict
        ``definitions``, ``types`` and ``capabilities``: rows with ``cases`` and rates between 0 and 1. The standard
        error is that of a share of independent cases.
    """
    starts = np.cumsum([0, *(len(case.texts) for case in cases)])
    cut_offs = (negative_below, positive_from)
    verdicts = [
        _judged(case, probabilities[start : start + len(case.texts)], cut_offs) for case, start in zip(cases, starts)
    ]
    rows: dict[tuple[str, ...], list[dict[str, bool]]] = {}
    for case, verdict in zip(cases, verdicts):
        for key in ((case.type,), (case.type, case.capability, case.expected)):
            rows.setdefault(key, []).append(verdict)
    return {
        "definitions": DEFINITIONS,
        "types": [{"type": key[0]} | _rates(found) for key, found in rows.items() if len(key) == 1],
        "capabilities": [
            dict(zip(("type", "capability", "expected"), key)) | _rates(found)
            for key, found in rows.items()
            if len(key) > 1
        ],
    }


@dataclass(frozen=True, kw_only=True)
class _Test:
    """A row of tests in ``suite.toml``."""

    capability: str
    type: str
    expected: str
    n_cases: int
    template: Template

    @classmethod
    def of(cls, table: dict[str, Any]) -> _Test:
        template = {name: table[name] for name in ("patterns", "across", "around") if name in table}
        return cls(
            capability=table["capability"],
            type=table["type"],
            expected=table.get("expected", "same"),
            n_cases=table["cases"],
            template=Template.of(**template),
        )

    @property
    def name(self) -> str:
        return f"{self.type}, {self.capability}, {self.expected}"

    def cases(self, grammar: Grammar, tests: Sequence[_Test], random: Random) -> Iterator[Case]:
        """Cases without a repeated text."""
        sources = [test for test in tests if test.capability in self.template.around and not test.template.around]
        seen: set[str] = set()
        for _ in range(_MOST_TRIES * self.n_cases):
            if len(seen) == self.n_cases:
                return
            around = grammar.texts(random.choice(sources).template, random)[0] if sources else None
            texts = tuple(grammar.texts(self.template, random, around=around))
            if texts[0] not in seen and len(set(texts)) == len(texts):
                seen.add(texts[0])
                yield Case(capability=self.capability, type=self.type, expected=self.expected, texts=texts)
        raise ValueError(f"{self.name}: the templates make {len(seen)} different cases, not {self.n_cases}")


def _judged(case: Case, probability: Floats, cut_offs: tuple[float, float]) -> dict[str, bool]:
    """Whether it fails, by each of the type's rules."""
    if np.isnan(probability).any():
        return dict.fromkeys(_RULES[case.type], True)
    thirds = [_label(value, NEUTRAL_FROM, NEUTRAL_TO) for value in probability]
    if case.type == "invariance":
        moved = np.abs(probability - probability[0]) > TOLERANCE
        passed = [label != thirds[0] for label in thirds]
        return {"failure_rate": bool(moved.any()), "failure_rate_checklist": bool((moved & passed).any())}
    if case.type == "direction":
        rise = probability[1] - probability[0]
        return {"failure_rate": bool((rise if case.expected == "not up" else -rise) > TOLERANCE)}
    halves = _label(probability[0], 0.5, 0.5)
    own = _label(probability[0], *cut_offs)
    return {
        "failure_rate": not _is_right(
            halves if case.expected in ("positive", "negative") else thirds[0], case.expected
        ),
        "failure_rate_checklist": not _is_right(thirds[0], case.expected),
        "failure_rate_by_label": not _is_right(own, case.expected),
    }


def _label(probability: float, negative_below: float, positive_from: float) -> str:
    return "negative" if probability < negative_below else "positive" if probability >= positive_from else "neutral"


def _is_right(label: str, expected: str) -> bool:
    return label != "negative" if expected == "not negative" else label == expected


def _rates(verdicts: Sequence[dict[str, bool]]) -> dict[str, Any]:
    n = len(verdicts)
    rates = {name: sum(verdict[name] for verdict in verdicts) / n for name in verdicts[0]}
    error = float(np.sqrt(rates["failure_rate"] * (1 - rates["failure_rate"]) / n))
    return {"cases": n, **rates, "standard_error": error}

"""Lessons on single words: for each word that reviews use, plain sentences with it, affirmed and denied.

    python -m tools.bundled_model.word_lessons LABELLED OUTPUT [ROWS]

LABELLED is the table that ``prepare`` writes: how often a word stands in positive and in negative reviews decides
whether it is neutral, praise or blame. A model that has seen few words denied does not know that ``not commercial`` is
as neutral as ``commercial``. No word of the behaviour suite is used.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentiment_core.text.pipeline import TextSettings, tokenize

__all__ = ["main", "polar_words"]

_SEED = 5
# Reviews that a word has to stand in, and their tokens: of long reviews a word decides too little.
_FEWEST_REVIEWS, _MOST_TOKENS = 25, 60
_TEXTS_AT_ONCE = 20_000
# Natural logarithm of the odds of a positive review with the word to those without.
_NEUTRAL, _POLAR = 0.2, 1.4
_TARGETS = {"praise": (0.94, 0.1), "blame": (0.05, 0.62), "neutral": (0.5, 0.5)}
_SHARES = {"praise": 0.25, "blame": 0.25, "neutral": 0.5}
# Of the sentences that have an adverb before their word: rare ones too must not take away what the word says.
_WITH_ADVERB = 0.35
_AFFIRMED = (
    *("{a}", "{a}.", "It is {a}.", "This is {a}.", "It was {a}.", "That one is {a}", "They are {a}."),
    *("The {n} is {a}.", "The {n} was {a}.", "I have a {a} {n}.", "It's a {a} {n}.", "We had a {a} {n}."),
    *("My {n} is {a}", "{a} {n}"),
)
_DENIED = (
    *("It is not {a}.", "It isn't {a}.", "This is not {a}.", "It was not {a}", "They aren't {a}."),
    *("The {n} is not {a}.", "The {n} wasn't {a}.", "That is not a {a} {n}.", "It wasn't a {a} {n}.", "not {a}"),
    *("I would not say it is {a}.", "I don't think the {n} is {a}.", "It is by no means {a}."),
    *("Never was the {n} {a}.", "isn't {a}"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelled", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("rows", type=int, nargs="?", default=120_000)
    options = parser.parse_args(arguments)
    reviews = pq.read_table(options.labelled, columns=["text", "label", "source"])
    reviews = reviews.filter(pc.and_(pc.not_equal(reviews["source"], "templates"), pc.not_equal(reviews["label"], 0.5)))
    pq.write_table(word_lessons(polar_words(reviews), rows=options.rows, seed=_SEED), options.output)
    return 0


def polar_words(reviews: pa.Table) -> dict[str, list[str]]:
    """Words by what they say of a review: ``praise``, ``blame`` and ``neutral``.

    A word's reviews are compared with what is usual in their sources: ``jeans`` is no praise because buyers of clothes
    are content.

    Parameters
    ----------
    reviews : Table
        ``text``, ``label`` from 0 to 1, not 0.5, and ``source``.
    """
    positive = reviews["label"].to_numpy() > 0.5  # (reviews,)
    sources = reviews["source"].combine_chunks().dictionary_encode()
    source = sources.indices.to_numpy()
    usual = np.bincount(source, weights=positive) / np.bincount(source)  # share of positive reviews, (sources,)
    found: dict[str, list[float]] = {}  # reviews that are negative, positive, usually negative, usually positive
    for start in range(0, len(reviews), _TEXTS_AT_ONCE):
        texts = reviews["text"].slice(start, _TEXTS_AT_ONCE)
        for row, tokens in enumerate(tokenize(texts, settings=TextSettings()), start):
            if len(tokens) <= _MOST_TOKENS:
                expected = usual[source[row]]
                for word in set(tokens):
                    counts = found.setdefault(word, [0, 0, 0, 0])
                    counts[int(positive[row])] += 1
                    counts[2] += 1 - expected
                    counts[3] += expected
    suite = (resources.files("sentiment_core.behaviour") / "suite.toml").read_text()
    tested = set(re.findall(r"[a-z]+", suite.lower()))
    by_kind: dict[str, list[str]] = {kind: [] for kind in _TARGETS}
    for word, counts in sorted(found.items()):
        if sum(counts[:2]) < _FEWEST_REVIEWS or word in tested or not re.fullmatch("[a-z]{3,}", word):
            continue
        negative, positive_, usually_negative, usually_positive = np.log(np.add(counts, 1))
        odds = (positive_ - negative) - (usually_positive - usually_negative)
        if abs(odds) <= _NEUTRAL:
            by_kind["neutral"].append(word)
        elif abs(odds) >= _POLAR:
            by_kind["praise" if odds > 0 else "blame"].append(word)
    return by_kind


def word_lessons(words: Mapping[str, Sequence[str]], *, rows: int, seed: int) -> pa.Table:
    """Distinct texts with targets: ``text`` and ``positive``."""
    random = np.random.default_rng(seed)
    adverbs = [word for word in words["neutral"] if word.endswith("ly")]
    table: dict[str, float] = {}
    for kind, share in _SHARES.items():
        for _ in range(int(rows * share)):
            denied = random.random() < 0.5
            pattern = random.choice(_DENIED if denied else _AFFIRMED)
            word = random.choice(words[kind])
            if random.random() < _WITH_ADVERB:
                word = f"{random.choice(adverbs)} {word}"
            text = pattern.format(a=word, n=random.choice(words["neutral"]))
            table[text[0].upper() + text[1:]] = _TARGETS[kind][denied]
    return pa.table({"text": list(table), "positive": list(table.values())})


if __name__ == "__main__":
    sys.exit(main())

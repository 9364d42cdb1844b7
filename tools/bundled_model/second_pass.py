"""Put together what the bundled model learns in its second pass: labels of films and of all others, lessons, copies.

    python -m tools.bundled_model.second_pass FILM_LABELS OTHER_LABELS TEMPLATES WORD_LESSONS OUTPUT PART

The first two are tables that ``sentiment label`` wrote, the third one that ``sentiment_core.behaviour.lessons`` wrote,
the fourth one that ``tools.bundled_model.word_lessons`` wrote. Copies of short reviews in another writing are made
here; see `tools.bundled_model.perturbation`. OUTPUT is a table for ``train --teacher-labels``; PART is a part of it, by
chance, for a last pass.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tools.bundled_model.perturbation import perturbed

__all__ = ["main"]

_COPIES, _PART = 250_000, 200_000
# Characters of a review that is copied: a change must not be most of it, and of a long one it is nothing.
_FEWEST_CHARACTERS, _MOST_CHARACTERS = 15, 400
# Statements of fact are templates of this target and at least so many characters.
_NEUTRAL, _FEWEST_CHARACTERS_OF_A_FACT = 0.5, 25
_SEED = 9
_COLUMNS = ["text", "teacher_probability"]
_SCHEMA = pa.schema([("text", pa.large_string()), ("teacher_probability", pa.float64())])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("films", "others", "templates", "words", "output", "part"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args(arguments)
    films, others = (pq.read_table(path, columns=_COLUMNS).cast(_SCHEMA) for path in (options.films, options.others))
    templates, words = (
        pq.read_table(path, columns=["text", "positive"]).rename_columns(_COLUMNS).cast(_SCHEMA)
        for path in (options.templates, options.words)
    )
    # Films have better labels in their own table, and templates are there anew.
    for known in (films, templates):
        others = others.filter(pc.invert(pc.is_in(others["text"], value_set=known["text"])))
    table = pa.concat_tables([films, others, templates, words, _copies(others, templates)])
    table = table.take(pa.array(np.random.default_rng(_SEED).permutation(len(table))))
    pq.write_table(table.slice(0, _PART), options.part, compression="zstd")
    pq.write_table(table, options.output, compression="zstd")
    return 0


def _copies(reviews: pa.Table, templates: pa.Table) -> pa.Table:
    """Short reviews in another writing, with the probabilities of the reviews."""
    length = pc.utf8_length(reviews["text"])
    short = np.flatnonzero(pc.and_(pc.greater(length, _FEWEST_CHARACTERS), pc.less(length, _MOST_CHARACTERS)))
    chosen = reviews.take(pa.array(np.random.default_rng(_SEED).permutation(short)[:_COPIES]))
    is_fact = pc.and_(
        pc.equal(templates["teacher_probability"], _NEUTRAL),
        pc.greater(pc.utf8_length(templates["text"]), _FEWEST_CHARACTERS_OF_A_FACT),
    )
    facts = templates.filter(is_fact)["text"].to_pylist()
    random = Random(_SEED)
    copies = pa.array(
        [perturbed(text, random, neutral=facts) for text in chosen["text"].to_pylist()], pa.large_string()
    )
    return pa.table([copies, chosen["teacher_probability"]], schema=_SCHEMA).filter(copies.is_valid())


if __name__ == "__main__":
    sys.exit(main())

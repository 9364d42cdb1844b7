"""Texts that teach a model plain language: short reviews made of templates, with targets.

Real reviews say little that is neutral, and seldom the opposite in the same words. These texts do: negation, change
over time, other people's opinions, statements of fact, and groups of people, who must not move a score. Their
templates are in ``lessons.toml``. ``python -m sentiment_core.behaviour.lessons OUTPUT.parquet`` writes the table that
`sentiment train` reads, without MXNet or Spark.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_core.behaviour.grammar import Grammar, Template, read_grammar

__all__ = ["LESSON_SCHEMA", "Lesson", "Lessons", "lesson_table"]

LESSON_SCHEMA = pa.schema(
    [("text", pa.string()), ("positive", pa.float64()), ("capability", pa.string()), ("pair_id", pa.int64())]
)

# Times that a lesson may say nothing new before it has said all.
_PATIENCE = 300


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Texts that have one target.

    Attributes
    ----------
    capability : str
        What the lesson teaches.
    template : Template
    share : float
        Weight of its texts in a table.
    positive : float, 0 to 1, optional
        Target of its texts; by default that of the text that is changed.
    """

    capability: str
    template: Template
    share: float
    positive: float | None = None


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """All lessons, and the words they are made of."""

    grammar: Grammar
    lessons: tuple[Lesson, ...]

    @classmethod
    def bundled(cls) -> Lessons:
        """Those that come with the package."""
        grammar, tables = read_grammar("lessons.toml")
        own = ("capability", "share", "positive")
        lessons = [
            Lesson(
                template=Template.of(**{name: value for name, value in table.items() if name not in own}),
                **{name: value for name, value in table.items() if name in own},
            )
            for table in tables["lesson"]
        ]
        return cls(grammar=grammar, lessons=tuple(lessons))

    def texts(self, lesson: Lesson, random: Random) -> tuple[float, list[str]]:
        """A target, and the texts of one group, or one text, that have it."""
        if lesson.positive is not None:
            return lesson.positive, self.grammar.texts(lesson.template, random)
        of = random.choice([other for other in self.lessons if other.capability in lesson.template.around])
        positive, (text, *_) = self.texts(of, random)
        return positive, self.grammar.texts(lesson.template, random, around=text)


def lesson_table(lessons: Lessons, *, rows: int, seed: int) -> pa.Table:
    """Distinct texts with targets.

    Parameters
    ----------
    lessons : Lessons
    rows : int
        Texts; a group is never cut, so that there can be some more.
    seed : int

    Returns
    -------
    Table of `LESSON_SCHEMA`
        ``positive`` is the target, 0 to 1, 0.5 for neutral; texts of one ``pair_id`` say the same of different people,
        places and the like, or in another writing, and have one target. It is null for a text that stands alone.

    Raises
    ------
    ValueError
        If the lessons have fewer texts to say.
    """
    random = Random(seed)
    seen: set[str] = set()
    table: list[tuple[str, float, str, int | None]] = []
    for pair_id, (lesson, positive, texts) in enumerate(_new_groups(lessons, random, seen)):
        seen.update(texts)
        table += [(text, positive, lesson.capability, pair_id if len(texts) > 1 else None) for text in texts]
        if len(table) >= rows:
            return pa.table(list(zip(*table)), schema=LESSON_SCHEMA)
    raise ValueError(f"the lessons make {len(seen):,} different texts, not {rows:,}")


def _new_groups(lessons: Lessons, random: Random, seen: set[str]) -> Iterator[tuple[Lesson, float, list[str]]]:
    """Groups of texts of which none was seen, each lesson by its share, until none has anything new to say."""
    # A group of several texts is drawn the less often.
    sizes = [len(lessons.texts(lesson, Random(0))[1]) for lesson in lessons.lessons]
    weights = {index: lesson.share / size for index, (lesson, size) in enumerate(zip(lessons.lessons, sizes))}
    repeated: Counter[int] = Counter()
    while weights:
        index = random.choices(list(weights), list(weights.values()))[0]
        positive, texts = lessons.texts(lessons.lessons[index], random)
        if seen.isdisjoint(texts) and len(set(texts)) == len(texts):
            repeated[index] = 0
            yield lessons.lessons[index], positive, texts
        else:
            repeated[index] += 1
            if repeated[index] == _PATIENCE:
                del weights[index]


def main(arguments: Sequence[str]) -> None:
    """Write a table of lessons: OUTPUT [ROWS [SEED]]."""
    if not 1 <= len(arguments) <= 3:
        raise SystemExit("usage: python -m sentiment_core.behaviour.lessons OUTPUT.parquet [ROWS [SEED]]")
    output, rows, seed = *arguments, *("60000", "1")[len(arguments) - 1 :]
    pq.write_table(lesson_table(Lessons.bundled(), rows=int(rows), seed=int(seed)), Path(output))


if __name__ == "__main__":
    main(sys.argv[1:])

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

from sentiment_core.behaviour.grammar import Choices, Grammar, read_grammar

__all__ = ["LESSON_SCHEMA", "Lesson", "Lessons", "lesson_table"]

LESSON_SCHEMA = pa.schema(
    [("text", pa.string()), ("positive", pa.float64()), ("capability", pa.string()), ("pair_id", pa.int64())]
)

# Texts of one group of texts that differ in one word.
_MEMBERS = 5
# Times that a lesson may say nothing new before it has said all.
_PATIENCE = 300


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Patterns whose texts have one target.

    Attributes
    ----------
    capability : str
        What the lesson teaches.
    share : float
        Weight of its texts in a table.
    patterns : tuple of str
    positive : float, 0 to 1, optional
        Target of its texts; by default that of the text that is changed.
    across : str, optional
        List whose entries change no target: texts come in groups that differ in this entry.
    around : tuple of str
        Capabilities whose texts it changes.
    """

    capability: str
    share: float
    patterns: tuple[str, ...]
    positive: float | None = None
    across: str | None = None
    around: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """All lessons, and the words they are made of."""

    grammar: Grammar
    lessons: tuple[Lesson, ...]

    @classmethod
    def bundled(cls) -> Lessons:
        """Those that come with the package."""
        grammar, tables = read_grammar("lessons.toml")
        lessons = []
        for table in tables["lesson"]:
            patterns = table["patterns"].replace("\n", "|").split("|")
            table |= {"patterns": tuple(filter(None, map(str.strip, patterns)))}
            lessons.append(Lesson(**table | {"around": tuple(table.get("around", ()))}))
        return cls(grammar=grammar, lessons=tuple(lessons))

    def texts(self, lesson: Lesson, random: Random) -> tuple[float, list[str]]:
        """A target, and the texts of one group, or one text, that have it."""
        domain = random.choice(list(self.grammar.domains))
        choices: Choices = {}
        pattern = random.choice(lesson.patterns)
        if lesson.around:
            of = random.choice([other for other in self.lessons if other.capability in lesson.around])
            positive, (text, *_) = self.texts(of, random)
            choices |= _changed(text, random)
            return positive, [text, self.grammar.fill(pattern, domain=domain, random=random, choices=choices)]
        if lesson.positive is None:
            raise ValueError(f"{lesson.capability}: a lesson needs a target, or lessons whose texts it changes")
        texts = [self._text(pattern, domain, random, choices)]
        if lesson.across is not None:
            name = self.grammar.list_of(lesson.across)
            others = sorted(set(self.grammar.entries(name, domain=domain)) - {choices[name, ""]})
            drawn = random.sample(others, min(_MEMBERS - 1, len(others)))
            texts += [self._text(pattern, domain, random, choices | {(name, ""): entry}) for entry in drawn]
        return lesson.positive, texts

    def _text(self, pattern: str, domain: str, random: Random, choices: Choices) -> str:
        return self.grammar.finished(self.grammar.fill(pattern, domain=domain, random=random, choices=choices))


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
    weights = {index: lesson.share / _size(lesson) for index, lesson in enumerate(lessons.lessons)}
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


def _size(lesson: Lesson) -> int:
    return 2 if lesson.around else _MEMBERS if lesson.across else 1


def _changed(text: str, random: Random) -> Choices:
    """A text in other writings, for the slots of a lesson that changes texts."""
    writings = {
        "text": text,
        "typo": _with_typo(text, random),
        "caps": text.upper(),
        "bare": text.rstrip(".!?").lower(),
    }
    choices: Choices = {(slot, ""): (written,) for slot, written in writings.items()}
    return choices | {("typo", "2"): (_with_typo(writings["typo"], random),)}


def _with_typo(text: str, random: Random) -> str:
    """Two letters inside a word swapped, a letter left out or doubled."""
    places = [place for place in range(1, len(text) - 2) if text[place - 1 : place + 3].isalpha()]
    if not places:
        return text
    place = random.choice(places)
    one, two = text[place], text[place + 1]
    kinds = [two + one, two + one, two, one + one + two]
    return text[:place] + random.choice(kinds) + text[place + 2 :]


def main(arguments: Sequence[str]) -> None:
    """Write a table of lessons: OUTPUT [ROWS [SEED]]."""
    if not 1 <= len(arguments) <= 3:
        raise SystemExit("usage: python -m sentiment_core.behaviour.lessons OUTPUT.parquet [ROWS [SEED]]")
    output, rows, seed = *arguments, *("60000", "1")[len(arguments) - 1 :]
    pq.write_table(lesson_table(Lessons.bundled(), rows=int(rows), seed=int(seed)), Path(output))


if __name__ == "__main__":
    main(sys.argv[1:])

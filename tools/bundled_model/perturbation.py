"""The same review in another writing: what must not move its score.

Copies of real reviews that are changed in this way, with the targets of the reviews, teach a model what is no opinion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

__all__ = ["perturbed"]

_DENIED_BY_NOT = ("is", "are", "was", "were", "do", "does", "did", "could", "would", "has", "have")
_CONTRACTIONS = (
    *((f"{verb} not", f"{verb}n't") for verb in _DENIED_BY_NOT),
    *(("can not", "can't"), ("will not", "won't"), ("it is", "it's"), ("that is", "that's"), ("they are", "they're")),
    *(("we are", "we're"), ("you are", "you're"), ("i am", "i'm"), ("i have", "i've")),
)
_OTHER_FORM = {one: other for pair in _CONTRACTIONS for one, other in (pair, pair[::-1])}
_ANY_FORM = re.compile(r"\b(?:" + "|".join(map(re.escape, _OTHER_FORM)) + r")\b", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"\b[0-9]{1,6}\b")
_LAST_MARK = re.compile(r"[.!]$")


def perturbed(text: str, random: Random, *, neutral: Sequence[str]) -> str | None:
    """One change of chance, or None where it finds nothing to change.

    Parameters
    ----------
    text : str
    random : Random
    neutral : sequence of str
        Statements of fact, one of which may stand before or after the review.
    """
    changes: tuple[Callable[[], str], ...] = (
        lambda: _with_slips(text, random, n=1),
        lambda: _with_slips(text, random, n=2),
        lambda: _NUMBER.sub(lambda found: _other_number(found[0], random), text),
        lambda: _LAST_MARK.sub("", text) if _LAST_MARK.search(text) else text + ".",
        lambda: _ANY_FORM.sub(lambda found: _OTHER_FORM[found[0].lower()], text),
        lambda: f"{text} {random.choice(neutral)}" if random.random() < 0.5 else f"{random.choice(neutral)} {text}",
    )
    for change in random.sample(changes, len(changes)):
        changed = change()
        if changed != text:
            return changed
    return None


def _with_slips(text: str, random: Random, *, n: int) -> str:
    """Neighbouring characters swapped, n times."""
    characters = list(text)
    for _ in range(n):
        place = random.randrange(max(1, len(characters) - 1))
        characters[place : place + 2] = characters[place : place + 2][::-1]
    return "".join(characters)


def _other_number(digits: str, random: Random) -> str:
    """As many digits; a grade out of ten would be another opinion, so a single digit stays."""
    if len(digits) == 1 or digits == "10":
        return digits
    return str(random.randrange(10 ** (len(digits) - 1), 10 ** len(digits)))

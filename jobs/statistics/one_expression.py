"""The steps of an estimate as one expression of Spark SQL.

As columns, each step would be a projection of its own that repeats all columns of the one before: Spark plans, writes
and compiles code for each, which takes longer than to compute a mart of some thousand rows. Written into one another,
the steps would repeat themselves until Spark fails. Here each is a struct that an anonymous function of the following
ones reads, so that the expression is as long as the steps are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from jobs.statistics.estimates import Steps

__all__ = ["expression_of_each", "one_expression"]

_NAME = re.compile(r"\b[A-Za-z_]\w*")


def one_expression(steps: Steps, *, places: Mapping[str, str] | None = None) -> str:
    """A struct of all columns of all steps.

    Parameters
    ----------
    steps : Steps
        No two columns have one name.
    places : mapping, optional
        SQL for names that the steps read and that are no columns of the frame.
    """
    known = dict(places or {})
    opened = []
    for number, step in enumerate(steps):
        fields = ", ".join(f"'{name}', {_placed(sql, known)}" for name, sql in step.items())
        opened.append(f"transform(array(named_struct({fields})), step_{number} -> ")
        known |= {name: f"step_{number}.{name}" for name in step}
    found = ", ".join(f"'{name}', {known[name]}" for step in steps for name in step)
    return "".join(opened) + f"named_struct({found})" + ")[0]" * len(steps)


def expression_of_each(array: str, steps: Steps, *, names: Iterable[str]) -> str:
    """An array of `one_expression` of each struct of an array.

    Parameters
    ----------
    array : str
        Column of structs.
    steps : Steps
    names : iterable of str
        Fields that the steps read.
    """
    of_one = one_expression(steps, places={name: f"_one.{name}" for name in names})
    return f"transform({array}, _one -> {of_one})"


def _placed(sql: str, places: Mapping[str, str]) -> str:
    return _NAME.sub(lambda name: places.get(name[0], name[0]), sql)

"""Compare two models that scored the same reviews side by side (`score --model NAME=DIR --model NAME=DIR`).

Whoever decides whether a challenger replaces the champion reads it: where they agree, where they differ, and, where
labels were kept, which is right more often and whether that is more than chance. No text is read or shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jobs.marts.comparison import SIDES
from jobs.marts.settings import CompareSettings
from jobs.marts.side_by_side import compare
from jobs.spark.session import spark_session
from jobs.verbs.settings import add_option, settings_from

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``compare`` verb."""
    add = partial(add_option, parser, CompareSettings)
    add("scores", metavar="PATH")
    for name in ("champion", "challenger", "id_column", "label_column"):
        add(name, metavar="NAME")
    add("run_id", metavar="ID")
    add("positive_above", metavar="X")
    add("positive_label", metavar="WORD")
    add("largest", metavar="N")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Emit the comparison.

    Raises
    ------
    InputError, UsageError
    """
    settings = settings_from(options, CompareSettings)
    compared = compare(spark_session("sentiment compare"), settings)
    emit({"models": compared.models} | compared.found)
    return _sentence(compared.models, compared.found)


def _sentence(models: Mapping[str, Mapping[str, Any]], found: Mapping[str, Any]) -> str:
    champion, challenger = (models[side]["name"] for side in SIDES)
    said = (
        f"{challenger} against {champion} on {found['scored_by_both']:,} reviews: the same sentiment in "
        f"{found['agreement']:.1%}, probability {found['difference']['mean']:+.4f} on average"
    )
    if "labels" not in found:
        return said
    labels = found["labels"]
    return (
        f"{said}; accuracy {labels['challenger_accuracy']:.4f} against {labels['champion_accuracy']:.4f}, difference "
        f"{labels['accuracy_difference']:+.4f} ({labels['accuracy_difference_low']:+.4f} to "
        f"{labels['accuracy_difference_high']:+.4f}), p {labels['mcnemar_p']:.2g}"
    )

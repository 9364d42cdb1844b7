"""The settings of the functions behind the verbs have the options' names and defaults, and say what each means."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import parser_of
from jobs.dashboard import DashboardSettings
from jobs.labels.reviews import LabelledInput
from jobs.marts import CompareSettings, SummarizeSettings
from jobs.scoring import BackfillSettings, ScoreSettings
from jobs.verbs.settings import meanings, settings_from
from sentiment_core.errors import UsageError

DAYS = {"first": date(2026, 11, 1), "last": date(2026, 11, 2)}
# For each verb its settings, the options that it needs, and the same as settings.
DOORS: list[tuple[str, type[Any], str, dict[str, Any]]] = [
    ("score", ScoreSettings, "--input in --output out", {"input": ("in",), "output": "out"}),
    (
        "backfill",
        BackfillSettings,
        "--input in/{date} --output out --from 2026-11-01 --to 2026-11-02",
        {"input": ("in/{date}",), "output": "out", **DAYS},
    ),
    ("summarize", SummarizeSettings, "--scores in --output out", {"scores": "in", "output": "out"}),
    ("compare", CompareSettings, "--scores in", {"scores": "in"}),
    ("dashboard", DashboardSettings, "--marts in --output p.html", {"marts": "in", "output": Path("p.html")}),
    ("train", LabelledInput, "--input in --output out", {"input": "in"}),
]


@pytest.mark.parametrize(("verb", "kind", "options", "given"), DOORS, ids=[door[0] for door in DOORS])
def test_the_settings_default_to_what_the_options_do(
    verb: str, kind: type[Any], options: str, given: dict[str, Any]
) -> None:
    assert settings_from(parser_of(verb).parse_args(options.split()), kind) == kind(**given)


def test_an_option_that_is_repeated_is_a_tuple_of_what_was_given() -> None:
    def parsed(verb: str, kind: type[Any], options: str) -> Any:
        return settings_from(parser_of(verb).parse_args(options.split()), kind)

    found = parsed("score", ScoreSettings, "--input a b --output out --model a=x --model y --date-format yyyy/MM/dd")
    assert (found.input, found.model, found.date_format) == (("a", "b"), ("a=x", "y"), ("yyyy/MM/dd",))
    found = parsed("summarize", SummarizeSettings, "--scores in --output out --date 2026-11-01 --date 2026-11-02")
    assert found.date == tuple(DAYS.values())


@pytest.mark.parametrize(("verb", "kind"), [door[:2] for door in DOORS[:-1]], ids=[door[0] for door in DOORS[:-1]])
def test_the_help_of_an_option_is_what_the_docstring_says_and_the_same_tomorrow(verb: str, kind: type[Any]) -> None:
    said = meanings(kind)
    options = {action.dest: action for action in parser_of(verb)._actions}
    for field in fields(kind):
        if field.name in ("reading", "first", "last"):
            continue
        option = options[field.name]
        assert said[field.name]
        assert (option.help or "").startswith(said[field.name]), field.name
        assert option.default != date.today(), field.name


@pytest.mark.parametrize(("kind", "given"), [(door[1], door[3]) for door in DOORS], ids=[door[0] for door in DOORS])
def test_settings_are_frozen_and_every_one_is_documented(kind: type[Any], given: dict[str, Any]) -> None:
    docstrings = "".join(inspect.cleandoc(base.__doc__ or "") for base in kind.__mro__[:-1])
    found = re.findall(r"^(\w+(?:, \w+)*) : ", docstrings, re.MULTILINE)
    assert {field.name for field in fields(kind)} == {name for names in found for name in names.split(", ")}
    with pytest.raises(FrozenInstanceError):
        setattr(kind(**given), fields(kind)[0].name, None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"drift_against": "moon"}, "drift_against must be one of"),
        ({"drift_warn": 0.5}, "--drift-warn 0.5"),
        ({"core_hour_price": -1.0}, "--core-hour-price"),
        ({"label_column": "stars", "labels": "labels.csv"}, "label_column and labels exclude each other"),
        ({"date": (date(2026, 11, 1),), "rebuild": True}, "date and rebuild exclude each other"),
        ({"positive_label": "good"}, "--positive-label"),
        ({"latest_date": date(1980, 1, 1)}, "--latest-date"),
    ],
)
def test_wrong_settings_of_a_refresh_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(SummarizeSettings(scores="in", output="out"), **wrong)


def test_training_reads_its_settings_without_spark() -> None:
    code = "import sys, jobs.verbs.models.train; assert 'pyspark' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("room", ["dashboard", "labels", "marts", "publishing", "raw", "scoring", "shaping", "tables"])
def test_no_parsed_options_reach_a_room(room: str) -> None:
    folder = Path(__file__).parents[3] / "jobs" / room
    assert [path.name for path in folder.rglob("*.py") if "Namespace" in path.read_text()] == []

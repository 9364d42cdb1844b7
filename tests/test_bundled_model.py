"""The recipe of the bundled model asks for nothing that the verbs do not have."""

from __future__ import annotations

import argparse
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from jobs.cli import VERBS
from jobs.settings import settings_from
from sentiment_core.recipes import PretrainSettings
from sentiment_core.training import TrainSettings

ROOT = Path(__file__).parents[1]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # `-o` takes .venv for done, whatever stands in the clone.
    command = ["make", "-o", ".venv/runtime-is-ready", "train-bundled-model", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_recipe_is_made_of_options_that_exist() -> None:
    printed = make("-n", "DATA=some").stdout.replace("\\\n", " ")
    commands = [shlex.split(line)[1:] for line in printed.splitlines() if line.startswith(".venv/bin/sentiment ")]
    assert [command[0] for command in commands] == ["pretrain", "train", "train", "label", "pretrain", "train", "train"]
    written: list[str] = []
    for verb, *arguments in commands:
        parser = argparse.ArgumentParser()
        import_module(VERBS[verb][0]).add_arguments(parser)
        options = parser.parse_args(arguments)
        if verb != "label":
            settings_from(options, PretrainSettings if verb == "pretrain" else TrainSettings)
        read = [
            *getattr(options, "models", []),
            getattr(options, "language_model", "none"),
            getattr(options, "model", None) or "none",
        ]
        assert {name for name in read if name.startswith("build/")} <= set(written), "made by a step before it"
        written.append(str(options.output))
    assert [Path(name).name for name in written[-2:]] == ["first_sentiment", "sentiment"]


@pytest.mark.skipif((ROOT / "build/bundled-model").exists(), reason="a run is under way here")
def test_without_data_the_cure_is_named() -> None:
    failed = make("DATA=nowhere")
    assert failed.returncode == 2
    assert "DATA=nowhere holds no imdb_train.parquet and imdb_unsup.parquet; name their directory" in failed.stderr

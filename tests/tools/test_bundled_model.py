"""The recipe of the bundled model asks for nothing that the verbs do not have."""

from __future__ import annotations

import argparse
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from jobs.cli import VERBS
from jobs.verbs.models.settings import settings_from
from sentiment_core.training.recipes import PretrainSettings, TeacherSettings, TrainSettings

ROOT = Path(__file__).parents[2]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # `-o` takes .venv for done, whatever stands in the clone.
    command = ["make", "-o", ".venv/runtime-is-ready", "train-bundled-model", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


SETTINGS = {"pretrain": PretrainSettings, "teach": TeacherSettings, "train": TrainSettings}


@pytest.mark.parametrize("device", ["cpu", "gpu:0"])
def test_the_recipe_is_made_of_options_that_exist(device: str) -> None:
    # Of all steps, as if none had been done here.
    printed = make("-n", "-B", "DATA=some", "ENCODER=other", f"DEVICE={device}").stdout.replace("\\\n", " ")
    commands = [shlex.split(line)[1:] for line in printed.splitlines() if line.startswith(".venv/bin/sentiment ")]
    assert sorted(command[0] for command in commands) == ["label", "label", "pretrain", "teach", *["train"] * 4]
    written = ["build/bundled-model/average"]  # by a tool, of the two models before the last
    for verb, *arguments in commands:
        parser = argparse.ArgumentParser()
        import_module(VERBS[verb][0]).add_arguments(parser)
        options = parser.parse_args(arguments)
        if verb in SETTINGS:
            settings_from(options, SETTINGS[verb])
        assert options.device == device
        read = [*getattr(options, "teacher", []), *getattr(options, "models", [])]
        read += [getattr(options, name, None) or "none" for name in ("language_model", "model")]
        assert {str(name) for name in read if str(name).startswith("build/")} <= set(written), (
            "made by a step before it"
        )
        written.append(str(options.output))
    assert Path(written[-1]).name == "sentiment"


WAITS = pytest.mark.skipif((ROOT / "build/bundled-model").exists(), reason="a run is under way here")


@WAITS
def test_without_data_the_cure_is_named() -> None:
    failed = make("DATA=nowhere")
    assert failed.returncode == 2
    assert "DATA=nowhere holds no imdb_train.parquet; name the directory of the reviews" in failed.stderr


@WAITS
def test_without_an_encoder_the_cure_is_named(tmp_path: Path) -> None:
    for name in ("imdb_train", "imdb_unsup", "reviews_pool"):
        (tmp_path / f"{name}.parquet").touch()
    failed = make(f"DATA={tmp_path}", "ENCODER=nowhere")
    assert failed.returncode == 2
    assert "ENCODER=nowhere holds no config.json; name a Hugging Face directory of all-MiniLM-L6-v2" in failed.stderr

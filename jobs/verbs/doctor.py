"""Check the machine and say of every problem how to cure it."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from jobs.spark.devices import gpu_count
from jobs.spark.environment import faults_of
from jobs.spark.file_names import UTF8_LOCALE, encoding_of_names, use_utf8_names
from jobs.spark.security import check_cluster
from jobs.spark.submit import submit_settings
from sentiment_core.artifact import bundled_model_path, load_model
from sentiment_core.errors import EnvironmentFault, SentimentError
from sentiment_core.mxnet_setup import available_cores, prepare_mxnet
from sentiment_core.scoring.scorer import Scorer

__all__ = ["add_arguments", "run"]

_PACKAGES = ("sentiment-warehouse", "pyspark", "pyarrow", "pandas", "numpy", "safetensors", "onnxruntime", "onnx")
_OLDEST_JAVA = 17
_EXAMPLES = [
    "It works well.",
    "It does not work.",
    "A slow start, but the last hour makes up for it, and the music is a joy.",
    "Two stars for the effort. The plot has holes, nobody can act, and it never ends!",
]
# Of the default precision from float32: int8 suits a model unless a few of its weights are far larger than all others.
_LARGEST_CHANGE = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the ``doctor`` verb."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: the bundled model")


def run(options: argparse.Namespace, emit: Callable[[dict[str, Any]], None]) -> str:
    """Emit one object per check.

    Raises
    ------
    EnvironmentFault
        If a check found a problem.
    """
    problems = warnings = 0
    checks = (
        *_packages(),
        _java(),
        *_model(options.model or bundled_model_path()),
        _training(),
        _gpus(),
        _machine(),
        _file_names(),
        *_environment(),
    )
    for check in checks:
        problems += check["status"] == "problem"
        warnings += check["status"] == "warning"
        emit(check)
    if problems:
        raise EnvironmentFault(f"{problems} problems found; each line above that is one names its cure")
    return "no problem found" + (f", {warnings} warnings" if warnings else "")


def _ok(name: str, **facts: Any) -> dict[str, Any]:
    return {"check": name, "status": "ok", **facts}


def _problem(name: str, cure: str, **facts: Any) -> dict[str, Any]:
    return {"check": name, "status": "problem", "cure": cure, **facts}


def _packages() -> Iterator[dict[str, Any]]:
    for name in _PACKAGES:
        try:
            yield _ok(name, version=version(name))
        except PackageNotFoundError:
            yield _problem(name, cure="install the project again: make setup")
    yield _ok("python", version=sys.version.split()[0])


def _java() -> dict[str, Any]:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    cure = f"install Java {_OLDEST_JAVA} or newer (Debian: apt-get install openjdk-17-jre-headless), "
    cure += "and set JAVA_HOME to it or unset JAVA_HOME" if home else "or set JAVA_HOME to one"
    if java is None:
        return _problem("java", cure=cure)
    try:
        banner = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        return _problem("java", cure=cure, path=java, fault=type(error).__name__)
    found = re.search(r'version "(\d+)', banner)
    if found is None or int(found[1]) < _OLDEST_JAVA:
        return _problem("java", cure=cure, path=java, version=banner.splitlines()[0] if banner else "")
    return _ok("java", path=java, version=banner.splitlines()[0])


def _model(path: Path) -> Iterator[dict[str, Any]]:
    """The model, and each engine that could score with it here."""
    try:
        model = load_model(path)
    except SentimentError as error:
        yield _problem("model", cure="copy or train the model again", path=str(path), fault=str(error))
        return
    yield _ok("model", path=str(path), sha256=model.sha256)
    try:
        scorer = Scorer(model)
        probability = scorer.score_texts(_EXAMPLES).positive_probability
        exact = Scorer(model, precision="float32").score_texts(_EXAMPLES).positive_probability
    except SentimentError as error:
        yield _problem("scoring", cure="install the project again: make setup", fault=str(error))
        return
    facts = {"engine": scorer.engine.name, "example_scores": probability.round(4).tolist()}
    change = round(float(np.abs(probability - exact).max()), 4)
    if change > _LARGEST_CHANGE:
        yield _problem("scoring", cure="score with --precision float32", change_from_float32=change, **facts)
    else:
        yield _ok("scoring", change_from_float32=change, **facts)


def _training() -> dict[str, Any]:
    """MXNet, without which everything works but training."""
    prepare_mxnet()
    try:
        import mxnet

        gluonnlp = version("gluonnlp")
    except (ImportError, OSError) as error:
        return {
            "check": "training",
            "status": "unavailable",
            "cure": "with Python 3.11 on Linux x86-64 install libgomp1 and libquadmath0; elsewhere MXNet has no wheel, "
            "and PyTorch trains: pip install 'sentiment-warehouse[gpu]'",
            "fault": str(error),
        }
    return _ok("training", mxnet=mxnet.__version__, gluonnlp=gluonnlp, threads=os.environ["OMP_NUM_THREADS"])


def _gpus() -> dict[str, Any]:
    return _ok("gpus", torch=gpu_count("torch"), mxnet=gpu_count("mxnet"))


def _file_names() -> dict[str, Any]:
    """Whether Java will name files as everybody else does."""
    encoding = encoding_of_names()
    try:
        changed = use_utf8_names(dict(os.environ))
    except EnvironmentFault as error:
        return _problem("file_names", cure=f"set LC_ALL={UTF8_LOCALE}", encoding=encoding, fault=str(error))
    return _ok("file_names", encoding=encoding, **({"java_is_started_with": changed} if changed else {}))


def _environment() -> Iterator[dict[str, Any]]:
    """Variables that Spark heeds, and how safe the cluster is that they name."""
    # The check of Java has named its variable already.
    faults = [fault for fault in faults_of(os.environ) if fault[0] != "JAVA_HOME"]
    for variable, fault in faults:
        yield _problem(variable, cure=fault)
    if "PYSPARK_SUBMIT_ARGS" not in dict(faults):
        yield from check_cluster(submit_settings(os.environ))


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return _ok("machine", cores=available_cores(), memory_gib=round(memory / 2**30, 1), platform=sys.platform)

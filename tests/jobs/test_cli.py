from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import cli
from jobs.demo.sample_reviews import generate_reviews
from sentiment_core.artifact import Model, bundled_model_path, load_model, save_model
from sentiment_core.dataset.holdout import held_out_mask
from sentiment_core.evaluation.metrics import evaluate_probabilities
from tests.support.daemons import QUICK_JAVA
from tests.support.models import tiny_model
from tests.support.packages import needs_mxnet
from tests.support.reference import reference_probability

ROOT = Path(__file__).parents[2]
LOG_FILE = "-Dlog4j2.configurationFile={}/jobs/spark/log4j2.properties -Dsentiment.log.level="


def stdin_of(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_predict_gives_one_object_a_text_with_the_oracles_probability(
    sentiment: Any, model: Model, model_path: Path
) -> None:
    texts = ["The kettle leaks.", "", "Very good, 10/10!"]
    code, rows, sentence = sentiment("predict", "--model", model_path, "--precision", "float32", *texts)
    assert (code, sentence) == (0, "sentiment predict: done: scored 3 texts")
    expected = reference_probability(model, texts)
    assert [row["positive_probability"] for row in rows] == [
        None if np.isnan(value) else pytest.approx(value, abs=1e-5) for value in expected
    ]
    assert [row["score_status"] for row in rows] == ["ok", "empty", "ok"]


def test_predict_reads_lines_of_any_bytes(sentiment: Any, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin_of(monkeypatch, b"good\r\n\xff\xfe bad\n\n" + b"fine\n" * 1500)
    code, rows, _ = sentiment("predict", "--model", model_path)
    assert (code, len(rows)) == (0, 1503)
    assert rows[2]["score_status"] == "empty"


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [([], 0, "scored 1 texts"), (["--engine", "mxnet"], 6, "the mxnet engine cannot be loaded")],
    ids=["default", "mxnet"],
)
def test_predict_needs_neither_spark_nor_mxnet(options: list[str], code: int, says: str) -> None:
    script = (
        "import sys; from jobs import cli; sys.modules['mxnet'] = None;"
        f"code = cli.main(['predict', 'good', *{options}]); sys.exit(code if 'pyspark' not in sys.modules else 99)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, says in done.stderr.splitlines()[-1]) == (code, True), done.stderr


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "labelled.parquet"
    pq.write_table(generate_reviews(1200, odd_texts=True), path)
    return path


def test_a_package_that_was_left_out_is_named_with_the_cure() -> None:
    script = "import sys; from jobs import cli; sys.modules['duckdb'] = None; sys.exit(cli.main(['dashboard']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 6
    cure = "this verb needs duckdb, which is not installed; pip install 'sentiment-warehouse[page]'"
    assert cure in done.stderr.splitlines()[-1]


@needs_mxnet
def test_train_writes_a_model_that_evaluate_measures_as_its_card_says(
    sentiment: Any, labelled: Path, tmp_path: Path
) -> None:
    options = ["--input", labelled, "--label-column", "stars", "--positive-above", "3"]
    sizes = ["--hidden-size", "8", "--max-tokens", "80", "--batch-tokens", "1500", "--learning-rate", "0.02"]
    code, rows, sentence = sentiment("train", *options, *sizes, "--output", tmp_path / "model", "--epochs", "2")
    assert code == 0, sentence
    assert not (tmp_path / "model.checkpoint").exists()
    code, measured, sentence = sentiment("evaluate", *options, "--model", tmp_path / "model", "--held-out")
    assert code == 0, sentence
    told = rows[0]["validation"]
    assert set(measured[0]) >= {"n", "accuracy", "auc", "f1", "log_loss", "brier", "ece", "reviews_per_second"}
    assert {name: measured[0][name] for name in told} == pytest.approx(told, abs=1e-3)
    assert f"{told['accuracy']:.4f}" in (tmp_path / "model" / "README.md").read_text()
    assert measured[0]["unlabelled"] == generate_reviews(1200)["stars"].null_count


def test_evaluate_gives_the_metrics_of_the_oracles_probabilities(
    sentiment: Any, model: Model, model_path: Path, tmp_path: Path
) -> None:
    reviews = generate_reviews(60, odd_texts=False)
    pq.write_table(reviews, tmp_path / "in.parquet")
    code, rows, _ = sentiment(
        "evaluate", "--model", model_path, "--input", tmp_path / "in.parquet", "--label-column", "stars",
        "--positive-above", "3", "--precision", "float32",
    )  # fmt: skip
    positive = reviews["stars"].to_numpy() > 3
    expected = evaluate_probabilities(positive, reference_probability(model, reviews["text"].to_pylist())).as_dict()
    assert code == 0
    assert {name: rows[0][name] for name in expected} == pytest.approx(expected, abs=1e-5)


@needs_mxnet
def test_pretrain_and_train_hold_out_the_same_products(sentiment: Any, tmp_path: Path) -> None:
    reviews = generate_reviews(1500, odd_texts=False)
    products = pa.array([f"product {index % 60}" for index in range(1500)])
    pq.write_table(reviews.set_column(1, "product_id", products), tmp_path / "in.parquet")
    sizes = ["--hidden-size", "8", "--epochs", "1"]
    code, rows, sentence = sentiment(
        "pretrain", "--input", tmp_path / "in.parquet", "--output", tmp_path / "lm",
        "--batch-size", "8", "--bptt", "20", "--negatives", "50", *sizes,
    )  # fmt: skip
    assert code == 0, sentence
    n_held_out = int(held_out_mask(products).sum())
    provenance = load_model(tmp_path / "lm", kind="language_model").provenance
    assert (provenance["held_out_reviews"], provenance["corpus_reviews"]) == (n_held_out, 1500 - n_held_out)
    code, rows, sentence = sentiment(
        "train", "--input", tmp_path / "in.parquet", "--label-column", "stars", "--positive-above", "3",
        "--language-model", tmp_path / "lm", "--output", tmp_path / "model", *sizes,
    )  # fmt: skip
    assert code == 0, sentence
    assert rows[0]["validation"]["n"] == n_held_out
    assert (
        load_model(tmp_path / "model").text.vocabulary
        == load_model(tmp_path / "lm", kind="language_model").text.vocabulary
    )


@pytest.mark.slow
@needs_mxnet
def test_a_language_model_is_trained_further(sentiment: Any, tmp_path: Path) -> None:
    pq.write_table(generate_reviews(1500, odd_texts=False), tmp_path / "in.parquet")
    options = ["--input", tmp_path / "in.parquet", "--batch-size", "8", "--bptt", "20", "--negatives", "50"]
    _, (first,), _ = sentiment("pretrain", *options, "--output", tmp_path / "lm", "--hidden-size", "8", "--epochs", "1")
    code, (second,), sentence = sentiment(
        "pretrain", *options, "--language-model", tmp_path / "lm", "--output", tmp_path / "further", "--epochs", "1"
    )
    assert code == 0, sentence
    assert second["held_out_perplexity"] < first["held_out_perplexity"]
    assert (
        load_model(tmp_path / "further", kind="language_model").provenance["language_model_sha256"] == first["sha256"]
    )


@pytest.mark.parametrize(
    ("columns", "options", "code", "says"),
    [
        ({"body": ["a"], "label": [1]}, [], 3, "'text' is missing"),
        ({"text": ["a"], "stars": [1]}, [], 3, "'label' is missing"),
        ({"text": ["a", "b"], "label": ["pos", "neg"]}, [], 3, "numbers or booleans"),
        ({"text": ["a"] * 40, "label": [1] * 40}, [], 3, "both classes"),
        ({"text": [1, 2], "label": [0, 1]}, [], 3, "strings"),
        ({"text": ["a", "b"], "label": [0, 1]}, ["--epochs", "0"], 2, "epochs must be at least 1"),
        ({"text": ["a", "b"], "label": [0, 1]}, ["--language-model", "nowhere"], 3, "no such model directory"),
        ({"text": ["a", "b"], "label": [0, 1]}, ["--device", "gpu:0"], 6, "PyTorch"),
        ({"text": ["a", "b"], "label": [0, 1]}, ["--validation-fraction", "1"], 2, "held-out fraction"),
    ],
)
@needs_mxnet
def test_train_refuses_wrong_input_in_one_sentence(
    sentiment: Any, tmp_path: Path, columns: dict[str, Any], options: list[str], code: int, says: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    found, rows, sentence = sentiment(
        "train", "--input", tmp_path / "in.parquet", "--output", tmp_path / "model", *options
    )
    assert (found, rows, says in sentence) == (code, [], True), sentence
    assert not (tmp_path / "model").exists()


def test_doctor_finds_nothing_wrong_with_a_sound_machine(sentiment: Any, model_path: Path) -> None:
    code, rows, sentence = sentiment("doctor", "--model", model_path)
    assert code == 0, sentence
    assert {row["check"] for row in rows} >= {"java", "python", "model", "scoring", "training", "gpus", "machine"}


def test_doctor_names_the_cure_of_each_problem(sentiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    code, rows, sentence = sentiment("doctor", "--model", tmp_path / "none")
    assert (code, "2 problems" in sentence) == (6, True)
    named = {row["check"] for row in rows if row["status"] == "problem" and row["cure"]}
    assert named == {"java", "model"}  # each fault once


def test_doctor_warns_of_a_model_that_8_bits_do_not_suit(sentiment: Any, tmp_path: Path) -> None:
    model = tiny_model()
    table = model.weights["embedding.weight"].astype(np.float32)
    table[-1] = 1e4  # one rare word takes the whole range
    weights = {**model.weights, "embedding.weight": table, "output.weight": 20 * model.weights["output.weight"]}
    save_model(replace(model, weights=weights), tmp_path / "model")
    code, rows, _ = sentiment("doctor", "--model", tmp_path / "model")
    scoring = next(row for row in rows if row["check"] == "scoring")
    assert (code, scoring["status"], scoring["cure"]) == (6, "problem", "score with --precision float32")


def test_a_workers_error_keeps_its_exit_code() -> None:
    text = "Traceback ...\nsentiment_core.errors.EnvironmentFault: no GPU here; use the CPU\n at java"
    known = cli.as_known(RuntimeError(text))
    assert known is not None
    assert (known.exit_code, str(known)) == (6, "no GPU here; use the CPU")
    assert cli.as_known(RuntimeError("ValueError: something else")) is None


def test_a_wrong_option_is_a_verdict_like_any_other(sentiment: Any, tmp_path: Path) -> None:
    verdict = tmp_path / "status.json"
    assert sentiment("predict", "good", "--status-file", verdict)[0] == 0
    assert json.loads(verdict.read_text())["status"] == "done"
    code, _, sentence = sentiment("predict", "--engine", "steam", "--status-file", verdict)
    assert code == 2
    assert sentence.startswith("sentiment predict: failed: argument --engine: invalid choice: 'steam'")
    written = json.loads(verdict.read_text())
    assert (written["status"], written["exit_code"]) == ("failed", 2)


def test_help_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_STATUS_FILE", str(tmp_path / "status.json"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["predict", "--help"])
    assert (stopped.value.code, list(tmp_path.iterdir())) == (0, [])


def test_a_stop_after_the_verdict_does_not_change_it(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "stop_spark", lambda: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert cli.main(["predict", "good", "--model", str(model_path)]) == 0
        # Or what this process starts later could not be ended.
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capfd.readouterr().err.splitlines()[-1] == "sentiment predict: done: scored 1 texts"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "name a verb"),
        (["dance"], 2, "invalid choice: 'dance'"),
        (["--master"], 2, "needs a value"),
        (["--help"], 0, ""),
    ],
)
def test_the_submit_script_refuses_in_one_sentence(arguments: list[str], code: int, says: str) -> None:
    done = subprocess.run([ROOT / "spark-submit.sh", *arguments], capture_output=True, text=True)
    assert (done.returncode, says in done.stderr) == (code, True)


def test_the_submit_script_sends_no_unknown_verb_to_a_cluster() -> None:
    cluster = ["--master", "yarn", "--deploy-mode", "cluster"]
    done = subprocess.run(
        [ROOT / "spark-submit.sh", *cluster, "dance", "--status-file", "hdfs:/status"],
        capture_output=True, text=True, env={**os.environ, "SENTIMENT_ENVIRONMENT": ""},
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "unknown verb 'dance'" in done.stderr


@pytest.mark.parametrize(("arguments", "says"), [([], "required: VERB"), (["dance"], "invalid choice: 'dance'")])
def test_a_command_without_a_known_verb_is_refused_in_one_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("sentiment: failed: ")
    assert says in sentence


@pytest.fixture
def submitted(tmp_path: Path) -> Any:
    """What the submit script would run: Spark's options, the workers' Python, and the command."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$2" = jobs.cli ] || exec {sys.executable} "$@"\n'
        'printf "%s\\n" "$PYSPARK_SUBMIT_ARGS" "$PYSPARK_PYTHON" "$@"\n'
    )
    python.chmod(0o755)

    def run(*options: Any, **environment: str) -> tuple[str, str, list[str]]:
        done = subprocess.run(
            [ROOT / "spark-submit.sh", *options, "score", "--input", "x y"],
            capture_output=True, text=True,
            env={
                "PATH": "/usr/bin:/bin", "PYSPARK_DRIVER_PYTHON": str(python), "SENTIMENT_ENVIRONMENT": "",
                **environment,
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        options_of_spark, workers_python, *arguments = done.stdout.splitlines()
        return options_of_spark, workers_python, arguments

    return run


def test_the_submit_script_passes_options_on(submitted: Any) -> None:
    options, _, arguments = submitted(
        "--conf", "spark.master=spark://h:7077", "--conf", "spark.executor.memory=16g", "--conf", "a.b=c d",
        SENTIMENT_GPUS="2",
    )  # fmt: skip
    assert arguments == ["-m", "jobs.cli", "score", "--input", "x y"]
    assert options.endswith(
        "--conf spark.master=spark://h:7077 --conf spark.executor.memory=16g --conf 'a.b=c d' pyspark-shell"
    )
    # Options would win over these settings.
    assert not {"--master", "--executor-memory", "--driver-memory"} & set(shlex.split(options))
    assert "spark.executor.resource.gpu.amount=2" in options


def test_a_properties_file_wins_over_the_submit_scripts_defaults(submitted: Any, tmp_path: Path) -> None:
    (tmp_path / "properties").write_text(
        "# of the cluster\nspark.master spark://h:7077\nspark.executor.memory=16g\n  spark.task.cpus : 2\n"
        "spark.archives\tours.tar.gz#environment\n#spark.driver.memory 9g\n"
    )
    file = ["--properties-file", tmp_path / "properties"]
    text, workers_python, _ = submitted(*file)
    options = shlex.split(text)
    ours = {option.partition("=")[0]: option.partition("=")[2] for option in options if "=" in option}
    assert not {"spark.master", "spark.executor.memory", "spark.task.cpus"} & ours.keys()
    assert "--archives" not in options
    assert ours["spark.driver.memory"] == "2g"
    assert ours["spark.pyspark.python"] == workers_python == "./environment/bin/python"
    # And the command line wins over the file.
    assert submitted(*file, "--load-spark-defaults", "--master", "k8s://https://h")[1] == "/opt/sentiment/bin/python"
    assert submitted(*file, "--conf", "spark.pyspark.python=/my/python", PYSPARK_PYTHON="/a")[1] == "/my/python"


def test_a_properties_file_that_cannot_be_read_is_named() -> None:
    done = subprocess.run(
        [ROOT / "spark-submit.sh", "--properties-file=/no/such", "score"],
        capture_output=True, text=True, env={**os.environ, "PYSPARK_DRIVER_PYTHON": sys.executable},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "spark-submit.sh: failed: the file /no/such cannot be read\n")


@pytest.mark.slow
def test_doctor_warns_of_the_cluster_that_a_properties_file_names(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "properties").write_text("spark.master: spark://h:7077\nspark.authenticate: true\n")
    done = subprocess.run(
        [ROOT / "spark-submit.sh", "--properties-file", tmp_path / "properties", "doctor", "--model", model_path],
        capture_output=True, text=True,
        env={**os.environ, "PYSPARK_DRIVER_PYTHON": sys.executable, "SENTIMENT_ENVIRONMENT": ""},
    )  # fmt: skip
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [check["status"] for check in checks if check.get("master") == "spark://h:7077"] == [
        "ok", "warning", "warning",
    ], done.stderr  # fmt: skip


@pytest.mark.parametrize(
    ("master", "level", "archives", "java"),
    [
        ("k8s://https://h", "WARN", "", f"{LOG_FILE.format('/opt/sentiment/lib/python/site-packages')}WARN"),
        ("yarn", "DEBUG", "x#environment", f"{LOG_FILE.format('./environment/lib/python/site-packages')}DEBUG"),
        ("spark://h:1", "INFO", "", f"{LOG_FILE.format(ROOT)}INFO"),
        # There the environment is unpacked too late to hold the file.
        ("spark://h:1", "INFO", "x#environment", "-Dlog4j2.level=INFO"),
        ("spark://h:1", "ERROR", "x#environment", "-Dlog4j2.level=WARN"),
    ],
)
def test_executors_log_as_the_driver_does_where_its_settings_can_be_there(
    submitted: Any, master: str, level: str, archives: str, java: str
) -> None:
    text, _, _ = submitted(f"--master={master}", f"--archives={archives}", SENTIMENT_LOG_LEVEL=level)
    assert f"spark.executor.defaultJavaOptions={java}" in shlex.split(text)


def test_executors_with_another_python_are_given_no_file_of_this_machine(submitted: Any) -> None:
    text, _, _ = submitted("--master=yarn", PYSPARK_PYTHON="/other/python")
    assert "spark.executor.defaultJavaOptions=-Dlog4j2.level=WARN" in shlex.split(text)


@pytest.mark.parametrize("files", [(), ("__init__.py", "cli.py")])
def test_a_folder_of_the_projects_name_where_the_submit_script_runs_is_not_taken_for_it(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    (tmp_path / "jobs").mkdir()
    for name in files:
        (tmp_path / "jobs" / name).write_text("raise SystemExit('the wrong jobs')\n")
    done = subprocess.run(
        [ROOT / "spark-submit.sh", "predict", "It works well."],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYSPARK_DRIVER_PYTHON": sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["score_status"] == "ok"


@pytest.mark.slow
def test_the_submit_script_gives_executors_the_python_that_was_asked_for(tmp_path: Path) -> None:
    """On a real job, where a folder has the project's name: the workers run the wrapper."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text("raise SystemExit('the wrong jobs')\n")
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    pq.write_table(generate_reviews(20), tmp_path / "in.parquet")
    done = subprocess.run(
        [
            ROOT / "spark-submit.sh", "--master", "local[1]", "--driver-java-options", QUICK_JAVA,
            "score", "--input", tmp_path / "in.parquet",
            "--output", tmp_path / "scores", "--run-date", "2026-11-23",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYSPARK_PYTHON": str(wrapper), "PYSPARK_DRIVER_PYTHON": sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pyspark" in (tmp_path / "calls").read_text()
    assert json.loads(done.stdout)["counts"]["rows"] == 20
    assert done.stderr.splitlines()[-1].startswith("sentiment score: done: published 20 rows")


@pytest.mark.slow
@needs_mxnet
def test_the_bundled_language_model_is_one_to_start_from(sentiment: Any, tmp_path: Path) -> None:
    pq.write_table(generate_reviews(60, odd_texts=False), tmp_path / "in.parquet")
    code, _, sentence = sentiment(
        "train", "--input", tmp_path / "in.parquet", "--label-column", "stars", "--positive-above", "3",
        "--language-model", "bundled", "--validation-fraction", "0.3", "--output", tmp_path / "model", "--epochs", "1",
    )  # fmt: skip
    assert code == 0, sentence
    assert (
        load_model(tmp_path / "model").provenance["language_model_sha256"]
        == load_model(bundled_model_path("language_model"), kind="language_model").sha256
    )

"""What every cell begins with: the table of last night, tonight's reviews, and the scores that both must have.

Last night two products were scored with another model; tonight these two come again with more reviews, and a third. A
reader may find a product's partition as of last night or as of tonight, and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs import cli
from jobs.demo.sample_reviews import generate_reviews
from jobs.spark.session import spark_session
from sentiment_core.artifact import bundled_model_path, load_model, save_model
from tests.support.models import WORDS, tiny_model
from tests.support.reference import reference_probability

__all__ = ["GROUPS", "POISON", "POISONED_ID", "World", "partition_rows", "same_rows", "scoring_options"]

# In the vocabulary of both models and in one review only.
POISON, POISONED_ID = "submarine", 4242
GROUPS = 6
_ROOT = Path(__file__).parents[2]
_PRODUCTS = ("trail-shoes", "desk-lamp", "film-the-salt-road")

# Probability and status of each review, by partition and id.
Scores = dict[str, dict[int, tuple[float | None, str]]]


@dataclass(frozen=True, kw_only=True)
class World:
    """Tables and models of one kind of run.

    Attributes
    ----------
    folder : Path
    model : Path
        Tonight's.
    old, new : Scores
        Of last night and of tonight, by runs without faults.
    """

    folder: Path
    model: Path
    old: Scores
    new: Scores

    @classmethod
    def build(cls, folder: Path, *, real_model: bool) -> World:
        """Make what is not there yet, with runs in this process's own session."""
        model = bundled_model_path() if real_model else folder / "tonight"
        table = folder / "scores"
        if not (folder / "expected.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _write_inputs(folder)
            for seed, name in ((1, "lastnight"), (2, "tonight")):
                save_model(tiny_model(seed, words=[*WORDS, POISON], max_tokens=60), folder / name)
            _run("--input", folder / "first", "--model", folder / "lastnight", "--run-date", "2026-11-23", output=table)
            old = {name: partition_rows(path) for name, path in _partitions(table).items()}
            shutil.copytree(table, folder / "tried")
            _run(*tonight(folder, model), output=folder / "tried")
            new = {name: partition_rows(path) for name, path in _partitions(folder / "tried").items()}
            shutil.rmtree(folder / "tried")
            _compare_with_reference(new, folder, model)
            (folder / "expected.json").write_text(json.dumps({"old": old, "new": new}))
        expected = json.loads((folder / "expected.json").read_text())
        old, new = (
            {
                name: {int(number): (value, status) for number, (value, status) in rows.items()}
                for name, rows in expected[night].items()
            }
            for night in ("old", "new")
        )
        return cls(folder=folder, model=model, old=old, new=new)

    @property
    def arguments(self) -> list[str]:
        """Of tonight's run, without the output."""
        return [str(part) for part in tonight(self.folder, self.model)]

    def run_again(self, output: Path) -> tuple[int, str]:
        """Tonight's run in this process; exit code and closing sentence."""
        return _run(*self.arguments, output=output, check=False)


def tonight(folder: Path, model: Path) -> list[Any]:
    """Options of tonight's run."""
    return ["--input", folder / "second", "--model", model, "--run-date", "2026-11-24"]


def scoring_options(output: Path) -> list[str]:
    """Options of every run."""
    return [
        *("--output", str(output), "--partition-by", "product_id", "--groups", str(GROUPS)),
        *("--max-failed-ratio", "0.01"),
    ]


def partition_rows(folder: Path) -> dict[int, tuple[float | None, str]]:
    """Rows of a partition by id.

    Raises
    ------
    ValueError
        If an id comes twice, or rows are of more than one run.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix == ".parquet" and path.name[0] not in "._")
    names = ["review_id", "positive_probability", "score_status", "run_id"]
    tables = [pq.ParquetFile(path).read(columns=names) for path in files]
    rows = [row for table in tables for row in table.to_pylist()]
    found = {row["review_id"]: (row["positive_probability"], row["score_status"]) for row in rows}
    if len(found) < len(rows):
        raise ValueError(f"{len(rows) - len(found)} rows are there twice")
    if len({row["run_id"] for row in rows}) > 1:
        raise ValueError("rows are of more than one run")
    return found


def same_rows(rows: dict[int, tuple[float | None, str]], expected: dict[int, tuple[float | None, str]] | None) -> bool:
    """Equal to the bit; only the poisoned row may have failed."""
    if expected is None or rows.keys() != expected.keys():
        return False
    return all(
        row == expected[number] or (number == POISONED_ID and row == (None, "failed")) for number, row in rows.items()
    )


def _partitions(table: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(table.iterdir()) if "=" in path.name}


def _write_inputs(folder: Path) -> None:
    reviews = generate_reviews(900)
    reviews = reviews.filter(pc.is_in(reviews["product_id"], pa.array(_PRODUCTS)))
    late = pc.equal(reviews["product_id"], _PRODUCTS[2])
    first = reviews.filter(pc.invert(late)).slice(0, 150)
    poisoned = pa.table(
        {
            "review_id": [POISONED_ID],
            "product_id": [_PRODUCTS[0]],
            "review_date": reviews["review_date"][:1],
            "stars": reviews["stars"][:1],
            "text": [f"a {POISON} of a film"],
        },
        schema=reviews.schema,
    )
    for name, table in {"first": first, "second": pa.concat_tables([reviews, poisoned])}.items():
        (folder / name).mkdir()
        half = len(table) // 2
        pq.write_table(table.slice(0, half), folder / name / "1.parquet")
        pq.write_table(table.slice(half), folder / name / "2.parquet")


def _compare_with_reference(new: Scores, folder: Path, model: Path) -> None:
    """The run without faults must itself have the oracle's probabilities."""
    reviews = pq.read_table(folder / "second")
    expected = reference_probability(load_model(model), reviews["text"].to_pylist())
    rows = {number: value for part in new.values() for number, (value, _) in part.items()}
    found = np.array([rows[number] for number in reviews["review_id"].to_pylist()], float)
    np.testing.assert_allclose(found, expected, atol=0.05)
    if len(rows) != len(reviews):
        raise ValueError(f"{len(reviews)} rows went in and {len(rows)} came out")


def _run(*options: Any, output: Path, check: bool = True) -> tuple[int, str]:
    """Run ``score`` in this process, in a session that stays."""
    if "PYSPARK_SUBMIT_ARGS" not in os.environ:
        settings = "--master local[2] --driver-memory 600m --conf spark.sql.shuffle.partitions=2"
        java = "--driver-java-options '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'"
        os.environ["PYSPARK_SUBMIT_ARGS"] = f"{settings} {java} pyspark-shell"
        spark_session("faults").sparkContext.setLogLevel("OFF")
    stop, cli.stop_spark = cli.stop_spark, lambda: None
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            code = cli.main(["score", *map(str, options), *scoring_options(output)])
    finally:
        cli.stop_spark = stop
    sentence = said.getvalue().strip().splitlines()[-1]
    if check and code:
        raise RuntimeError(sentence)
    return code, sentence

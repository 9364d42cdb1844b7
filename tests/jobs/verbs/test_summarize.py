from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.marts import refresh
from jobs.marts.days import ScoreDays
from jobs.marts.drivers import KEPT_TERMS
from jobs.marts.schemas import MARTS, mart_schema
from jobs.publishing.lock import OutputLock
from jobs.publishing.owner import Owner
from jobs.publishing.publication import Publication
from jobs.statistics.estimates import estimate_steps, pool_columns, pool_prior, product_prior
from jobs.storage.files import LocalFileSystem
from sentiment_core.artifact import Model
from tests.support.estimated import ESTIMATE, ask, sums_of
from tests.support.scored import (
    FIRST_DAY,
    MODELS,
    expected_daily,
    expected_drivers,
    expected_model,
    expected_overall,
    expected_product,
    made_up_scores,
    read_scores,
    write_day,
    write_scores,
)

ROOT = Path(__file__).parents[3]
QUERIES = ROOT / "jobs" / "marts" / "queries"
KEYS = {
    "sentiment_daily": ["product", "day"],
    "sentiment_overall": ["day"],
    "sentiment_product": ["product", "month"],
    "sentiment_drivers": ["product", "month", "kind", "term"],
    "model_daily": ["model_sha256", "day"],
    "data_quality": ["run_date"],
    "run_history": ["run_id"],
}
Summarize = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Scores of some weeks and their marts; not to be changed."""
    from jobs import cli

    root = tmp_path_factory.mktemp("made")
    write_scores(root / "scores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "stop_spark", lambda: None)
        options = ["--scores", str(root / "scores"), "--output", str(root / "marts"), "--core-hour-price", "0.05"]
        assert cli.main(["summarize", *options]) == 0
    return root / "scores", root / "marts"


@pytest.fixture
def summarize(spark: SparkSession, sentiment: Any, tmp_path: Path) -> Summarize:
    """Run the verb on ``scores`` and ``marts``: exit code, report and closing sentence."""

    def run(*options: object) -> tuple[int, dict[str, Any], str]:
        given = ("--scores", tmp_path / "scores", "--output", tmp_path / "marts", *options)
        code, results, sentence = sentiment("summarize", *given)
        return code, results[0] if results else {}, sentence

    return run


@pytest.fixture
def copied(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of scores and marts, to change; file times are kept, so nothing is seen as new."""
    for source in made:
        shutil.copytree(source, tmp_path / source.name)
    return tmp_path


def mart(marts: Path, name: str) -> pa.Table:
    """A mart as a reader without Spark sees it, in order."""
    partition = ds.partitioning(pa.schema([("month", pa.string())]), flavor="hive")
    table = ds.dataset(marts / name, partitioning=partition).to_table()
    # Whether Spark writes a column as required depends on the plan, and makes no difference to readers.
    table = pa.Table.from_arrays(table.columns, names=table.column_names)
    return table.sort_by([(key, "ascending") for key in KEYS[name]])


def assert_equals(found: pa.Table, expected: pd.DataFrame, *, loose: dict[str, dict[str, float]]) -> None:
    """Compare the expected columns of a mart, row by row."""
    frame = found.to_pandas()
    keys = [name for name in ("model_sha256", "product", "day", "month", "kind", "term") if name in frame]
    sort = {"by": keys, "ignore_index": True, "na_position": "last"}
    frame, expected = frame.sort_values(**sort), expected.sort_values(**sort)
    assert len(frame) == len(expected)
    for name in expected:
        if name in keys or name in ("first_day", "last_day"):
            assert [str(value) for value in frame[name].fillna("")] == [str(v) for v in expected[name].fillna("")], name
        elif name == "score_histogram":
            assert [list(value) for value in frame[name]] == list(expected[name])
        else:
            tolerance = {"rtol": 1e-6, "atol": 1e-8} | loose.get(name, {})
            wanted = expected[name].to_numpy(float)
            np.testing.assert_allclose(frame[name].to_numpy(float), wanted, err_msg=name, **tolerance)


BY_GRID = {f"probability_p{p}": {"rtol": 0.0, "atol": 0.0005 + 1e-9} for p in (10, 50, 90)}
# Sums of days times probabilities are of millionths.
BY_LINE = {
    f"trend_{length}{end}": {"rtol": 0.0, "atol": atol}
    for length in ("7d", "28d")
    for end, atol in (("", 2e-6), ("_p", 1e-3))
}
BY_RATIO = {f"tokens_p{p}": {"rtol": 0.01} for p in (10, 50, 90)}


def test_every_mart_is_what_pandas_makes_of_the_single_reviews(made: tuple[Path, Path]) -> None:
    scores, marts = made
    rows = read_scores(scores)
    assert_equals(mart(marts, "sentiment_daily"), expected_daily(rows), loose=BY_GRID | BY_LINE)
    assert_equals(mart(marts, "sentiment_overall"), expected_overall(rows), loose=BY_LINE)
    assert_equals(mart(marts, "sentiment_product"), expected_product(rows), loose=BY_GRID)
    assert_equals(mart(marts, "model_daily"), expected_model(rows), loose=BY_RATIO)
    assert_equals(mart(marts, "sentiment_drivers"), expected_drivers(rows, kept=KEPT_TERMS), loose={})


def test_the_history_of_runs_is_that_of_their_reports(made: tuple[Path, Path]) -> None:
    scores, marts = made
    history = {row["run_id"]: row for row in mart(marts, "run_history").to_pylist()}
    reports = [json.loads(path.read_text()) for path in (scores / "_runs").glob("*.json")]
    assert len(history) == len(reports)
    for report in reports:
        row = history[report["run_id"]]
        assert (row["reviews"], str(row["run_date"])) == (report["counts"]["rows"], report["run_date"])
        assert row["total_seconds"] == pytest.approx(sum(report["seconds"].values()))
        assert row["core_hours"] == pytest.approx(report["cost_inputs"]["core_seconds"] / 3600)
        assert row["cost_per_million"] == pytest.approx(0.05 * row["core_hours"] / row["reviews"] * 1e6)
        assert (row["tokens"], row["empty"], row["devices"]) == (None, 0, "cpu")


def test_marts_have_the_documented_columns_types_and_comments(made: tuple[Path, Path], spark: SparkSession) -> None:
    for name in MARTS:
        table = spark.read.parquet(str(made[1] / name))
        found = [(field.name, field.dataType, field.metadata.get("comment")) for field in table.schema]
        schema = mart_schema(name)
        expected = [(field.name, field.dataType, field.metadata["comment"]) for field in schema]
        assert found[:-1] == expected[:-1]  # the last one is the folders'
        assert found[-1][0] == "month"


@pytest.mark.slow
def test_refreshing_some_days_gives_what_a_full_rebuild_gives(
    copied: Path, summarize: Summarize, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, marts = copied / "scores", copied / "marts"
    days = sorted(date.fromisoformat(path.name[9:]) for path in scores.glob("run_date=*"))
    changed, new = days[8], days[-1] + timedelta(1)
    write_day(scores, changed, made_up_scores(changed, n_rows=31, seed=1))  # in the middle: reaches the next month
    write_day(scores, new, made_up_scores(new, n_rows=9, model=MODELS[1]))
    january = [day for day in days if day.month == 1]
    for day in january:
        shutil.rmtree(scores / f"run_date={day}")
    publish, published = Publication.publish, []

    def failing(self: Publication, report: dict[str, Any]) -> None:
        if len(published) == 2:
            raise OSError("no space left")
        published.append(publish(self, report))

    with monkeypatch.context() as patch:
        patch.setattr(Publication, "publish", failing)
        code, _, sentence = summarize("--core-hour-price", 0.05)
        assert code == 1
        assert "cannot be written" in sentence
    code, report, sentence = summarize("--core-hour-price", 0.05)
    assert code == 0
    assert report["days"] == [*map(str, january), str(changed), str(new)]
    assert "refreshed 5 days" in sentence
    assert not (marts / "sentiment_daily" / "month=2026-01").exists()
    assert not [path for path in marts.rglob("_*") if path.name.startswith(("_staging", "_lock"))]
    refreshed = {name: mart(marts, name).to_pylist() for name in MARTS}
    assert summarize("--core-hour-price", 0.05, "--rebuild")[0] == 0
    for name in MARTS:
        assert refreshed[name] == mart(marts, name).to_pylist(), name


@pytest.mark.slow
def test_compiled_and_interpreted_marts_are_the_same(
    tmp_path: Path, summarize: Summarize, monkeypatch: pytest.MonkeyPatch, compiling: SparkSession
) -> None:
    write_scores(tmp_path / "scores", n_days=6)
    found = []
    for least in (0, 1 << 40):
        monkeypatch.setattr(refresh, "COMPILED_FROM", least)
        assert summarize("--rebuild", "--label-column", "stars", "--positive-above", "3")[0] == 0
        found.append({name: mart(tmp_path / "marts", name) for name in KEYS})
        assert compiling.conf.get("spark.sql.codegen.wholeStage") == "true"
    compiled, of_trees = found
    for name in set(KEYS) - {"run_history"}:
        assert compiled[name].equals(of_trees[name]), name


@pytest.mark.parametrize("n_published", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1, 3))])
def test_a_day_that_vanishes_after_a_refresh_died_leaves_nothing(
    copied: Path, summarize: Summarize, monkeypatch: pytest.MonkeyPatch, n_published: int
) -> None:
    """Some marts hold it then and some do not, and no folder tells of it any more."""
    scores, marts = copied / "scores", copied / "marts"
    before = {name: mart(marts, name).to_pylist() for name in MARTS}
    new = max(date.fromisoformat(path.name[9:]) for path in scores.glob("run_date=*")) + timedelta(1)
    write_day(scores, new, made_up_scores(new, n_rows=9, model=MODELS[1]))
    publish, published = Publication.publish, []

    def failing(self: Publication, report: dict[str, Any]) -> None:
        if len(published) == n_published:
            raise OSError("no space left")
        published.append(publish(self, report))

    with monkeypatch.context() as patch:
        patch.setattr(Publication, "publish", failing)
        assert summarize("--core-hour-price", 0.05)[0] == 1
    shutil.rmtree(scores / f"run_date={new}")
    for report in (scores / "_runs").glob(f"{new}-*.json"):
        report.unlink()
    assert summarize("--core-hour-price", 0.05)[0] == 0
    assert {name: mart(marts, name).to_pylist() for name in MARTS} == before


@pytest.mark.slow
def test_a_rebuild_that_died_does_not_pass_for_the_marts_before_it(
    copied: Path, summarize: Summarize, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, published = Publication.publish, []

    def failing(self: Publication, report: dict[str, Any]) -> None:
        if published:
            raise OSError("no space left")
        published.append(publish(self, report))

    with monkeypatch.context() as patch:
        patch.setattr(Publication, "publish", failing)
        assert summarize("--rebuild", "--product-column", "sentiment")[0] == 1
    code, _, sentence = summarize()
    assert code == 2
    assert "was made with the --product-column 'sentiment'" in sentence
    assert summarize("--rebuild")[0] == 0


def test_a_second_refresh_waits_for_its_turn(copied: Path, summarize: Summarize) -> None:
    with OutputLock(LocalFileSystem(copied / "marts"), Owner.this_process("another")).held():
        code, _, sentence = summarize()
    assert code == 3
    assert "the output is being written by run another" in sentence


def test_without_changes_nothing_is_counted_or_written(copied: Path, summarize: Summarize) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (copied / "marts").rglob("*.parquet")}

    before = files()
    code, report, sentence = summarize("--core-hour-price", 0.05)
    assert (code, report["days"]) == (0, [])
    assert "nothing to refresh" in sentence
    assert files() == before


@pytest.mark.slow
def test_a_named_day_reads_its_own_folder_and_the_drivers_of_its_month(
    copied: Path, summarize: Summarize, monkeypatch: pytest.MonkeyPatch
) -> None:
    january = tuple(sorted(path.name for path in (copied / "scores").glob("run_date=2026-01-*")))
    for day in (FIRST_DAY, FIRST_DAY + timedelta(1)):
        write_day(copied / "scores", day, made_up_scores(day, n_rows=7, seed=3))
    read: set[str] = set()
    of_month: list[tuple[str, ...]] = []
    original = ScoreDays.read

    def noting(self: Any, folders: list[str]) -> Any:
        read.update(folders)
        return original(self, folders)

    def drivers(self: Any, folders: tuple[str, ...], months: set[str]) -> Any:
        of_month.append(folders)
        with monkeypatch.context() as patch:
            patch.setattr(ScoreDays, "read", original)
            return read_drivers(self, folders, months)

    read_drivers = ScoreDays.read_drivers
    monkeypatch.setattr(ScoreDays, "read", noting)
    monkeypatch.setattr(ScoreDays, "read_drivers", drivers)
    assert summarize("--core-hour-price", 0.05, "--date", FIRST_DAY)[1]["days"] == [str(FIRST_DAY)]
    assert read == {f"run_date={FIRST_DAY}"}
    assert of_month == [january]
    # The other one is still found changed.
    assert summarize("--core-hour-price", 0.05)[1]["days"] == [str(FIRST_DAY + timedelta(1))]


@pytest.mark.slow
def test_days_inside_the_rows_of_other_partitions(spark: SparkSession, tmp_path: Path, summarize: Summarize) -> None:
    scores = tmp_path / "scores"
    for number, shop in enumerate(("shop=a b", "shop=c%3A")):
        days = [FIRST_DAY + timedelta(number), FIRST_DAY + timedelta(number + 1), None]
        parts = [made_up_scores(FIRST_DAY + timedelta(10 * number + i), n_rows=5, seed=number) for i in range(3)]
        parts = [
            part.append_column("review_date", pa.array([day] * 5, pa.date32())).append_column(
                "run_date", pa.array([FIRST_DAY + timedelta(3)] * 5, pa.date32())
            )
            for part, day in zip(parts, days)
        ]
        (scores / shop).mkdir(parents=True)
        pq.write_table(pa.concat_tables(parts), scores / shop / "part-0.parquet")
    code, report, sentence = summarize("--date-column", "review_date")
    assert code == 0
    assert (report["rows"], report["undated_rows"]) == (30, 10)
    assert "10 rows have no date" in sentence
    table = mart(tmp_path / "marts", "model_daily")
    assert table["reviews"].to_pylist() == [5, 10, 5]
    # A day that both folders hold is counted from both when one of them changes.
    first = pq.read_table(scores / "shop=a b" / "part-0.parquet", partitioning=None)
    pq.write_table(first.slice(5, 5), scores / "shop=a b" / "part-0.parquet")
    assert summarize("--date-column", "review_date")[1]["days"] == [str(FIRST_DAY), str(FIRST_DAY + timedelta(1))]
    assert mart(tmp_path / "marts", "model_daily")["reviews"].to_pylist() == [10, 5]
    code, _, sentence = summarize("--date-column", "run_date")
    assert code == 2
    assert "was made with the --date-column 'review_date'" in sentence


@pytest.mark.slow
def test_drivers_are_those_of_the_rows_that_have_them(tmp_path: Path, summarize: Summarize) -> None:
    """Some partitions were scored with drivers, some without, one keeps a column of its own by that name."""
    scores, marts = tmp_path / "scores", tmp_path / "marts"
    tables = [made_up_scores(FIRST_DAY + timedelta(number), n_rows=9) for number in range(3)]
    write_day(scores, FIRST_DAY, broken(tables[0], drivers=None))
    for number in (1, 2):
        write_day(scores, FIRST_DAY + timedelta(number), tables[number])
    assert summarize()[0] == 0
    rows = read_scores(scores)
    assert_equals(mart(marts, "sentiment_drivers"), expected_drivers(rows, kept=KEPT_TERMS), loose={})
    for number in (1, 2):
        write_day(scores, FIRST_DAY + timedelta(number), broken(tables[number], drivers=["mine"] * 9))
    assert summarize()[0] == 0
    assert not list((marts / "sentiment_drivers").rglob("*.parquet"))


def broken(table: pa.Table, **columns: Any) -> pa.Table:
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, pa.array(values)) if values is not None else table.drop_columns([name])
    return table


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"product_id": None}, (), "the column 'product_id' is missing"),
        (
            {"n_unknown": None},
            (),
            "the column 'n_unknown' is missing; that is no scores table, or one of another version",
        ),
        ({"n_tokens": ["7"] * 4}, (), "the column 'n_tokens' has the type string, expected int"),
        ({"n_tokens": [1.5] * 4}, (), "the column 'n_tokens' has the type double, expected int"),
        ({"score_status": ["done"] * 4}, (), "4 rows have a status, probability or label"),
        ({"product_id": pa.array([None] * 4, pa.string())}, (), "no row has a 'product_id'"),
        ({"stars": ["2026-01-20", "yesterday", None, "2026-1-2"]}, ("--date-column", "stars"), "1 rows have a 'stars'"),
        ({}, ("--date-column", "n_tokens"), "the column 'n_tokens' has the type int"),
        ({}, ("--date", "2026-05-01"), "--date 2026-05-01: no rows for that date"),
        ({}, ("--product-column", "sku"), "the column 'sku' is missing"),
    ],
)
def test_bad_scores_are_refused_in_a_sentence(
    tmp_path: Path, summarize: Summarize, change: dict[str, Any], options: tuple[str, ...], said: str
) -> None:
    table = made_up_scores(FIRST_DAY, n_rows=4)
    write_day(tmp_path / "scores", FIRST_DAY, broken(table, **change))
    code, report, sentence = summarize(*options)
    assert (code, report) == (3, {})
    assert said in sentence
    assert not (tmp_path / "marts" / "_state.json").exists()
    assert not list((tmp_path / "marts").rglob("*.parquet"))


def test_reports_of_another_contract_and_reviews_scored_twice_are_refused(tmp_path: Path, summarize: Summarize) -> None:
    scores, table = tmp_path / "scores", made_up_scores(FIRST_DAY, n_rows=6)
    assert summarize()[0] == 3
    write_day(scores, FIRST_DAY, table, contract_version=2)
    code, _, sentence = summarize()
    assert code == 3
    assert "the scores are of contract version 2, this program knows 1" in sentence
    write_day(scores, FIRST_DAY, table)
    again = broken(table, run_id=["another"] * 6)
    pq.write_table(again.slice(0, 2), scores / f"run_date={FIRST_DAY}" / "part-1.parquet")
    code, _, sentence = summarize()
    assert code == 3
    assert "2 reviews were scored by more than one run" in sentence


@pytest.mark.slow
def test_drift_is_told_and_closes_the_gate(spark: SparkSession, tmp_path: Path, summarize: Summarize) -> None:
    scores = tmp_path / "scores"
    for number in range(9):
        day = FIRST_DAY + timedelta(number)
        table = made_up_scores(day, n_rows=300)
        if number == 8:
            scored = [value if value is None else value**8 for value in table["positive_probability"].to_pylist()]
            table = broken(table, positive_probability=scored)
        write_day(scores, day, table)
    options = ("--fail-on-drift", "--drift-against", "week", "--drift-min-rows", 200)
    code, report, sentence = summarize(*options)
    assert code == 5
    assert report["drift"][0]["level"] == "fail"
    assert report["drift"][0]["index"] > 0.25
    assert f"{FIRST_DAY + timedelta(8)}, model aaaaaaaaaaaa: stability index" in sentence
    assert "reviews of probability 0.00 to 0.07 went from" in sentence
    assert not list((tmp_path / "marts").rglob("*.parquet"))
    assert summarize(*options, "--date", FIRST_DAY + timedelta(7))[0] == 0
    code, _, sentence = summarize(*options[1:])
    assert code == 0
    assert "drift: " in sentence
    # Nothing changed since, and the last day is still judged.
    assert summarize(*options)[0] == 5


def expected_with_labels(rows: pd.DataFrame, weights: pd.Series) -> pd.DataFrame:
    """``sentiment_product``: sums of single reviews in pandas, the pool of each month, and the steps in DuckDB."""
    rows = rows[rows["scored"]].assign(w=weights, month=rows["day"].map("{:%Y-%m}".format)).fillna({"w": 0.0})
    y = (rows["stars"] > 3).astype(float)

    def grouped(*keys: str) -> pd.DataFrame:
        found = []
        for names, group in rows.groupby(list(keys), dropna=False):
            sums = sums_of(
                *(part.loc[group.index].to_numpy(float) for part in (rows["positive_probability"], y, rows["w"]))
            )
            found.append(sums | {"spread": 0.08 * len(group)} | dict(zip(keys, names)))
        return pd.DataFrame(found)

    months = grouped("month")
    pools = ask(months.to_dict("records"), [*estimate_steps(pool_prior(), labelled=True), pool_columns()])
    products = grouped("product", "month").merge(pools[["month", *pool_columns()]], on="month")
    found = ask(products.to_dict("records"), estimate_steps(product_prior(pooled=True), labelled=True))
    return found[["product", "month", "labelled_count", *ESTIMATE]]


def of_scored(marts: Path) -> pa.Table:
    table = mart(marts, "sentiment_product")
    return table.filter(pa.compute.greater(table["scored"], 0))


@pytest.mark.slow
def test_labels_are_used_the_same_by_a_refresh_and_by_a_rebuild(tmp_path: Path, summarize: Summarize) -> None:
    scores, marts = tmp_path / "scores", tmp_path / "marts"
    days = write_scores(scores, n_days=12)
    options = ("--label-column", "stars", "--positive-above", 3)
    code, report, sentence = summarize(*options)
    assert code == 0, sentence
    rows = read_scores(scores)
    assert report["labelled_rows"] == rows["stars"].notna().sum()
    weights = rows["stars"].notna().astype(float)
    assert_equals(of_scored(marts), expected_with_labels(rows, weights), loose={})
    write_day(scores, days[2], made_up_scores(days[2], n_rows=31, seed=1))
    assert summarize(*options)[1]["days"] == [str(days[2])]
    refreshed = {name: mart(marts, name).to_pylist() for name in MARTS}
    assert summarize(*options, "--rebuild")[0] == 0
    for name in MARTS:
        assert refreshed[name] == mart(marts, name).to_pylist(), name
    code, _, sentence = summarize()
    assert code == 2
    assert "was made with the --label-column 'stars'" in sentence


def label_file(path: Path, rows: pd.DataFrame, **columns: Any) -> Path:
    labels = (rows["stars"] > 3).map({True: "positive", False: "0"}).where(rows["stars"].notna())
    frame = pd.DataFrame({"review_id": rows["review_id"], "text": "", "label": labels, "weight": 2.5} | columns)
    frame.to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_a_file_of_labels_is_used_with_its_weights_and_counted_anew_when_it_changes(
    tmp_path: Path, summarize: Summarize
) -> None:
    scores, marts = tmp_path / "scores", tmp_path / "marts"
    days = write_scores(scores, n_days=12)
    rows = read_scores(scores)
    weights = pd.Series(np.where(np.arange(len(rows)) % 2, 1.5, 4.0), rows.index)
    labels = label_file(tmp_path / "labels.csv", rows, weight=weights)
    code, report, sentence = summarize("--labels", labels)
    assert code == 0, sentence
    assert report["labelled_rows"] == rows["stars"].notna().sum()
    expected = expected_with_labels(rows, weights.where(rows["stars"].notna()))
    assert_equals(of_scored(marts), expected, loose={})
    assert summarize("--labels", labels)[1]["days"] == []
    label_file(labels, rows[rows["day"] != days[1]])
    assert len(summarize("--labels", labels)[1]["days"]) == len(days)
    label_file(labels, rows[rows["day"] != days[2]])
    code, _, sentence = summarize("--labels", labels, "--date", days[0])
    assert code == 2
    assert "every day is counted anew" in sentence


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": "maybe"}, "labels that are neither 0 nor 1, negative nor positive"),
        ({"weight": "heavy"}, "weights that are no number above 0"),
        ({"weight": -1}, "weights that are no number above 0"),
        ({"weight": "nan"}, "weights that are no number above 0"),
        ({"label": ""}, "0 reviews are labelled"),
        ({"review_id": 7}, "reviews are labelled more than once"),
        ({"review_id": range(40)}, "labelled reviews are not in the scores"),
    ],
)
def test_wrong_labels_are_refused_in_a_sentence(
    tmp_path: Path, summarize: Summarize, columns: dict[str, Any], said: str
) -> None:
    table = made_up_scores(FIRST_DAY, n_rows=40)
    write_day(tmp_path / "scores", FIRST_DAY, table)
    labels = label_file(tmp_path / "labels.csv", read_scores(tmp_path / "scores"), **columns)
    code, report, sentence = summarize("--labels", labels)
    assert (code, report) == (3, {})
    assert said in sentence
    assert not list((tmp_path / "marts").rglob("*.parquet"))


def test_a_column_of_labels_must_be_there_and_hold_one(tmp_path: Path, summarize: Summarize) -> None:
    table = broken(made_up_scores(FIRST_DAY, n_rows=4), stars=pa.array([None] * 4, pa.int8()))
    write_day(tmp_path / "scores", FIRST_DAY, table)
    code, _, sentence = summarize("--label-column", "stars", "--positive-above", 3)
    assert code == 3
    assert "no review has a 'stars'" in sentence
    code, _, sentence = summarize("--label-column", "grade")
    assert code == 3
    assert "the column 'grade' is missing" in sentence
    assert summarize("--positive-label", "good")[0] == 2


def sql_of(path: Path) -> list[str]:
    return [statement for statement in path.read_text().split(";\n") if statement.strip()]


@pytest.fixture(scope="module")
def engines(made: tuple[Path, Path], spark: SparkSession) -> Any:
    """The tables and views in both engines, from the files that users take."""
    scores, marts = made
    spark_session = spark.newSession()
    spark_session.sql(f"CREATE DATABASE marts_test LOCATION '{marts.parent / 'warehouse'}'")
    spark_session.sql("USE marts_test")
    spark_session.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "true")
    names = ("tables.sql", "views_spark.sql", "views.sql")
    for statement in (part for name in names for part in sql_of(QUERIES / "setup" / name)):
        spark_session.sql(statement.replace("${marts}", str(marts)).replace("${scores}", str(scores)))
    duck = duckdb.connect()
    duck.execute(f"SET VARIABLE marts = '{marts}'; SET VARIABLE scores = '{scores}'")
    for name in ("duckdb.sql", "duckdb_drivers.sql", "views_duckdb.sql", "views.sql"):
        duck.execute((QUERIES / "setup" / name).read_text())
    yield spark_session, duck
    spark_session.sql("DROP DATABASE marts_test CASCADE")
    duck.close()


@pytest.mark.parametrize("query", sorted(path.name for path in QUERIES.glob("*.sql")))
def test_a_query_gives_the_same_in_spark_and_duckdb(engines: Any, query: str) -> None:
    spark_session, duck = engines
    text = (QUERIES / query).read_text()
    ours = [tuple(row) for row in spark_session.sql(text.rstrip().rstrip(";")).collect()]
    theirs = duck.execute(text).fetchall()
    assert len(ours) == len(theirs)
    assert ours or query == "dates.sql"  # no review of these lacks its date
    for left, right in zip(ours, theirs):
        assert [_plain(value) for value in left] == [_nearly(_plain(value)) for value in right]


def _plain(value: Any) -> str | float | None:
    return value if isinstance(value, str | None) else str(value) if isinstance(value, date) else float(value)


def _nearly(value: str | float | None) -> Any:
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


def test_the_options_of_the_gate_are_checked(summarize: Summarize) -> None:
    assert summarize("--drift-warn", 0.5)[0] == 2
    assert summarize("--drift-min-rows", 0)[0] == 2
    assert summarize("--core-hour-price", -1)[0] == 2


def test_a_models_directory_gives_its_validation_histogram(
    tmp_path: Path, summarize: Summarize, model: Model, model_path: Path
) -> None:
    write_day(tmp_path / "scores", FIRST_DAY, made_up_scores(FIRST_DAY, n_rows=4, model=model.sha256))
    code, _, sentence = summarize("--model", model_path)
    assert code == 3
    assert "has no calibration table of 15 steps" in sentence


def test_the_document_names_every_query() -> None:
    text = (ROOT / "docs" / "reference" / "marts.md").read_text()
    assert {f"| `{path.stem}` |" for path in QUERIES.glob("*.sql")} <= {
        f"{line[: line.find('|', 2) + 1]}" for line in text.splitlines()
    }

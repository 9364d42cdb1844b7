"""One flipped bit in an input file: the same scores, or a refusal; never other scores."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from jobs.demo.sample_reviews import generate_reviews
from jobs.tables.reading import refusing_unreadable
from sentiment_core.errors import InputError
from tests.support.campaign import Campaign

# Only a plan that is compiled reads Parquet in columns, as a user's does.
pytestmark = pytest.mark.usefixtures("compiling")
Score = Callable[[Path], tuple[int, dict[str, Any], pa.Table | None, str]]
_CODECS = {"text": "zstd", "review_id": "snappy", "product_id": "gzip", "stars": "lz4"}
_ENCODINGS = {
    "review_id": "DELTA_BINARY_PACKED",
    "weight": "BYTE_STREAM_SPLIT",
    "text": "DELTA_LENGTH_BYTE_ARRAY",
    "source": "DELTA_BYTE_ARRAY",
}


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    table = generate_reviews(300)
    rng = np.random.default_rng(0)
    prices = [None if cents < 50_000 else Decimal(int(cents)).scaleb(-2) for cents in rng.integers(0, 10**6, 300)]
    return (
        table.append_column("weight", pa.array(rng.normal(size=300)))
        .append_column("price", pa.array(prices, pa.decimal128(12, 2)))
        .append_column("source", pa.array([f"shop/{number % 7}/page/{number}" for number in range(300)]))
        .append_column("tags", pa.array([[{"name": f"t{i % 3}", "n": i}] * (i % 3) for i in range(300)]))
    )


def many_encodings(rows: pa.Table, path: Path, **options: Any) -> None:
    codecs = {"weight": "none", "source": "none", "review_date": "none"} | _CODECS
    codecs |= {"price": "snappy", "tags.list.element.name": "snappy", "tags.list.element.n": "zstd"}
    given: dict[str, Any] = {"use_dictionary": ["product_id", "stars"], "column_encoding": _ENCODINGS} | options
    pq.write_table(rows, path, row_group_size=120, data_page_size=4096, compression=codecs, **given)


def second_page_version(rows: pa.Table, path: Path) -> None:
    pq.write_table(
        rows, path, data_page_version="2.0", write_page_index=True, compression="none", write_page_checksum=True
    )


def spark_wrote(spark: SparkSession, rows: pa.Table, path: Path) -> None:
    pq.write_table(rows, path)
    spark.read.parquet(str(path)).coalesce(1).write.parquet(str(path.parent / "written"))
    (part,) = (path.parent / "written").glob("*.parquet")
    path.write_bytes(part.read_bytes())  # without the checksum file beside it, which would tell
    shutil.rmtree(path.parent / "written")


WRITERS: dict[str, Callable[[SparkSession, pa.Table, Path], None]] = {
    "many encodings": lambda spark, rows, path: many_encodings(rows, path, write_page_checksum=True),
    "pages of version 2": lambda spark, rows, path: second_page_version(rows, path),
    "Spark": spark_wrote,
}


@pytest.fixture
def score(sentiment: Any, spark: SparkSession, model_path: Path, tmp_path: Path) -> Score:
    """Score into an output of its own: exit code, report, and what is published there."""
    output = tmp_path / "scores"

    def run(source: Path) -> tuple[int, dict[str, Any], pa.Table | None, str]:
        shutil.rmtree(output, ignore_errors=True)
        code, reports, sentence = sentiment(
            "score", "--input", source, "--output", output, "--model", model_path, "--run-date", "2026-11-23",
            "--keep-columns", "all", "--groups", "1",
        )  # fmt: skip
        published = None
        if list(output.glob("run_date=*")):
            published = ds.dataset(output, partitioning="hive").to_table().sort_by("review_id")
        return code, reports[0] if reports else {}, published, sentence

    return run


def flip(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def footer_start(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def outcome(score: Score, content: bytes, path: Path, clean: tuple[pa.Table, dict[str, Any]]) -> str:
    """``refused``, ``same``, or how the scores are wrong."""
    path.write_bytes(content)
    code, report, published, sentence = score(path)
    if code:
        sound = code in (3, 4) and published is None and sentence.startswith("sentiment score: failed: ")
        return "refused" if sound else f"exit {code}: {sentence}"
    table, counts = clean
    same = published is not None and published.equals(table) and report["counts"] == counts
    return "same" if same else f"silently wrong: {published.schema if published is not None else None}"


@pytest.mark.integrity
@pytest.mark.parametrize(
    "writer", ["Spark", *(pytest.param(name, marks=pytest.mark.slow) for name in WRITERS if name != "Spark")]
)
def test_a_flipped_bit_gives_the_same_scores_or_a_refusal(
    campaign: Campaign, score: Score, spark: SparkSession, rows: pa.Table, tmp_path: Path, writer: str
) -> None:
    path = tmp_path / "reviews.parquet"
    WRITERS[writer](spark, rows, path)
    content = path.read_bytes()
    code, report, published, sentence = score(path)
    assert code == 0, sentence
    assert report["input"]["parquet"] == {"files": 1, "without_checksums": 0}
    assert published is not None
    clean = published, report["counts"]
    start = footer_start(content)
    counted: dict[str, Counter[str]] = {"anywhere": Counter(), "in the footer": Counter()}
    wrong = []
    for where, first, number in (
        ("anywhere", 0, campaign.size(8, 400)),
        ("in the footer", start, campaign.size(4, 200)),
    ):
        rng = random.Random(f"{writer}, {where}")
        for bit in rng.sample(range(8 * first, 8 * len(content)), number):
            found = outcome(score, flip(content, bit), path, clean)
            counted[where][found.partition(":")[0]] += 1
            if found not in ("refused", "same"):
                wrong.append((where, bit, found, content[max(0, bit // 8 - 20) : bit // 8 + 20]))
    assert not wrong
    figures = {where: dict(outcomes) for where, outcomes in counted.items()}
    campaign.record(f"flips, {writer}", bytes=len(content), footer_bytes=len(content) - start, **figures)


def test_sparks_vectorised_reader_verifies_the_checksums(spark: SparkSession, rows: pa.Table, tmp_path: Path) -> None:
    """With the check the flip is found, without it other texts are read."""
    path = tmp_path / "reviews.parquet"
    pq.write_table(rows.select(["review_id", "text"]), path, compression="none", write_page_checksum=True)
    content = path.read_bytes()
    first_text = next(text for text in rows["text"].to_pylist() if text and len(text) > 20)
    path.write_bytes(flip(content, 8 * (content.index(first_text.encode()) + 10)))
    frame = spark.read.parquet(str(path))
    assert "Batched: true" in frame._jdf.queryExecution().toString()
    with pytest.raises(Exception, match="CRC checksum verification failed"):
        frame.collect()
    unchecked = spark.read.option("parquet.page.verify-checksum.enabled", "false").parquet(str(path))
    assert "Batched: true" in unchecked._jdf.queryExecution().toString()
    texts = {row["text"] for row in unchecked.collect()}
    assert len(texts - set(rows["text"].to_pylist())) == 1


def test_an_input_without_checksums_is_scored_and_the_report_says_so(
    campaign: Campaign, score: Score, rows: pa.Table, tmp_path: Path
) -> None:
    path = tmp_path / "reviews.parquet"
    many_encodings(rows, path)
    code, report, published, sentence = score(path)
    assert code == 0, sentence
    assert report["input"]["parquet"] == {"files": 1, "without_checksums": 1}
    assert published is not None
    if campaign.full:
        content = path.read_bytes()
        bits = random.Random(0).sample(range(8 * len(content)), 100)
        found = [outcome(score, flip(content, bit), path, (published, report["counts"])) for bit in bits]
        campaign.record("flips, no checksums", **Counter(text.partition(":")[0] for text in found))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda names: names.replace('"name":"source"', '"name":"sourde"'), "tells the column 'sourde' in two ways"),
        (lambda names: names.replace('"name":"n"', '"name":"m"'), "tells the column 'tags.m' in two ways"),
        (lambda names: names.replace("decimal(12,2)", "decimal(16,2)"), "tells the column 'price' in two ways"),
        (lambda names: names.replace('"fields"', '"fjelds"', 1), "is damaged"),
    ],
    ids=["renamed", "renamed inside", "retyped", "damaged"],
)
def test_what_spark_says_of_its_columns_must_be_what_the_file_holds(
    score: Score, spark: SparkSession, rows: pa.Table, tmp_path: Path, change: Callable[[str], str], says: str
) -> None:
    path = tmp_path / "reviews.parquet"
    spark_wrote(spark, rows, path)
    key = b"org.apache.spark.sql.parquet.row.metadata"
    columns = pq.read_metadata(path).metadata[key].decode()
    assert change(columns) != columns
    pq.write_table(pq.read_table(path).replace_schema_metadata({key: change(columns)}), path)
    code, _, published, sentence = score(path)
    assert (code, published, says in sentence) == (3, None, True), sentence


@pytest.mark.parametrize("condition", ["TYPE_ILLEGAL", "TYPE_NOT_RECOGNIZED", "TYPE_NOT_SUPPORTED"])
def test_a_type_that_spark_does_not_know_is_damage_or_another_format(condition: str) -> None:
    """A flipped bit in a footer can name any type."""
    expected = pytest.raises(InputError, match=f"reviews.parquet: cannot be read .PARQUET_{condition}")
    with expected, refusing_unreadable("reviews.parquet"):
        raise AnalysisException(f"[PARQUET_{condition}] Unrecognized Parquet type: FIXED_LEN_BYTE_ARRAY.")

"""What the product's code never does, and hostile files of each kind that it reads."""

from __future__ import annotations

import ast
import hashlib
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.spark.errors import withholding_content
from jobs.spark.security import check_cluster
from jobs.spark.submit import submit_settings
from jobs.tables.scores import quoted
from sentiment_core.artifact import DIGESTS, Model, load_model, save_model
from sentiment_core.errors import AuditError, SentimentError
from sentiment_core.training.steps.checkpoint import load_checkpoint
from tests.support.models import tiny_model
from tests.support.packages import needs_mxnet
from tools.audit import findings

ROOT = Path(__file__).parents[1]
FOLDERS = ("jobs", "sentiment_core", "tools/packaging")
SOURCES = [ROOT / "tools/audit.py", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
# Modules whose files run code when they are read, and calls that run what they are given.
FORBIDDEN_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "load_states", "read_pickle", "__import__"}
# Spark's methods that take SQL as text: only as a constant.
SQL_CALLS = {"sql", "expr", "selectExpr", "where", "filter", "agg"}
# It puts together names of columns alone, each through `quoted`.
SQL_OF_QUOTED_NAMES = "jobs/tables/scores.py"


def forbidden(source: str) -> Iterator[str]:
    """What a module does that none of ours may."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            yield from (name for name in names if name.partition(".")[0] in FORBIDDEN_MODULES)
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell"):
            yield node.arg
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            name = call.rpartition(".")[2]
            # `re.compile`, and a network's `eval`, are others.
            if name in FORBIDDEN_CALLS and not ("." in call and name in ("compile", "eval")):
                yield call
            if call in ("np.load", "torch.load"):
                yield call
            if "." in call and name in SQL_CALLS and any(isinstance(part, ast.JoinedStr) for part in node.args):
                yield f"{call} of text that is put together"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_evaluated_or_put_together_as_sql(path: Path) -> None:
    allowed = {"F.expr of text that is put together"} if path == ROOT / SQL_OF_QUOTED_NAMES else set()
    assert set(forbidden(path.read_text())) == allowed


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_quoted_name_ends_where_it_should(name: str) -> None:
    inside = quoted(name).removeprefix("`").removesuffix("`")
    assert "`" not in inside.replace("``", "")
    assert inside.replace("``", "`") == name


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from cloudpickle import loads", "import os, joblib", "np.load(path, allow_pickle=True)",
        "eval(text)", "trainer.load_states(path)", "torch.load(path)", "np.load(path)", "frame.where(f'a = {b}')",
        "spark.sql(f'select {x}')", "F.expr(f'{x}')", "pd.read_pickle(x)", "subprocess.run(x, shell=True)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(forbidden(source))


class Payload:
    """Unpickled, it leaves a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    trace = tmp_path / "executed"
    assert pickle.loads(pickle.dumps(Payload(trace))) is None
    trace.rmdir()  # the payload works
    yield trace
    assert not trace.exists()


def with_digests(files: dict[str, bytes]) -> dict[str, bytes]:
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    return files | {DIGESTS: "".join(lines).encode()}


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "vocabulary.txt", "weights.safetensors", "README.md"])
def test_a_model_with_a_pickle_in_it_is_refused_as_directory_and_as_bytes(
    tmp_path: Path, trace: Path, name: str
) -> None:
    files = {known: content for known, content in tiny_model().files.items() if known != DIGESTS}
    files = with_digests(files | {name: pickle.dumps(Payload(trace))})
    (tmp_path / "model").mkdir()
    for known, content in files.items():
        (tmp_path / "model" / known).write_bytes(content)
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as entries:
        for known, content in files.items():
            entries.writestr(known, content)
    for load in (lambda: load_model(tmp_path / "model"), lambda: Model.from_bytes(archive.getvalue())):
        with pytest.raises(SentimentError):
            load()


@needs_mxnet
def test_bytes_checkpoints_and_gluonnlp_files_that_are_pickles_are_refused(tmp_path: Path, trace: Path) -> None:
    from sentiment_core.language_model.gluonnlp import import_gluonnlp

    hostile = tmp_path / "hostile"
    hostile.write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(SentimentError):
        Model.from_bytes(hostile.read_bytes())
    with pytest.raises(SentimentError):
        load_checkpoint(hostile)
    with pytest.raises(SentimentError):
        import_gluonnlp(hostile, hostile)


def test_a_table_with_pickles_is_read_as_data(sentiment: Any, tmp_path: Path, trace: Path) -> None:
    """A column of an extension type that once was unpickled on reading; and a file that is a pickle."""
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Payload(trace)),
    }
    fields = [pa.field("text", pa.string(), metadata=metadata), pa.field("label", pa.int64())]
    table = pa.Table.from_arrays([pa.array(["good", "bad"] * 30), pa.array([1, 0] * 30)], schema=pa.schema(fields))
    pq.write_table(table, tmp_path / "in.parquet")
    save_model(tiny_model(), tmp_path / "model")
    code, _, sentence = sentiment("evaluate", "--model", tmp_path / "model", "--input", tmp_path / "in.parquet")
    assert code in (0, 3), sentence
    (tmp_path / "in.parquet").write_bytes(pickle.dumps(Payload(trace)))
    code, _, sentence = sentiment("evaluate", "--model", tmp_path / "model", "--input", tmp_path / "in.parquet")
    assert code == 3, sentence


def test_scoring_keeps_no_record_of_its_use_below_the_home_directory(tmp_path: Path) -> None:
    """ONNX Runtime would keep one, and send it away."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "predict", "good"],
        cwd=ROOT,
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
    )
    assert done.returncode == 0
    assert list(tmp_path.rglob("*")) == []


def test_an_unexpected_error_leaves_its_message_in_the_worker() -> None:
    with pytest.raises(SentimentError) as raised, withholding_content():
        raise ValueError("canary")
    assert "canary" not in str(raised.value)
    assert "ValueError in line" in str(raised.value)
    assert raised.value.__suppress_context__
    with pytest.raises(AuditError, match="3 rows failed"), withholding_content():
        raise AuditError("3 rows failed")


def test_a_cluster_whose_machines_do_not_know_each_other_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "spark-defaults.conf").write_text(
        "# a comment\nspark.io.encryption.enabled  true\nspark.authenticate=true\n"
    )
    arguments = "--master spark://h:7077 --conf 'spark.network.crypto.enabled=false' -c spark.x=a=b pyspark-shell"
    settings = submit_settings({"PYSPARK_SUBMIT_ARGS": arguments, "SPARK_CONF_DIR": str(tmp_path)})
    assert settings["spark.x"] == "a=b"
    statuses = {check["check"]: check["status"] for check in check_cluster(settings)}
    assert statuses == {
        "cluster authentication": "ok",
        "cluster encryption": "warning",
        "cluster encryption of shuffle files": "ok",
    }
    # A file that is named is read in place of the defaults, or over them.
    (tmp_path / "named").write_text("spark.authenticate: false\nspark.x y")
    for option, encrypted in (("", None), ("--load-spark-defaults ", "true")):
        arguments = f"{option}--properties-file {tmp_path}/named --conf spark.x=z pyspark-shell"
        settings = submit_settings({"PYSPARK_SUBMIT_ARGS": arguments, "SPARK_CONF_DIR": str(tmp_path)})
        assert (settings["spark.authenticate"], settings["spark.x"]) == ("false", "z")
        assert settings.get("spark.io.encryption.enabled") == encrypted
    assert all("cure" in check for check in check_cluster({"spark.master": "yarn"}))
    assert list(check_cluster(submit_settings({"SPARK_CONF_DIR": str(tmp_path)}))) == []
    assert list(check_cluster({"spark.master": "local[4]"})) == []


def test_doctor_warns_and_goes_on(sentiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tiny_model(), tmp_path / "model")
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master spark://127.0.0.1:1 pyspark-shell")
    code, rows, sentence = sentiment("doctor", "--model", tmp_path / "model")
    assert (code, sentence) == (0, "sentiment doctor: done: no problem found, 3 warnings")
    assert {row["cure"][:8] for row in rows if row["status"] == "warning"} == {"whoever ", "reviews "}


def test_the_audit_tells_faults_from_packages_that_nobody_knows() -> None:
    fault = {"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}
    report = {
        "dependencies": [
            {"name": "numpy", "version": "1.0", "vulns": [fault, {"id": "CVE-2", "fix_versions": []}]},
            {"name": "mxnet", "skip_reason": "not on the index"},
            {"name": "pandas", "version": "2.2", "vulns": []},
        ]
    }
    assert findings(report) == (
        ["numpy 1.0 has the known fault CVE-1; use 1.1, 2.0", "numpy 1.0 has the known fault CVE-2"], ["mxnet"], 2
    )  # fmt: skip

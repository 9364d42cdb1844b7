"""The notebooks: executed, compared with what they store, and free of what belongs to one machine.

``STORE_NOTEBOOKS=1 make test ARGS=tests/test_notebooks.py`` stores the outputs of the default run.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pyarrow.csv
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from jobs.demo.sample_reviews import generate_reviews
from tests.support.packages import needs_mxnet

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
FINE_TUNE = "01_fine_tune_sentimentnet"
WITHOUT_OUTPUTS = ("02_score_a_warehouse", "03_dashboard_queries")
CHOICES = (
    "REVIEWS", "TEXT_COLUMN", "LABEL_COLUMN", "POSITIVE_ABOVE", "PRODUCT_COLUMN", "LANGUAGE_MODEL", "EPOCHS", "OUTPUT",
    "MARTS",
)  # fmt: skip
ABSOLUTE_PATH = re.compile(r"""(?:^|[\s"'=(\[,])(?:~|[A-Za-z]:\\|/[A-Za-z_.][\w.-]*/)""")


def execute(path: Path, *, directory: Path, **choices: str) -> nbformat.NotebookNode:
    """The notebook after a run by this interpreter, in an empty directory, without the user's Jupyter settings."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # With no directory to look in, there is only the kernel of the interpreter that runs the tests.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=1200,  # a bound for a cell that hangs
        record_timing=False,
        coalesce_streams=True,  # else a text may come in one part today and in two tomorrow
        resources={"metadata": {"path": str(directory)}},
    )
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    own = {"IPYTHONDIR": str(directory / ".ipython"), "JUPYTER_CONFIG_DIR": str(directory / ".jupyter")}
    client.execute(env=environment | own | choices, cleanup_kc=True)  # else it leaves a manager of ours running
    # Progress and warnings hold times and paths, and are nothing to read again.
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def summary(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """What the cell with the tag ``summary`` printed."""
    [cell] = [cell for cell in notebook.cells if "summary" in cell.metadata.get("tags", ())]
    result: dict[str, Any] = json.loads("".join(output["text"] for output in cell.outputs))
    return result


def shown(notebook: nbformat.NotebookNode, cell_id: str) -> str:
    """The plain text that a cell shows."""
    [cell] = [cell for cell in notebook.cells if cell.id == cell_id]
    return "\n".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)


def machine_traces(notebook: nbformat.NotebookNode) -> list[str]:
    """What a stored notebook may not hold: errors, standard error, times, paths of a machine."""
    found = []
    for cell in notebook.cells:
        texts = [cell.source]
        if "execution" in cell.metadata:
            found.append("times of the execution")
        for output in cell.get("outputs", ()):
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"{output.output_type} {output.get('ename', 'stderr')}")
            data = output.get("data", {})
            texts += [output.get("text", ""), *(value for kind, value in data.items() if kind != "image/png")]
        found += [match.group().strip() for text in texts for match in ABSOLUTE_PATH.finditer(text)]
    return found


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    [path] = [path for path in NOTEBOOKS if path.stem == FINE_TUNE]
    return execute(path, directory=tmp_path_factory.mktemp("run"))


@pytest.mark.slow
@needs_mxnet
def test_fine_tuning_gives_a_model_that_loads_and_beats_the_majority(fine_tuned: nbformat.NotebookNode) -> None:
    result = summary(fine_tuned)
    assert result["loads_again"]
    assert result["held_out_by"] == "text"
    assert result["accuracy"] > result["majority_share"] + 3 * result["standard_error"]
    assert result["evaluated_accuracy"] == result["accuracy"]  # of the saved model, by the command
    [(negated, probability)] = result["negated"].items()
    assert "not" in negated
    assert 0 < probability < 1
    [row] = [line for line in shown(fine_tuned, "try").splitlines() if negated in line]
    assert pytest.approx(probability, abs=1e-3) in [float(number) for number in re.findall(r"0\.\d+", row)]
    figures = [output for cell in fine_tuned.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/png" in output.data or "image/svg+xml" in output.data for output in figures) == 3


@pytest.mark.slow
@needs_mxnet
def test_own_reviews_are_held_out_by_product_and_a_language_model_is_trained(tmp_path: Path) -> None:
    reviews = generate_reviews(600, odd_texts=False)
    renamed = pa.table(
        {
            "body": reviews["text"],
            "grade": reviews["stars"],
            "film": [f"film {row % 60}" for row in range(len(reviews))],
        }
    )
    pyarrow.csv.write_csv(renamed, tmp_path / "own.csv")
    [path] = [path for path in NOTEBOOKS if path.stem == FINE_TUNE]
    notebook = execute(
        path,
        directory=tmp_path,
        REVIEWS="own.csv",
        TEXT_COLUMN="body",
        LABEL_COLUMN="grade",
        POSITIVE_ABOVE="2",
        PRODUCT_COLUMN="film",
        LANGUAGE_MODEL="train",
        EPOCHS="1",
        OUTPUT="kept",
    )
    result = summary(notebook)
    assert result["held_out_by"] == "film"
    assert result["loads_again"]
    assert 1 < result["perplexity"] < 1000
    assert (tmp_path / "kept" / "SHA256SUMS").is_file()


@pytest.mark.slow
def test_the_job_and_the_grouped_function_give_the_same_scores(tmp_path: Path) -> None:
    notebook = execute(NOTEBOOKS[0].with_name(f"{WITHOUT_OUTPUTS[0]}.ipynb"), directory=tmp_path)
    assert summary(notebook) == {
        "rows": 600,
        "lost": 0,
        "compared": 600,
        "differences": 0,
        "statuses": ["published", "unchanged"],
    }


@pytest.mark.slow
def test_both_engines_answer_the_same_and_say_which_product_fell_and_why(tmp_path: Path) -> None:
    notebook = execute(NOTEBOOKS[0].with_name(f"{WITHOUT_OUTPUTS[1]}.ipynb"), directory=tmp_path)
    result = summary(notebook)
    asked = {path.stem for path in (NOTEBOOKS[0].parents[1] / "jobs" / "marts" / "queries").glob("*.sql")} - {
        "stars_disagreement"
    }
    assert result["equal"].keys() == asked
    assert result["equal"]["overall_trend"] == result["days"] == 56
    assert result["fell"] == "kettle-k2"  # the leaking batch
    assert any("leak" in term for term in result["why"])
    figures = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/svg+xml" in output.data for output in figures) == 3


def test_outputs_of_the_short_notebooks_are_not_stored() -> None:
    for name in WITHOUT_OUTPUTS:
        notebook = nbformat.read(NOTEBOOKS[0].with_name(f"{name}.ipynb"), as_version=4)
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebook_is_small_and_belongs_to_no_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert machine_traces(notebook) == []
    assert path.stat().st_size < 250_000


@pytest.mark.slow
@needs_mxnet
def test_stored_outputs_are_those_of_a_run(fine_tuned: nbformat.NotebookNode) -> None:
    [path] = [path for path in NOTEBOOKS if path.stem == FINE_TUNE]
    if os.environ.get("STORE_NOTEBOOKS"):
        nbformat.write(fine_tuned, path)
    stored = nbformat.read(path, as_version=4)
    for cell, executed in zip(stored.cells, fine_tuned.cells):
        kinds, expected = (
            [sorted(output.get("data", ["text"])) for output in c.get("outputs", ())] for c in (cell, executed)
        )
        assert kinds == expected, cell.id
    before, now = summary(stored), summary(fine_tuned)
    assert before.keys() == now.keys()
    # Another processor rounds otherwise, which training magnifies.
    assert before["accuracy"] == pytest.approx(now["accuracy"], abs=3 * now["standard_error"])
    assert before["perplexity"] == now["perplexity"], "that of the bundled language model, which only reads here"


def test_a_cell_that_fails_fails_the_run(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a_name_that_nobody_defined")])
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    with pytest.raises(CellExecutionError, match="a_name_that_nobody_defined"):
        execute(tmp_path / "broken.ipynb", directory=tmp_path)
